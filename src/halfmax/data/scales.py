"""Facts about the numbers of a matrix by which its unit is told: whole numbers, multiples, z-scores, mixed scales."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.errors import examples

#: Genes below which nothing is said about a sample.
ENOUGH_GENES = 50
#: Largest value that a logarithm of an abundance or intensity has.
LARGEST_LOG = 25.0
_TWO_SCALES = 20.0
_N_CHECKED = 32


def mixed_scales(frame: pd.DataFrame) -> str:
    """Return how the samples of a table are on different scales, with counts and examples; empty if they are on one."""
    values = frame.to_numpy(dtype=np.float64)
    values = values[np.isfinite(values).sum(axis=1) >= ENOUGH_GENES]
    if len(values) < 2:
        return ""
    names = frame.index[np.isfinite(frame.to_numpy(dtype=np.float64)).sum(axis=1) >= ENOUGH_GENES]
    top, signed = np.nanmax(values, axis=1), np.nanmin(values, axis=1) < 0
    whole = np.array([all_whole(row) for row in values]) & (top >= 100)
    large = top > LARGEST_LOG
    if large.any() and not large.all() and np.median(top[large]) < _TWO_SCALES * np.median(top[~large]):
        large[:] = True  # one scale that happens to cross the line
    kind = np.where(signed, 0, np.where(~large, 1, np.where(whole, 2, 3)))
    if len(set(kind.tolist())) < 2:
        return ""
    said = ("have negative values", "have the range of a logarithm", "are whole numbers", "are linear and not whole")
    parts = [f"{(kind == k).sum()} {said[k]} ({examples(names[kind == k])})" for k in sorted(set(kind.tolist()))]
    return f"the samples are on different scales: {'; '.join(parts)}; convert them one by one before they are joined"


def measure(values: npt.NDArray[np.float64], finite: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return what any guess rests on: range, median, shares of zeros, negatives and whole numbers, sums."""
    sums = np.nansum(values, axis=1)
    some = finite[:: max(finite.size // 1_000_000, 1)]
    return {
        "n_samples": float(values.shape[0]),
        "n_genes": float(values.shape[1]),
        "lowest": float(finite.min()),
        "highest": float(finite.max()),
        "median": float(np.median(some)),
        "share_zero": float((some == 0).mean()),
        "share_negative": float((some < 0).mean()),
        "share_whole": float((np.mod(some, 1) == 0).mean()),
        "lowest_sum": float(sums.min()),
        "highest_sum": float(sums.max()),
    }


def multiples_of_smallest(values: npt.NDArray[np.float64]) -> bool:
    """Return whether each sample's values are whole multiples of its smallest above 0, as counts per million are."""
    some = values[:: max(len(values) // _N_CHECKED, 1)]
    smallest = np.nanmin(np.where(some > 0, some, np.nan), axis=1, keepdims=True)
    times = some / smallest
    exact = np.abs(times - np.round(times)) <= 0.01
    checked = np.isfinite(times) & (times < 1000)  # beyond, rounding of the file blurs it
    return bool((checked & (times > 1.5)).any() and exact[checked].mean() > 0.999)


def logarithm_of_whole(values: npt.NDArray[np.float64], base: float) -> bool:
    """Return whether base^x - 1 is a whole number everywhere, as the logarithm of counts + 1 is."""
    counts = np.power(base, values) - 1
    checked = np.isfinite(counts) & (counts < 1000)  # beyond, float32 blurs it
    return bool((counts[checked] > 0.5).sum() >= ENOUGH_GENES // 5) and bool(
        (np.abs(counts - np.round(counts))[checked] < 0.005).all()
    )


def zscore_misfit(values: npt.NDArray[np.float64], axis: int) -> float:
    """Return how far means are from 0 and standard deviations from 1, in the median row or column."""
    with np.errstate(invalid="ignore"):
        counts = np.maximum((~np.isnan(values)).sum(axis=axis), 1)
        means = np.nansum(values, axis=axis) / counts
        spread = np.sqrt(np.nansum((values - np.expand_dims(means, axis)) ** 2, axis=axis) / counts)
    constant = spread == 0
    if constant.all():
        return np.inf
    return float(np.quantile(np.maximum(np.abs(means), np.abs(spread - 1))[~constant], 0.9))


def all_whole(values: npt.NDArray[np.float64]) -> bool:
    """Return whether every known value is a whole number."""
    finite = values[np.isfinite(values)]
    return all(bool(np.all(np.mod(part, 1) == 0)) for part in (finite[:1000], finite))
