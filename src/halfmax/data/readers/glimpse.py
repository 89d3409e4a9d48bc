"""A first look at a file: its opening lines, columns and a few rows, without reading it whole."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from halfmax.data.tables import MAX_BYTES, plain_name
from halfmax.data.workbook import first_rows
from halfmax.errors import DataError

HEAD_BYTES = 1 << 18
N_LINES = 50


@dataclass(frozen=True)
class Glimpse:
    """What the beginning of a file shows.

    Parameters
    ----------
    path
        The file or folder.
    form
        ``text``, ``parquet``, ``workbook``, ``hdf5``, ``zip``, ``folder`` or ``binary``.
    lines
        First lines of a text, unpacked.
    rows
        First rows, cut into cells, comment lines (``#``) left out; of a workbook, of its first sheet.
    sheets
        Names of a workbook's sheets.
    members
        Names of the files in a folder or archive, the first thousand.
    """

    path: Path
    form: str
    lines: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    sheets: tuple[str, ...] = ()
    members: tuple[str, ...] = ()

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The first row, white space within and around the cells made plain."""
        return tuple(" ".join(cell.split()) for cell in self.rows[0]) if self.rows else ()

    @cached_property
    def named(self) -> dict[str, str]:
        """The column names by their small letters and digits; of several alike, the first."""
        return {plain_name(name): name for name in reversed(self.columns)}

    @cached_property
    def plain(self) -> frozenset[str]:
        """The column names in small letters and digits only."""
        return frozenset(self.named)

    def has(self, *names: str) -> bool:
        """Return whether all these columns are there, whatever capitals and signs."""
        return all(plain_name(name) in self.plain for name in names)


def glimpse(path: Path | str) -> Glimpse:
    """Return a first look at a file or folder.

    Raises
    ------
    DataError
        If it cannot be opened.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return Glimpse(path, "folder", members=tuple(sorted(p.name for p in path.iterdir())[:1000]))
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: it cannot be opened ({error}).") from None
    if head.startswith(b"\x1f\x8b"):
        head = _unpack(path)
    if head.startswith(b"PAR1"):
        return _parquet(path)
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if head.startswith(b"\x89HDF"):
        return Glimpse(path, "hdf5")
    if b"\x00" in head[:4096] and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Glimpse(path, "binary")
    return _text(path, head)


def _unpack(path: Path) -> bytes:
    try:
        with gzip.open(path) as packed:
            return packed.read(HEAD_BYTES)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: it is a damaged gzip file ({error}); copy or download it again.") from None


def _text(path: Path, head: bytes) -> Glimpse:
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = head.decode(encoding, errors="replace")
    lines = text.splitlines()[:N_LINES]
    if len(head) == HEAD_BYTES and len(lines) < N_LINES and len(lines) > 1:
        lines = lines[:-1]  # cut in the middle
    plain = [line for line in lines if line.strip() and not line.startswith("#")]
    counts = {mark: plain[0].count(mark) for mark in "\t,;|"} if plain else {}
    mark = max(counts, key=lambda m: counts[m]) if counts and max(counts.values()) else ","
    try:
        rows = tuple(tuple(row) for row in csv.reader(io.StringIO("\n".join(plain)), delimiter=mark))
    except csv.Error:
        rows = tuple(tuple(line.split(mark)) for line in plain)
    return Glimpse(path, "text", tuple(lines), rows)


def _parquet(path: Path) -> Glimpse:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: it is a damaged Parquet file ({str(error).splitlines()[0]}).") from None
    return Glimpse(path, "parquet", rows=(tuple(names),))


def _zip(path: Path) -> Glimpse:
    try:
        with zipfile.ZipFile(path) as archive:
            members = tuple(archive.namelist()[:1000])
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: it is a damaged workbook or zip archive ({error}).") from None
    if "[Content_Types].xml" not in members:
        return Glimpse(path, "zip", members=members)
    try:
        sheets, cells = first_rows(path, 5, MAX_BYTES)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return Glimpse(path, "workbook", rows=cells, sheets=sheets, members=members)
