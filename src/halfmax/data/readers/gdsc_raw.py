"""GDSC's raw screens: one row a well and reading, with the official columns, ids as text and the rest as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from halfmax.data.findings import Findings
from halfmax.data.numbers import parse_numbers
from halfmax.data.readers import gdsc_ids as ids
from halfmax.data.readers.glimpse import Glimpse, glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.places import naming
from halfmax.data.readers.screens import entity_part
from halfmax.data.readers.streams import columns_of, text_batches
from halfmax.data.tables import plain_name, read_table
from halfmax.errors import DataError, examples

_TEXTS = (
    "RESEARCH_PROJECT", "BARCODE", "SCAN_ID", "DATE_CREATED", "SCAN_DATE", "CELL_ID", "MASTER_CELL_ID", "COSMIC_ID",
    "CELL_LINE_NAME", "DRUGSET_ID", "ASSAY", "TAG", "DRUG_ID",
)  # fmt: skip
_NUMBERS = ("SEEDING_DENSITY", "DURATION", "POSITION", "CONC", "INTENSITY")
_NEEDED = ("BARCODE", "POSITION", "TAG", "DRUG_ID", "CONC", "INTENSITY")
_LINES = ("COSMIC_ID", "CELL_LINE_NAME", "MASTER_CELL_ID")
_MISSING = ["NA", "nan", "NaN", "null", "None"]


def read_gdsc_raw(path: Path | str, *, strict: bool = False) -> Reading:
    """Read ``GDSC1_public_raw_data_….csv`` or ``GDSC2_…``, in a stream.

    Parameters
    ----------
    path
        CSV, gzip, Parquet or workbook.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``wells`` with the official columns, in their order: ids, tags and dates as categories of text, missing where
        empty; CONC [µM], INTENSITY, POSITION, SEEDING_DENSITY and DURATION as float64. `wells_from_gdsc` makes wells
        with roles and doses of it. ``samples``: the lines and their other ids.

    Raises
    ------
    DataError
        If a column is missing, a row cannot be read, or numbers are text.
    """
    path, findings = Path(path), Findings(strict=strict)
    with naming(path):
        names = _columns(path)
        frame = _frame(path, names)
        _tell(frame, findings)
        column = next((c for c in _LINES if c in frame and frame[c].notna().any()), None)
        if column is None:
            raise DataError(f"none of its {len(frame):,} rows names a cell line.")
        kind = "cosmic" if column == "COSMIC_ID" else "name"
        lines = frame[[c for c in _LINES if c in frame]].drop_duplicates().dropna(subset=[column]).astype(object)
        others = {"cosmic_id": "COSMIC_ID", "name": "CELL_LINE_NAME", "master_cell_id": "MASTER_CELL_ID"}
        about = {
            name: lines[c].where(lines[c].notna(), "").to_numpy(dtype=object)
            for name, c in others.items()
            if c in lines and c != column
        }
        samples = entity_part("samples", lines[column].to_numpy(dtype=object), about, kind)
    return Reading("gdsc-raw", (Part("wells", frame, id_kind=kind), samples), findings.all())


def _columns(path: Path) -> dict[str, str]:
    """Return the official name of a column to the file's, those there are."""
    names: Sequence[str]
    names = read_table(path).columns if glimpse(path).form == "workbook" else columns_of(path)
    plain = {plain_name(name): name for name in reversed(names)}
    found = {name: plain[plain_name(name)] for name in (*_TEXTS, *_NUMBERS) if plain_name(name) in plain}
    lacking = [name for name in _NEEDED if name not in found]
    if lacking or not any(name in found for name in _LINES):
        raise DataError(
            f"it has no column {examples(lacking or _LINES)}; its columns: {examples(names, 20)}. A GDSC raw data file "
            "has one row a well."
        )
    order = {name: place for place, name in enumerate(names)}
    return dict(sorted(found.items(), key=lambda item: order[item[1]]))


def _frame(path: Path, names: Mapping[str, str]) -> pd.DataFrame:
    pieces = [_typed(batch, names, first) for first, batch in _batches(path, names)]
    if not pieces:
        raise DataError("it has a header and no rows below it.")
    frame: pd.DataFrame = pa.concat_tables(pieces).unify_dictionaries().combine_chunks().to_pandas()
    for name in (c for c in _TEXTS if c in frame):
        categories = frame[name].cat.categories
        if len(categories) and all(text.endswith(".0") and text[:-2].isdecimal() for text in categories):
            frame[name] = frame[name].cat.rename_categories([text[:-2] for text in categories])
    return frame


def _batches(path: Path, names: Mapping[str, str]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the number of rows before a batch, and its columns under their official names."""
    form = glimpse(path).form
    if form in ("workbook", "parquet"):
        table = read_table(path)
        columns = [table.data.column(table.columns.index(name)) for name in names.values()]
        yield 0, pa.table(columns, names=list(names))
        return
    first = 0
    for batch in text_batches(path, list(names.values())):
        yield first, pa.table(batch.columns, names=list(names))
        first += batch.num_rows


def _typed(batch: pa.Table, names: Mapping[str, str], first: int) -> pa.Table:
    columns = {}
    for place, name in enumerate(names):
        if name in _NUMBERS:
            found = parse_numbers(batch, [place], frozenset(), np.float64)
            if found.bad:
                shown = [f"row {first + row + 2}: {text}" for row, _, text in found.bad]
                raise DataError(f"{int(found.n_bad[0])} cells of {name!r} are no numbers: {examples(shown)}.")
            if np.isinf(found.values).any():
                raise DataError(f"{int(np.isinf(found.values).sum())} values of {name!r} are infinite or too large.")
            columns[name] = pa.chunked_array([pa.array(found.values[:, 0])])
        else:
            columns[name] = _coded(batch.column(place))
    return pa.table(columns)


def _coded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return distinct texts and where they stand, missing where empty."""
    if pa.types.is_floating(column.type) and _whole(column):
        column = pc.cast(column, pa.int64())
    texts = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    nothing = pc.is_in(texts, value_set=pa.array(["", *_MISSING]))
    coded = pc.if_else(nothing, pa.scalar(None, pa.string()), texts).combine_chunks().dictionary_encode()
    return pa.chunked_array([coded] if not isinstance(coded, pa.ChunkedArray) else coded.chunks)


def _whole(column: pa.ChunkedArray) -> bool:
    values = pc.drop_null(column).to_numpy()
    values = values[~np.isnan(values)]
    return bool(len(values) and (np.mod(values, 1) == 0).all() and np.abs(values).max() < 2**53)


def _tell(frame: pd.DataFrame, findings: Findings) -> None:
    counts = {"plates": "BARCODE", "drugs": "DRUG_ID", "lines": next(c for c in _LINES if c in frame)}
    said = ", ".join(f"{frame[column].nunique():,} {what}" for what, column in counts.items())
    findings.info("wells", f"{len(frame):,} rows: {said}.", count=len(frame))
    drug = frame["TAG"].astype(str).str.fullmatch(r"[ALR]\d+(?:-D\d+)?-[SC]")
    if not drug.any():
        raise DataError(
            f"no TAG marks a well with a drug (L1-D1-S); the tags are {examples(frame['TAG'].unique(), 6)}."
        )
    for column in ("CONC", "DRUG_ID", "INTENSITY"):
        if n := int((drug & frame[column].isna()).sum()):
            findings.warn(f"no-{column.lower()}", f"{n:,} wells with a drug have no {column}.", count=n)
    repeated = int(frame.duplicated(["BARCODE", "POSITION", "TAG", "DRUG_ID"]).sum())
    if repeated:
        findings.info(
            "repeated-wells", f"{repeated:,} rows are further rows of the same well and drug.", count=repeated
        )


def _recognise(seen: Glimpse) -> float:
    return 0.95 if seen.has("BARCODE", "POSITION", "TAG", "DRUG_ID", "CONC", "INTENSITY") else 0.0


RAW = FileKind("gdsc-raw", "GDSC raw screening data", "GDSC", _recognise, read_gdsc_raw, ids.LICENCE, ("strict",))
