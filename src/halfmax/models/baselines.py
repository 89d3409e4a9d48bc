"""Baselines that see no profile: means over what was measured, and a factorisation of identities."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from halfmax.features.blocks import PairFeatures, rows_of
from halfmax.models.base import (
    JSON,
    BaseModel,
    OnEpoch,
    Prediction,
    State,
    Valid,
    check_targets,
    gather,
    response_matrix,
)

Array = npt.NDArray[np.float64]


class _Additive(BaseModel):
    """Overall mean + effect of the sample + effect of the drug; an unseen id has effect 0."""

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Learn the effects from all pairs."""
        targets = check_targets(x, y)
        self.mean_ = float(targets.mean())
        sample, drug = self._effects(x, targets - self.mean_)
        self.sample_ids_, self.drug_ids_ = x.sample_ids, x.drug_ids
        self.sample_effect_, self.drug_effect_ = sample, drug
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the sum of the effects of each pair."""
        self._check_fitted()
        sample = _look_up(self.sample_effect_, self.sample_ids_, x.sample_ids)
        drug = _look_up(self.drug_effect_, self.drug_ids_, x.drug_ids)
        value = self.mean_ + sample[x.sample_index] + drug[x.drug_index]
        return Prediction(value.astype(np.float32))

    def _effects(self, x: PairFeatures, y: Array) -> tuple[Array, Array]:
        """Return the effects of samples and drugs on targets with mean 0."""
        return np.zeros(len(x.sample_ids)), np.zeros(len(x.drug_ids))


class OverallMean(_Additive):
    """The mean of all training responses."""


class DrugMean(_Additive):
    """The drug's mean over training samples."""

    def _effects(self, x: PairFeatures, y: Array) -> tuple[Array, Array]:
        return np.zeros(len(x.sample_ids)), _means(y, x.drug_index, len(x.drug_ids))


class SampleMean(_Additive):
    """The sample's mean over training drugs."""

    def _effects(self, x: PairFeatures, y: Array) -> tuple[Array, Array]:
        return _means(y, x.sample_index, len(x.sample_ids)), np.zeros(len(x.drug_ids))


class MeanEffects(_Additive):
    """Overall mean + drug effect + sample effect, by least squares (two-way analysis of variance, unbalanced)."""

    def _effects(self, x: PairFeatures, y: Array) -> tuple[Array, Array]:
        return least_squares_effects(x, y)


class TissueMean(BaseModel):
    """The mean of the sample's tissue; the overall mean where the tissue is unknown."""

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Learn one mean a tissue."""
        targets = check_targets(x, y)
        self.mean_ = float(targets.mean())
        one_hot = x.sample("tissue")
        n = one_hot.shape[1]
        tissue = _tissue_codes(one_hot)[x.sample_index]
        self.effect_ = _means(targets - self.mean_, tissue, n + 1)[:n]
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the tissue's mean."""
        self._check_fitted()
        value = self.mean_ + x.sample("tissue") @ self.effect_
        return Prediction(value[x.sample_index].astype(np.float32))


class TissueDrugMean(BaseModel):
    """The drug's mean within the tissue, shrunk to the drug's mean.

    Parameters
    ----------
    prior
        How many samples the drug's mean counts as.
    """

    def __init__(self, prior: float = 5.0) -> None:
        self.prior = prior

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Learn one mean a tissue and drug."""
        targets = check_targets(x, y)
        self.mean_ = float(targets.mean())
        self.drug_ids_ = x.drug_ids
        self.drug_effect_ = _means(targets - self.mean_, x.drug_index, len(x.drug_ids))
        residual = targets - self.mean_ - self.drug_effect_[x.drug_index]
        one_hot = x.sample("tissue")
        n_tissues, n_drugs = one_hot.shape[1], len(x.drug_ids)
        cell = _tissue_codes(one_hot)[x.sample_index] * n_drugs + x.drug_index
        total = np.bincount(cell, residual, minlength=(n_tissues + 1) * n_drugs)
        n = np.bincount(cell, minlength=(n_tissues + 1) * n_drugs)
        shrunk = total / np.maximum(n + self.prior, 1e-12)
        self.tissue_drug_ = shrunk.reshape(n_tissues + 1, n_drugs)[:n_tissues]
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the shrunk mean of tissue and drug; the overall mean for an unseen drug."""
        self._check_fitted()
        rows = rows_of(x.drug_ids, self.drug_ids_)
        by_drug = np.where(rows >= 0, self.drug_effect_[rows], 0)
        within = x.sample("tissue") @ np.where(rows >= 0, self.tissue_drug_[:, rows], 0)
        return Prediction(gather(self.mean_ + by_drug + within, x))


class IdentityFactorisation(BaseModel):
    """Mean effects, then a low-rank completion of the residuals by soft-thresholded SVD; sees identities only.

    Parameters
    ----------
    threshold
        Subtracted from the singular values, as a share of the largest one of the zero-filled residuals.
    rank
        Largest number of factors kept.
    iterations
        Rounds of filling in and thresholding.

    References
    ----------
    Mazumder, Hastie, Tibshirani (2010), Spectral regularization algorithms for learning large incomplete matrices.
    """

    def __init__(self, threshold: float = 0.15, rank: int = 40, iterations: int = 50) -> None:
        self.threshold = threshold
        self.rank = rank
        self.iterations = iterations

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return the threshold's range."""
        return {"threshold": {"low": 0.02, "high": 0.5, "log": True}}

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Complete the samples × drugs matrix."""
        targets = check_targets(x, y)
        self.mean_ = float(targets.mean())
        sample, drug = least_squares_effects(x, targets - self.mean_)
        self.sample_ids_, self.drug_ids_ = x.sample_ids, x.drug_ids
        self.sample_effect_, self.drug_effect_ = sample, drug
        residual = response_matrix(x, targets - self.mean_ - sample[x.sample_index] - drug[x.drug_index])
        left, right = soft_impute(residual, self.threshold, self.rank, self.iterations)
        self.sample_factor_, self.drug_factor_ = left, right
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return effects and the product of factors; unseen ids have neither."""
        self._check_fitted()
        s, d = rows_of(x.sample_ids, self.sample_ids_), rows_of(x.drug_ids, self.drug_ids_)
        sample, drug = np.where(s >= 0, self.sample_effect_[s], 0), np.where(d >= 0, self.drug_effect_[d], 0)
        left = np.where((s >= 0)[:, None], self.sample_factor_[s], 0)
        right = np.where((d >= 0)[:, None], self.drug_factor_[d], 0)
        return Prediction(gather(self.mean_ + sample[:, None] + drug + left @ right.T, x))


def least_squares_effects(x: PairFeatures, y: Array) -> tuple[Array, Array]:
    """Return sample and drug effects that minimise the squared error of mean-zero targets; sample effects sum to 0.

    The drug effects are eliminated in closed form, which leaves one symmetric system over samples.
    """
    n, m = len(x.sample_ids), len(x.drug_ids)
    count = np.bincount(x.sample_index * m + x.drug_index, minlength=n * m).reshape(n, m).astype(np.float64)
    of_sample, of_drug = count.sum(axis=1), count.sum(axis=0)
    sample_sum = np.bincount(x.sample_index, y, minlength=n)
    drug_sum = np.bincount(x.drug_index, y, minlength=m)
    per_drug = count / np.maximum(of_drug, 1)
    system = np.diag(of_sample) - per_drug @ count.T
    seen = of_sample > 0
    system[np.ix_(seen, seen)] += 1 / max(seen.sum(), 1)  # pins the sum of sample effects, which is free
    system[~seen, ~seen] = 1
    system[np.diag_indices(n)] += 1e-10 * max(of_sample.max(), 1)  # groups without a common drug stay solvable
    sample = np.linalg.solve(system, sample_sum - per_drug @ drug_sum)
    sample = np.where(seen, sample - sample[seen].mean(), 0)
    drug = (drug_sum - sample @ count) / np.maximum(of_drug, 1)
    return sample, drug


def soft_impute(matrix: Array, threshold: float, rank: int, iterations: int) -> tuple[Array, Array]:
    """Return factors (n, k) and (m, k) whose product completes `matrix` (NaN = unknown)."""
    known = np.isfinite(matrix)
    filled = np.where(known, matrix, 0)
    limit = None
    left, right = np.zeros((matrix.shape[0], 1)), np.zeros((matrix.shape[1], 1))
    for _ in range(iterations):
        # the smaller Gram matrix gives the same singular vectors at a fraction of a full SVD
        values, vectors = np.linalg.eigh(filled.T @ filled)
        size = np.sqrt(np.maximum(values[::-1], 0))
        vectors = vectors[:, ::-1]
        limit = threshold * size[0] if limit is None else limit
        k = max(1, min(rank, int((size > limit).sum())))
        gain = np.maximum(1 - limit / np.maximum(size[:k], 1e-12), 0)
        before = left @ right.T
        left, right = filled @ vectors[:, :k] * gain, vectors[:, :k]
        product = left @ right.T
        filled = np.where(known, matrix, product)
        if np.abs(product - before).mean() < 1e-4 * max(np.abs(product).mean(), 1e-12):
            break
    return left, right


def _means(y: Array, index: npt.NDArray[np.int64], n: int) -> Array:
    return np.asarray(np.bincount(index, y, minlength=n) / np.maximum(np.bincount(index, minlength=n), 1))


def _look_up(effect: Array, known: npt.NDArray[np.str_], ids: npt.NDArray[np.str_]) -> Array:
    rows = rows_of(ids, known)
    return np.where(rows >= 0, effect[rows], 0)


def _tissue_codes(one_hot: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return each row's level; the number of levels for a row of zeros."""
    if not one_hot.shape[1]:
        return np.zeros(len(one_hot), dtype=np.int64)
    return np.asarray(np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), one_hot.shape[1]), dtype=np.int64)
