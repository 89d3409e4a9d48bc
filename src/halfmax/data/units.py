"""What the numbers of a matrix or of a response column are; said with the evidence, and never guessed in silence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Finding
from halfmax.data.scales import (
    ENOUGH_GENES,
    LARGEST_LOG,
    all_whole,
    logarithm_of_whole,
    measure,
    mixed_scales,
    multiples_of_smallest,
    zscore_misfit,
)
from halfmax.errors import DataError, UnknownNameError, did_you_mean

#: Units of expression: what each means, and what `to_log` makes of it.
EXPRESSION_UNITS: Mapping[str, str] = {
    "counts": "raw or estimated read counts",
    "cpm": "counts per million, linear",
    "tpm": "transcripts per million, linear",
    "fpkm": "FPKM or RPKM, linear",
    "log2": "log2(x + 1) of TPM, CPM, FPKM or counts",
    "log2_tpm001": "log2(TPM + 0.001), as in UCSC Xena",
    "ln": "natural logarithm of x + 1",
    "log10": "decimal logarithm of x + 1",
    "rma": "log2 intensities of a microarray (RMA)",
    "zscore_gene": "z-scores, each gene over the samples",
    "zscore_sample": "z-scores, each sample over its genes",
}
#: Units of response that `convert_response` takes to ln µM; others are kept as they are.
RESPONSE_UNITS: Mapping[str, str] = {
    "ln_uM": "natural logarithm of µM",
    "log10_uM": "decimal logarithm of µM",
    "log2_uM": "binary logarithm of µM",
    "ln_nM": "natural logarithm of nM",
    "log10_nM": "decimal logarithm of nM",
    "log10_M": "decimal logarithm of M",
    "pIC50": "-log10 of M",
    "uM": "µM",
    "nM": "nM",
    "M": "M",
    "auc": "area under the curve, 0 to 1",
    "aac": "area above the curve, 0 to 1",
}
#: Of those, the concentrations.
CONCENTRATION_UNITS = tuple(unit for unit in RESPONSE_UNITS if unit not in ("auc", "aac"))
#: Logarithms of a concentration: (base, µM in its unit of concentration).
_LOGARITHMS: Mapping[str, tuple[float, float]] = {
    "ln_uM": (np.e, 1.0),
    "log10_uM": (10.0, 1.0),
    "log2_uM": (2.0, 1.0),
    "ln_nM": (np.e, 1e-3),
    "log10_nM": (10.0, 1e-3),
    "log10_M": (10.0, 1e6),
}
_LINEAR: Mapping[str, float] = {"uM": 1.0, "nM": 1e-3, "M": 1e6}
_ENOUGH_SAMPLES = 8
#: Units that `to_log` brings to log2(x + 1); it leaves the others as they are.
TO_LOG2 = ("counts", "cpm", "tpm", "fpkm", "log2_tpm001", "ln", "log10")
_POWERS_OF_SAMPLES = 32
_MILLION_TOLERANCE = 0.02
_LARGEST_LN_UM = 15.0


@dataclass(frozen=True)
class UnitGuess:
    """A unit and why.

    Parameters
    ----------
    unit
        A key of `EXPRESSION_UNITS` or `RESPONSE_UNITS`, or ``unknown``.
    evidence
        What in the numbers or the name says so.
    measured
        The same as data: what was measured, by name.
    """

    unit: str
    evidence: str
    measured: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def is_known(self) -> bool:
        """Whether the unit is proven."""
        return self.unit != "unknown"


def detect_expression_unit(frame: pd.DataFrame) -> UnitGuess:
    """Return the unit of an expression matrix, or ``unknown`` where the numbers do not prove one.

    A table whose samples are on different scales, such as TPM beside log2(TPM + 1), is ``unknown``, with examples.

    Parameters
    ----------
    frame
        Samples × genes; give the genes alone, for other columns mislead. NaN is left out.
    """
    values = frame.to_numpy(dtype=np.float64)
    finite = values[np.isfinite(values)]
    if finite.size < 2 * ENOUGH_GENES or frame.shape[1] < ENOUGH_GENES:
        return UnitGuess("unknown", f"{finite.size} values of {frame.shape[1]} genes are too few to tell")
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        return UnitGuess("unknown", f"every value is {low:g}")
    measured = measure(values, finite)
    if said := mixed_scales(frame):
        return UnitGuess("unknown", said, measured)
    guess = _with_negatives(values, low, high) if low < 0 else _without_negatives(values, finite, low, high)
    return replace(guess, measured={**measured, **guess.measured})


def _with_negatives(values: npt.NDArray[np.float64], low: float, high: float) -> UnitGuess:
    span = f"values from {low:.4g} to {high:.4g}"
    at_floor = float(np.isclose(values, np.log2(0.001), atol=2e-3).mean())
    if abs(low - np.log2(0.001)) < 2e-3 and at_floor > 0.001:
        return UnitGuess("log2_tpm001", f"{at_floor:.1%} of the values are log2(0.001) = -9.966, none lies below")
    enough = {"zscore_sample": values.shape[1] >= 50, "zscore_gene": values.shape[0] >= _ENOUGH_SAMPLES}
    misfits = {unit: zscore_misfit(values, axis) for axis, unit in ((1, "zscore_sample"), (0, "zscore_gene"))}
    measured = {f"misfit_{unit}": misfit for unit, misfit in misfits.items()}
    fits = {unit: misfit for unit, misfit in misfits.items() if enough[unit] and misfit < 0.1}
    if fits:
        unit = min(fits, key=lambda u: fits[u])
        what = "sample over its genes" if unit == "zscore_sample" else "gene over the samples"
        said = f"{span}; mean 0 and standard deviation 1 for each {what} (within {fits[unit]:.3f})"
        return UnitGuess(unit, said, measured)
    if all_whole(values):
        return UnitGuess("unknown", f"{span}, all whole: counts are never negative")
    said = f"{span}, and neither samples nor genes have mean 0 and standard deviation 1"
    return UnitGuess("unknown", said, measured)


def _without_negatives(
    values: npt.NDArray[np.float64], finite: npt.NDArray[np.float64], low: float, high: float
) -> UnitGuess:
    span = f"values from {low:.4g} to {high:.4g}"
    sums = np.nansum(values, axis=1)
    shown = f"samples add up to {_short(sums.min())}" + (f"-{_short(sums.max())}" if len(sums) > 1 else "")
    if all_whole(finite):
        if high >= 100:
            return UnitGuess("counts", f"all values are whole numbers, up to {_short(high)}; {shown}")
        return UnitGuess("unknown", f"{span}, all whole: neither counts nor a logarithm")
    if high > LARGEST_LOG:
        if np.all(np.abs(sums - 1e6) < 1e6 * _MILLION_TOLERANCE):
            if multiples_of_smallest(values):
                return UnitGuess("cpm", f"{span}; {shown}, and a sample's values are multiples of its smallest")
            return UnitGuess("tpm", f"{span}; {shown}, so parts per million")
        hint = "estimated counts, FPKM, or TPM of some of the genes"
        return UnitGuess("unknown", f"{span}, not whole; {shown}: linear, but it may be {hint}")
    some = values[:: max(len(values) // _POWERS_OF_SAMPLES, 1)]
    for unit, base in (("log2", 2.0), ("ln", np.e), ("log10", 10.0)):
        totals = np.nansum(np.power(base, some) - 1, axis=1)
        if np.all(np.abs(totals - 1e6) < 1e6 * _MILLION_TOLERANCE):
            return UnitGuess(unit, f"{span}; {base:.3g}^x - 1 adds up to a million in each of {len(some)} samples")
        if logarithm_of_whole(some, base):
            return UnitGuess(unit, f"{span}; {base:.3g}^x - 1 is always whole: the logarithm of counts + 1")
    if high < 7:
        return UnitGuess("unknown", f"{span}: small for a binary logarithm; perhaps log10, or scaled")
    if low >= 1 and float(np.median(finite)) > 3:
        return UnitGuess("rma", f"{span}, none near 0, median {np.median(finite):.3g}: log2 microarray intensities")
    if low < 0.5:
        share = float((finite == 0).mean())
        return UnitGuess("log2", f"{span}, {share:.0%} of them 0: the range of log2(x + 1)")
    return UnitGuess("unknown", f"{span}: in the range of a logarithm, but without the zeros of log2(x + 1)")


def to_log(
    frame: pd.DataFrame, unit: str, *, total: npt.NDArray[np.float64] | None = None
) -> tuple[pd.DataFrame, Finding]:
    """Return the matrix on a log2 scale, float32, and what was done to it.

    Z-scores and microarray intensities are left as they are.

    Parameters
    ----------
    frame
        Samples × genes.
    unit
        A key of `EXPRESSION_UNITS`.
    total
        For counts: reads of each sample, where the frame holds only some of them; else its row sums.

    Raises
    ------
    DataError
        If the unit is ``unknown``, or if values contradict it: negative counts, TPM or log2(x + 1).
    """
    check_expression_unit(unit)
    values = frame.to_numpy(dtype=np.float64)
    if unit in ("counts", "cpm", "tpm", "fpkm", "log2", "ln", "log10") and (negative := int((values < 0).sum())):
        raise DataError(
            f"{negative} values are negative, which {EXPRESSION_UNITS[unit]} never are, e.g. {np.nanmin(values):.4g}; "
            "check the unit."
        )
    if unit in ("log2", "ln", "log10") and np.nanmax(values) > 50:
        raise DataError(f"the largest value is {np.nanmax(values):.4g}, too large for a logarithm; check the unit.")
    if unit == "counts":
        sums = np.nansum(values, axis=1) if total is None else total
        if (sums <= 0).any():
            empty = [str(frame.index[row]) for row in np.flatnonzero(sums <= 0)[:3]]
            raise DataError(f"{int((sums <= 0).sum())} samples have no reads at all, e.g. {empty}; leave them out.")
        logged = np.log2(values / sums[:, None] * 1e6 + 1)
        span = f"{_short(sums.min())}" + (f"-{_short(sums.max())}" if len(sums) > 1 else "")
        done = f"counts ({span} a sample) converted to log2(CPM + 1), not TPM, because there are no gene lengths."
    elif unit in ("cpm", "tpm", "fpkm"):
        logged, done = np.log2(values + 1), f"{unit.upper()} converted to log2({unit.upper()} + 1)."
    elif unit == "log2_tpm001":
        logged = np.log2(np.maximum(np.exp2(values) - 0.001, 0) + 1)
        done = "log2(TPM + 0.001) converted to log2(TPM + 1)."
    elif unit in ("ln", "log10"):
        logged = values * (np.log2(np.e) if unit == "ln" else np.log2(10.0))
        done = f"{EXPRESSION_UNITS[unit]} converted to log2(x + 1)."
    else:
        logged, done = values, f"values are {EXPRESSION_UNITS[unit]}; left as they are."
    result = pd.DataFrame(logged.astype(np.float32), index=frame.index, columns=frame.columns)
    return result, Finding("unit-converted", "info", done)


def check_expression_unit(unit: str) -> None:
    """Raise DataError for ``unknown``, and UnknownNameError for a unit that does not exist."""
    if unit == "unknown":
        raise DataError(
            "the unit of the expression values cannot be told from them; "
            f"say it with unit=, one of {', '.join(EXPRESSION_UNITS)}."
        )
    if unit not in EXPRESSION_UNITS:
        raise UnknownNameError(
            f"there is no expression unit {unit!r}.{did_you_mean(unit, EXPRESSION_UNITS)} "
            f"Units: {', '.join(EXPRESSION_UNITS)}."
        )


def detect_response_unit(values: npt.NDArray[np.float64], column: str) -> UnitGuess:
    """Return the unit of a response column from its name, checked against its values.

    A name such as ``IC50`` alone proves nothing: µM and nM differ by 1,000, and the published tables use both, and
    logarithms of either.

    Parameters
    ----------
    values
        The responses; NaN is left out.
    column
        Name of the column, such as ``LN_IC50`` or ``IC50 (uM)``.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return UnitGuess("unknown", "there is no value")
    span = f"values from {finite.min():.4g} to {finite.max():.4g}"
    named = _unit_of_name(column)
    if named is None:
        return UnitGuess("unknown", f"the name {column!r} says no unit; {span}{_hint(finite)}")
    if reason := _contradiction(finite, named):
        return UnitGuess("unknown", f"the name {column!r} says {RESPONSE_UNITS[named]}, but {reason}; {span}")
    return UnitGuess(named, f"the name {column!r}; {span}")


def convert_response(values: npt.NDArray[np.float64], unit: str, to: str = "ln_uM") -> npt.NDArray[np.float64]:
    """Return concentrations in another unit, ln µM by default; AUC and AAC as they are.

    Parameters
    ----------
    values
        The responses.
    unit, to
        Keys of `RESPONSE_UNITS`; AUC and AAC become nothing else.

    Raises
    ------
    DataError
        If a concentration is zero or negative, a value cannot be of this unit, or an area is to become a concentration
        or the other way round.
    UnknownNameError
        If there is no such unit.
    """
    for name in (unit, to):
        if name not in RESPONSE_UNITS:
            hint = did_you_mean(name, RESPONSE_UNITS)
            raise UnknownNameError(f"there is no response unit {name!r}.{hint} Units: {', '.join(RESPONSE_UNITS)}.")
    if to not in CONCENTRATION_UNITS and to != unit:
        raise DataError(f"{RESPONSE_UNITS[unit]} cannot become {RESPONSE_UNITS[to]}.")
    finite = values[np.isfinite(values)]
    if reason := _contradiction(finite, unit):
        raise DataError(f"the values cannot be {RESPONSE_UNITS[unit]}: {reason}.")
    if unit not in CONCENTRATION_UNITS:
        if to not in ("ln_uM", unit):  # ln µM is the default, not a wish
            raise DataError(f"{RESPONSE_UNITS[unit]} cannot become {RESPONSE_UNITS[to]}.")
        return values
    return _from_ln(_to_ln(values, unit), to)


def _to_ln(values: npt.NDArray[np.float64], unit: str) -> npt.NDArray[np.float64]:
    """Return a concentration as ln µM."""
    if unit in _LINEAR:
        return np.asarray(np.log(values * _LINEAR[unit]))
    if unit == "pIC50":
        return np.asarray((6 - values) * np.log(10))
    base, micromolar = _LOGARITHMS[unit]
    return np.asarray(values * np.log(base) + np.log(micromolar))


def _from_ln(values: npt.NDArray[np.float64], unit: str) -> npt.NDArray[np.float64]:
    """Return ln µM in another unit of concentration."""
    if unit == "ln_uM":
        return values
    if unit in _LINEAR:
        return np.asarray(np.exp(values) / _LINEAR[unit])
    if unit == "pIC50":
        return np.asarray(6 - values / np.log(10))
    base, micromolar = _LOGARITHMS[unit]
    return np.asarray((values - np.log(micromolar)) / np.log(base))


def _unit_of_name(column: str) -> str | None:
    name = column.lower().replace("µ", "u").replace("μ", "u").replace("micromolar", "um").replace("nanomolar", "nm")
    words = re.sub(r"[^a-z0-9]+", " ", name).split()
    plain = "".join(words)
    if re.search(r"p[ei]c50", plain):
        return "pIC50"
    if plain in ("aac", "auc") or "aac" in words or "auc" in words:
        return "aac" if "aac" in plain else "auc"
    logs = {"ln": "ln_uM", "log10": "log10_uM", "log2": "log2_uM", "loge": "ln_uM", "natural": "ln_uM"}
    for word, unit in logs.items():
        if (word in words or plain.startswith(f"{word}ic50")) and "ic50" in plain:
            if "nm" in words:
                return {"ln_uM": "ln_nM", "log10_uM": "log10_nM"}.get(unit)
            return "log10_M" if unit == "log10_uM" and words[-1] == "m" else unit
    unit = words[-1] if words else ""
    return {"um": "uM", "nm": "nM", "m": "M"}.get(unit) if "c50" in plain and "log" not in plain else None


def _contradiction(finite: npt.NDArray[np.float64], unit: str) -> str | None:
    """Return why values cannot be of this unit, or None."""
    if unit in ("uM", "nM", "M") and (n := int((finite <= 0).sum())):
        return f"{n} concentrations are zero or negative"
    if (
        unit in ("ln_uM", "log10_uM", "log2_uM", "ln_nM", "log10_nM")
        and finite.size
        and float(np.abs(finite).max()) > 2 * _LARGEST_LN_UM
    ):
        return f"the largest is {np.abs(finite).max():.4g}, which no logarithm of {unit[-2:].replace('u', 'µ')} reaches"
    if unit in ("auc", "aac") and finite.size and (finite.min() < -0.5 or finite.max() > 1.5):
        return f"they run from {finite.min():.4g} to {finite.max():.4g}, not from 0 to 1 (an area of its own scale?)"
    if unit == "pIC50" and finite.size and not (-2 < np.median(finite) < 14):
        return f"their median is {np.median(finite):.4g}"
    if unit == "M" and finite.size and np.median(finite) > 0.1:
        return f"their median is {np.median(finite):.4g} M"
    return None


def _hint(finite: npt.NDArray[np.float64]) -> str:
    if (finite < 0).any():
        return ", some negative: a logarithm, of which base and unit is not said"
    top = float((finite == finite.max()).mean())
    if top > 0.05:
        return f", {top:.0%} of them at the top, perhaps the highest dose in µM or nM"
    return ", all positive: µM or nM"


def _short(number: float) -> str:
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
