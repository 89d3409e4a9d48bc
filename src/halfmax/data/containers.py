"""Parquet files as columns of text and numbers, what is read of any binary table; damaged ones are refused."""

from __future__ import annotations

import json
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from halfmax.errors import DataError


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
