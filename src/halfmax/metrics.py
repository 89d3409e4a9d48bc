"""Metrics: each from sums that add up over clusters, so that groups and bootstraps are array operations.

Every figure is computed from seven sums over rows: n, Σy, Σp, Σy², Σp², Σyp and Σ(y − b)², where y is measured, p
predicted and b the mean-effects baseline on the same rows. A bootstrap over clusters reweights their sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.errors import DataError

Array = npt.NDArray[np.float64]
N_SUMS = 7
#: Columns of the tidy table of metrics.
COLUMNS = ("model", "fold", "group_by", "group", "metric", "value", "n", "low", "high")


@dataclass(frozen=True)
class Metric:
    """A figure of merit.

    Parameters
    ----------
    name
        Used in tables.
    higher_is_better
        Direction.
    function
        Sums, shape ``(7, …)``, to values of the remaining shape; NaN where it is undefined.
    least_rows
        Fewest rows for which it means something; NaN below.
    """

    name: str
    higher_is_better: bool
    function: Callable[[Array], Array]
    least_rows: int = 2


def sums_of(y: Array, p: Array, b: Array, codes: npt.NDArray[np.int64], n_codes: int) -> Array:
    """Return the seven sums within each code, shape ``(7, n_codes)``; values are centred first, for precision."""
    centre = y.mean()
    y, p, b = y - centre, p - centre, b - centre
    terms = (None, y, p, y * y, p * p, y * p, (y - b) ** 2)
    return np.stack([np.bincount(codes, weights=t, minlength=n_codes).astype(np.float64) for t in terms])


def _sse(s: Array) -> Array:
    return np.asarray(np.maximum(s[3] - 2 * s[5] + s[4], 0))


def _rmse(s: Array) -> Array:
    return np.asarray(np.sqrt(_sse(s) / s[0]))


def _r2(s: Array) -> Array:
    total = s[3] - s[1] ** 2 / s[0]
    return np.where(total > 1e-12 * np.maximum(s[3], 1), 1 - _sse(s) / total, np.nan)


def _pearson(s: Array) -> Array:
    """Pearson correlation; 0 for a constant prediction, NaN for constant measurements."""
    vy, vp = s[3] - s[1] ** 2 / s[0], s[4] - s[2] ** 2 / s[0]
    cov = s[5] - s[1] * s[2] / s[0]
    tiny = 1e-10 * np.maximum(s[3] + s[4], 1e-12)
    r = np.clip(cov / np.sqrt(np.maximum(vy * vp, 1e-300)), -1, 1)
    return np.where(vy <= tiny, np.nan, np.where(vp <= tiny, 0.0, r))


def _normalized_r2(s: Array) -> Array:
    return np.where(s[6] > 0, 1 - _sse(s) / s[6], np.nan)


REGRESSION: Mapping[str, Metric] = {
    m.name: m
    for m in (
        Metric("rmse", False, _rmse, 1),
        Metric("r2", True, _r2, 3),
        Metric("pearson", True, _pearson, 3),
        Metric("normalized_r2", True, _normalized_r2, 1),
    )
}
#: Rows that a drug or sample needs before a correlation within it is counted, as in the peers' harness.
LEAST_WITHIN = 10


def evaluate(metric: Metric, sums: Array) -> Array:
    """Return the metric of each entry of `sums`, NaN below the metric's least number of rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = metric.function(sums)
    return np.where(sums[0] >= metric.least_rows, values, np.nan)


def mean_absolute_error(y: Array, p: Array) -> float:
    """Return the mean absolute error."""
    return float(np.abs(y - p).mean())


def pinball_loss(y: Array, p: Array, level: float) -> float:
    """Return the mean pinball loss of a predicted quantile: least where a share `level` of `y` lies below `p`."""
    over = y - p
    return float(np.maximum(level * over, (level - 1) * over).mean())


def ranks_within(values: Array, codes: npt.NDArray[np.int64]) -> Array:
    """Return average ranks of `values` within each code, by one sort."""
    order = np.lexsort((values, codes))
    v, c = values[order], codes[order]
    new_tie = np.r_[True, (v[1:] != v[:-1]) | (c[1:] != c[:-1])]
    tie = np.cumsum(new_tie) - 1
    first = np.flatnonzero(new_tie)
    size = np.diff(np.r_[first, len(v)])
    start_of_code = np.maximum.accumulate(np.where(np.r_[True, c[1:] != c[:-1]], np.arange(len(v)), 0))
    rank = (first + (size - 1) / 2)[tie] - start_of_code + 1
    out = np.empty(len(v))
    out[order] = rank
    return out


@dataclass(frozen=True)
class Fold:
    """Test rows of one fold: values, and codes of sample, drug and cluster.

    Parameters
    ----------
    y, baseline
        Measured values and mean-effects predictions, shape ``(n,)``.
    sample, drug, cluster
        Integer codes from 0, shape ``(n,)``; clusters are what the bootstrap draws.
    """

    y: Array
    baseline: Array
    sample: npt.NDArray[np.int64]
    drug: npt.NDArray[np.int64]
    cluster: npt.NDArray[np.int64]


def regression_metrics(fold: Fold, p: Array, *, n_boot: int = 200, seed: int = 0) -> dict[str, tuple[float, Array]]:
    """Return each metric's value and its `n_boot` cluster-bootstrap replicates on one fold.

    Pooled: rmse, mae, r2, pearson, spearman, normalized_r2. Means over groups of at least ten rows:
    within_drug_pearson, within_drug_spearman, within_sample_pearson. Spearman replicates reweight the ranks of the full
    sample instead of ranking again.

    Raises
    ------
    DataError
        If a prediction is NaN or infinite.
    """
    if not np.isfinite(p).all():
        raise DataError(f"{int((~np.isfinite(p)).sum())} of {len(p)} predictions are NaN or infinite.")
    weights = cluster_draws(int(fold.cluster.max()) + 1, n_boot, seed)
    everything = np.zeros(len(p), dtype=np.int64)
    ranked = (ranks_within(fold.y, everything), ranks_within(p, everything))
    pooled = _cluster_sums(fold, fold.y, p, fold.baseline)
    out = {name: _pooled(metric, pooled, weights) for name, metric in REGRESSION.items()}
    pearson = REGRESSION["pearson"]
    out["spearman"] = _pooled(pearson, _cluster_sums(fold, *ranked, fold.baseline), weights)
    absolute = np.bincount(fold.cluster, np.abs(fold.y - p), minlength=weights.shape[1])
    out["mae"] = (mean_absolute_error(fold.y, p), weights @ absolute / (weights @ pooled[0]))
    out["within_drug_pearson"] = _within(fold, fold.drug, fold.y, p, weights)
    y_rank, p_rank = ranks_within(fold.y, fold.drug), ranks_within(p, fold.drug)
    out["within_drug_spearman"] = _within(fold, fold.drug, y_rank, p_rank, weights)
    out["within_sample_pearson"] = _within(fold, fold.sample, fold.y, p, weights)
    return out


def group_metrics(fold: Fold, p: Array, codes: npt.NDArray[np.int64], n_codes: int) -> dict[str, Array]:
    """Return each metric within each code, shape ``(n_codes,)``, and the row counts as ``n``."""
    sums = sums_of(fold.y, p, fold.baseline, codes, n_codes)
    out = {name: evaluate(metric, sums) for name, metric in REGRESSION.items()}
    ranks = sums_of(ranks_within(fold.y, codes), ranks_within(p, codes), fold.baseline, codes, n_codes)
    out["spearman"] = evaluate(REGRESSION["pearson"], ranks)
    with np.errstate(divide="ignore", invalid="ignore"):
        out["mae"] = np.bincount(codes, np.abs(fold.y - p), minlength=n_codes) / sums[0]
    return out | {"n": sums[0]}


def interval(replicates: Array, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of bootstrap replicates; NaN if there are none."""
    known = replicates[np.isfinite(replicates)]
    if len(known) < 20:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def tidy(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return metric rows as the tidy table: model, fold, group_by, group, metric, value, n, low, high."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def cluster_draws(n_clusters: int, n_boot: int, seed: int) -> Array:
    """Return how often each cluster is drawn in each bootstrap replicate, shape ``(n_boot, n_clusters)``."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=n_boot).astype(np.float64)


def _cluster_sums(fold: Fold, y: Array, p: Array, b: Array) -> Array:
    return sums_of(y, p, b, fold.cluster, int(fold.cluster.max()) + 1)


def _pooled(metric: Metric, sums: Array, weights: Array) -> tuple[float, Array]:
    value = evaluate(metric, sums.sum(axis=1))
    return float(value), evaluate(metric, np.einsum("bc,kc->kb", weights, sums, optimize=True))


def _within(fold: Fold, codes: npt.NDArray[np.int64], y: Array, p: Array, weights: Array) -> tuple[float, Array]:
    """Mean Pearson within groups of at least LEAST_WITHIN rows, and its replicates over clusters."""
    n_groups, n_clusters = int(codes.max()) + 1, weights.shape[1]
    pearson = REGRESSION["pearson"]
    sums = sums_of(y, p, fold.baseline, codes, n_groups)
    r = np.where(sums[0] >= LEAST_WITHIN, evaluate(pearson, sums), np.nan)
    if not np.isfinite(r).any():
        return float("nan"), np.full(len(weights), np.nan)
    cells = np.unique(fold.cluster * n_groups + codes)
    if len(cells) == len(np.unique(codes)):  # every group lies in one cluster: draw the groups' own correlations
        cluster_of = np.zeros(n_groups, dtype=np.int64)
        cluster_of[codes] = fold.cluster
        w = weights[:, cluster_of] * np.isfinite(r)
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(np.nanmean(r)), (w @ np.nan_to_num(r)) / w.sum(axis=1)
    grid = sums_of(y, p, fold.baseline, fold.cluster * n_groups + codes, n_clusters * n_groups)
    by_cluster = grid.reshape(N_SUMS, n_clusters, n_groups)
    drawn = np.stack([weights @ by_cluster[k] for k in range(N_SUMS)])
    replicate = np.where(drawn[0] >= LEAST_WITHIN, evaluate(pearson, drawn), np.nan)
    finite = np.isfinite(replicate)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.nanmean(r)), np.where(finite, replicate, 0).sum(axis=1) / finite.sum(axis=1)
