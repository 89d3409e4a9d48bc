"""GDSC's genetic features: mutated cancer genes and recurrently gained or lost segments, one row a line and feature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.readers import gdsc_ids as ids
from halfmax.data.readers.gdsc_ids import Texts, has_any, id_column
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.places import naming
from halfmax.data.readers.screens import entity_part, required, text_column
from halfmax.data.tables import Table, read_table
from halfmax.errors import DataError, examples

_FEATURE = ("genetic_feature",)
_MUTATED = ("is_mutated",)
_GAIN_LOSS = ("recurrent_gain_loss",)
_GENES = ("genes_in_segment",)


def read_gdsc_genetic_features(path: Path | str, *, sample_id: str | None = None, strict: bool = False) -> Reading:
    """Read ``PANCANCER_Genetic_features….csv``, or that of one cancer type.

    Parameters
    ----------
    path
        CSV, TSV, gzip, workbook or Parquet, with the column names of 2017 to 2019 or those of 2023.
    sample_id
        Which ids the samples get: ``cosmic`` or ``name``; the first that no row lacks if not given.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``events``, samples × features, float32: 1 where the gene is mutated or the segment gained or lost, 0 where
        not, NaN for a pair that the file does not list; ``features`` (gain_or_loss, genes of a segment); ``samples``.

    Raises
    ------
    DataError
        If columns are missing, or a value is neither 0 nor 1.
    """
    path, findings = Path(path), Findings(strict=strict)
    table = read_table(path, strict=strict)
    findings.extend(table.findings)
    with naming(path):
        features = required(text_column(table, *_FEATURE), _FEATURE[0], table)
        values = _values(table)
        columns = {"cosmic": id_column(table, *ids.COSMIC), "name": text_column(table, *ids.NAME)}
        samples, kind = ids.sample_ids(columns, sample_id, findings)
        keep = (samples != "") & (features != "")
        if n := int((~keep).sum()):
            rows = [f"row {table.row_of(int(row))}" for row in np.flatnonzero(~keep)]
            findings.mended("rows-without-id", f"{n:,} rows name no cell line or no feature; left out.", rows, n)
        if not keep.any():
            raise DataError(f"none of its {len(table):,} rows names both a cell line and a feature.")
        frame = _matrix(samples[keep], features[keep], values[keep], findings)
        about = ids.sample_columns(columns, kind) | {
            "tissue": text_column(table, *ids.TISSUE),
            "tissue_subtype": text_column(table, *ids.TISSUE_SUBTYPE),
            "cancer_type": ids.cancer_types(table),
        }
        what = {"gain_or_loss": text_column(table, *_GAIN_LOSS), "genes": text_column(table, *_GENES)}
        parts = (
            Part("events", frame, id_kind=kind),
            entity_part("features", features[keep], _kept(what, keep)),
            entity_part("samples", samples[keep], _kept(about, keep), kind),
        )
    return Reading("gdsc-genetic-features", parts, findings.all())


def _values(table: Table) -> npt.NDArray[np.float64]:
    """Return 0, 1 or NaN of every row."""
    at = table.find(*_MUTATED)
    if not at:
        raise DataError(f"it has no column {_MUTATED[0]!r}; its columns: {examples(table.columns, 12)}.")
    numbers = table.numbers(at[:1], booleans=True)
    values = np.asarray(numbers.values[:, 0], dtype=np.float64)
    if numbers.bad:
        shown = [f"row {table.row_of(row)}: {text}" for row, _, text in numbers.bad]
        raise DataError(f"{int(numbers.n_bad[0])} cells of {table.columns[at[0]]!r} are no numbers: {examples(shown)}.")
    wrong = np.flatnonzero(~np.isnan(values) & (values != 0) & (values != 1))
    if len(wrong):
        shown = [f"row {table.row_of(int(row))}: {values[row]:g}" for row in wrong[:4]]
        raise DataError(f"{len(wrong)} cells of {table.columns[at[0]]!r} are neither 0 nor 1: {examples(shown)}.")
    return values


def _matrix(samples: Texts, features: Texts, values: npt.NDArray[np.float64], findings: Findings) -> pd.DataFrame:
    """Return samples × features; a pair that is listed twice is 1 if any row says so."""
    row, lines = pd.factorize(samples)
    column, names = pd.factorize(features)
    matrix = np.full((len(lines), len(names)), np.nan, dtype=np.float32)
    low, high = matrix.copy(), matrix
    np.fmax.at(high, (row, column), values.astype(np.float32))
    np.fmin.at(low, (row, column), values.astype(np.float32))
    differ = np.argwhere(low < high)
    if len(differ):
        shown = [f"{lines[i]} × {names[j]}" for i, j in differ[:10]]
        message = f"{len(differ)} pairs are listed as mutated and as not mutated; read as mutated."
        findings.mended("contradictions", message, shown, len(differ))
    if n := int(np.isnan(high).sum()):
        message = f"{n:,} of {high.size:,} pairs of a line and a feature are not listed; they stay missing."
        findings.info("not-listed", message, count=n)
    index = pd.Index(lines, name="sample_id", dtype=object)
    return pd.DataFrame(high, index=index, columns=pd.Index(names, dtype=object))


def _kept(columns: dict[str, Texts | None], keep: npt.NDArray[np.bool_]) -> dict[str, Texts | None]:
    return {name: None if texts is None else texts[keep] for name, texts in columns.items()}


def _recognise(seen: Glimpse) -> float:
    line = has_any(seen, ids.COSMIC) or has_any(seen, ids.NAME)
    return 0.95 if line and has_any(seen, _FEATURE, _MUTATED) else 0.0


GENETIC_FEATURES = FileKind(
    "gdsc-genetic-features",
    "GDSC genetic features",
    "GDSC",
    _recognise,
    read_gdsc_genetic_features,
    ids.LICENCE,
    ("sample_id", "strict"),
)
