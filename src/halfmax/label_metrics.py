"""Metrics of labels: rates, areas and curves of sensitive against not, with intervals over clusters, and the cutoff.

The rows are sorted by score once. A bootstrap draw is a weight for each cluster, so every figure of a draw is a sum
over the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.labels import Decide
from halfmax.metrics import Array, cluster_draws

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]
#: Draws whose row weights are held at once.
_DRAWS_AT_ONCE = 16


@dataclass(frozen=True)
class Band:
    """A curve in the unit square and where it lies in 95 % of the draws, each shape ``(n_points,)``."""

    x: Array
    y: Array
    low: Array
    high: Array


def classification_metrics(label: Bools, score: Array, predicted: Bools) -> dict[str, float]:
    """Return accuracy, balanced_accuracy, precision, recall, f1, roc_auc and pr_auc of binary labels.

    Parameters
    ----------
    label
        True for the positive class (sensitive).
    score
        Larger = more likely positive.
    predicted
        The decision at the chosen cutoff.

    Returns
    -------
    NaN where a figure is undefined: no positive called or there, or one class alone. ``pr_auc`` is the average
    precision; tied scores are taken together.
    """
    weights = np.ones((1, 1))
    counts = np.array([np.sum(label & predicted), np.sum(~label & predicted), label.sum(), np.sum(~label)], dtype=float)
    found = _rates(counts[:, None])
    found |= _areas(label, score, np.zeros(len(label), dtype=np.int64), weights)
    return {name: float(value[0]) for name, value in found.items()}


def label_metrics(
    label: Bools, score: Array, predicted: Bools, cluster: Codes, *, n_boot: int = 200, seed: int = 0
) -> dict[str, tuple[float, Array]]:
    """Return each of `classification_metrics` with its `n_boot` replicates over clusters.

    Parameters
    ----------
    cluster
        Integer codes from 0, shape ``(n,)``: what the bootstrap draws, such as samples.

    Raises
    ------
    DataError
        If a score is NaN or infinite.
    """
    if not np.isfinite(score).all():
        raise DataError(f"{int((~np.isfinite(score)).sum())} of {len(score)} scores are NaN or infinite.")
    n_clusters = int(cluster.max()) + 1
    weights = cluster_draws(n_clusters, n_boot, seed)
    kinds = (label & predicted, ~label & predicted, label, ~label)
    counts = np.stack([np.bincount(cluster, kind, minlength=n_clusters) @ weights.T for kind in kinds])
    draws = _rates(counts) | _areas(label, score, cluster, weights)
    return {name: (value, draws[name]) for name, value in classification_metrics(label, score, predicted).items()}


def best_cutoff(label: Bools, score: Array, decide: Decide = "f1") -> float:
    """Return the score above which calling pairs positive is best by `decide`: halfway between two neighbours.

    Where several are equally good, the one that calls fewest positive.

    Raises
    ------
    DataError
        If only one class is there.
    """
    if label.all() or not label.any():
        raise DataError(f"{int(label.sum())} of {len(label)} labels are positive: no cutoff can be chosen.")
    if decide == "share":  # calls as many as are positive
        return float(np.quantile(score, 1 - label.mean()))
    distinct, hits, alarms = _thresholds(label, score)
    positive, negative = float(label.sum()), float((~label).sum())
    counts = np.stack([hits, alarms, np.full_like(hits, positive), np.full_like(hits, negative)])
    best = int(np.nanargmax(_rates(counts)[decide]))
    below = distinct[best + 1] if best + 1 < len(distinct) else distinct[best] - 1.0
    return float((distinct[best] + below) / 2)


def curve_bands(
    label: Bools, score: Array, cluster: Codes, *, n_points: int = 101, n_boot: int = 100, seed: int = 0
) -> Mapping[str, Band]:
    """Return the ROC curve (``roc``: recall over false-alarm rate) and ``pr`` (precision over recall) with bands.

    Both are read at `n_points` even places, ROC by straight lines between thresholds, precision by the threshold that
    first reaches the recall.
    """
    order, last = _order(score)
    places = np.linspace(0, 1, n_points)
    whole = _read_curves(label, order, last, np.ones((1, len(label))), places)
    weights, parts = cluster_draws(int(cluster.max()) + 1, n_boot, seed), []
    for start in range(0, n_boot, _DRAWS_AT_ONCE):
        rows = weights[start : start + _DRAWS_AT_ONCE][:, cluster[order]]
        parts.append(_read_curves(label, order, last, rows, places))
    bands = {}
    for i, name in enumerate(("roc", "pr")):
        drawn = np.concatenate([part[i] for part in parts])
        drawn = drawn[np.isfinite(drawn).all(axis=1)]
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0) if len(drawn) >= 20 else (whole[i][0], whole[i][0])
        bands[name] = Band(places, whole[i][0], low, high)
    return bands


def _rates(counts: Array) -> dict[str, Array]:
    """Return the metrics of a decision from hits, false alarms, positives and negatives, shape ``(4, n)``."""
    hit, alarm, positive, negative = counts
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, called = hit / positive, hit + alarm
        return {
            "accuracy": (hit + negative - alarm) / (positive + negative),
            "balanced_accuracy": (recall + 1 - alarm / negative) / 2,
            "precision": np.where(called > 0, hit / called, np.nan),
            "recall": recall,
            "f1": np.where(called + positive > 0, 2 * hit / (called + positive), np.nan),
        }


def _order(score: Array) -> tuple[Codes, Codes]:
    """Return rows by falling score, and the last place of every tie in that order."""
    order = np.argsort(-score, kind="stable")
    s = score[order]
    return order, np.flatnonzero(np.r_[s[1:] != s[:-1], True])


def _thresholds(label: Bools, score: Array) -> tuple[Array, Array, Array]:
    """Return distinct scores, falling, and the hits and false alarms at each."""
    order, last = _order(score)
    hits = np.cumsum(label[order])[last].astype(np.float64)
    return score[order][last], hits, last + 1 - hits


def _areas(label: Bools, score: Array, cluster: Codes, weights: Array) -> dict[str, Array]:
    """Return ROC AUC (trapezoids, so that ties count half) and average precision of each draw."""
    order, last = _order(score)
    roc, precision = [], []
    for start in range(0, len(weights), _DRAWS_AT_ONCE):
        rows = weights[start : start + _DRAWS_AT_ONCE][:, cluster[order]]
        hits, alarms = _cumulative(label, order, last, rows)
        found, false = np.diff(hits, axis=1), np.diff(alarms, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            area = (false * (hits[:, 1:] + hits[:, :-1]) / 2).sum(axis=1)
            roc.append(area / (hits[:, -1] * alarms[:, -1]))
            called = hits[:, 1:] + alarms[:, 1:]
            precise = np.where(called > 0, hits[:, 1:] / called, 0.0)
            both = (hits[:, -1] > 0) & (alarms[:, -1] > 0)
            precision.append(np.where(both, (found * precise).sum(axis=1) / hits[:, -1], np.nan))
    empty = [np.empty(0)]
    return {"roc_auc": np.concatenate(roc or empty), "pr_auc": np.concatenate(precision or empty)}


def _cumulative(label: Bools, order: Codes, last: Codes, rows: Array) -> tuple[Array, Array]:
    """Return weighted hits and false alarms as the cutoff falls, from none, shape ``(n_draws, n_thresholds + 1)``."""
    positive = label[order]
    start = np.zeros((len(rows), 1))
    hits = np.cumsum(rows * positive, axis=1)[:, last]
    alarms = np.cumsum(rows * ~positive, axis=1)[:, last]
    return np.hstack([start, hits]), np.hstack([start, alarms])


def _read_curves(label: Bools, order: Codes, last: Codes, rows: Array, places: Array) -> tuple[Array, Array]:
    """Return recall at each false-alarm rate, and precision at each recall, of every draw."""
    hits, alarms = _cumulative(label, order, last, rows)
    roc = np.full((len(rows), len(places)), np.nan)
    precision = np.full_like(roc, np.nan)
    for i in range(len(rows)):
        if hits[i, -1] == 0 or alarms[i, -1] == 0:
            continue
        recall = hits[i] / hits[i, -1]
        roc[i] = np.interp(places, alarms[i] / alarms[i, -1], recall)
        first = np.clip(np.searchsorted(recall, np.maximum(places - 1e-12, 1e-15)), 1, len(recall) - 1)
        called = hits[i, first] + alarms[i, first]
        precision[i] = hits[i, first] / called
    return roc, precision
