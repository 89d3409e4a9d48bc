"""Kernel models in closed form: ridge a drug over samples, and a Gaussian process that also sees other responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import FloatArray, PairFeatures, rows_of
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
from halfmax.models.baselines import least_squares_effects, soft_impute

Array = npt.NDArray[np.float64]
#: Drugs with fewer training samples than this keep their mean.
LEAST_SAMPLES = 5


class _Kernel(BaseModel):
    """What kernel models share: scaled features, fallback for unseen drugs, and prediction through one matrix product."""

    blocks: Mapping[str, float] | None
    drug_ridge: float

    def _scaled(self, x: PairFeatures, scale: Array | None = None) -> tuple[FloatArray, Array]:
        """Return features whose inner product is the weighted kernel, and the factors that scaled each block."""
        weights = dict(self.blocks or {"expression": 1.0})
        parts = [x.sample(name) for name in weights]
        if scale is None:
            power = [float((p.astype(np.float64) ** 2).sum(axis=1).mean()) if p.size else 0.0 for p in parts]
            scale = np.array([np.sqrt(w / s) if s > 0 else 0.0 for w, s in zip(weights.values(), power, strict=True)])
        return np.hstack([p * np.float32(s) for p, s in zip(parts, scale, strict=True)]), scale

    def _grid(self, x: PairFeatures) -> FloatArray:
        """Return predictions for every sample of `x` and every training drug."""
        raise NotImplementedError

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the drug's prediction for each sample; an unseen drug borrows from drugs of like structure."""
        self._check_fitted()
        grid = self._grid(x)
        rows = rows_of(x.drug_ids, self.drug_ids_)
        out = np.empty((len(x.sample_ids), len(rows)), dtype=np.float32)
        out[:, rows >= 0] = grid[:, rows[rows >= 0]]
        if (rows < 0).any():
            out[:, rows < 0] = self._unseen(x, grid, rows < 0)
        return Prediction(gather(out, x))

    def _learn_drugs(self, x: PairFeatures, effect: Array) -> None:
        """Learn how drug means and interactions follow structure, for drugs without training responses."""
        self.drug_ids_ = x.drug_ids
        self.drug_effect_ = effect.astype(np.float32)
        values = _drug_features(x)
        self.drug_x_ = values
        gram = _tanimoto(values, values)
        self.drug_inverse_ = np.linalg.inv(gram + self.drug_ridge * np.eye(len(gram))).astype(np.float32)

    def _unseen(self, x: PairFeatures, grid: FloatArray, new: npt.NDArray[np.bool_]) -> FloatArray:
        like = _tanimoto(_drug_features(x)[new], self.drug_x_) @ self.drug_inverse_
        mean = self.drug_effect_.mean()
        potency = mean + like @ (self.drug_effect_ - mean)
        residual = grid - self.drug_effect_
        general = residual.mean(axis=1, keepdims=True)
        return np.asarray(potency + general + (residual - general) @ like.T, dtype=np.float32)


class KernelRidge(_Kernel):
    """Kernel ridge regression over samples, one a drug on the samples that were measured with it.

    Parameters
    ----------
    kernel
        ``linear``, or ``rbf`` with the median squared distance as width.
    ridge
        λ in units of the kernel's mean diagonal; None = chosen from 0.25 … 8 by exact leave-one-out on training rows.
    joint
        One factorisation for all drugs, on residuals with missing values as zero: faster, a little less exact.
    blocks
        Sample block to weight in the kernel; expression alone by default.
    drug_ridge
        λ of the regression on drug structures, which serves drugs without training responses.

    Notes
    -----
    With K the kernel on a drug's samples, α = (K + λI)⁻¹(y − ȳ) and the leave-one-out residual is α_i / (K + λI)⁻¹_ii
    (Rifkin and Lippert 2007). The linear kernel is ridge regression on all genes and collapses to one weight a gene and
    drug, so scoring is a matrix product.
    """

    def __init__(
        self,
        kernel: str = "linear",
        ridge: float | None = None,
        joint: bool = False,
        blocks: Mapping[str, float] | None = None,
        drug_ridge: float = 1.0,
    ) -> None:
        self.kernel = kernel
        self.ridge = ridge
        self.joint = joint
        self.blocks = blocks
        self.drug_ridge = drug_ridge

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return {
            "kernel": {"choices": ["linear", "rbf"]},
            "ridge": {"low": 0.1, "high": 10.0, "log": True},
            "drug_ridge": {"low": 0.1, "high": 10.0, "log": True},
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
        targets = check_targets(x, y)
        grid = response_matrix(x, targets)
        count = np.isfinite(grid).sum(axis=0)
        overall = float(targets.mean())
        effect = np.where(count > 0, np.nansum(grid, axis=0) / np.maximum(count, 1), overall)
        features, self.block_scale_ = self._scaled(x)
        self.centre_ = features.mean(axis=0)
        features = features - self.centre_
        gram = self._gram(features, features)
        residual = grid - effect
        self.ridge_ = self.ridge if self.ridge is not None else choose_ridge(gram, residual)
        dual = solve_jointly(gram, residual, self.ridge_) if self.joint else solve_by_drug(gram, residual, self.ridge_)
        self._learn_drugs(x, effect)
        if self.kernel == "linear":
            self.weight_ = features.T @ dual.astype(np.float32)
        else:
            self.train_x_, self.dual_ = features, dual.astype(np.float32)
        return self

    def _grid(self, x: PairFeatures) -> FloatArray:
        features = self._scaled(x, self.block_scale_)[0] - self.centre_
        if self.kernel == "linear":
            return np.asarray(features @ self.weight_ + self.drug_effect_)
        return np.asarray(self._gram(features, self.train_x_) @ self.dual_ + self.drug_effect_)

    def _gram(self, a: FloatArray, b: FloatArray) -> FloatArray:
        gram = a @ b.T
        if self.kernel == "linear":
            return np.asarray(gram)
        distance = np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * gram, 0)
        if a is b:
            self.width_ = float(np.median(distance[np.triu_indices(len(a), 1)])) if len(a) > 1 else 1.0
        return np.asarray(np.exp(-distance / (2 * max(self.width_, 1e-12))), dtype=np.float32)


class ResponseGP(_Kernel):
    """Gaussian process a drug over samples, whose kernel is the sample's other responses plus its expression.

    For samples with training responses: mean effects are removed, the residuals completed by soft-thresholded SVD, and
    each drug is regressed on the completed residuals of the *other* drugs and on expression. A sample without training
    responses is predicted from expression alone.

    Parameters
    ----------
    expression_weight
        Weight of the expression kernel beside the response kernel (each with mean diagonal 1).
    noise
        Noise variance in the same unit.
    threshold, rank
        Of the completion, see `soft_impute`.
    blocks, drug_ridge
        As in `KernelRidge`.

    References
    ----------
    Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, chapter 2.
    """

    def __init__(
        self,
        expression_weight: float = 0.5,
        noise: float = 1.0,
        threshold: float = 0.1,
        rank: int = 60,
        blocks: Mapping[str, float] | None = None,
        drug_ridge: float = 1.0,
    ) -> None:
        self.expression_weight = expression_weight
        self.noise = noise
        self.threshold = threshold
        self.rank = rank
        self.blocks = blocks
        self.drug_ridge = drug_ridge

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return {
            "expression_weight": {"low": 0.1, "high": 2.0, "log": True},
            "noise": {"low": 0.2, "high": 4.0, "log": True},
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
        """Solve one system a drug."""
        targets = check_targets(x, y)
        overall = float(targets.mean())
        sample, drug = least_squares_effects(x, targets - overall)
        residual = response_matrix(x, targets) - overall - sample[:, None] - drug
        left, right = soft_impute(residual, self.threshold, self.rank, 50)
        completed = (left @ right.T).astype(np.float32)
        features, self.block_scale_ = self._scaled(x)
        self.centre_ = features.mean(axis=0)
        features = features - self.centre_
        profile = np.float32(self.expression_weight) * (features @ features.T)
        others = completed @ completed.T
        fitted = np.zeros(residual.shape, dtype=np.float32)
        dual = np.zeros(residual.shape, dtype=np.float32)
        for column in range(residual.shape[1]):
            rows = np.flatnonzero(np.isfinite(residual[:, column]))
            if len(rows) < LEAST_SAMPLES:
                continue
            own = completed[:, column]
            gram = others[:, rows] - own[:, None] * own[rows]
            power = float(gram[rows, np.arange(len(rows))].mean())
            gram = gram / max(power, 1e-6) + profile[:, rows]
            dual[rows, column] = _solve(gram[rows], residual[rows, column], self.noise)
            fitted[:, column] = gram @ dual[rows, column]
        self._learn_drugs(x, overall + drug)
        self.sample_ids_ = x.sample_ids
        self.seen_ = fitted + sample[:, None].astype(np.float32)
        # An unseen sample has no effect of its own: expression predicts it, like one more drug.
        general = _solve(features @ features.T, sample, self.noise)
        self.weight_ = features.T @ (self.expression_weight * dual + general[:, None]).astype(np.float32)
        return self

    def _grid(self, x: PairFeatures) -> FloatArray:
        rows = rows_of(x.sample_ids, self.sample_ids_)
        grid = np.empty((len(rows), len(self.drug_ids_)), dtype=np.float32)
        grid[rows >= 0] = self.seen_[rows[rows >= 0]]
        if (rows < 0).any():
            features = self._scaled(x, self.block_scale_)[0][rows < 0] - self.centre_
            grid[rows < 0] = features @ self.weight_
        return grid + self.drug_effect_


def choose_ridge(gram: FloatArray, residual: Array, *, n_drugs: int = 24) -> float:
    """Return the λ with the least leave-one-out squared error over a sample of the drugs with most responses."""
    count = np.isfinite(residual).sum(axis=0)
    order = np.argsort(-count, kind="stable")
    usable = order[count[order] >= 2 * LEAST_SAMPLES]
    if not len(usable):
        return 1.0
    chosen = usable[np.linspace(0, len(usable) - 1, min(n_drugs, len(usable))).astype(int)]
    candidates = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    error = np.zeros(len(candidates))
    for column in chosen:
        rows = np.flatnonzero(np.isfinite(residual[:, column]))
        value = residual[rows, column] - residual[rows, column].mean()
        scale = max(float(value @ value), 1e-12)
        for k, ridge in enumerate(candidates):
            error[k] += float((leave_one_out(gram[np.ix_(rows, rows)], value, ridge) ** 2).sum()) / scale
    return float(candidates[int(error.argmin())])


def leave_one_out(gram: FloatArray, y: Array, ridge: float) -> Array:
    """Return the residual of each row when it alone is left out, exactly and without refitting."""
    from scipy.linalg import lapack

    system = np.array(gram, dtype=np.float64, order="F")
    system[np.diag_indices(len(y))] += ridge
    factor, _ = lapack.dpotrf(system, lower=1, overwrite_a=1)
    dual, _ = lapack.dpotrs(factor, y, lower=1)
    inverse, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
    return np.asarray(dual / np.diag(inverse))


def solve_by_drug(gram: FloatArray, residual: Array, ridge: float) -> Array:
    """Return dual weights, shape of `residual`, each drug solved on its own observed rows; 0 elsewhere."""
    dual = np.zeros(residual.shape)
    for column in range(residual.shape[1]):
        rows = np.flatnonzero(np.isfinite(residual[:, column]))
        if len(rows) >= LEAST_SAMPLES:
            dual[rows, column] = _solve(gram[np.ix_(rows, rows)], residual[rows, column], ridge)
    return dual


def solve_jointly(gram: FloatArray, residual: Array, ridge: float) -> Array:
    """Return dual weights from one factorisation, missing residuals taken as 0."""
    return np.asarray(_solve(gram, np.nan_to_num(residual), ridge))


def _solve(gram: FloatArray, y: Array, ridge: float) -> FloatArray:
    from scipy.linalg import lapack

    system = np.array(gram, dtype=np.float32, order="F")
    system[np.diag_indices(len(system))] += np.float32(ridge)
    factor, info = lapack.spotrf(system, lower=1, overwrite_a=1)
    if info:
        raise DataError(f"the kernel is not positive definite with ridge {ridge:g}; use a larger one.")
    dual, _ = lapack.spotrs(factor, np.asarray(y, dtype=np.float32), lower=1)
    return np.asarray(dual)


def _drug_features(x: PairFeatures) -> FloatArray:
    name = "fingerprint"
    return x.drug(name) if name in x.drug_x else np.zeros((len(x.drug_ids), 1), dtype=np.float32)


def _tanimoto(a: FloatArray, b: FloatArray) -> FloatArray:
    """Tanimoto similarity of count fingerprints, shape (n, m); 0 against a drug without structure."""
    product = a @ b.T
    total = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - product
    return np.asarray(product / np.maximum(total, 1e-12), dtype=np.float32)
