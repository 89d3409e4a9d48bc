"""Distilled: one network that is taught by an ensemble, on measured pairs, unmeasured pairs and made-up samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import Block, PairFeatures
from halfmax.models.base import JSON, Model, OnEpoch, Prediction, State, Valid, check_targets, response_matrix
from halfmax.models.members import Nested, make, nested_states, only, read_spec
from halfmax.models.networks.fusion import Fusion
from halfmax.models.networks.parts import joined
from halfmax.state import parameters_of

Array = npt.NDArray[np.float64]
_MADE_UP = "made up"


class Distilled(Nested):
    """A `Fusion` of one member (with one modality: a `TwoTowerMLP`) trained on an ensemble's predictions.

    The teacher is fitted on the training rows and asked about every pair of training samples and drugs, measured or
    not, and of made-up samples: each is a training sample turned towards another, x̄ + cos θ (x_i − x̄) + sin θ (x_j −
    x̄), which keeps the variance of the profiles where the mixture of two samples halves it. The network learns those
    predictions, and on measured pairs their mixture with the response. Only the network is kept: it costs what one
    network costs.

    Parameters
    ----------
    teacher, teacher_params
        Registered name of the ensemble, and its hyper-parameters.
    student
        Hyper-parameters of the network where they differ from those of `Fusion` with one member.
    trust
        Weight of the measured response against the teacher's prediction where there is one, 0 to 1.
    made_up
        Made-up samples a training sample.
    turn
        Largest angle θ, as a share of a right angle.
    task
        ``regression``, or ``classification`` of 0/1 labels: the teacher's probabilities are soft labels.
    device
        Of the network, and of the teacher where it has one.

    Notes
    -----
    The network reads profiles and drugs. What a teacher knows of a sample from its other responses
    (``response_gp``) is not in its inputs and cannot be taught.

    References
    ----------
    Hinton, Vinyals and Dean 2015, Distilling the knowledge in a neural network; Zhang et al. 2018, mixup; Beyer et al.
    2022, Knowledge distillation: a good teacher is patient and consistent.
    """

    def __init__(
        self,
        teacher: str = "stack",
        teacher_params: Mapping[str, JSON] | None = None,
        student: Mapping[str, JSON] | None = None,
        trust: float = 0.3,
        made_up: float = 2.0,
        turn: float = 0.5,
        task: str = "regression",
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self.teacher = teacher
        self.teacher_params = teacher_params
        self.student = student
        self.trust = trust
        self.made_up = made_up
        self.turn = turn
        self.task = task
        self.device = device
        self.seed = seed

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return {
            "trust": {"low": 0.0, "high": 1.0, "log": False},
            "turn": {"low": 0.1, "high": 1.0, "log": False},
            "made_up": {"choices": [0.0, 1.0, 2.0, 4.0]},
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
        """Fit the teacher, let it teach the network, and forget it.

        Parameters
        ----------
        start
            State of an earlier fit: the network goes on from there.
        """
        self._check_params()
        targets = check_targets(x, y)
        teacher = self._teacher().fit(x, targets, on_epoch=on_epoch)
        (student,) = self._members()
        taught, lesson = self._lesson(teacher, only(x, np.ones(x.n_pairs, dtype=bool)), targets)
        student.real = (x, targets)
        student.fit(taught, lesson, start=None if start is None else nested_states(start)[0], on_epoch=on_epoch)
        del student.real
        self.models_ = [student]
        self.history_: list[dict[str, JSON]] = []
        self._keep_history(teacher, "teacher")
        self._keep_history(student, "student")
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the network's predictions."""
        self._check_fitted()
        return self.models_[0].predict(x)

    def _teacher(self) -> Model:
        spec: list[JSON] = [self.teacher, dict(self.teacher_params or {})]
        return make(spec, seed=self.seed, task=self.task, device=self.device)

    def _members(self) -> list[_Student]:  # type: ignore[override]
        defaults: dict[str, JSON] = {"members": 1, "task": self.task, "device": self.device, "seed": self.seed}
        return [_Student(**(defaults | dict(self.student or {})))]  # type: ignore[arg-type]

    def _lesson(self, teacher: Model, x: PairFeatures, y: Array) -> tuple[PairFeatures, Array]:
        """Return real and made-up samples with every drug, and what is to be learned of each pair."""
        rng = np.random.default_rng(self.seed)
        real, more = x.grid(), self._made_up(x, rng).grid()
        soft, far = (np.asarray(teacher.predict(part).mean, dtype=np.float64) for part in (real, more))
        hard = response_matrix(x, y).ravel()
        known = np.isfinite(hard)
        soft[known] += self.trust * (hard[known] - soft[known])
        return joined(real, soft, more, far)

    def _made_up(self, x: PairFeatures, rng: np.random.Generator) -> PairFeatures:
        n = round(self.made_up * len(x.sample_ids))
        first, second = rng.integers(0, len(x.sample_ids), (2, n))
        angle = (rng.random((n, 1)) * self.turn * np.pi / 2).astype(np.float32)
        blocks = {}
        for name, block in x.sample_x.items():
            if name not in x.modalities:  # a tissue stays what it is
                blocks[name] = block.take(np.where(angle[:, 0] <= np.pi / 4, first, second))
                continue
            known = block.values[~block.absent]
            centre = known.mean(axis=0) if len(known) else np.zeros(block.values.shape[1], np.float32)
            left, right = block.take(first), block.take(second)
            turned = np.cos(angle) * (left.values - centre) + np.sin(angle) * (right.values - centre)
            absent = left.absent | right.absent
            values = np.where(absent[:, None], 0, centre + turned).astype(np.float32)
            mask = np.repeat(absent[:, None], values.shape[1], axis=1) if absent.any() else None
            blocks[name] = Block(values, block.names, mask)
        ids = np.array([f"{_MADE_UP} {i}" for i in range(n)], dtype=str)
        return replace(x, sample_ids=ids, sample_x=blocks)

    def _check_params(self) -> None:
        read_spec(self.teacher)
        strangers = sorted(set(self.student or {}) - set(parameters_of(Fusion)))
        if strangers:
            raise DataError(f"the student has no parameter {strangers[0]!r}.")
        for name in ("trust", "turn"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name} is {getattr(self, name)}; it is between 0 and 1.")
        if self.made_up < 0:
            raise DataError(f"made_up is {self.made_up}; it is at least 0.")


class _Student(Fusion):
    """A network whose coordinates are learned from real samples and measured responses alone."""

    real: tuple[PairFeatures, Array]

    def _learn_samples(self, x: PairFeatures, targets: Array, rng: np.random.Generator) -> None:
        super()._learn_samples(*self.real, rng)
