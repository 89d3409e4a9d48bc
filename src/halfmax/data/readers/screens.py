"""What the readers of published screens share: numbers of a column, one row a pair, one part a measure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import MEASURES, Measure
from halfmax.data.findings import Findings
from halfmax.data.readers.kinds import Part
from halfmax.data.tables import Table
from halfmax.errors import DataError, examples

#: Measures that published screens have besides those of `MEASURES`.
SCREEN_MEASURES: Mapping[str, Measure] = {
    "ln_ec50": Measure("ln_ec50", "ln µM", higher_is_sensitive=False),
    "act_area": Measure("act_area", "of 8 doses", higher_is_sensitive=True),
    "ctrp_auc": Measure("ctrp_auc", "of about 16 doses", higher_is_sensitive=False),
}
_PAIR = ["sample_id", "drug_id"]


def number_column(table: Table, *names: str) -> npt.NDArray[np.float64] | None:
    """Return the column of the first of these names as numbers, or None if there is none.

    Raises
    ------
    DataError
        If cells hold text.
    """
    found = table.find(*names)
    if not found:
        return None
    numbers = table.numbers(found[:1])
    if numbers.n_bad[0]:
        shown = [f"row {table.row_of(row)}: {text}" for row, _, text in numbers.bad]
        name = table.columns[found[0]]
        raise DataError(f"{int(numbers.n_bad[0])} values of {name!r} are no numbers: {examples(shown)}.")
    return np.asarray(numbers.values[:, 0], dtype=np.float64)


def text_column(table: Table, *names: str) -> npt.NDArray[np.object_] | None:
    """Return the column of the first of these names as text, words for "no value" as empty, or None."""
    found = table.find(*names)
    if not found:
        return None
    texts = table.text(found[0])
    texts[pd.Index(texts).isin(["NA", "nan", "NaN", "None", "null"])] = ""
    return texts


def required(column: npt.NDArray[np.object_] | None, name: str, table: Table) -> npt.NDArray[np.object_]:
    """Return a column that must be there; raise DataError otherwise."""
    if column is None:
        raise DataError(f"it has no column {name!r}; its columns: {examples(table.columns, 12)}.")
    return column


def ln_of(values: npt.NDArray[np.float64], what: str, findings: Findings) -> npt.NDArray[np.float64]:
    """Return concentrations [µM] as ln µM; those that are zero, negative or infinite as missing, and counted."""
    good = np.isfinite(values) & (values > 0)
    if n := int((~good & ~np.isnan(values)).sum()):
        shown = [f"{value:g}" for value in values[~good & ~np.isnan(values)][:10]]
        findings.mended(
            f"no-{what.lower()}", f"{n:,} values of {what} are zero, negative or infinite; left out.", shown, n
        )
    return np.log(np.where(good, values, np.nan))


def response_parts(
    pairs: pd.DataFrame, measures: Mapping[str, str], findings: Findings, *, id_kind: str
) -> tuple[Part, ...]:
    """Return one response part a measure, each with one row a pair.

    Rows without a value are left out and counted; pairs that occur more than once are averaged, in the measure's own
    unit, and counted.

    Parameters
    ----------
    pairs
        sample_id, drug_id, the columns of the measures, and what else is known of a row.
    measures
        Column to the name of its measure, the first one first.
    findings
        Told what was left out and averaged.
    id_kind
        As in `Part`.

    Raises
    ------
    DataError
        If no measure has a value.
    """
    parts = []
    others = [c for c in pairs.columns if c not in measures]
    for column, name in measures.items():
        measure = MEASURES.get(name) or SCREEN_MEASURES[name]
        frame = pairs[[*others[:2], column, *others[2:]]].rename(columns={column: "value"})
        has = np.isfinite(frame["value"].to_numpy(dtype=np.float64))
        if n := int((~has).sum()):
            message = f"{n:,} of {len(frame):,} rows have no {name} and are left out of it."
            findings.info(f"without-{name}", message, count=n)
        if has.any():
            frame = _one_row_a_pair(frame[has].reset_index(drop=True), name, findings)
            parts.append(Part("response", frame, measure, id_kind=id_kind))
    if not parts:
        raise DataError(f"none of its {len(pairs):,} rows has a value of {' or '.join(measures.values())}.")
    return tuple(parts)


def _one_row_a_pair(frame: pd.DataFrame, name: str, findings: Findings) -> pd.DataFrame:
    twice = frame.duplicated(_PAIR, keep=False)
    if not twice.any():
        return frame
    pairs = frame.loc[twice, _PAIR].drop_duplicates()
    message = f"{len(pairs):,} pairs have several rows of {name} ({int(twice.sum()):,} rows); averaged."
    findings.mended("duplicate-pairs", message, list(pairs.head(10).agg(" × ".join, axis=1)), len(pairs))
    numbers = [c for c in frame.columns if pd.api.types.is_float_dtype(frame[c].dtype)]
    how = {c: "mean" if c in numbers else "first" for c in frame.columns if c not in _PAIR}
    averaged: pd.DataFrame = frame.groupby(_PAIR, sort=False, as_index=False).agg(how)
    return averaged


def entity_part(
    role: str,
    ids: npt.NDArray[np.object_],
    columns: Mapping[str, npt.NDArray[np.object_] | None],
    id_kind: str = "name",
) -> Part:
    """Return the table of samples or drugs: of each id the first that its rows say, in every column."""
    given = {name: column for name, column in columns.items() if column is not None}
    index = pd.Index(ids, name=f"{role.removesuffix('s')}_id", dtype=object)
    frame = pd.DataFrame(given, index=index, dtype=object).replace({"": None})
    return Part(role, frame.groupby(level=0, sort=False).first(), id_kind=id_kind)
