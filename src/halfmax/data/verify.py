"""Whether a file that came is the file that was asked for; what is not goes to quarantine, with the reason."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from halfmax.data.storage import sha256_of
from halfmax.errors import DownloadError

#: How the forms begin that have a fixed beginning.
_MAGIC = {"zip": b"PK\x03\x04", "xlsx": b"PK\x03\x04", "gz": b"\x1f\x8b", "parquet": b"PAR1", "hdf5": b"\x89HDF"}
TEXT_FORMS = ("csv", "tsv", "txt", "maf")
FORMS = (*_MAGIC, *TEXT_FORMS, "json")
_ENDINGS = {".whl": "zip", ".tgz": "gz", ".h5ad": "hdf5", ".h5": "hdf5"}
HEAD = 4096


@dataclass(frozen=True)
class Expected:
    """What the file must be; what is not known is None.

    Parameters
    ----------
    filename
        Its name, for messages.
    sha256, md5
        Digests as hex; the first that is given decides.
    size
        Bytes.
    form
        One of `FORMS`; judged by the name if empty.
    """

    filename: str
    sha256: str | None = None
    size: int | None = None
    md5: str | None = None
    form: str = ""

    @property
    def pinned(self) -> bool:
        """Whether a digest decides."""
        return self.sha256 is not None or self.md5 is not None

    @property
    def shape(self) -> str:
        """The form, as stated or by the name's ending; empty if neither says."""
        ending = Path(self.filename).suffix.lower()
        return self.form or _ENDINGS.get(ending, ending.removeprefix(".") if ending[1:] in FORMS else "")


def wrong_content(head: bytes, expected: Expected) -> str | None:
    """Return what the beginning of a body is instead of the file (a page, a message), or None.

    Only what no data file of its form can begin with counts, so that a known digest has the last word on the rest.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return "a web page instead of the file (a login, captcha or error page?)"
    if text.startswith(b"{") and expected.shape != "json":
        return f"a JSON message instead of the file ({_shown(text)})"
    return None


def wrong_form(path: Path, expected: Expected) -> str | None:
    """Return why a file without a known digest cannot be of its form, or None.

    A look at its beginning, and at the directory of an archive: a check of the content is the reader's.
    """
    with path.open("rb") as handle:
        head = handle.read(HEAD)
    if not head:
        return "it is empty"
    if wrong := wrong_content(head, expected):
        return f"it is {wrong}"
    magic = _MAGIC.get(expected.shape)
    if magic is not None and not head.startswith(magic):
        return f"it does not begin as a {expected.shape} file does ({_shown(head)})"
    if expected.shape in ("zip", "xlsx") and not zipfile.is_zipfile(path):
        return "its archive has no directory at the end, so it is cut off"
    return _wrong_text(head) if expected.shape in TEXT_FORMS else None


def accept(found: Path, expected: Expected, target: Path, quarantine: Path, origin: str) -> str:
    """Rename `found` to `target` if it is the expected file and return its sha256; quarantine it otherwise.

    Raises
    ------
    DownloadError
        If it is another file; the message has both digests. It is kept in `quarantine` with the reason beside it.
    """
    digest, size = sha256_of(found), found.stat().st_size
    wrong = _difference(found, expected, digest, size)
    if wrong is None:
        with found.open("rb") as handle:
            os.fsync(handle.fileno())
        found.replace(target)
        return digest
    quarantine.mkdir(parents=True, exist_ok=True)
    kept = quarantine / f"{digest[:12]}-{expected.filename}"
    found.replace(kept)
    reason = {"file": expected.filename, "origin": origin, "reason": wrong, "sha256": digest, "bytes": size}
    kept.with_name(kept.name + ".why.json").write_text(json.dumps(reason, indent=1), encoding="utf-8")
    raise DownloadError(
        f"{origin} is not the {expected.filename} that was asked for: {wrong}. It was moved to {kept} and is not "
        "used; look at it, or delete it."
    )


def matches(path: Path, expected: Expected) -> bool:
    """Return whether a file is there and has the known size and digest."""
    if not path.is_file() or (expected.size is not None and path.stat().st_size != expected.size):
        return False
    if expected.sha256 is not None:
        return sha256_of(path) == expected.sha256
    return expected.md5 is None or _md5_of(path) == expected.md5


def _difference(found: Path, expected: Expected, digest: str, size: int) -> str | None:
    if expected.sha256 is not None:
        if digest == expected.sha256:
            return None
        should = "" if expected.size is None else f" ({expected.size:,} bytes)"
        return f"its sha256 is {digest} ({size:,} bytes) instead of {expected.sha256}{should}"
    if expected.size is not None and size != expected.size:
        return f"it has {size:,} bytes instead of {expected.size:,} (sha256 {digest})"
    if expected.md5 is not None:
        md5 = _md5_of(found)
        return None if md5 == expected.md5 else f"its md5 is {md5} instead of {expected.md5} (sha256 {digest})"
    return wrong_form(found, expected)


def _md5_of(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _wrong_text(head: bytes) -> str | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    if b"\x00" in head or head.startswith(tuple(_MAGIC.values())):
        return f"it is not text ({_shown(head)})"
    lines = [line for line in head.split(b"\n") if line.strip() and not line.startswith(b"#")]
    if not lines or not any(mark in lines[0] for mark in (b",", b"\t", b";", b"|")):
        return f"it is not a table: its first line has no columns ({_shown(head)})"
    return None


def _shown(head: bytes) -> str:
    return repr(" ".join(head[:160].decode("utf-8", errors="replace").split())[:80])
