"""What was fetched and agreed to: the digest of every download from its first day on, and the accepted terms."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from halfmax.data.cache import cache_dir, held
from halfmax.data.source_table import Terms
from halfmax.data.storage import sha256_of, write_json
from halfmax.errors import DownloadError

RECORD = "record.json"


@dataclass(frozen=True)
class FileMark:
    """Digest and size of one file."""

    sha256: str
    size: int

    @classmethod
    def of(cls, path: Path) -> FileMark:
        """Return the mark of a file."""
        return cls(sha256_of(path), path.stat().st_size)

    def fits(self, path: Path) -> bool:
        """Return whether a file is there and has this mark."""
        return path.is_file() and path.stat().st_size == self.size and sha256_of(path) == self.sha256


@dataclass(frozen=True)
class Record:
    """What was fetched.

    Parameters
    ----------
    name, url
        Source, and the address it came from, without its query; empty if it was put there by hand.
    fetched
        Date and time (UTC).
    trust
        What spoke for it: ``sha256`` (shipped with halfmax), ``md5`` (the provider's own), ``recorded`` (same as the
        first time) or ``first`` (nothing but its form: this is the first time).
    version
        What the server calls this version (ETag or date).
    file
        Digest and size of the file as it came; None for a set of files.
    files
        Those of unpacked members, or of the files of a set, by name.
    note
        What is odd about it.
    earlier
        Digests and dates that this one took the place of.
    """

    name: str
    url: str
    trust: str
    version: str = ""
    file: FileMark | None = None
    files: dict[str, FileMark] = field(default_factory=dict)
    note: str = ""
    earlier: tuple[dict[str, str], ...] = ()
    fetched: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self) | {"earlier": list(self.earlier)}

    def save(self, folder: Path) -> None:
        """Write it into the folder of its source."""
        write_json(folder / RECORD, self.to_dict())


def read_record(folder: Path) -> Record | None:
    """Return the record in a folder, or None if there is none.

    Raises
    ------
    DownloadError
        If it is damaged: what it vouches for cannot be trusted then.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        kept["file"] = None if kept["file"] is None else FileMark(**kept["file"])
        kept["files"] = {name: FileMark(**mark) for name, mark in kept["files"].items()}
        return Record(**kept | {"earlier": tuple(kept["earlier"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"{path} is damaged ({error}); it holds the digest that the file is checked against. Delete it to trust "
            "the file anew, or the folder to have it fetched again."
        ) from None


def accepted(terms: Terms) -> str | None:
    """Return when these terms, in this wording, were accepted on this machine; None if they were not."""
    entry = _read_accepted().get(terms.key)
    return entry["date"] if entry is not None and entry["text_sha256"] == _digest(terms) else None


def accept_terms(terms: Terms) -> None:
    """Record that these terms were accepted, with their wording and the date."""
    if accepted(terms) is not None:
        return
    path = _terms_file()
    with held(path):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"date": now, "text": terms.text, "url": terms.url, "text_sha256": _digest(terms)}
        write_json(path, _read_accepted() | {terms.key: entry})


def _terms_file() -> Path:
    return cache_dir() / "accepted_terms.json"


def _read_accepted() -> dict[str, dict[str, str]]:
    try:
        kept = json.loads(_terms_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # then they are asked for again
    whole = isinstance(kept, dict) and all(
        isinstance(v, dict) and {"date", "text_sha256"} <= set(v) for v in kept.values()
    )
    return kept if whole else {}


def _digest(terms: Terms) -> str:
    return hashlib.sha256(f"{terms.licence}\n{terms.text}\n{terms.url}".encode()).hexdigest()
