"""Stack: unlike models joined by non-negative weights that are learned from predictions out of fold."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import PairFeatures, rows_of
from halfmax.models.base import JSON, Model, OnEpoch, Prediction, State, Valid, check_targets
from halfmax.models.baselines import DrugMean
from halfmax.models.members import MemberSpec, Nested, fit_member, make, nested_states, only, read_spec

log = logging.getLogger(__name__)
Array = npt.NDArray[np.float64]
#: What is left out together in the inner folds, and the models that are joined by default.
DEFAULTS: dict[str, tuple[MemberSpec, ...]] = {
    "sample": (("kernel_ridge", {"kernel": "rbf"}), "mlp", "lightgbm"),
    "drug": ("response_gp", "mlp", "lightgbm"),
    "pair": ("response_gp", "mlp", "lightgbm", "factorisation"),
}
#: How many samples a drug's common weights may count as; the least error over the inner folds decides.
_PRIORS = (100.0, 300.0, 1000.0)
#: Share by which a drug's own weights must lower the squared error in the inner folds to be taken.
_LEAST_GAIN = 0.001
_NOISE_PRIOR = 10.0


class Stack(Nested):
    """Drug's mean + Σ_k w_k · (model k − drug's mean), with w ≥ 0 learned from out-of-fold predictions.

    The training rows are cut into inner folds by the same groups as the protocol; every model is fitted on the rest of
    each and asked about it, with tables that hold nothing of the part left out. The weights minimise the squared error
    of those predictions. Then every model is fitted on all rows. A model that adds nothing is given weight 0; weights
    that sum to less than 1 shrink towards the drug's mean.

    Parameters
    ----------
    models
        Registered names, or ``[name, {parameters}]``; None = what suits `groups`: ``kernel_ridge`` (RBF),
        ``mlp`` and ``lightgbm`` for unseen samples, ``response_gp``, ``mlp`` and ``lightgbm`` (and ``factorisation``)
        for unseen drugs (random pairs).
    groups
        What is left out together: ``sample`` (as in LCO and LTO), ``drug`` (LDO) or ``pair`` (LPO).
    n_folds
        Inner folds.
    ridge
        Weights are drawn towards equal ones, as if by this share of the training pairs.
    per_drug
        Whether each drug has weights of its own, drawn towards the common ones; None = if they lower the error in inner
        folds that did not see them. Drugs are unseen with ``groups="drug"`` and share one set.
    task
        ``regression``, or ``classification`` of 0/1 labels.

    Notes
    -----
    The variance is a drug's mean squared error out of fold, drawn towards that of all drugs: the same for every sample.
    Samples are left out by id: give one id to what is one line.

    References
    ----------
    Wolpert 1992, Stacked generalization; Breiman 1996, Stacked regressions (non-negative weights).
    """

    def __init__(
        self,
        models: Sequence[MemberSpec] | None = None,
        groups: str = "sample",
        n_folds: int = 3,
        ridge: float = 0.01,
        per_drug: bool | None = None,
        task: str = "regression",
        seed: int = 0,
    ) -> None:
        self.models = models
        self.groups = groups
        self.n_folds = n_folds
        self.ridge = ridge
        self.per_drug = per_drug
        self.task = task
        self.seed = seed

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return {"ridge": {"low": 0.001, "high": 0.3, "log": True}}

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Learn the weights out of fold, then fit every model on all rows.

        Parameters
        ----------
        start
            State of an earlier fit, for models that can go on from theirs.

        Raises
        ------
        DataError
            If no model, one inner fold or an unknown kind of group is asked for.
        """
        self._check_params()
        targets = check_targets(x, y)
        offset, predicted = self._out_of_fold(x, targets)
        self.drug_ids_ = x.drug_ids
        self._weigh(offset, predicted, targets, x)
        self.history_: list[dict[str, JSON]] = []
        starts = nested_states(start) if start is not None else [None] * (1 + predicted.shape[1])
        self.models_ = self._members()
        names = ["drug_mean", *(read_spec(spec)[0] for spec in self._specs())]
        for k, (name, model, state) in enumerate(zip(names, self.models_, starts, strict=True)):
            fit_member(model, x, targets, None, state, on_epoch)
            self._keep_history(model, f"{name} {k}")
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the weighted sum, and each drug's squared error out of fold as variance."""
        self._check_fitted()
        rows = rows_of(x.drug_ids, self.drug_ids_)
        own = np.where((rows >= 0)[:, None], self.weight_[rows], self.common_)
        noise = np.where(rows >= 0, self.noise_[rows], self.noise_.mean())
        offset, *found = (model.predict(x).mean.astype(np.float64) for model in self.models_)
        mean = offset + sum(own[x.drug_index, k] * (part - offset) for k, part in enumerate(found))
        mean = np.asarray(mean, dtype=np.float32)
        if self.task == "classification":
            mean = np.clip(mean, 0, 1)
            return Prediction(mean, probability=mean)
        return Prediction(mean, np.asarray(noise[x.drug_index], dtype=np.float32))

    def _members(self) -> list[Model]:
        return [DrugMean(), *(make(spec, seed=self.seed, task=self.task) for spec in self._specs())]

    def _specs(self) -> Sequence[MemberSpec]:
        return DEFAULTS[self.groups] if self.models is None else self.models

    def _out_of_fold(self, x: PairFeatures, y: Array) -> tuple[Array, Array]:
        """Return the drug's mean (n_pairs,) and the models' predictions (n_pairs, n_models), all out of fold."""
        found = np.zeros((x.n_pairs, len(self._members())))
        part = self._parts(x)
        self.part_ = part
        for held_out in np.unique(part):
            rest = part != held_out
            if not rest.any():  # one group alone: nothing can be left out
                found[:] = y.mean()
                continue
            train, test = only(x, rest), only(x, ~rest)
            for k, model in enumerate(self._members()):
                found[~rest, k] = fit_member(model, train, y[rest]).predict(test).mean
            log.info("%d models out of inner fold %d of %d", found.shape[1] - 1, held_out + 1, self.n_folds)
        return found[:, 0], found[:, 1:]

    def _parts(self, x: PairFeatures) -> npt.NDArray[np.int64]:
        """Return each pair's inner fold."""
        ids = {"sample": x.sample_ids[x.sample_index], "drug": x.drug_ids[x.drug_index]}.get(self.groups)
        if ids is None:
            ids = np.char.add(np.char.add(x.sample_ids[x.sample_index], "\t"), x.drug_ids[x.drug_index])
        names, group = np.unique(ids, return_inverse=True)  # by name: the order of rows means nothing
        return np.asarray(np.random.default_rng(self.seed).permutation(len(names))[group] % self.n_folds)

    def _weigh(self, offset: Array, predicted: Array, y: Array, x: PairFeatures) -> None:
        normal = _Normal.of(predicted - offset[:, None], y - offset, x.drug_index, self.part_, len(x.drug_ids))
        self.common_ = normal.common(self.ridge)
        self.prior_ = None if self.per_drug is False or self.groups == "drug" else self._choose_prior(normal)
        shared = np.repeat(self.common_[None], len(x.drug_ids), axis=0)
        self.weight_ = shared if self.prior_ is None else normal.by_drug(self.common_, self.prior_)
        fitted = offset + ((predicted - offset[:, None]) * self.weight_[x.drug_index]).sum(axis=1)
        squares = (y - fitted) ** 2
        count = np.bincount(x.drug_index, minlength=len(x.drug_ids))
        total = np.bincount(x.drug_index, squares, minlength=len(x.drug_ids))
        self.noise_ = (total + _NOISE_PRIOR * squares.mean()) / (count + _NOISE_PRIOR)
        del self.part_

    def _choose_prior(self, normal: _Normal) -> float | None:
        """Return how many samples the common weights count as beside a drug's own, or None for common ones alone."""
        error = {prior: 0.0 for prior in (None, *_PRIORS)}
        for part in range(len(normal.gram)):
            rest, held_out = normal.without(part), normal.part(part)
            common = rest.common(self.ridge)
            for prior in error:
                weight = np.repeat(common[None], held_out.n_drugs, axis=0)
                error[prior] += held_out.error(weight if prior is None else rest.by_drug(common, prior))
        best = min(_PRIORS, key=lambda prior: error[prior])
        if self.per_drug is None and error[best] > (1 - _LEAST_GAIN) * error[None]:
            return None
        return best

    def _check_params(self) -> None:
        if self.groups not in DEFAULTS:
            raise DataError(f"groups is {self.groups!r}; it is one of {', '.join(DEFAULTS)}.")
        if self.n_folds < 2:
            raise DataError(f"n_folds is {self.n_folds}; it is at least 2.")
        if self.models is not None and not len(self.models):
            raise DataError("a stack needs at least one model.")
        for spec in self.models or ():
            read_spec(spec)


@dataclass(frozen=True)
class _Normal:
    """Normal equations of least squares by inner fold and drug.

    Parameters
    ----------
    gram, moment, power
        FᵀF, Fᵀr and rᵀr, shapes (n_parts, n_drugs, k, k), (n_parts, n_drugs, k) and (n_parts, n_drugs).
    count
        Pairs, shape (n_parts, n_drugs).
    """

    gram: Array
    moment: Array
    power: Array
    count: Array

    @classmethod
    def of(cls, f: Array, r: Array, drug: npt.NDArray[np.int64], part: npt.NDArray[np.int64], n_drugs: int) -> _Normal:
        """Return those of the pairs' predictions `f`, shape (n_pairs, k), for targets `r`."""
        n_parts, k = int(part.max()) + 1, f.shape[1]
        cell, size = part * n_drugs + drug, n_parts * n_drugs

        def summed(values: Array) -> Array:
            return np.asarray(np.bincount(cell, values, minlength=size).reshape(n_parts, n_drugs), dtype=np.float64)

        gram = np.stack([summed(f[:, i] * f[:, j]) for i in range(k) for j in range(k)], axis=-1)
        moment = np.stack([summed(f[:, i] * r) for i in range(k)], axis=-1)
        return cls(gram.reshape(n_parts, n_drugs, k, k), moment, summed(r * r), summed(np.ones(len(r))))

    @property
    def n_drugs(self) -> int:
        """Number of drugs."""
        return len(self.gram[0])

    def part(self, i: int) -> _Normal:
        """Return one inner fold's."""
        return _Normal(*(v[[i]] for v in (self.gram, self.moment, self.power, self.count)))

    def without(self, i: int) -> _Normal:
        """Return those of the other inner folds."""
        return _Normal(*(np.delete(v, i, axis=0) for v in (self.gram, self.moment, self.power, self.count)))

    def common(self, ridge: float) -> Array:
        """Return non-negative weights of all drugs, drawn towards equal ones, shape (k,)."""
        from scipy.optimize import nnls

        gram, moment = self.gram.sum(axis=(0, 1)), self.moment.sum(axis=(0, 1))
        k = len(moment)
        penalty = (ridge + 1e-9) * np.trace(gram) / k + 1e-12
        factor = np.linalg.cholesky(gram + penalty * np.eye(k))
        return np.asarray(nnls(factor.T, np.linalg.solve(factor, moment + penalty / k))[0])

    def by_drug(self, common: Array, prior: float) -> Array:
        """Return each drug's weights, drawn towards the common ones as if by `prior` pairs, shape (n_drugs, k)."""
        gram, moment = self.gram.sum(axis=0), self.moment.sum(axis=0)
        k = len(common)
        penalty = prior * np.einsum("dii->", gram) / max(self.count.sum() * k, 1) + 1e-12
        step = np.linalg.solve(gram + penalty * np.eye(k), (moment - gram @ common)[..., None])[..., 0]
        return np.asarray(np.maximum(common + step, 0))

    def error(self, weight: Array) -> float:
        """Return the squared error of weights (n_drugs, k), summed over pairs."""
        gram, moment = self.gram.sum(axis=0), self.moment.sum(axis=0)
        quadratic = np.einsum("di,dij,dj->", weight, gram, weight)
        return float(self.power.sum() - 2 * (weight * moment).sum() + quadratic)
