"""One sheet of an Excel workbook as columns: numbers stay numbers, dates and booleans become text."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from halfmax.data.containers import Columns
from halfmax.errors import DataError, examples

#: Larger tables belong into CSV or Parquet.
MAX_WORKBOOK_CELLS = 20_000_000
_MOST_ROWS, _MOST_EMPTY_ROWS = 1 << 20, 100_000
_ROWS_AT_ONCE = 8192
_HEAD_BYTES = 1 << 18
_SHEET_DATA = re.compile(rb"<(\w+:)?sheetData[\s>]")
_WHOLE_BELOW = 1e15
#: References to cells and rows, as calamine takes them: any case, either quote.
_WIDE = re.compile(rb"\br\s*=\s*[\"']([A-Za-z]{2,})")
_ROW = rb"\br\s*=\s*[\"'][A-Za-z]*0*([1-9]\d{%d,})"
_ERROR = re.compile(rb"\bt\s*=\s*[\"']e[\"']")
#: What no attribute of a plain sheet holds: two letters and a digit, 750,000 or more, the mark of an error.
_UNUSUAL = re.compile(rb"=\s*[\"'](?:[A-Za-z]{2,}\d|[A-Za-z]?0*(?:7[5-9]\d{4}|[89]\d{5}|\d{7})|e[\"'])")
_PLAIN_CELLS = 26 * 750_000
#: A cell that does not begin by saying where it stands: then its place is not known without reading the others.
_PLACELESS = (re.compile(rb"<c(?: (?!r=\")|[^ A-Za-z])"), re.compile(rb":c[\s/>]"))

Cell = object


class _OtherReaderError(Exception):
    """A workbook that the fast reader cannot be trusted with."""


def read_workbook(content: bytes, sheet: str | None, max_bytes: int, max_cells: int, *, header: bool = True) -> Columns:
    """Return the columns of one sheet of an ``.xlsx`` workbook.

    A column of numbers alone is int64 or float64, any other one text. calamine reads it where it is installed, and
    openpyxl what calamine would not read faithfully: cells that hold errors, sheets with cells far from the table.

    Parameters
    ----------
    content
        The file.
    sheet
        Name of the sheet; the first one if None.
    max_bytes, max_cells
        Most text, unpacked, and most cells that are read.
    header
        Whether the first row that is not blank holds the names; otherwise the columns have none.

    Raises
    ------
    DataError
        If it is no workbook, a damaged or too large one, or lacks the sheet.
    """
    archive = _checked_zip(io.BytesIO(content), max_bytes)
    if "[Content_Types].xml" not in archive.namelist():
        raise DataError(f"it is a zip archive (of {examples(archive.namelist())}); unpack it, and give one table.")
    most = min(max_cells, MAX_WORKBOOK_CELLS)
    try:
        return _columns(_calamine_rows(archive, sheet, most), max_bytes, most, header=header)
    except _OtherReaderError:
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions, which are not read
            return _columns(_openpyxl_rows(content, sheet), max_bytes, most, header=header)
    except DataError:
        raise
    except Exception as error:  # openpyxl raises many kinds on a damaged workbook
        raise DataError(f"it is a damaged workbook ({type(error).__name__}: {error}).") from None


def first_rows(path: Path, n_rows: int, max_bytes: int) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the names of a workbook's sheets and the first rows of the first one, without reading sheets whole.

    Parameters
    ----------
    path
        The file.
    n_rows
        How many rows, blank ones at the top included.
    max_bytes
        Most bytes, unpacked, that it may say to hold.

    Raises
    ------
    DataError
        If it is a damaged or too large workbook, or no library is there to read it.
    """
    with _checked_zip(path, max_bytes) as archive:
        try:
            head, sheets = _head_copy(archive)
            try:
                with zipfile.ZipFile(io.BytesIO(head)) as short:
                    rows = list(islice(_calamine_rows(short, None, MAX_WORKBOOK_CELLS), n_rows))
            except _OtherReaderError:
                rows = list(islice(_openpyxl_rows(head, None), n_rows))
        except DataError:
            raise
        except Exception as error:  # openpyxl raises many kinds on a damaged workbook
            raise DataError(f"it is a damaged workbook ({type(error).__name__}: {error}).") from None
    return sheets, tuple(tuple(map(_cell_text, row)) for row in rows)


def _head_copy(archive: zipfile.ZipFile) -> tuple[bytes, tuple[str, ...]]:
    """Return the workbook with the first rows of every sheet alone, and the names of its sheets."""
    copy = io.BytesIO()
    sheets: tuple[str, ...] = ()
    with zipfile.ZipFile(copy, "w") as short:
        for entry in archive.infolist():
            name = entry.filename.lower()
            if not name.endswith((".xml", ".rels")):
                continue
            with archive.open(entry) as file:
                part = file.read(_HEAD_BYTES) if "worksheets/" in name else file.read()
            if len(part) == _HEAD_BYTES and (found := _SHEET_DATA.search(part)):
                prefix = found[1] or b""
                last = part.rfind(b"</" + prefix + b"row>")
                if last > 0:
                    ends = (b"row", b"sheetData", b"worksheet")
                    part = part[:last] + b"".join(b"</" + prefix + end + b">" for end in ends)
            if name.endswith("workbook.xml"):
                found_sheets = ElementTree.fromstring(part).findall(".//{*}sheet")
                sheets = tuple(str(sheet.get("name")) for sheet in found_sheets)
            short.writestr(zipfile.ZipInfo(entry.filename), part)
    return copy.getvalue(), sheets


def _checked_zip(file: Path | io.BytesIO, max_bytes: int) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise DataError(f"it is a damaged workbook or zip archive ({error}).") from None
    unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > max_bytes:
        raise DataError(f"it unpacks to {unpacked / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} MB are read.")
    return archive


def _openpyxl_rows(content: bytes, sheet: str | None) -> Iterator[Sequence[Cell]]:
    try:
        import openpyxl
    except ImportError:
        raise DataError("it is an Excel workbook; run `pip install 'halfmax[excel]'`, or save it as CSV.") from None
    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    _check_sheet(sheet, book.sheetnames)
    chosen = book[sheet] if sheet is not None else book.worksheets[0]
    chosen.reset_dimensions()  # some programs write a size that is too small, beyond which nothing would be read
    yield from chosen.iter_rows(values_only=True)


def _check_sheet(sheet: str | None, names: Sequence[str]) -> None:
    if sheet is not None and sheet not in names:
        raise DataError(f"it has no sheet {sheet!r}; it has {examples(names, 9)}.")


def _calamine_rows(archive: zipfile.ZipFile, sheet: str | None, most: int) -> Iterator[Sequence[Cell]]:
    """Return the rows of a sheet, from the first row of the sheet on; raise _OtherReaderError where it cannot."""
    try:
        calamine = import_module("python_calamine")
    except ImportError:
        raise _OtherReaderError from None
    plain = _plain_copy(archive, most)
    try:
        book = calamine.CalamineWorkbook.from_filelike(plain)
        _check_sheet(sheet, book.sheet_names)
        found = book.get_sheet_by_name(sheet) if sheet is not None else book.get_sheet_by_index(0)
        if found.total_height * found.total_width > most:
            raise _OtherReaderError
        lead = [""] * found.start[1] if found.start else []  # it leaves out empty columns on the left, but no rows
        return ([*lead, *row] for row in found.iter_rows()) if lead else found.iter_rows()
    except (DataError, _OtherReaderError):
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise _OtherReaderError from None
        raise


def _plain_copy(archive: zipfile.ZipFile, most: int) -> io.BytesIO:
    """Return the workbook's XML without compression, each part of the length that the archive says.

    calamine unpacks whatever there is, and holds the smallest rectangle with all cells; so both are checked before.
    """
    copy = io.BytesIO()
    names = archive.namelist()
    if len(set(names)) < len(names):
        raise _OtherReaderError
    try:
        with zipfile.ZipFile(copy, "w") as plain:
            for entry in archive.infolist():
                if not entry.filename.lower().endswith((".xml", ".rels")):
                    continue  # pictures, macros
                part = archive.read(entry)
                if b"<sheetData" in part or b":sheetData" in part:
                    _check_extent(part, most)
                plain.writestr(zipfile.ZipInfo(entry.filename), part)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError, RuntimeError, zipfile.error) as e:
        raise _OtherReaderError from e
    copy.seek(0)
    return copy


def _check_extent(part: bytes, most: int) -> None:
    """Raise _OtherReaderError for a sheet with errors in cells, or with cells that may be far apart."""
    if any(pattern.search(part) for pattern in _PLACELESS):
        raise _OtherReaderError
    if most >= _PLAIN_CELLS and not _UNUSUAL.search(part):
        return
    letters = {found.upper() for found in set(_WIDE.findall(part))}
    if _ERROR.search(part) or any(len(found) > 3 for found in letters):
        raise _OtherReaderError
    width = max((_column_number(found) for found in letters), default=26)
    high = re.compile(_ROW % (len(str(most // width)) - 1))
    if any(int(row[:12]) * width > most for row in set(high.findall(part))):
        raise _OtherReaderError


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _columns(rows: Iterator[Sequence[Cell]], max_bytes: int, most: int, *, header: bool) -> Columns:
    """Return the columns, named by the first row that is not blank."""
    first, top = next(((i, row) for i, row in enumerate(rows) if any(map(_has_text, row))), (0, []))
    names = [" ".join(_cell_text(cell).split()) for cell in top]
    if not header:
        head = [top, *islice(rows, _ROWS_AT_ONCE)]
        names = [""] * max((i + 1 for row in head for i, cell in enumerate(row) if _has_text(cell)), default=0)
        first, rows = first - 1, chain(head, rows)
    while header and names and not names[-1]:
        names.pop()
    builders = [_Builder() for _ in names]
    n_rows, n_filled, n_empty, size = 0, 0, 0, 0
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        n_empty = 0 if any(chunk) else n_empty + len(chunk)
        if n_empty > _MOST_EMPTY_ROWS:
            raise DataError(f"it has more than {_MOST_EMPTY_ROWS:,} empty rows before row {first + 2 + n_rows:,}.")
        for number, row in enumerate(chunk, first + 2 + n_rows):
            if len(row) > len(names) and any(map(_has_text, row[len(names) :])):
                raise DataError(f"row {number} has values beyond the {len(names)} columns that have a name.")
            if len(row) < len(names):
                chunk[number - first - 2 - n_rows] = [*row, *[""] * (len(names) - len(row))]
        for builder, cells in zip(builders, zip(*chunk, strict=False), strict=False):  # rows may have empty ends
            size += builder.add(cells)
        n_rows += len(chunk)
        n_filled += sum(len(row) for row in chunk)
        if n_filled > most or n_rows > _MOST_ROWS or size > max_bytes:
            limits = f"{most:,} cells, {_MOST_ROWS:,} rows or {max_bytes / 1e6:,.0f} MB of text"
            raise DataError(f"it has more than {limits}; save it as CSV.")
    data = pa.table([builder.done() for builder in builders], names=[str(i) for i in range(len(names))])
    if all(pa.types.is_string(column.type) and not pc.any(_filled(column)).as_py() for column in data.columns):
        raise DataError("its sheet has no rows below a header.")
    return Columns(tuple(names), data, first_row=first + 2)


def _filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0)


class _Builder:
    """One column, grown chunk by chunk: numbers as long as there is nothing else."""

    def __init__(self) -> None:
        self._chunks: list[pa.Array] = []
        self._is_text = False

    def add(self, cells: Sequence[Cell]) -> int:
        """Take up cells; return about how many bytes of text they are."""
        kinds = set(map(type, cells))
        if kinds == {str} and (self._is_text or any(cells)):
            chunk = pa.array(cells, pa.string())
        elif (numbers := _numbers(cells, kinds)) is not None:
            chunk = numbers
        else:
            chunk = pa.array(list(map(_cell_text, cells)), pa.string())
        self._is_text |= pa.types.is_string(chunk.type)
        self._chunks.append(chunk)
        return int(chunk.nbytes)

    def done(self) -> pa.ChunkedArray:
        """Return the column: text, whole numbers, or numbers."""
        blank = all(chunk.null_count == len(chunk) for chunk in self._chunks)
        if self._is_text or blank:
            return pa.chunked_array(map(_as_text, self._chunks), pa.string())
        column = pa.chunked_array(self._chunks, pa.float64())
        values = pc.drop_null(column).to_numpy()
        whole = bool((np.abs(values) < _WHOLE_BELOW).all() and (np.mod(values, 1) == 0).all())
        return pc.cast(column, pa.int64()) if whole else column


def _numbers(cells: Sequence[Cell], kinds: set[type]) -> pa.Array | None:
    """Return cells as float64, null where blank, or None if one is neither number nor blank."""
    if not kinds <= {float, int, str, type(None)}:
        return None
    if int in kinds and any(type(cell) is int and abs(cell) >= _WHOLE_BELOW for cell in cells):
        return None  # more digits than a float64 holds
    if str in kinds:
        if any(isinstance(cell, str) and cell.strip() for cell in cells):
            return None
        cells = [None if isinstance(cell, str) else cell for cell in cells]
    return pa.array(np.array(cells, dtype=np.float64), from_pandas=True)


def _as_text(chunk: pa.Array) -> pa.Array:
    return chunk if pa.types.is_string(chunk.type) else pa.array(map(_cell_text, chunk.to_pylist()), pa.string())


def _has_text(cell: Cell) -> bool:
    return bool(_cell_text(cell).strip())


def _cell_text(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < _WHOLE_BELOW else repr(cell)
    if isinstance(cell, date) and not isinstance(cell, datetime):
        return f"{cell} 00:00:00"  # as openpyxl has it
    return str(cell)
