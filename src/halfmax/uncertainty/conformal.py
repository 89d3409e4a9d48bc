"""Intervals: how far a predictor's own cross-validation was from the truth, by drug, as intervals for new samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.errors import DataError, ModelFileError
from halfmax.features.blocks import rows_of
from halfmax.panel import New

Array = npt.NDArray[np.float64]
#: Probabilities at which quantiles of the errors are kept.
GRID = np.linspace(0, 1, 201)
#: Samples' worth of the pooled errors that a drug's own scale and quantiles are mixed with.
SCALE_SHRINK, QUANTILE_SHRINK = 10.0, 50.0
#: Samples' worth of the average that the errors of nearby samples are mixed with.
LOCAL_SHRINK = 5.0
_LEAST = 20


@dataclass(frozen=True)
class Intervals:
    """Quantiles of a predictor's errors on samples, or drugs, that it had not seen.

    An error counts in units of its drug's scale (root mean square of the drug's errors, its logarithm shrunk towards
    that of all) and of what the samples nearest to it had. Quantiles are each drug's own, mixed with those of all. New
    samples are exchangeable with those of the cross-validation, so that a drug's quantile is taken at (n + 1)/n times
    the level for n samples (Vovk, Gammerman and Shafer 2005; by group: Dunn, Wasserman and Ramdas 2023, JASA).

    Parameters
    ----------
    new
        What was left out: ``sample`` or ``drug``.
    drug_ids
        The drugs that have a scale and quantiles of their own, shape ``(n_drugs,)``; none where drugs were left out.
    scale, n
        Of each drug: scale [the measure's unit] and samples, shape ``(n_drugs,)``.
    quantiles
        Of each drug's errors in its scale, at `GRID`, shape ``(n_drugs, 201)``.
    pooled
        The same of all drugs, shape ``(201,)``.
    pooled_scale
        Scale of a drug without its own.
    n_groups
        Samples (or drugs) that were left out.
    sample_ids, sample_size
        Samples of the cross-validation and the mean square of their errors in scale, each of shape ``(n_samples,)``.
    """

    new: New
    drug_ids: npt.NDArray[np.str_]
    scale: Array
    n: npt.NDArray[np.int64]
    quantiles: Array
    pooled: Array
    pooled_scale: float
    n_groups: int
    sample_ids: npt.NDArray[np.str_]
    sample_size: Array

    def low_high(
        self, drugs: npt.NDArray[np.str_], prediction: Array, widen: Array | float = 1.0, *, level: float = 0.9
    ) -> tuple[Array, Array]:
        """Return the ends of the interval of each prediction, in its unit.

        Parameters
        ----------
        drugs, prediction
            Of each pair, shape ``(n_pairs,)``.
        widen
            Factor of each pair's width; see `local`.
        level
            Share of new pairs that are to lie within.

        Raises
        ------
        DataError
            If `level` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise DataError(f"the level of an interval is {level:g}; it lies between 0 and 1, such as 0.9.")
        tail = (1 - level) / 2
        table = np.vstack([self.quantiles, self.pooled])
        n = np.append(self.n, self.n_groups).astype(np.float64)
        low, high = _quantile(table, tail, n, upper=False), _quantile(table, 1 - tail, n, upper=True)
        own = rows_of(drugs, self.drug_ids) if self.new == "sample" else np.full(len(drugs), -1)
        scale = np.append(self.scale, self.pooled_scale)[own] * widen
        return prediction + scale * np.minimum(low[own], 0), prediction + scale * np.maximum(high[own], 0)

    def local(self, weights: Array) -> Array:
        """Return how much wider than on average the intervals of new samples are to be, shape ``(n_new,)``.

        Parameters
        ----------
        weights
            How much each sample of the cross-validation has to say of each new sample, at most 1 each, shape
            ``(n_new, n_samples)``.
        """
        total = weights @ self.sample_size + LOCAL_SHRINK
        return np.asarray(np.sqrt(total / (weights.sum(axis=1) + LOCAL_SHRINK)))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what is numeric, ready to be saved."""
        return {
            "scale": self.scale,
            "n": self.n,
            "quantiles": self.quantiles.astype(np.float32),
            "pooled": self.pooled,
            "pooled_scale": np.array([self.pooled_scale]),
            "n_groups": np.array([self.n_groups], dtype=np.int64),
            "sample_size": self.sample_size,
        }

    @classmethod
    def of(
        cls, new: New, drug_ids: list[str], sample_ids: list[str], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Intervals:
        """Return the intervals of these parts; raise ModelFileError where they do not fit together."""
        m, k = len(drug_ids), len(GRID)
        shapes = {"scale": (m,), "n": (m,), "quantiles": (m, k), "pooled": (k,), "pooled_scale": (1,), "n_groups": (1,)}
        shapes["sample_size"] = (len(sample_ids),)
        if wrong := [name for name, shape in shapes.items() if name not in arrays or arrays[name].shape != shape]:
            raise ModelFileError(f"the intervals for a new {new} do not fit {m} drugs: {wrong}.")
        return cls(
            new,
            np.array(drug_ids, dtype=str),
            arrays["scale"],
            arrays["n"],
            arrays["quantiles"].astype(np.float64),
            arrays["pooled"],
            float(arrays["pooled_scale"][0]),
            int(arrays["n_groups"][0]),
            np.array(sample_ids, dtype=str),
            arrays["sample_size"],
        )


def learn_intervals(predictions: pd.DataFrame, new: New, weights: pd.DataFrame | None = None) -> Intervals:
    """Learn from a cross-validation's predictions of samples, or drugs, that were left out.

    Parameters
    ----------
    predictions
        Columns sample_id, drug_id, y_true, y_pred: each pair once, predicted by a model that had not seen its sample
        (or its drug).
    weights
        How much each sample (columns) has to say of each sample (rows), as in `Intervals.local`; its own column counts
        for nothing. All alike where it is not given.

    Raises
    ------
    DataError
        If fewer than 20 samples (or drugs) were left out, or a value is not finite.
    """
    error = (predictions["y_true"] - predictions["y_pred"]).to_numpy(dtype=np.float64)
    if n_bad := int((~np.isfinite(error)).sum()):
        raise DataError(f"{n_bad} of {len(error)} predictions or values are not finite; intervals need all of them.")
    sample, sample_ids = pd.factorize(predictions["sample_id"], sort=True)
    drug, drug_ids = pd.factorize(predictions["drug_id"], sort=True)
    n_groups = len(sample_ids) if new == "sample" else len(drug_ids)
    if n_groups < _LEAST:
        raise DataError(f"{n_groups} {new}s were left out in the cross-validation; intervals need {_LEAST}.")
    n = np.bincount(drug)
    overall = float(np.mean(error**2))
    if new == "drug":
        return _of_drugs(error, drug, n, overall, sample_ids)
    own = np.log(np.maximum(np.bincount(drug, weights=error**2) / n, 1e-6 * overall + 1e-300))
    scale = np.exp(0.5 * (n * own + SCALE_SHRINK * np.log(overall + 1e-300)) / (n + SCALE_SHRINK))
    score = error / np.maximum(scale[drug], 1e-12)
    size = np.bincount(sample, weights=score**2) / np.bincount(sample)
    found = Intervals(
        new,
        np.asarray(drug_ids, dtype=str),
        scale,
        n,
        np.zeros((len(n), len(GRID))),
        np.zeros(len(GRID)),
        float(np.sqrt(overall)),
        n_groups,
        np.asarray(sample_ids, dtype=str),
        size,
    )
    if weights is not None:
        among = weights.reindex(index=found.sample_ids, columns=found.sample_ids).fillna(0).to_numpy(dtype=np.float64)
        np.fill_diagonal(among, 0)
        score = score / found.local(among)[sample]
    pooled = np.quantile(score, GRID)
    each = np.stack([np.quantile(part, GRID) for part in _parts(score, drug)])
    share = (n / (n + QUANTILE_SHRINK))[:, None]
    # rounded as they are saved, so that a saved predictor gives the same bits
    mixed = (share * each + (1 - share) * pooled).astype(np.float32).astype(np.float64)
    return Intervals(**{**vars(found), "quantiles": mixed, "pooled": pooled})


def covered(predictions: pd.DataFrame, new: New, *, level: float = 0.9) -> dict[str, float]:
    """Return how many values intervals hold that were learned on all folds of a cross-validation but one, on that one.

    Parameters
    ----------
    predictions
        As for `learn_intervals`, with the fold.

    Returns
    -------
    level, coverage (share of all pairs), drugs_at_least_85 (share of the drugs of which 85 % or more are held) and
    mean_width [the measure's unit]; empty where all folds but one are too few to learn from.
    """
    parts = []
    for fold in pd.unique(predictions["fold"]):
        test = predictions[predictions["fold"] == fold]
        try:
            found = learn_intervals(predictions[predictions["fold"] != fold], new)
        except DataError:
            return {}
        value = test["y_pred"].to_numpy(dtype=np.float64)
        low, high = found.low_high(test["drug_id"].to_numpy(dtype=str), value, level=level)
        inside = (test["y_true"].to_numpy() >= low) & (test["y_true"].to_numpy() <= high)
        parts.append(pd.DataFrame({"drug_id": test["drug_id"], "inside": inside, "width": high - low}))
    table = pd.concat(parts)
    by_drug = table.groupby("drug_id")["inside"].mean()
    return {
        "level": level,
        "coverage": round(float(table["inside"].mean()), 4),
        "drugs_at_least_85": round(float((by_drug >= 0.85).mean()), 4),
        "mean_width": round(float(table["width"].mean()), 4),
    }


def _of_drugs(
    error: Array, drug: npt.NDArray[np.int64], n: npt.NDArray[np.int64], overall: float, sample_ids: pd.Index
) -> Intervals:
    """Return intervals in which each left-out drug counts as one, however many samples it was measured on."""
    scale = float(np.sqrt(overall))
    order = np.argsort(error, kind="stable")
    mass = np.cumsum(1 / n[drug[order]])
    pooled = np.interp(GRID, (mass - 0.5 * (1 / n[drug[order]])) / mass[-1], error[order] / scale)
    none = np.array([], dtype=str)
    empty = np.zeros((0, len(GRID)))
    return Intervals(
        "drug", none, np.zeros(0), np.zeros(0, dtype=np.int64), empty, pooled, scale, len(n), none, np.zeros(0)
    )


def _parts(values: Array, group: npt.NDArray[np.int64]) -> list[Array]:
    order = np.argsort(group, kind="stable")
    return np.split(values[order], np.cumsum(np.bincount(group))[:-1])


def _quantile(table: Array, level: float, n: Array, *, upper: bool) -> Array:
    """Return each row's quantile at the level that n samples need for it; the extreme where they are too few."""
    tail = (1 - level if upper else level) * (n + 1) / n
    tail = np.maximum(tail - 1 / np.maximum(n, 1), 0)
    place = (1 - tail if upper else tail) * (len(GRID) - 1)
    below = np.clip(place.astype(np.int64), 0, len(GRID) - 2)
    rows = np.arange(len(table))
    part = place - below
    return np.asarray(table[rows, below] * (1 - part) + table[rows, below + 1] * part)
