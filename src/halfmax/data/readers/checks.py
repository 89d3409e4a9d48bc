"""Checks that every matrix passes: sample ids, text among the numbers, infinite and missing values, the unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.numbers import Numbers
from halfmax.data.readers.features import known_columns
from halfmax.data.tables import Table
from halfmax.data.units import UnitGuess, detect_expression_unit
from halfmax.errors import DataError, examples

_MANY = 10
_ENOUGH_SAMPLES = 100


def refuse_text(table: Table, columns: Sequence[int], numbers: Numbers, keep: npt.NDArray[np.int64]) -> None:
    """Raise DataError if cells are no numbers, naming them.

    Parameters
    ----------
    table
        The table.
    columns, keep
        Positions in the table, and among those of `numbers`, of the columns that must hold numbers.
    numbers
        The columns as numbers.
    """
    n_bad = numbers.n_bad[keep]
    if not n_bad.any():
        return
    place = {int(k): column for k, column in zip(keep, columns, strict=True)}
    shown = [
        f"row {table.row_of(row)}, column {table.columns[place[at]]}: {text!r}"
        for row, at, text in numbers.bad
        if at in place
    ]
    commas = any("," in text for _, at, text in numbers.bad if at in place)
    hint = " Are the commas decimal commas or separators of thousands? Write 1234.5." if commas else ""
    raise DataError(
        f"{int(n_bad.sum())} cells in {int((n_bad > 0).sum())} columns are no numbers: {'; '.join(shown[:3])}.{hint}"
    )


def check_samples(samples: Sequence[str]) -> None:
    """Raise DataError if sample ids are empty or occur more than once."""
    if empty := sum(not s for s in samples):
        raise DataError(f"{empty} samples have no name; give each sample an id.")
    twice = [f"{s} ({n} times)" for s, n in Counter(samples).items() if n > 1]
    if twice:
        raise DataError(f"{len(twice)} sample ids occur more than once: {examples(twice)}; make them unique.")


def check_values(
    values: npt.NDArray[np.float32], samples: Sequence[str], features: Sequence[str], findings: Findings
) -> None:
    """Raise DataError if values, shape ``(n_samples, n_features)``, are infinite or all missing; tell which are."""
    if np.isfinite(values).all() and values.size:
        return
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        shown = [f"{samples[int(row)]} × {features[int(column)]}" for row, column in infinite[:4]]
        raise DataError(f"{len(infinite)} values are infinite or too large: {examples(shown)}; correct or empty them.")
    missing = np.isnan(values)
    if missing.all():
        raise DataError("it holds no value at all: every cell is empty.")
    if n := int(missing.sum()):
        rows = [samples[int(i)] for i in np.flatnonzero(missing.any(axis=1))[:_MANY]]
        message = f"{n} values ({n / missing.size:.2%}) are missing; they stay missing here, to be imputed later."
        findings.warn("missing-values", message, rows, n)
        if empty := [samples[int(i)] for i in np.flatnonzero(missing.all(axis=1))]:
            findings.warn("empty-samples", f"{len(empty)} samples have no value at all.", empty)


def expression_unit(frame: pd.DataFrame, stated: str | None, findings: Findings) -> UnitGuess:
    """Return the unit of expression, samples × genes: the stated one, doubted where the values say another, or found.

    Of more than two hundred samples without negative values every so many is looked at, a hundred or more; z-scores
    over the samples need them all.
    """
    step = len(frame) // _ENOUGH_SAMPLES
    few = frame.iloc[::step] if step > 1 and not bool((frame.to_numpy() < 0).any()) else frame
    guess = detect_expression_unit(known_columns(few))
    if len(few) < len(frame):
        guess = UnitGuess(guess.unit, f"{guess.evidence}, in {len(few)} of {len(frame):,} samples")
    if stated is None:
        level = findings.info if guess.is_known else findings.warn
        level("unit", f"unit: {guess.unit}; {guess.evidence}.")
        return guess
    if guess.is_known and guess.unit != stated:
        findings.warn(
            "unit-doubt", f"unit stated as {stated}, but the values look like {guess.unit}: {guess.evidence}."
        )
    return UnitGuess(stated, "stated")
