"""A user's responses, in whatever columns and unit, as one row a pair."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import MEASURES, Measure
from halfmax.data.findings import Finding, Findings
from halfmax.data.readers.columns import DRUG, SAMPLE, VALUE, ids, pick
from halfmax.data.tables import Table, plain_name, read_table
from halfmax.data.units import CONCENTRATION_UNITS, RESPONSE_UNITS, UnitGuess, convert_response, detect_response_unit
from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples


@dataclass(frozen=True)
class ResponseTable:
    """Responses in long form.

    Parameters
    ----------
    frame
        Columns sample_id, drug_id and value [measure.unit], one row a pair.
    measure
        What the values are.
    unit
        What they were in the file, and why.
    findings
        What was seen and done.
    """

    frame: pd.DataFrame
    measure: Measure
    unit: UnitGuess
    findings: tuple[Finding, ...]


def read_response(
    path: Path | str,
    *,
    sample: str | None = None,
    drug: str | None = None,
    value: str | None = None,
    measure: str | Measure | None = None,
    unit: str | None = None,
    strict: bool = False,
) -> ResponseTable:
    """Read responses, one row a pair.

    Concentrations become ln µM (or -log10 M for ``pic50``). Pairs that occur more than once are averaged after that.

    Parameters
    ----------
    path
        Table with a column each for sample, drug and value.
    sample, drug, value
        Names of these columns; found by their usual names if not given.
    measure
        Which quantity to read where there are several, or what it is where its name does not say.
    unit
        A key of `RESPONSE_UNITS`; needed where neither the column's name nor its values prove it.
    strict
        Raise DataError where something would be put right otherwise: duplicate pairs, decimal commas.

    Raises
    ------
    DataError
        If a column is not found, a value is text or infinite, or the unit is not clear.
    """
    findings = Findings(strict=strict)
    table = read_table(path, strict=strict)
    findings.extend(table.findings)
    try:
        at = [pick(table, "sample", SAMPLE, sample, findings), pick(table, "drug", DRUG, drug, findings)]
        at.append(_value_column(table, value, measure, findings))
        if len(set(at)) < 3:
            raise DataError(f"one column, {table.columns[at[-1]]!r}, cannot be two of sample, drug and value.")
        frame = pd.DataFrame(
            {"sample_id": ids(table, at[0], "sample", findings), "drug_id": ids(table, at[1], "drug", findings)}
        )
        values = _response_values(table, at[2], findings)
        guess = _response_unit(values, table.columns[at[2]], measure, unit)
        chosen = _measure(measure, guess, table.columns[at[2]])
        frame["value"] = _converted(values, guess.unit, chosen)
        findings.info("unit", f"unit: {RESPONSE_UNITS.get(guess.unit, guess.unit)}; {guess.evidence}.")
        frame = _one_row_a_pair(frame, findings)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return ResponseTable(frame, chosen, guess, findings.all())


def _value_column(table: Table, given: str | None, measure: str | Measure | None, findings: Findings) -> int:
    if given is not None:
        return pick(table, "value", VALUE, given, findings)
    wanted = measure.name if isinstance(measure, Measure) else measure
    order = [wanted] if wanted else list(MEASURES)
    found = list(dict.fromkeys([i for name in order for i in _columns_of(table, name)] + table.find(*VALUE)))
    if not found:
        known = ", ".join((*order, *VALUE[:3]))
        raise DataError(
            f"none of its columns {examples(table.columns, 12)} is known as the response; rename one to one of "
            f"{known}, or say which it is."
        )
    if len(found) > 1:
        others = [table.columns[i] for i in found[1:]]
        findings.info(
            "column-choice", f"the column {table.columns[found[0]]!r} is read as the value, not these.", others
        )
    return found[0]


def _columns_of(table: Table, measure: str) -> list[int]:
    """Return the columns whose names speak of a measure, the exact name first; ln IC50 may come from any IC50."""
    plain = [plain_name(c) for c in table.columns]
    key = plain_name(measure)
    exact = [i for i, c in enumerate(plain) if c == key]
    pattern = (
        r"(ln|log10|log2|loge|log|p)?ic50(um|nm|m|lnum|log10um|value|published)?" if key in ("lnic50", "pic50") else key
    )
    return exact + [i for i, c in enumerate(plain) if i not in exact and re.fullmatch(pattern, c)]


def _response_values(table: Table, column: int, findings: Findings) -> npt.NDArray[np.float64]:
    numbers = table.numbers([column])
    name, values = table.columns[column], np.asarray(numbers.values[:, 0], dtype=np.float64)
    if numbers.n_bad[0]:
        shown = [f"row {table.row_of(row)}: {text}" for row, _, text in numbers.bad]
        hint = " A bound such as >10 must become a number." if any(t[0] in "<>≤≥" for *_, t in numbers.bad) else ""
        raise DataError(f"{int(numbers.n_bad[0])} values of {name!r} are no numbers: {examples(shown)}.{hint}")
    infinite = [table.row_of(int(i)) for i in np.flatnonzero(np.isinf(values))]
    if infinite:
        raise DataError(
            f"{len(infinite)} values of {name!r} are infinite or too large, e.g. rows {examples(infinite)}."
        )
    missing = np.flatnonzero(np.isnan(values))
    if len(missing) == len(values):
        raise DataError(f"all {len(values)} values of {name!r} are empty.")
    if len(missing):
        rows = [f"row {table.row_of(int(i))}" for i in missing[:10]]
        findings.warn(
            "missing-values", f"{len(missing)} responses are missing; kept, to be predicted.", rows, len(missing)
        )
    return values


def _response_unit(
    values: npt.NDArray[np.float64], column: str, measure: str | Measure | None, unit: str | None
) -> UnitGuess:
    if unit is not None:
        if unit not in RESPONSE_UNITS:
            hint = did_you_mean(unit, RESPONSE_UNITS)
            raise UnknownNameError(f"there is no response unit {unit!r}.{hint} Units: {', '.join(RESPONSE_UNITS)}.")
        return UnitGuess(unit, "stated")
    if isinstance(measure, Measure) and measure.name not in MEASURES:
        return UnitGuess("as given", f"the measure {measure.name!r} was stated")
    guess = detect_response_unit(values, column)
    if not guess.is_known and plain_name(column) in map(plain_name, VALUE):
        guess = _from_measure(values, column, measure.name if isinstance(measure, Measure) else measure, guess)
    if not guess.is_known:
        raise DataError(
            f"the unit of the responses is not clear: {guess.evidence}. Say it with unit=, {_list_units()}."
        )
    return guess


def _from_measure(values: npt.NDArray[np.float64], column: str, measure: str | None, guess: UnitGuess) -> UnitGuess:
    """Return the unit that a stated measure implies, if the values bear it out."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    told = f"{column!r} is read as {measure}; values from {low:.4g} to {high:.4g}"
    if measure == "ln_ic50" and low < 0 and low > -25 and high < 15:
        return UnitGuess("ln_uM", f"{told}, some negative, as logarithms of µM are")
    if measure in ("auc", "aac") and low >= -0.5 and high <= 1.5:
        return UnitGuess(measure, told)
    if measure == "pic50" and low > 0 and high < 14:
        return UnitGuess("pIC50", told)
    return guess


def _list_units() -> str:
    return "one of " + ", ".join(f"{unit} ({meaning})" for unit, meaning in RESPONSE_UNITS.items())


def _measure(measure: str | Measure | None, guess: UnitGuess, column: str) -> Measure:
    if isinstance(measure, Measure):
        return measure
    natural = "ln_ic50" if guess.unit in CONCENTRATION_UNITS else guess.unit
    name = measure or natural
    if name not in MEASURES:
        hint = did_you_mean(name, MEASURES)
        raise UnknownNameError(f"there is no measure {name!r}.{hint} Measures: {', '.join(MEASURES)}.")
    if natural != name and not (name == "pic50" and natural == "ln_ic50"):
        raise DataError(f"{column!r} holds {RESPONSE_UNITS[guess.unit]}, from which {name} cannot be made.")
    return MEASURES[name]


def _converted(values: npt.NDArray[np.float64], unit: str, measure: Measure) -> npt.NDArray[np.float64]:
    if unit not in RESPONSE_UNITS:
        return values
    converted = convert_response(values, unit)
    return 6 - converted / np.log(10) if measure.name == "pic50" else converted


def _one_row_a_pair(frame: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    pair = ["sample_id", "drug_id"]
    twice = frame.duplicated(pair, keep=False)
    if not twice.any():
        return frame
    n_pairs = int(frame.loc[twice, pair].drop_duplicates().shape[0])
    shown = frame.loc[twice, pair].drop_duplicates().head(10).agg(" × ".join, axis=1)
    message = f"{n_pairs} pairs occur more than once ({int(twice.sum())} rows); averaged."
    findings.mended("duplicate-pairs", message, list(shown), n_pairs)
    return frame.groupby(pair, sort=False, as_index=False).agg({"value": "mean"})
