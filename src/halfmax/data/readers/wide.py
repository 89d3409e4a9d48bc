"""A wide matrix of numbers read straight into float32; what the direct way cannot read goes the way of all tables."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from halfmax.data.findings import Findings
from halfmax.data.readers.checks import refuse_text
from halfmax.data.tables import MAX_CELLS, read_table
from halfmax.errors import DataError, examples

_LONGEST_HEADER, _MANY_NAMES = 1 << 26, 6
_BLOCK = 1 << 27
_SMALLEST_BLOCK = 1 << 20
_NULLS = ("", "NA")  # others, rare in these files, go the way of all tables; each costs time in every cell
_NO_TEXT = (b"PAR1", b"PK\x03\x04", b"\xff\xfe", b"\xfe\xff", b"#")


@dataclass(frozen=True)
class Wide:
    """A matrix as it lies in its file.

    Parameters
    ----------
    texts
        Columns of text by name, each ``(n_rows,)``; the first column of the file is one of them.
    names
        Names of the other columns, duplicates included.
    values
        Their values, float32, shape ``(n_rows, n_names)``; NaN where a cell is empty or says so.
    """

    texts: dict[str, npt.NDArray[np.object_]]
    names: tuple[str, ...]
    values: npt.NDArray[np.float32]


def read_wide(
    path: Path,
    is_text: Callable[[str], bool],
    findings: Findings,
    *,
    booleans: bool = False,
    max_cells: int = MAX_CELLS,
) -> Wide:
    """Read a matrix that has rows of numbers, after one or more columns of text.

    Delimited text, also packed with gzip, is parsed block by block into float32, whatever its size in bytes. Where a
    cell, a row or the header is not as this needs it, and for Parquet and workbooks, `read_table` reads the file and
    says what is wrong and where.

    Parameters
    ----------
    path
        The file.
    is_text
        Whether a column, by its name, holds text; the first column always does.
    findings
        Told what was seen and done.
    booleans
        Whether ``true`` and ``false`` are 1 and 0.
    max_cells
        Largest table that is read.

    Raises
    ------
    DataError
        If it cannot be read, holds text among the numbers, or has two columns of text of one name.
    """
    found = _direct(path, is_text, max_cells)
    return found if found is not None else _checked(path, is_text, findings, booleans=booleans)


def _direct(path: Path, is_text: Callable[[str], bool], max_cells: int) -> Wide | None:
    """Return the matrix if every cell is as it should be; None where a closer look is needed."""
    try:
        with unpacked(path) as file:
            line = file.readline(_LONGEST_HEADER)
            names = None if line.startswith(_NO_TEXT) else header_of(line)
            if names is None or len(names) < 2:
                return None
            delimiter, cells = names
            text = [i for i, name in enumerate(cells) if i == 0 or is_text(name)]
            if len(text) == len(cells):
                return None
            if not isinstance(file, gzip.GzipFile):
                return _whole(path, delimiter, cells, text, max_cells)
            keys = [str(i) for i in range(len(cells))]
            types: dict[str, pa.DataType] = dict.fromkeys(keys, pa.float32())
            types |= {keys[i]: pa.string() for i in text}
            size = path.stat().st_size
            reader = pyarrow.csv.open_csv(
                pa.PythonFile(file, mode="r"),
                read_options=pyarrow.csv.ReadOptions(
                    column_names=keys, block_size=min(_BLOCK, max(_SMALLEST_BLOCK, 8 * size))
                ),
                parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=types, null_values=list(_NULLS), strings_can_be_null=False
                ),
            )
            texts, blocks = _blocks(reader, [keys[i] for i in text], path, len(cells), max_cells)
    except (pa.ArrowInvalid, UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error):
        return None
    return _wide(cells, text, texts, np.concatenate(blocks)) if blocks else None


def _whole(path: Path, delimiter: str, cells: list[str], text: list[int], max_cells: int) -> Wide | None:
    """Return the matrix of a file that is not packed, parsed at once."""
    import polars as pl

    chosen = set(text)
    schema = {str(i): pl.String if i in chosen else pl.Float32 for i in range(len(cells))}
    try:
        frame = pl.read_csv(
            path,
            has_header=False,
            skip_rows=1,
            separator=delimiter,
            schema=schema,
            null_values=[null for null in _NULLS if null],
            n_rows=max_cells // len(cells) + 1,
        )
    except (pl.exceptions.PolarsError, UnicodeDecodeError):
        return None
    if frame.height * len(cells) > max_cells:
        raise DataError(f"{path}: it has more than {max_cells:,} cells; at most so many are read.")
    if not frame.height or _count(path, delimiter) != (len(cells) - 1) * (frame.height + 1):
        return None  # polars fills up rows that are too short
    texts = [[(cell or "").strip() for cell in frame[str(i)].to_list()] for i in text]
    values = np.empty((frame.height, len(cells) - len(text)), dtype=np.float32)
    for place, i in enumerate(i for i in range(len(cells)) if i not in chosen):
        values[:, place] = frame[str(i)].to_numpy()
    return _wide(cells, text, texts, values)


def _count(path: Path, delimiter: str) -> int:
    """Return how often the delimiter is in a file."""
    with path.open("rb") as file:
        return sum(part.count(delimiter.encode()) for part in iter(lambda: file.read(1 << 24), b""))


def _wide(cells: list[str], text: list[int], texts: list[list[str]], values: npt.NDArray[np.float32]) -> Wide | None:
    if any("\0" in cell or not cell for cell in texts[0]):
        return None
    columns = {cells[i]: np.array(column, dtype=object) for i, column in zip(text, texts, strict=True)}
    if len(columns) < len(text):
        return None
    chosen = set(text)
    return Wide(columns, tuple(c for i, c in enumerate(cells) if i not in chosen), values)


def _blocks(
    reader: pyarrow.csv.CSVStreamingReader, texts: list[str], path: Path, width: int, max_cells: int
) -> tuple[list[list[str]], list[npt.NDArray[np.float32]]]:
    columns: list[list[str]] = [[] for _ in texts]
    blocks: list[npt.NDArray[np.float32]] = []
    n_rows = 0
    for batch in reader:
        if not batch.num_rows:
            continue
        n_rows += batch.num_rows
        if n_rows * width > max_cells:
            raise DataError(f"{path}: it has more than {max_cells:,} cells; at most so many are read.")
        for column, key in zip(columns, texts, strict=True):
            column += [cell.strip() for cell in batch.column(key).to_pylist()]
        blocks.append(batch.drop_columns(texts).to_tensor(null_to_nan=True, row_major=True).to_numpy())
    return columns, blocks


def _checked(path: Path, is_text: Callable[[str], bool], findings: Findings, *, booleans: bool) -> Wide:
    table = read_table(path, strict=findings.strict, delimiter=_clear_delimiter(path))
    findings.extend(table.findings)
    try:
        text = [i for i, name in enumerate(table.columns) if i == 0 or is_text(name)]
        columns = [i for i in range(len(table.columns)) if i not in set(text)]
        if not columns:
            raise DataError(f"it has no column of numbers beside {examples(table.columns, 6)}.")
        numbers = table.numbers(columns, np.float32, booleans=booleans)
        keep = np.flatnonzero(~numbers.is_text)
        if not len(keep):
            raise DataError(f"none of its {len(columns)} columns {examples(table.columns)} holds numbers.")
        if len(keep) < len(columns):
            left = [table.columns[columns[i]] for i in np.flatnonzero(numbers.is_text)]
            findings.info("annotations", f"{len(left)} columns of text are left out.", left)
        refuse_text(table, [columns[i] for i in keep], numbers, keep)
        names = [table.columns[i] for i in text]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(f"{len(twice)} columns of text have the same name: {examples(twice)}.")
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    texts = {table.columns[i]: table.text(i) for i in text}
    values = numbers.values[:, keep].astype(np.float32, copy=False)
    return Wide(texts, tuple(table.columns[columns[i]] for i in keep), np.ascontiguousarray(values))


def _clear_delimiter(path: Path) -> str | None:
    """Return what cuts the header into many names, so that one bad row does not hide it; None if not clear."""
    with suppress(UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error), unpacked(path) as file:
        line = file.readline(_LONGEST_HEADER)
        found = None if line.startswith(_NO_TEXT) else header_of(line)
        if found is not None and found[0] in "\t," and len(found[1]) >= _MANY_NAMES:
            return found[0]
    return None


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to read bytes from, unpacked if it is packed with gzip.

    Raises
    ------
    DataError
        If it cannot be opened.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: it cannot be opened ({error}).") from None
        yield cast("IO[bytes]", stack.enter_context(gzip.open(file))) if packed else file


def header_of(line: bytes) -> tuple[str, list[str]] | None:
    """Return the delimiter and the names of a header, or None if the line is no plain one."""
    if len(line) >= _LONGEST_HEADER or b"\0" in line or line.count(b'"') % 2:
        return None
    text = line.decode("utf-8-sig").rstrip("\r\n")
    if "\r" in text or not text.strip():
        return None
    delimiter = max("\t,;|", key=text.count)
    names = [" ".join(cell.split()) for cell in next(csv.reader([text], delimiter=delimiter))]
    return (delimiter, names) if len(names) > 1 else None
