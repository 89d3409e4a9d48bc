"""One file read into columns of text: CSV, TSV, TXT, gzip, Parquet or a workbook, with ids and names as they are."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from halfmax.data.containers import read_parquet
from halfmax.data.delimited import parse_delimited
from halfmax.data.findings import Finding, Findings
from halfmax.data.numbers import Numbers, decimal_commas, parse_numbers
from halfmax.data.workbook import read_workbook
from halfmax.errors import DataError, examples

MAX_BYTES = 1 << 30
MAX_CELLS = 150_000_000
_CHUNK = 1 << 20
_SIGNS = re.compile(r"[\W_]+")
_OTHER_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF", "an HDF5 file (h5ad, loom); write its matrix out as CSV, TSV or Parquet"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls); save it as .xlsx or CSV"),
    (b"BZh", "a bzip2 archive; unpack it, or pack it with gzip"),
    (b"\xfd7zXZ", "an xz archive; unpack it, or pack it with gzip"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it, or pack it with gzip"),
    (b"%PDF", "a PDF document; give the table as CSV, TSV, Parquet or .xlsx"),
    (b"RDX", "an R data file; write the table out in R with write.csv"),
    (b"X\n\x00", "an R data file (.rds); write the table out in R with write.csv"),
)


@dataclass(frozen=True)
class Table:
    """A table as text, column by column.

    Parameters
    ----------
    path
        The file.
    columns
        Names of the columns, trimmed; duplicates stay duplicates.
    data
        Arrow columns named by position: text, or numbers where the file itself has types (Parquet).
    findings
        What was seen and done.
    first_row
        Row of the file, counted from 1, that is the first data row.
    decimal_columns
        Positions of the columns whose numbers are written with a decimal comma.
    """

    path: Path
    columns: tuple[str, ...]
    data: pa.Table
    findings: tuple[Finding, ...] = ()
    first_row: int = 2
    decimal_columns: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.data.num_rows)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The table as text under the file's column names; a missing cell is an empty text."""
        frame = pd.DataFrame({i: self.text(i) for i in range(len(self.columns))}, dtype=object)
        frame.columns = pd.Index(self.columns, dtype=object)
        return frame

    def text(self, column: int) -> npt.NDArray[np.object_]:
        """Return one column as trimmed text, shape ``(n_rows,)``."""
        values = self.data.column(column)
        if not pa.types.is_string(values.type):
            values = pc.cast(values, pa.string())
        texts = pc.fill_null(pc.utf8_trim_whitespace(values), "")
        return np.array(texts.to_pylist(), dtype=object)

    def numbers(
        self, columns: Sequence[int], dtype: type[np.floating[Any]] = np.float64, *, booleans: bool = False
    ) -> Numbers:
        """Return columns as numbers, with the cells that are none; `booleans`: ``true`` is 1, ``false`` is 0."""
        return parse_numbers(self.data, columns, self.decimal_columns, dtype, booleans=booleans)

    def row_of(self, row: int) -> int:
        """Return the row of the file, counted from 1, of a data row."""
        return self.first_row + row

    def find(self, *names: str) -> list[int]:
        """Return the positions of the columns with these names, in their order, whatever capitals and signs."""
        found: list[int] = []
        plain = [plain_name(c) for c in self.columns]
        for name in names:
            found += [i for i, c in enumerate(plain) if c == plain_name(name) and i not in found]
        return found


@lru_cache(maxsize=1 << 16)  # every kind of file looks at all columns of a wide table
def plain_name(name: str) -> str:
    """Return a column name in small letters and digits only: ``Cell Line Name`` is ``celllinename``."""
    return _SIGNS.sub("", name.lower().replace("µ", "u").replace("μ", "u"))


def read_table(
    path: Path | str,
    *,
    strict: bool = False,
    delimiter: str | None = None,
    header: bool | None = None,
    sheet: str | None = None,
    max_bytes: int = MAX_BYTES,
    max_cells: int = MAX_CELLS,
) -> Table:
    """Read one table.

    Parameters
    ----------
    path
        CSV, TSV or TXT (also packed with gzip), Parquet, or ``.xlsx`` (needs the extra ``excel``).
    strict
        Raise DataError where something would be put right otherwise: decimal commas, empty rows.
    delimiter
        What stands between the cells; found by itself if not given.
    header
        Whether the first row holds the names; found by itself if not given.
    sheet
        Sheet of a workbook; the first one if not given.
    max_bytes, max_cells
        Largest text, unpacked, and largest table that is read.

    Raises
    ------
    DataError
        If the file cannot be read as a table, with the row and the reason.
    """
    path, findings = Path(path), Findings(strict=strict)
    try:
        content = _read_bytes(path, max_bytes)
        if content.startswith(b"PAR1"):
            found = read_parquet(content, max_bytes, max_cells)
        elif content.startswith(b"PK\x03\x04"):
            found = read_workbook(content, sheet, max_bytes, max_cells, header=header is not False)
        else:
            for magic, kind in _OTHER_KINDS:
                if content.startswith(magic):
                    raise DataError(f"it is {kind}.")
            found = parse_delimited(content, findings, delimiter=delimiter, header=header)
        table = Table(path, found.columns, found.data, first_row=found.first_row)
        if table.data.num_rows * max(table.data.num_columns, 1) > max_cells:
            raise DataError(
                f"it has {table.data.num_rows:,} rows × {table.data.num_columns:,} columns; "
                f"at most {max_cells:,} cells are read."
            )
        table = _without_empty_columns(_without_empty_rows(table, findings), findings)
        table = replace(table, decimal_columns=decimal_commas(table.data, table.columns, findings))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return replace(table, findings=findings.all())


def read_frame(path: Path | str, *, numbers: Sequence[str] = (), strict: bool = False) -> pd.DataFrame:
    """Read a table as text, with the columns named in `numbers`, where they are there, as float64.

    Raises
    ------
    DataError
        If it cannot be read, if column names repeat, or if a column of `numbers` holds other text.
    """
    table = read_table(path, strict=strict)
    if twice := sorted({c for c in table.columns if table.columns.count(c) > 1}):
        raise DataError(f"{path}: {len(twice)} column names occur more than once: {examples(twice)}.")
    frame = table.frame.copy()
    for column in (c for c in numbers if c in frame):
        found = table.numbers([table.columns.index(column)])
        if found.bad:
            shown = [f"row {table.row_of(row)}: {text}" for row, _, text in found.bad]
            raise DataError(f"{path}: {int(found.n_bad[0])} cells of {column!r} are no numbers: {examples(shown)}.")
        frame[column] = found.values[:, 0]
    return frame


def escape_formula(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy for export in which no text is taken for a formula by a spreadsheet program.

    Texts in cells, column names and index that begin with ``=``, ``+``, ``-``, ``@``, a tab or a line end get a ``'``
    before them, unless they are plain numbers (OWASP, CSV injection).
    """
    escaped = frame.copy()
    for position in range(frame.shape[1]):
        column = frame.iloc[:, position]
        if not pd.api.types.is_numeric_dtype(column.dtype):
            escaped.isetitem(position, column.map(_escape).array)
    escaped.columns = frame.columns.map(_escape)
    escaped.index = frame.index.map(_escape)
    return escaped


def _escape(value: object) -> object:
    if not isinstance(value, str) or not value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DataError("it is no file; give the path of one table.")
        if size > max_bytes:
            raise DataError(f"it has {size / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} MB are read.")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"it cannot be opened ({error.strerror or error}).") from None
    except ValueError as error:  # a NUL in the path
        raise DataError(f"it cannot be opened ({error}).") from None
    if not content:
        raise DataError("it is empty.")
    return _unpack(content, max_bytes) if content.startswith(b"\x1f\x8b") else content


def _unpack(content: bytes, max_bytes: int) -> bytes:
    """Return what a gzip file holds; stop where it would hold more than is read."""
    pieces, total = [], 0
    try:
        with gzip.open(io.BytesIO(content)) as packed:
            while piece := packed.read(_CHUNK):
                total += len(piece)
                if total > max_bytes:
                    raise DataError(
                        f"its {len(content) / 1e6:,.1f} MB unpack to more than {max_bytes / 1e6:,.0f} MB, the most "
                        "that is read."
                    )
                pieces.append(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"it is a damaged gzip file ({error}); copy or download it again.") from None
    if not total:
        raise DataError("it is an empty gzip file.")
    return b"".join(pieces)


def _without_empty_rows(table: Table, findings: Findings) -> Table:
    """Leave out rows that are empty in every column, as spreadsheet programs write them at the end."""
    empty = np.ones(len(table), dtype=bool)
    for column in table.data.columns:
        if pa.types.is_string(column.type):
            blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0).fill_null(True)
            empty &= blank.to_numpy()
        else:
            empty &= column.is_null().to_numpy()
        if not empty.any():
            return table
    if empty.all():
        raise DataError(f"all of its {len(table)} rows are empty.")
    rows = [str(table.row_of(int(row))) for row in np.flatnonzero(empty)]
    findings.info("empty-rows", f"{len(rows)} empty rows are left out.", rows)
    return replace(table, data=table.data.filter(pa.array(~empty)))


def _without_empty_columns(table: Table, findings: Findings) -> Table:
    """Leave out columns with neither name nor value, as a delimiter at the end of every row makes them.

    Raises
    ------
    DataError
        If the rows end so, but not the header: then names and values may not belong together.
    """
    last = len(table.columns) - 1
    unnamed = [i for i, name in enumerate(table.columns) if not name and i > 0 and not any(table.text(i))]
    if any(finding.code == "row-names" for finding in findings.items) and not any(table.text(last)):
        raise DataError(
            "its rows have one cell more than the header has names, and the last cell is always empty, so it is not "
            f"clear to which values {examples(table.columns[-1:])} belongs; remove the delimiter at the row ends."
        )
    if not unnamed:
        return table
    keep = [i for i in range(len(table.columns)) if i not in unnamed]
    data = table.data.select(keep).rename_columns([str(i) for i in range(len(keep))])
    return replace(table, columns=tuple(table.columns[i] for i in keep), data=data)
