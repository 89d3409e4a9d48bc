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
#: The lessons hold no noise and are many: nothing is dropped, and little is decayed.
_STUDENT: Mapping[str, JSON] = {
    "members": 1,
    "components": None,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "drug_dropout": 0.0,
    "modality_dropout": 0.0,
    "weight_decay": 1e-3,
    "epochs": 20,
}


class Distilled(Nested):
    """A `Fusion` of one member (with one modality: a `TwoTowerMLP`) trained on an ensemble's predictions.

    The teacher is fitted on the training rows and asked about every pair of training samples and drugs, measured or
    not, and of made-up samples: x̄ + Σ wᵢ (xᵢ − x̄) / √n with wᵢ normal, which are as spread as training samples are.
    The network learns those predictions (and, with `trust`, on measured pairs their mixture with the response) without
    dropout: there is no noise in them to guard against, and many more of them than measurements. Only the network is
    kept: it costs what one network costs.

    Parameters
    ----------
    teacher, teacher_params
        Registered name of the ensemble, and its hyper-parameters.
    student
        Hyper-parameters of the network where they differ from those of `Fusion` with one member, all components, no
        dropout, weight decay 0.001 and 20 epochs.
    trust
        Weight of the measured response against the teacher's prediction where there is one, 0 to 1.
    made_up
        Made-up samples a training sample.
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
    Hinton, Vinyals and Dean 2015, Distilling the knowledge in a neural network; Beyer et al. 2022, Knowledge
    distillation: a good teacher is patient and consistent.
    """

    def __init__(
        self,
        teacher: str = "stack",
        teacher_params: Mapping[str, JSON] | None = None,
        student: Mapping[str, JSON] | None = None,
        trust: float = 0.0,
        made_up: float = 10.0,
        task: str = "regression",
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self.teacher = teacher
        self.teacher_params = teacher_params
        self.student = student
        self.trust = trust
        self.made_up = made_up
        self.task = task
        self.device = device
        self.seed = seed

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return {
            "trust": {"low": 0.0, "high": 1.0, "log": False},
            "made_up": {"choices": [2.0, 5.0, 10.0, 20.0]},
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
        own: dict[str, JSON] = {"task": self.task, "device": self.device, "seed": self.seed}
        return [_Student(**({**_STUDENT, **own} | dict(self.student or {})))]  # type: ignore[arg-type]

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
        like = rng.integers(0, len(x.sample_ids), n)
        blocks = {}
        for name, block in x.sample_x.items():
            drawn = block.take(like)
            if name in x.modalities:  # a tissue stays what it is
                known = block.values[~block.absent]
                centre = known.mean(axis=0) if len(known) else np.zeros(block.values.shape[1], np.float32)
                weight = rng.standard_normal((n, len(known)), dtype=np.float32) / np.float32(max(len(known), 1) ** 0.5)
                values = centre + weight @ (known - centre)
                absent = drawn.absent
                mask = np.repeat(absent[:, None], values.shape[1], axis=1) if absent.any() else None
                drawn = Block(np.where(absent[:, None], np.float32(0), values), block.names, mask)
            blocks[name] = drawn
        ids = np.array([f"{_MADE_UP} {i}" for i in range(n)], dtype=str)
        return replace(x, sample_ids=ids, sample_x=blocks)

    def _check_params(self) -> None:
        read_spec(self.teacher)
        strangers = sorted(set(self.student or {}) - set(parameters_of(Fusion)))
        if strangers:
            raise DataError(f"the student has no parameter {strangers[0]!r}.")
        if not 0 <= self.trust <= 1:
            raise DataError(f"trust is {self.trust}; it is between 0 and 1.")
        if self.made_up < 0:
            raise DataError(f"made_up is {self.made_up}; it is at least 0.")


class _Student(Fusion):
    """A network whose coordinates are learned from real samples and measured responses alone."""

    real: tuple[PairFeatures, Array]

    def _learn_samples(self, x: PairFeatures, targets: Array, rng: np.random.Generator) -> None:
        super()._learn_samples(*self.real, rng)
