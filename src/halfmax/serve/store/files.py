"""Files by their content: each lies under its sha256, whole or not at all, readable by the service alone."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from halfmax.errors import UnknownNameError

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Files:
    """A folder of files that are found by the sha256 of what they hold.

    Parameters
    ----------
    folder
        Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, content: bytes | Path) -> str:
        """Keep content, or a file's; it is on disk when the sha256 is returned."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(prefix="incoming-", dir=self.folder)
        temporary, hashed = Path(name), hashlib.sha256()
        try:
            with os.fdopen(handle, "wb") as out:
                for piece in _pieces(content):
                    hashed.update(piece)
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            place = self._place(hashed.hexdigest())
            place.parent.mkdir(exist_ok=True, mode=0o700)
            temporary.replace(place)
            _sync(place.parent)
            _sync(self.folder)
        finally:
            temporary.unlink(missing_ok=True)
        return hashed.hexdigest()

    def path(self, digest: str) -> Path:
        """Return where content lies; raise UnknownNameError if it is not here, or the name is no sha256."""
        place = self._place(digest)
        if not place.is_file():
            raise UnknownNameError(f"there is no stored file {digest[:12]}….")
        return place

    def delete_all_but(self, kept: Collection[str], *, older_than: float = 3600.0) -> int:
        """Delete files that are not among `kept`, unless they came in the last `older_than` [s]; return how many.

        A file is here before the row that names it; the young ones may still be waiting for theirs.
        """
        before = time.time() - older_than
        found = [*self.folder.glob("??/*"), *self.folder.glob("incoming-*")]
        gone = [path for path in found if path.name not in kept and path.stat().st_mtime <= before]
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone)

    def _place(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise UnknownNameError("a stored file is named by its sha256.")
        return self.folder / digest[:2] / digest


def _pieces(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as source:
        while piece := source.read(1 << 20):
            yield piece


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
