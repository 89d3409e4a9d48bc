"""A long table read batch by batch: a few columns by name, as text, in memory that does not depend on its length."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from halfmax.data.readers.wide import header_of, unpacked
from halfmax.errors import DataError, examples

_BLOCK = 1 << 20  # Arrow reads some 40 of them ahead
_LONGEST_LINE = 1 << 24
_BATCH_ROWS = 1 << 16
_ROW = re.compile(r"Row #(\d+): (.*?)(?:: |$)", re.DOTALL)


def columns_of(path: Path) -> tuple[str, ...]:
    """Return the names of a table's columns.

    Raises
    ------
    DataError
        If it is no delimited text or Parquet file, or a name occurs more than once.
    """
    names = tuple(_schema(path).names) if _is_parquet(path) else tuple(_header(path)[1])
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise DataError(f"{path}: {len(twice)} column names occur more than once: {examples(twice)}.")
    return names


def text_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of these columns in batches, as trimmed text; a missing cell is an empty text.

    Parameters
    ----------
    path
        CSV or TSV with a header, also packed with gzip, or Parquet.
    columns
        Names as `columns_of` gives them.

    Raises
    ------
    DataError
        If a row has too many or too few cells, or text is not UTF-8; with the row.
    """
    for batch in _parquet(path, columns) if _is_parquet(path) else _delimited(path, columns):
        plain = [pc.fill_null(pc.utf8_trim_whitespace(pc.cast(c, pa.string())), "") for c in batch.columns]
        for name, column in zip(batch.schema.names, plain, strict=True):
            if pc.any(pc.match_substring(column, "\0")).as_py():
                raise DataError(f"{path}: there is a NUL byte in column {name!r}; it is a damaged file.")
        yield pa.RecordBatch.from_arrays(plain, list(batch.schema.names))


def _is_parquet(path: Path) -> bool:
    with unpacked(path) as file:
        try:
            return file.read(4) == b"PAR1"
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path}: it is a damaged gzip file ({error}); copy or download it again.") from None


def _header(path: Path) -> tuple[str, list[str], int]:
    """Return the delimiter, the names and the number of lines up to the header, comments skipped."""
    with unpacked(path) as file:
        try:
            for number in range(1, 1000):
                line = file.readline(_LONGEST_LINE)
                if not line:
                    break
                if line.startswith(b"#") or not line.strip():
                    continue
                if (found := header_of(line)) is None:
                    raise DataError(
                        f"{path}: row {number} is no header of a table: {line[:60].decode(errors='replace')!r}."
                    )
                return *found, number
        except UnicodeDecodeError:
            raise DataError(f"{path}: its header is not UTF-8; save it as UTF-8.") from None
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path}: it is a damaged gzip file ({error}); copy or download it again.") from None
    raise DataError(f"{path}: there is no table in it.")


def _delimited(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    delimiter, names, n_lines = _header(path)
    keys = [str(i) for i in range(len(names))]
    wanted = [keys[names.index(column)] for column in columns]
    try:
        with unpacked(path) as file:
            for _ in range(n_lines):
                file.readline(_LONGEST_LINE)
            reader = pyarrow.csv.open_csv(
                pa.PythonFile(cast("Any", file), mode="r"),
                read_options=pyarrow.csv.ReadOptions(column_names=keys, block_size=_BLOCK, use_threads=False),
                parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, pa.string()),
                    include_columns=wanted,
                    strings_can_be_null=False,
                ),
            )
            for batch in reader:
                yield pa.RecordBatch.from_arrays(batch.columns, list(columns))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: {_plain(str(error), n_lines)}") from None
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: it is a damaged gzip file ({error}); copy or download it again.") from None


def _plain(message: str, n_lines: int) -> str:
    """Return what Arrow found, with the row of the file; a quoted cell of several lines counts as one row."""
    if found := _ROW.search(message):
        return f"row {int(found[1]) + n_lines} cannot be read: {found[2]}."
    if "Empty CSV" in message:
        return "it has a header and no rows below it."
    if "UTF8" in message or "UTF-8" in message:
        return "it is not UTF-8; save it as UTF-8."
    if "straddl" in message:
        return f"a row is longer than {_BLOCK / 1e6:.0f} MB, or a quote is not closed."
    return f"it cannot be read ({message.splitlines()[0]})."


def _schema(path: Path) -> pa.Schema:
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: it is a damaged Parquet file ({str(error).splitlines()[0]}).") from None


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns)):
                batch.validate(full=True)
                yield batch.select(list(columns))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: it is a damaged Parquet file ({str(error).splitlines()[0]}).") from None
