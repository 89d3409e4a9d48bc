"""Seeds: one model fitted from several seeds, their mean and how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import FloatArray, PairFeatures
from halfmax.models.base import JSON, MODELS, Model, OnEpoch, Prediction, State, Valid, check_targets
from halfmax.models.members import Nested, fit_member, make, nested_states
from halfmax.state import parameters_of


class Seeds(Nested):
    """The mean of a model fitted from `n` seeds, and the variance of a member taken at random.

    Parameters
    ----------
    model, params
        Registered name of the model, and its hyper-parameters.
    n
        Members; their seeds are `seed`, `seed` + 1, ….
    task
        ``regression``, or ``classification`` of 0/1 labels.

    Notes
    -----
    The variance is that of the members' means plus the mean of the members' own variances, where they have one (the
    law of total variance). With one member that has none there is no variance.

    References
    ----------
    Lakshminarayanan et al. 2017, Simple and scalable predictive uncertainty estimation using deep ensembles.
    """

    uses_valid: ClassVar[bool] = True

    def __init__(
        self,
        model: str = "mlp",
        params: Mapping[str, JSON] | None = None,
        n: int = 5,
        task: str = "regression",
        seed: int = 0,
    ) -> None:
        self.model = model
        self.params = params
        self.n = n
        self.task = task
        self.seed = seed

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return {"n": {"low": 2, "high": 10, "log": True}}

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Fit every member on the same rows.

        Raises
        ------
        DataError
            If `n` is below 1, or the model has no seed and so all members would be one.
        """
        if self.n < 1:
            raise DataError(f"n is {self.n}; it is at least 1.")
        if "seed" not in parameters_of(MODELS.get(self.model)) or "seed" in (self.params or {}):
            raise DataError(f"{self.model} has no seed to vary: all {self.n} members would be the same.")
        targets = check_targets(x, y)
        starts = nested_states(start) if start is not None else [None] * self.n
        self.history_: list[dict[str, JSON]] = []
        self.models_ = self._members()
        for i, (model, state) in enumerate(zip(self.models_, starts, strict=True)):
            fit_member(model, x, targets, valid, state, on_epoch)
            self._keep_history(model, f"{self.model} {i}")
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the members' mean, and their variance."""
        self._check_fitted()
        found = [model.predict(x) for model in self.models_]
        mean = _mean([p.mean for p in found])
        variance = np.var([p.mean for p in found], axis=0) if len(found) > 1 else None
        own = [p.variance for p in found if p.variance is not None]
        if len(own) == len(found):
            variance = _mean(own) + (0 if variance is None else variance)
        probability = [p.probability for p in found if p.probability is not None]
        return Prediction(
            mean,
            None if variance is None else variance.astype(np.float32),
            probability=_mean(probability) if len(probability) == len(found) else None,
        )

    def _members(self) -> list[Model]:
        spec: list[JSON] = [self.model, dict(self.params or {})]
        return [make(spec, seed=self.seed + i, task=self.task) for i in range(self.n)]


def _mean(values: list[FloatArray]) -> FloatArray:
    return np.asarray(np.mean(values, axis=0, dtype=np.float64), dtype=np.float32)
