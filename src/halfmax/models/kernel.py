"""Kernel models in closed form: ridge a drug over samples, and a Gaussian process that also sees other responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import FloatArray, PairFeatures, rows_of
from halfmax.models.base import JSON, OnEpoch, State, Valid, check_targets, response_matrix
from halfmax.models.baselines import least_squares_effects, soft_impute
from halfmax.models.grid import GridModel
from halfmax.models.profile import Profile
from halfmax.models.ridge import (
    LEAST_SAMPLES,
    choose_ridge,
    choose_weights,
    feature_gains,
    solve,
    solve_by_drug,
    solve_jointly,
)

Array = npt.NDArray[np.float64]
#: The first fit, which only says what features matter, is smoother than the last; both in units of the chosen λ.
_FIRST_RIDGE, _LAST_RIDGE = 3.0, 1.5
#: Threshold (share of the largest singular value), rank and rounds of the completion by which responses are borrowed.
_COMPLETION = (0.1, 60, 50)
_HELD_OUT_PARTS, _LEVERAGE_RANK, _NOISE_PRIOR = 4, 128, 10.0


class KernelRidge(GridModel):
    """Kernel ridge regression over samples, one a drug on the samples that were measured with it.

    Parameters
    ----------
    kernel
        ``linear``, or ``rbf`` with the median squared distance as width.
    ridge
        λ in units of the kernel's mean diagonal; None = chosen by exact leave-one-out on training rows.
    focus
        How strongly features are weighted by what a first, smoother fit found (all drugs together); 0 = not at all.
        With a `focus` the last fit's λ is 1.5 times `ridge`: the weights have seen the same responses.
    joint
        One factorisation for all drugs, on residuals with missing values as zero: faster, a little less exact.
    blocks
        Sample block to weight in the kernel; by default all modalities, with weights chosen by exact leave-one-out on
        training rows (a modality that does not help there has weight 0). A sample that lacks a block stands on the
        others, see `halfmax.models.profile.Profile`.
    drug_ridge
        λ of the two regressions over drugs (potency, profile), which serve drugs without training responses; None =
        each chosen by exact leave-one-drug-out. See `halfmax.models.drug_side`.
    return_variance
        Give each prediction a variance, scaled on held-out parts of the training samples: four more fits.
    borrow
        Share of each response that gives way to what the sample's responses to all drugs together say, from 0 to 1;
        above 0 the responses that were not measured are filled so, too. It takes noise of the assay out of the
        targets, which pays where another screen is to be predicted.
    general
        Factor on the general sensitivity that is predicted for a sample (its mean over drugs). Screens differ in how
        much of it they show.

    Notes
    -----
    With K the kernel on a drug's samples, α = (K + λI)⁻¹(y − ȳ). The linear kernel is ridge regression on all features
    and collapses to one weight a feature and drug, so scoring is a matrix product. The variance is
    s² (1 + (k(x, x) − kᵀ (K + λI)⁻¹ k) / λ) with s² a drug's own.

    References
    ----------
    Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, chapter 2; Radhakrishnan et al. (2024),
    Science 383, for weights of features from a first fit.
    """

    def __init__(
        self,
        kernel: str = "linear",
        ridge: float | None = None,
        focus: float = 2.0,
        joint: bool = False,
        blocks: Mapping[str, float] | None = None,
        drug_ridge: float | None = None,
        return_variance: bool = False,
        borrow: float = 0.0,
        general: float = 1.0,
    ) -> None:
        self.kernel = kernel
        self.ridge = ridge
        self.focus = focus
        self.joint = joint
        self.blocks = blocks
        self.drug_ridge = drug_ridge
        self.return_variance = return_variance
        self.borrow = borrow
        self.general = general

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return {
            "kernel": {"choices": ["linear", "rbf"]},
            "ridge": {"low": 0.1, "high": 10.0, "log": True},
            "focus": {"low": 0.0, "high": 3.0, "log": False},
        }

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Solve one system a drug."""
        if self.kernel not in ("linear", "rbf"):
            raise DataError(f"kernel is {self.kernel!r}; it is linear or rbf.")
        if not 0 <= self.borrow <= 1:
            raise DataError(f"borrow is {self.borrow}; it is a share from 0 to 1.")
        whole = response_matrix(x, check_targets(x, y))
        known, measured = _measured(whole, 0), _measured(whole, 1)
        grid, profile = whole[np.ix_(measured, known)], self._profile(x).take(measured)
        targets = self._borrowed(grid)
        effect = np.nanmean(targets, axis=0)
        self.drug_ids_, self.drug_effect_ = x.drug_ids[known], effect.astype(np.float32)
        self._learn(profile, targets - effect)
        self._learn_drugs(x, whole, known)
        if self.return_variance:
            self._learn_variance(profile, grid)
        return self

    def _learn(self, profile: Profile, residual: Array) -> None:
        """Learn from the profiles of n samples and drug-centred responses (n, m), NaN where not measured."""
        if self.blocks is None and len(profile.sizes) > 1:
            weights = choose_weights(profile.weighted_gram(), len(profile.sizes), residual)
            profile = replace(profile, weights=tuple(weights.tolist()))
        self.block_weight_ = np.array(profile.weights)
        self.centre_, self.gain_ = profile.scale()
        features = self._weighted(profile)
        solver = solve_jointly if self.joint else solve_by_drug
        gram = self._gram(features, features)
        self.ridge_ = self.ridge if self.ridge is not None else choose_ridge(gram, residual)
        last = self.ridge_
        if self.focus > 0 and features.any():
            plain = features @ features.T
            first = self.ridge_ if self.kernel == "linear" else choose_ridge(plain, residual)
            gains = feature_gains(features.T @ solver(plain, residual, _FIRST_RIDGE * first), self.focus)
            self.gain_ = profile.with_power(self.centre_, self.gain_ * gains)
            features = self._weighted(profile)
            gram = self._gram(features, features)
            last = _LAST_RIDGE * self.ridge_
        dual = solver(gram, residual, last)
        if self.general != 1:
            dual = dual + np.float32(self.general - 1) * dual.mean(axis=1, keepdims=True)
        if self.kernel == "linear":
            self.weight_ = self.gain_[:, None] * (features.T @ dual)
        else:
            self.train_x_, self.dual_ = features, dual
        if self.return_variance:
            self.last_ridge_ = last
            self.leverage_ = self._leverage(features, gram, last)

    def _borrowed(self, grid: Array) -> Array:
        """Return responses (n, m), their assay noise lowered and gaps filled by what the drugs have in common."""
        if self.borrow == 0:
            return grid
        effect = np.nanmean(grid, axis=0)
        general = np.nanmean(grid - effect, axis=1)[:, None]
        left, right = soft_impute(grid - effect - general, *_COMPLETION)
        common = left @ right.T + general + effect
        return np.asarray(np.where(np.isfinite(grid), (1 - self.borrow) * grid + self.borrow * common, common))

    def _grid(self, x: PairFeatures) -> FloatArray:
        return np.asarray(self._respond(self._profile(x)) + self.drug_effect_, dtype=np.float32)

    def _weighted(self, profile: Profile) -> FloatArray:
        """Return features under the gains as they are now, and learn what each block carries."""
        features = profile.centred(self.centre_, self.gain_)
        self.share_ = profile.power(features)
        return profile.balanced(features, self.share_)

    def _embed(self, profile: Profile) -> FloatArray:
        return profile.balanced(profile.centred(self.centre_, self.gain_), self.share_)

    def _respond(self, profile: Profile) -> FloatArray:
        """Return the difference to each drug's mean, shape (n, m)."""
        if self.kernel == "linear":
            return profile.balanced(profile.centred(self.centre_), self.share_) @ self.weight_
        return np.asarray(self._gram(self._embed(profile), self.train_x_) @ self.dual_)

    def _gram(self, a: FloatArray, b: FloatArray) -> FloatArray:
        gram = a @ b.T
        if self.kernel == "linear":
            return np.asarray(gram)
        squared = np.einsum("ij,ij->i", a, a)
        other = squared if a is b else np.einsum("ij,ij->i", b, b)
        gram *= -2
        gram += squared[:, None] + other
        distance = np.maximum(gram, 0, out=gram)
        if a is b:
            self.width_ = float(np.median(distance[np.triu_indices(len(a), 1)])) if len(a) > 1 else 1.0
        distance *= np.float32(-0.5 / max(self.width_, 1e-12))
        return np.asarray(np.exp(distance, out=distance))

    def _leverage(self, features: FloatArray, gram: FloatArray, ridge: float) -> FloatArray:
        """Return the matrix whose product with features (or kernel rows) has the squared length kᵀ (K + λI)⁻¹ k."""
        size, vectors = np.linalg.eigh(gram.astype(np.float64))
        size, vectors = np.maximum(size[::-1], 0)[:_LEVERAGE_RANK], vectors[:, ::-1][:, :_LEVERAGE_RANK]
        dual = vectors / np.sqrt(size + ridge)
        return np.asarray(features.T @ dual if self.kernel == "linear" else dual, dtype=np.float32)

    def _spread(self, profile: Profile) -> Array:
        """Return 1 + posterior variance / noise of each sample, the same for every drug."""
        features = self._embed(profile)
        linear = self.kernel == "linear"
        own = (features**2).sum(axis=1) if linear else np.ones(len(features), dtype=np.float32)
        seen = (features if linear else self._gram(features, self.train_x_)) @ self.leverage_
        return np.asarray(1 + np.maximum(own - (seen**2).sum(axis=1), 0) / self.last_ridge_, dtype=np.float64)

    def _learn_variance(self, profile: Profile, grid: Array) -> None:
        """Learn each drug's noise from parts of the training samples held out in turn, shrunk to all drugs' mean."""
        part = np.random.default_rng(0).permutation(len(grid)) % _HELD_OUT_PARTS
        squares = np.full(grid.shape, np.nan)
        for k in range(_HELD_OUT_PARTS):
            train, test = part != k, part == k
            if train.sum() < LEAST_SAMPLES or not test.any():
                continue
            twin = KernelRidge(**{**self.get_params(), "ridge": self.ridge_})  # type: ignore[arg-type]
            count = np.isfinite(grid[train]).sum(axis=0)
            targets = twin._borrowed(grid[train]) if (count > 0).all() else grid[train]
            mean = np.nansum(targets, axis=0) / np.maximum(np.isfinite(targets).sum(axis=0), 1)
            twin._learn(profile.take(train), targets - mean)
            error = np.where(count > 0, grid[test] - mean - twin._respond(profile.take(test)), np.nan)
            squares[test] = error**2 / twin._spread(profile.take(test))[:, None]
        known = np.isfinite(squares)
        overall = float(squares[known].mean()) if known.any() else float(np.nanvar(grid))
        total = np.nansum(squares, axis=0) + _NOISE_PRIOR * overall
        self.noise_ = (total / (known.sum(axis=0) + _NOISE_PRIOR)).astype(np.float32)

    def _variance(self, x: PairFeatures, rows: npt.NDArray[np.int64]) -> FloatArray | None:
        if not self.return_variance:
            return None
        # the potency of a drug without training responses is itself unknown
        unknown = self.noise_.mean() + self.potency_error_
        noise = np.where(rows >= 0, self.noise_[rows], unknown)
        return np.asarray(self._spread(self._profile(x))[:, None] * noise, dtype=np.float32)


class ResponseGP(GridModel):
    """Gaussian process a drug over samples, whose kernel is the sample's other responses plus its expression.

    For samples with training responses: mean effects are removed, the residuals completed by soft-thresholded SVD, and
    each drug is regressed on the residuals of the *other* drugs and on expression; the predictions then take the place
    of the completion, and the regression is solved again. A sample without training responses is predicted by
    `KernelRidge`.

    Parameters
    ----------
    expression_weight
        Weight of the expression kernel beside the response kernel (each with mean diagonal 1).
    noise
        Noise variance in the same unit.
    threshold, rank
        Of the completion, see `soft_impute`.
    rounds
        How often the regression is solved.
    blocks, drug_ridge
        As in `KernelRidge`.

    References
    ----------
    Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, chapter 2.
    """

    def __init__(
        self,
        expression_weight: float = 0.5,
        noise: float = 1.5,
        threshold: float = 0.1,
        rank: int = 60,
        rounds: int = 2,
        blocks: Mapping[str, float] | None = None,
        drug_ridge: float | None = None,
    ) -> None:
        self.expression_weight = expression_weight
        self.noise = noise
        self.threshold = threshold
        self.rank = rank
        self.rounds = rounds
        self.blocks = blocks
        self.drug_ridge = drug_ridge

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return {
            "expression_weight": {"low": 0.1, "high": 2.0, "log": True},
            "noise": {"low": 0.3, "high": 5.0, "log": True},
            "threshold": {"low": 0.03, "high": 0.3, "log": True},
        }

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Solve one system a drug and round."""
        targets = check_targets(x, y)
        overall = float(targets.mean())
        sample, drug = least_squares_effects(x, targets - overall)
        residual = response_matrix(x, targets) - overall - sample[:, None] - drug
        known = _measured(residual, 0)
        residual, drug = residual[:, known], drug[known]
        left, right = soft_impute(residual, self.threshold, self.rank, 50)
        ridge = KernelRidge(blocks=self.blocks, drug_ridge=self.drug_ridge).fit(x, targets)
        self.drug_ids_ = ridge.drug_ids_
        self.drug_effect_ = (overall + drug).astype(np.float32)
        self.centre_, self.weight_, self.share_ = ridge.centre_, ridge.weight_, ridge.share_
        self.mean_ = ridge.drug_effect_
        features = self._embed(self._profile(x))
        power = float((features**2).sum(axis=1).mean())
        profile = (features @ features.T) * np.float32(self.expression_weight / (power if power > 0 else 1.0))
        fitted = (left @ right.T).astype(np.float32)
        for _ in range(max(self.rounds, 1)):
            fitted = self._regress(residual, np.where(np.isfinite(residual), residual, fitted), profile)
        measured = _measured(residual, 1)
        self.sample_ids_ = x.sample_ids[measured]
        self.seen_ = (fitted + sample[:, None])[measured].astype(np.float32)
        self._learn_drugs(x, response_matrix(x, targets), known)
        return self

    def _regress(self, residual: Array, completed: npt.NDArray[np.floating], profile: FloatArray) -> FloatArray:
        """Return every drug's residuals as predicted from the other drugs' completed residuals and the profiles."""
        completed = completed.astype(np.float32)
        others = completed @ completed.T
        fitted = np.zeros(residual.shape, dtype=np.float32)
        for column in range(residual.shape[1]):
            rows = np.flatnonzero(np.isfinite(residual[:, column]))
            if len(rows) < LEAST_SAMPLES:
                continue
            own = completed[:, column]
            gram = others[:, rows] - own[:, None] * own[rows]
            power = float(gram[rows, np.arange(len(rows))].mean())
            gram = gram / np.float32(power if power > 1e-6 else np.inf) + profile[:, rows]
            fitted[:, column] = gram @ solve(gram[rows], residual[rows, column], self.noise)
        return fitted

    def _grid(self, x: PairFeatures) -> FloatArray:
        rows = rows_of(x.sample_ids, self.sample_ids_)
        grid = np.empty((len(rows), len(self.drug_ids_)), dtype=np.float32)
        grid[rows >= 0] = self.seen_[rows[rows >= 0]] + self.drug_effect_
        if (rows < 0).any():
            grid[rows < 0] = self._embed(self._profile(x).take(rows < 0)) @ self.weight_ + self.mean_
        return grid

    def _embed(self, profile: Profile) -> FloatArray:
        return profile.balanced(profile.centred(self.centre_), self.share_)


def _measured(grid: Array, axis: int) -> npt.NDArray[np.bool_]:
    """Return which drugs (axis 0) or samples (axis 1) have any response."""
    return np.asarray(np.isfinite(grid).any(axis=axis))
