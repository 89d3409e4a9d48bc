"""Tables in binary files, Parquet and workbooks, as columns of text and numbers; damaged ones are refused."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from halfmax.errors import DataError, examples

#: Workbooks are read cell by cell; larger tables belong into CSV or Parquet.
MAX_WORKBOOK_CELLS = 20_000_000


class Columns(NamedTuple):
    """Column names, Arrow columns named by position, and the row of the file, from 1, that is the first data row."""

    columns: tuple[str, ...]
    data: pa.Table
    first_row: int


def read_parquet(content: bytes, max_bytes: int, max_cells: int) -> Columns:
    """Return the columns of a Parquet file, its index first."""
    import pyarrow.parquet as pq

    try:
        texts = [field.name for field in pq.read_schema(pa.BufferReader(content)) if _is_text(field.type)]
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts)
        rows, columns = file.metadata.num_rows, file.metadata.num_columns
        if rows * max(columns, 1) > max_cells:
            raise DataError(f"it has {rows:,} rows × {columns:,} columns; at most {max_cells:,} cells are read.")
        data = file.read()
        data.validate(full=True)
    except (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
        raise DataError(f"it is a damaged Parquet file ({str(error).splitlines()[0]}).") from None
    if not data.num_rows or not data.num_columns:
        raise DataError(f"it has {data.num_rows} rows and {data.num_columns} columns.")
    if (size := sum(map(_text_bytes, data.columns))) > max_bytes:
        raise DataError(f"its text unpacks to {size / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} MB are read.")
    data = _index_first(data)
    names = tuple("" if name.startswith("__index_level_") else name.strip() for name in data.column_names)
    plain = [_plain_column(name, column) for name, column in zip(data.column_names, data.columns, strict=True)]
    return Columns(names, pa.table(plain, names=[str(i) for i in range(len(plain))]), first_row=1)


def _index_first(data: pa.Table) -> pa.Table:
    """Put pandas' index columns, which its files have last, in front."""
    try:
        described = json.loads((data.schema.metadata or {}).get(b"pandas", b"{}"))
        index = {name for name in described["index_columns"] if isinstance(name, str)}
    except (ValueError, KeyError, TypeError):  # written by another program, or damaged
        return data
    places = [i for i, name in enumerate(data.column_names) if name in index]
    return data.select(places + [i for i in range(data.num_columns) if i not in places]) if places else data


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return what a column of repeated texts takes when they are written out: a small file may hold very much."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return 0
    lengths = (pc.sum(pc.take(pc.binary_length(chunk.dictionary), chunk.indices)).as_py() for chunk in column.chunks)
    return sum(length or 0 for length in lengths)


def _plain_column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = pc.cast(column, kind.value_type), kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column if pa.types.is_integer(kind) else pc.cast(column, pa.float64())
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowException:
        raise DataError(f"its column {name!r} holds {kind}; columns of text and numbers are read.") from None


def read_workbook(content: bytes, sheet: str | None, max_bytes: int, max_cells: int) -> Columns:
    """Return the columns of one sheet of an ``.xlsx`` workbook; dates, numbers and booleans as text."""
    with _checked_zip(content, max_bytes) as archive:
        if "[Content_Types].xml" not in archive.namelist():
            raise DataError(f"it is a zip archive (of {examples(archive.namelist())}); unpack it, and give one table.")
    try:
        import openpyxl
    except ImportError:
        raise DataError("it is an Excel workbook; run `pip install 'halfmax[excel]'`, or save it as CSV.") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions, which are not read
            rows = _sheet_rows(
                openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True), sheet, max_bytes, max_cells
            )
    except DataError:
        raise
    except Exception as error:  # openpyxl raises many kinds on a damaged workbook
        raise DataError(f"it is a damaged workbook ({type(error).__name__}: {error}).") from None
    return _from_rows(rows)


def _sheet_rows(book: Any, sheet: str | None, max_bytes: int, max_cells: int) -> list[list[str]]:
    if sheet is not None and sheet not in book.sheetnames:
        raise DataError(f"it has no sheet {sheet!r}; it has {examples(book.sheetnames, 9)}.")
    chosen = book[sheet] if sheet is not None else book.worksheets[0]
    rows: list[list[str]] = []
    n_cells, size, most = 0, 0, min(max_cells, MAX_WORKBOOK_CELLS)
    for cells in chosen.iter_rows(values_only=True):
        rows.append([_cell_text(cell) for cell in cells])
        n_cells += len(cells)
        size += sum(map(len, rows[-1]))
        if n_cells > most or size > max_bytes:
            raise DataError(f"it has more than {most:,} cells or {max_bytes / 1e6:,.0f} MB of text; save it as CSV.")
    return rows


def _checked_zip(content: bytes, max_bytes: int) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise DataError(f"it is a damaged workbook or zip archive ({error}).") from None
    unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > max_bytes:
        raise DataError(f"it unpacks to {unpacked / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} MB are read.")
    return archive


def _cell_text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return repr(cell) if isinstance(cell, float) else str(cell)


def _from_rows(rows: list[list[str]]) -> Columns:
    filled = [number for number, row in enumerate(rows) if any(cell.strip() for cell in row)]
    if len(filled) < 2:
        raise DataError("its sheet has no rows below a header.")
    first = filled[0]
    names = [" ".join(cell.split()) for cell in rows[first]]
    while names and not names[-1]:
        names.pop()
    body = rows[first + 1 :]
    width = len(names)
    for number, row in enumerate(body):
        if any(cell.strip() for cell in row[width:]):
            raise DataError(f"row {first + 2 + number} has values beyond the {width} columns that have a name.")
    columns = [pa.array([row[i] if i < len(row) else "" for row in body], pa.string()) for i in range(width)]
    return Columns(tuple(names), pa.table(columns, names=[str(i) for i in range(width)]), first_row=first + 2)
