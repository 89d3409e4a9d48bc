"""Expression from one unit to another: counts with gene lengths to TPM, logarithms back to linear; joining tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Finding
from halfmax.data.units import EXPRESSION_UNITS, UnitGuess, check_expression_unit
from halfmax.errors import DataError, examples

Abundance = Literal["cpm", "tpm"]
_BASES: Mapping[str, float] = {"log2": 2.0, "ln": float(np.e), "log10": 10.0}
_LINEAR = ("counts", "cpm", "tpm", "fpkm")


def common_unit(units: Mapping[str, UnitGuess | str], *, stated: str | None = None) -> str:
    """Return the one unit of several expression tables that are to be joined.

    Parameters
    ----------
    units
        Name of each table to its unit.
    stated
        A unit that the user says they all have, whatever the numbers look like.

    Raises
    ------
    DataError
        If the units differ or are unknown, and none is stated.
    """
    if stated is not None:
        check_expression_unit(stated)
        return stated
    found = {name: guess if isinstance(guess, str) else guess.unit for name, guess in units.items()}
    if len(set(found.values())) != 1:
        shown = [f"{name}: {unit}" for name, unit in found.items()]
        raise DataError(
            f"{len(found)} tables in {len(set(found.values()))} units are not joined, e.g. {examples(shown)}; put each "
            "on one scale first with to_log or convert_expression, or state the unit that they all have."
        )
    (unit,) = set(found.values())
    check_expression_unit(unit)
    return unit


def convert_expression(
    frame: pd.DataFrame,
    unit: str,
    to: Abundance = "tpm",
    *,
    lengths: pd.Series | None = None,
    logged: str | None = None,
) -> tuple[pd.DataFrame, Finding]:
    """Return expression as TPM or counts per million, linear, float32, and what was done.

    Parameters
    ----------
    frame
        Samples × genes, all genes that were measured: totals are taken over them.
    unit
        A key of `EXPRESSION_UNITS`.
    to
        ``tpm`` or ``cpm``.
    lengths
        Effective or exonic length of each gene [bases]; needed from counts and CPM to TPM.
    logged
        For the logarithms ``log2``, ``ln``, ``log10``: of what (``counts``, ``cpm``, ``tpm``, ``fpkm``). It cannot be
        seen in the values, so it must be said.

    Raises
    ------
    DataError
        If lengths are needed and not given, missing for some genes or not positive; if the unit has lost the
        abundances (z-scores, arrays) or the library size; if it is not said what was logged; if a sample is empty.

    Notes
    -----
    TPM: Li and Dewey, BMC Bioinformatics 12:323 (2011); from FPKM, TPM = FPKM / ΣFPKM × 10⁶.
    """
    check_expression_unit(unit)
    values, kind, said = _linear(frame, unit, logged)
    if to == "cpm" and kind in ("tpm", "fpkm"):
        raise DataError(f"{kind.upper()} holds no read counts any more, so it cannot become CPM; take the counts.")
    if to == "tpm" and kind in ("counts", "cpm"):
        values = values / _lengths(frame, lengths, kind)
        said += "divided by gene lengths and "
    totals = np.nansum(values, axis=1, keepdims=True)
    if (totals <= 0).any():
        empty = frame.index[totals.ravel() <= 0]
        raise DataError(f"{len(empty)} samples add up to nothing, e.g. {examples(empty)}; leave them out.")
    done = f"{EXPRESSION_UNITS[unit]} converted to {to.upper()}: {said}scaled to a million a sample."
    converted = (values / totals * 1e6).astype(np.float32)
    result = pd.DataFrame(converted, index=frame.index, columns=frame.columns)
    return result, Finding("unit-converted", "info", done)


def _linear(frame: pd.DataFrame, unit: str, logged: str | None) -> tuple[npt.NDArray[np.float64], str, str]:
    """Return values without the logarithm, what they are, and what was done."""
    values = frame.to_numpy(dtype=np.float64)
    if unit == "log2_tpm001":
        return np.maximum(np.exp2(values) - 0.001, 0), "tpm", "logarithm undone, "
    if unit in _BASES:
        if logged not in _LINEAR:
            raise DataError(
                f"{EXPRESSION_UNITS[unit]}: which x was logged cannot be seen; say it with logged=, one of "
                f"{', '.join(_LINEAR)}."
            )
        values, said = np.power(_BASES[unit], values) - 1, "logarithm undone, "
        kind = logged
    elif unit in _LINEAR:
        kind, said = unit, ""
    else:
        raise DataError(
            f"the values are {EXPRESSION_UNITS[unit]}; the abundances behind them are lost. Take counts, or compare "
            "such values by harmonising."
        )
    if n := int((values < -1e-6).sum()):
        raise DataError(f"{n} values are negative, which {EXPRESSION_UNITS[kind]} never are; check the unit.")
    return np.maximum(values, 0), kind, said


def _lengths(frame: pd.DataFrame, lengths: pd.Series | None, kind: str) -> npt.NDArray[np.float64]:
    if lengths is None:
        raise DataError(
            f"{EXPRESSION_UNITS[kind]} become TPM only with the genes' lengths; give lengths= [bases], or take CPM, "
            "which needs none and compares samples, not genes."
        )
    known = lengths.reindex(frame.columns).to_numpy(dtype=np.float64)
    bad = ~(np.isfinite(known) & (known > 0))
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} of {len(known)} genes have no positive length, e.g. {examples(frame.columns[bad])}; "
            "leave them out or add their lengths."
        )
    return known
