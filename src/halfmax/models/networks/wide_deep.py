"""WideDeep: an exact linear path a drug in closed form, and networks for what it cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import Block, FloatArray, PairFeatures, rows_of
from halfmax.models.base import JSON, Model, OnEpoch, Prediction, State, Valid, check_targets
from halfmax.models.kernel import ResponseGP
from halfmax.models.members import Nested
from halfmax.models.networks.mlp import TwoTowerMLP

if TYPE_CHECKING:
    import torch

#: What is added to the standard deviation of a response factor, as a share of the largest, before it is divided by it.
_LEAST_FACTOR = 0.05
#: How much more than a single factor the sample's general sensitivity weighs among the factors.
_GENERAL = 3.0


class WideDeep(Nested):
    """Wide: `ResponseGP`, in closed form. Deep: one network on profiles, one on profiles and responses.

    A sample without training responses is given (1 − share) · wide + share · profile network: the linear path reads
    every gene, the network a rotated profile. A sample with training responses is given wide + context share ·
    context network, which reads the profile and what the wide path makes of all the sample's responses, and is trained
    on what the wide path gets wrong in parts of the pairs that were hidden from it. A drug without training responses
    is left to the wide path, which borrows from drugs of like structure, target and mechanism.

    Parameters
    ----------
    share, context_share
        Weights of the profile network and of the context network.
    folds
        Parts into which the pairs are cut for the context network; each is hidden from the wide path once.
    factors
        Principal components of the wide path's predictions that the context network reads.
    width, epochs, members, dropout, input_dropout, learning_rate, weight_decay, batch_size
        Of the profile network, see `TwoTowerMLP`; the context network differs in its epochs alone.
    context_epochs
        Epochs of the context network.
    blocks, drug_ridge
        Of the wide path, see `ResponseGP`.
    task, device, precision, seed
        See `TwoTowerMLP`.

    References
    ----------
    Cheng et al. 2016, Wide & deep learning for recommender systems; Wolpert 1992, Stacked generalization.
    """

    #: Validation rows are training rows: nothing is chosen by them.
    uses_valid: ClassVar[bool] = False

    def __init__(
        self,
        share: float = 0.5,
        context_share: float = 0.3,
        folds: int = 3,
        factors: int = 96,
        width: int = 1024,
        epochs: int = 60,
        context_epochs: int = 20,
        members: int = 2,
        dropout: float = 0.5,
        input_dropout: float = 0.5,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.1,
        batch_size: int = 128,
        blocks: Mapping[str, float] | None = None,
        drug_ridge: float | None = None,
        task: str = "regression",
        device: str = "auto",
        precision: str = "float32",
        seed: int = 0,
    ) -> None:
        self.share = share
        self.context_share = context_share
        self.folds = folds
        self.factors = factors
        self.width = width
        self.epochs = epochs
        self.context_epochs = context_epochs
        self.members = members
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.blocks = blocks
        self.drug_ridge = drug_ridge
        self.task = task
        self.device = device
        self.precision = precision
        self.seed = seed

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return {
            "share": {"low": 0.1, "high": 0.9, "log": False},
            "context_share": {"low": 0.1, "high": 0.7, "log": False},
            "width": {"choices": [256, 512, 1024, 2048]},
            "dropout": {"low": 0.0, "high": 0.8, "log": False},
            "input_dropout": {"low": 0.0, "high": 0.6, "log": False},
            "learning_rate": {"low": 3e-4, "high": 3e-3, "log": True},
            "weight_decay": {"low": 0.01, "high": 1.0, "log": True},
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
        """Solve the wide path, once on all pairs and once without each part of them, and train both networks."""
        targets = check_targets(x, y)
        for name in ("share", "context_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name} is {getattr(self, name)}; it is from 0 to 1.")
        if self.folds < 2 or self.factors < 1:
            raise DataError(f"folds is {self.folds} and factors {self.factors}; they are at least 2 and 1.")
        self.history_: list[JSON] = []
        self.models_ = self._members()
        wide, profile, context = self._parts()
        wide.fit(x, targets)
        profile.fit(x, targets, on_epoch=on_epoch)
        self._keep_history(cast("Model", profile), "profile")
        self.label_share_ = float(targets.mean()) if self.task == "classification" else 0.0
        self._learn_factors(_grid(wide, x))
        x_context, residual = self._hidden_parts(x, targets)
        context.fit(x_context, residual, on_epoch=on_epoch)
        self._keep_history(cast("Model", context), "context")
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the blend of paths that fits what is known of the sample and the drug."""
        self._check_fitted()
        wide, profile, context = self._parts()
        mean = wide.predict(x).mean
        if self.task == "classification":
            mean = np.clip(mean - np.float32(self.label_share_) + 0.5, 0, 1)
        measured = np.isin(x.sample_ids, wide.sample_ids_)[x.sample_index]
        asked = np.isin(x.drug_ids, wide.drug_ids_)[x.drug_index]
        if (new := ~measured & asked).any():
            mean[new] += np.float32(self.share) * (profile.predict(x.take_pairs(new)).mean - mean[new])
        if (seen := measured & asked).any():
            rows = x.take_pairs(seen)
            used = np.unique(rows.sample_index)
            part = _rows(rows, used)
            inputs = self._context(part, _grid(wide, part))
            mean[seen] += np.float32(self.context_share) * context.predict(self._context_pairs(part, inputs)).mean
        if self.task == "classification":
            mean = np.clip(mean, 0, 1)
            return Prediction(mean, probability=mean)
        return Prediction(mean)

    def _members(self) -> list[Model]:
        shared = {
            "width": self.width,
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "batch_size": self.batch_size,
            "device": self.device,
            "precision": self.precision,
            "seed": self.seed,
        }
        wide = ResponseGP(blocks=self.blocks, drug_ridge=self.drug_ridge)
        profile = TwoTowerMLP(**shared, epochs=self.epochs, members=self.members, task=self.task)  # type: ignore[arg-type]
        context = _ContextNetwork(**shared, epochs=self.context_epochs, members=1, identity_dropout=0.0)  # type: ignore[arg-type]
        return [wide, profile, context]

    def _parts(self) -> tuple[ResponseGP, TwoTowerMLP, TwoTowerMLP]:
        return cast("tuple[ResponseGP, TwoTowerMLP, TwoTowerMLP]", tuple(self.models_))

    def _learn_factors(self, grid: FloatArray) -> None:
        """Learn the principal components of the wide path's predictions, shape (n_samples, n_drugs)."""
        self.grid_mean_ = grid.mean(axis=0)
        scores = self._scores(grid)
        size, axes = np.linalg.eigh(scores.T.astype(np.float64) @ scores)
        axes = axes[:, ::-1][:, : self.factors]
        spread = np.sqrt(np.maximum(size[::-1][: self.factors], 0) / len(grid))
        self.factor_axes_ = (axes / (spread + _LEAST_FACTOR * spread[0] + 1e-12)).astype(np.float32)

    def _scores(self, grid: FloatArray) -> FloatArray:
        centred = grid - self.grid_mean_
        general = centred.mean(axis=1, keepdims=True)
        return np.hstack([centred - general, np.float32(_GENERAL) * general])

    def _context(self, x: PairFeatures, grid: FloatArray) -> FloatArray:
        """Return what the context network reads of each sample: its rotated profile and its response factors."""
        import torch

        _, profile, _ = self._parts()
        rotated = profile._sample_input(profile._view(x), torch.device("cpu")).numpy()
        return np.hstack([rotated, self._scores(grid) @ self.factor_axes_])

    def _hidden_parts(
        self, x: PairFeatures, targets: npt.NDArray[np.float64]
    ) -> tuple[PairFeatures, npt.NDArray[np.float64]]:
        """Return the pairs of each hidden part under samples of their own, and the wide path's errors on them."""
        part = np.random.default_rng(self.seed).permutation(x.n_pairs) % self.folds
        inputs, residual = [], np.empty(x.n_pairs)
        for k in range(self.folds):
            hidden = part == k
            # λ over drugs plays no part for drugs that were seen
            wide = ResponseGP(blocks=self.blocks, drug_ridge=1.0).fit(x.take_pairs(~hidden), targets[~hidden])
            rows = rows_of(x.drug_ids, wide.drug_ids_)
            grid = np.tile(self.grid_mean_, (len(x.sample_ids), 1))
            grid[:, rows >= 0] = wide._grid(x)[:, rows[rows >= 0]]
            inputs.append(self._context(x, grid))
            residual[hidden] = targets[hidden] - grid[x.sample_index[hidden], x.drug_index[hidden]]
        n = len(x.sample_ids)
        many = replace(
            x,
            sample_ids=np.concatenate([np.char.add(x.sample_ids, f" {k}") for k in range(self.folds)]),
            sample_index=x.sample_index + n * part,
        )
        return self._context_pairs(many, np.vstack(inputs)), residual

    def _context_pairs(self, x: PairFeatures, inputs: FloatArray) -> PairFeatures:
        names = tuple(f"context{i}" for i in range(inputs.shape[1]))
        return replace(x, sample_x={"context": Block(inputs, names)}, drug_x={}, modalities=("context",))


class _ContextNetwork(TwoTowerMLP):
    """The two-tower network on inputs that need no further coordinates; it knows no drug but those of training."""

    def _learn_samples(self, x: PairFeatures, targets: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
        n = self._view(x).shape[1]
        self.sample_mean_ = np.zeros(n, dtype=np.float32)
        self.sample_basis_ = np.eye(n, dtype=np.float32)

    def _sample_input(self, view: FloatArray, device: torch.device) -> torch.Tensor:
        import torch

        return torch.as_tensor(view, device=device)


def _grid(wide: ResponseGP, x: PairFeatures) -> FloatArray:
    """Return the wide path's predictions for every sample of `x` and every drug that it was fitted on."""
    return wide._grid(x)


def _rows(x: PairFeatures, rows: npt.NDArray[np.int64]) -> PairFeatures:
    """Return only these samples' rows, of which the pairs of `x` are."""
    place = np.full(len(x.sample_ids), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    return replace(
        x,
        sample_ids=x.sample_ids[rows],
        sample_x={name: block.take(rows) for name, block in x.sample_x.items()},
        sample_index=place[x.sample_index],
    )
