"""TwoTower: what networks share that score pairs by an inner product, trained on whole blocks of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import FloatArray, IndexArray, PairFeatures, rows_of
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
from halfmax.models.checkpoint import describe
from halfmax.models.loop import LoopSettings, Resumable, pick_device, train, until
from halfmax.models.networks.parts import (
    ACTIVATIONS,
    NORMS,
    PRECISIONS,
    Cells,
    Weights,
    activation,
    as_tensor,
    drop,
    joined,
    normalised,
    rotated,
    rotation,
    unit_power,
)

if TYPE_CHECKING:
    import torch

#: Draws normal numbers: ``normal(*shape, scale=…)``.
Normal = Callable[..., "torch.Tensor"]
#: Samples scored at a time: what they need stays in the processor's cache.
_ROWS = 256


class TwoTower(BaseModel):
    """Score of a pair = ⟨f(sample), g(drug)⟩ + b(drug), for an ensemble of members trained side by side.

    A network says how it reads samples: `_view` (what of the features), `_learn_samples` and `_sample_input` (in what
    coordinates), `_entry_names`, `_entry_weights` and `_entry` (its first layers, up to ``width`` units). Residual
    layers, the drug side, the loss, validation, refitting and scoring are here. A network may have a drug side of its
    own (`_drug_names`, `_drug_weights`, `_drugs`) or join both sides in another way (`_score`, `_scores`). Parameters
    are those of `halfmax.models.networks.mlp.TwoTowerMLP`.
    """

    uses_valid: ClassVar[bool] = True
    focus: float
    width: int
    layers: int
    drug_width: int
    drug_gain: float
    activation: str
    norm: str = "none"
    dropout: float
    input_dropout: float
    drug_dropout: float
    identity_dropout: float
    drug_identity: bool
    learning_rate: float
    weight_decay: float
    epochs: int
    batch_size: int
    patience: int | None
    members: int
    refit: bool
    task: str
    device: str
    precision: str
    seed: int

    def _view(self, x: PairFeatures) -> FloatArray:
        """Return what the network reads of each sample, shape (n, d)."""
        return x.sample(*x.modalities)

    def _learn_samples(self, x: PairFeatures, targets: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
        """Learn from training rows what `_sample_input` needs."""
        raise NotImplementedError

    def _sample_input(self, view: FloatArray, device: torch.device) -> torch.Tensor:
        """Return what the first layer is given for rows of a `_view`; the first axis counts samples."""
        raise NotImplementedError

    def _entry_names(self) -> list[str]:
        """Return the names of the weights of `_entry`."""
        raise NotImplementedError

    def _entry_weights(self, normal: Normal) -> Weights:
        """Return the first layers' weights before training, the first axis counting members."""
        raise NotImplementedError

    def _entry(self, weights: Weights, x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Encode inputs, shape (members, n, …), to (members, n, width)."""
        raise NotImplementedError

    def _columns(self, n_drugs: int, generator: torch.Generator) -> torch.Tensor | None:
        """Return the drugs that a step is trained on, or None for all."""
        return None

    def _score(
        self,
        weights: Weights,
        sample: torch.Tensor,
        drug: torch.Tensor,
        bias: torch.Tensor,
        generator: torch.Generator | None,
    ) -> torch.Tensor:
        """Return the score of every sample with every drug, shape (members, n, n_drugs), in training and validation."""
        import torch

        return torch.bmm(sample, drug.transpose(1, 2)) + bias[:, None]

    def _scores(self, weights: Weights, sample: torch.Tensor, drug: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Return what `_score` does, in one product: for prediction."""
        import torch

        return torch.baddbmm(bias[:, None], sample, drug.transpose(1, 2))

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Train the ensemble; with `valid`, the best epoch is chosen on it first.

        Parameters
        ----------
        start
            State of an earlier fit on the same features and drugs: training goes on from its weights.
        """
        self._check_params()
        targets = check_targets(x, y)
        epochs = self.epochs
        self.history_: list[dict[str, JSON]] = []
        if valid is not None and self.refit:
            scout = replace_members(self, 1)
            scout._train(x, targets, valid, None, self.epochs, on_epoch)
            losses = np.array([record["valid_loss"] for record in scout.history_], dtype=float)
            best = int(np.argmin(losses)) + 1
            x, targets = joined(x, targets, *valid)
            self._train(x, targets, None, start, epochs, until(best, on_epoch))
            self.history_ = scout.history_ + [r | {"member": "ensemble"} for r in self.history_]
        else:
            self._train(x, targets, valid, start, epochs, on_epoch)
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the members' mean, and their variance where there are several."""
        self._check_fitted()
        import torch

        device = pick_device(self.device)
        weights = {name: as_tensor(value, device) for name, value in self._weights().items()}
        profile = self._view(x)
        shape = (len(x.sample_ids), len(x.drug_ids))
        mean, variance = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
        with torch.no_grad():
            rows = rows_of(x.drug_ids, self.drug_ids_)
            drug, bias = self._drugs(weights, self._drug_input(x, device), rows, None)
            for part in (slice(start, start + _ROWS) for start in range(0, shape[0], _ROWS)):
                sample = self._samples(weights, self._sample_input(profile[part], device), None)
                score = self._scores(weights, sample, drug, bias).cpu().numpy()
                if self.task == "classification":
                    score = 1 / (1 + np.exp(-np.clip(score, -30, 30)))
                mean[part], variance[part] = score.mean(axis=0), score.var(axis=0)
        if self.task == "classification":
            probability = gather(mean, x)
            return Prediction(probability, probability=probability)
        return Prediction(gather(mean, x), gather(variance, x) if len(bias) > 1 else None)

    def _train(
        self,
        x: PairFeatures,
        targets: npt.NDArray[np.float64],
        valid: Valid | None,
        start: State | None,
        epochs: int,
        on_epoch: OnEpoch | None,
    ) -> None:
        import torch

        device = pick_device(self.device)
        generator = torch.Generator().manual_seed(self.seed)
        self._learn_inputs(x, targets)
        grid = response_matrix(x, targets)
        weights = {k: v.to(device) for k, v in self._initial(grid, generator, start).items()}
        samples = self._sample_input(self._view(x), device)
        drugs = self._drug_input(x, device)
        cells = Cells(grid, self.task, device)
        trained = np.flatnonzero(np.isfinite(grid).any(axis=1))
        rows = np.arange(len(x.drug_ids))

        def batches() -> list[torch.Tensor]:
            orders = [torch.randperm(len(trained), generator=generator) for _ in range(self.members)]
            order = torch.as_tensor(trained)[torch.stack(orders)]
            return [part.to(device) for part in torch.split(order, self.batch_size, dim=1)]

        def loss_of(batch: torch.Tensor) -> torch.Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                return self._batch_loss(weights, samples, drugs, rows, cells, batch, generator)

        valid_loss = None if valid is None else self._valid_loss(weights, valid, device)
        settings = LoopSettings(epochs, self.learning_rate, self.weight_decay, 5.0 * self.members, self.patience)
        resumable = Resumable(generator, lambda: describe(self, x, targets, valid))
        history = train(weights, batches, loss_of, valid_loss, settings, on_epoch, resumable)
        for name, value in weights.items():
            setattr(self, f"{name}_", value.detach().cpu().numpy())
        for record in history:
            record["train_loss"] /= self.members  # what is trained is the sum over members
        self.history_ = [
            {k: int(v) if k == "epoch" else v for k, v in record.items()} | {"member": "all"} for record in history
        ]

    def _batch_loss(
        self,
        weights: Weights,
        samples: torch.Tensor,
        drugs: torch.Tensor,
        rows: IndexArray,
        cells: Cells,
        batch: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the loss of a batch of rows of `samples`, shape (members, n), summed over members."""
        columns = self._columns(len(rows), generator)
        used, read = (rows, drugs) if columns is None else (rows[columns.numpy()], drugs[columns.to(batch.device)])
        h = self._samples(weights, samples[batch], generator)
        v, bias = self._drugs(weights, read, used, generator)
        return cells.loss(self._score(weights, h, v, bias, generator).float(), batch, columns)

    def _valid_loss(self, weights: Weights, valid: Valid, device: torch.device):  # type: ignore[no-untyped-def]
        import torch

        x, y = valid
        cells = Cells(response_matrix(x, check_targets(x, y)), self.task, device)
        samples = self._sample_input(self._view(x), device)
        drugs = self._drug_input(x, device)
        rows = rows_of(x.drug_ids, self.drug_ids_)
        everyone = torch.arange(len(x.sample_ids), device=device).expand(self.members, -1)

        def loss() -> float:
            h = self._samples(weights, samples, None)
            v, bias = self._drugs(weights, drugs, rows, None)
            score = self._score(weights, h, v, bias, None).mean(dim=0, keepdim=True)
            return float(cells.loss(score, everyone[:1]))

        return loss

    def _initial(self, grid: npt.NDArray[np.float64], generator: torch.Generator, start: State | None):  # type: ignore[no-untyped-def]
        import torch

        if start is not None:
            return {k.removesuffix("_"): torch.as_tensor(np.array(start.arrays[k])) for k in self._names()}
        m, w = self.members, self.width

        def normal(*shape: int, scale: float) -> torch.Tensor:
            return torch.randn(*shape, generator=generator) * scale

        count = np.isfinite(grid).sum(axis=0)
        mean = np.nansum(grid, axis=0) / np.maximum(count, 1)
        if self.task == "classification":
            mean = np.zeros_like(mean)
        bias = torch.as_tensor(np.where(count > 0, mean, 0), dtype=torch.float32)
        weights = {
            **self._entry_weights(normal),
            **self._drug_weights(normal, len(bias)),
            "bias_identity": bias.expand(m, -1).clone(),
        }
        for i in range(1, self.layers):
            weights[f"hidden{i}"] = normal(m, w, w, scale=0.1 / math.sqrt(w))
            weights[f"bias_hidden{i}"] = torch.zeros(m, 1, w)
        return weights

    def _drug_names(self) -> list[str]:
        """Return the names of the weights of `_drugs`, but for ``bias_identity``."""
        return ["drug_enter", "bias_drug_enter", "drug_leave", "bias_drug_leave", "identity"]

    def _drug_weights(self, normal: Normal, n_drugs: int) -> Weights:
        """Return the drug side's weights before training; each drug's own bias starts at its mean."""
        import torch

        m, w, d, kd = self.members, self.width, self.drug_width, self.drug_basis_.shape[1]
        return {
            "drug_enter": normal(m, kd, d, scale=1 / math.sqrt(max(kd, 1))),
            "bias_drug_enter": torch.zeros(m, 1, d),
            "drug_leave": normal(m, d, w + 1, scale=0.01 / math.sqrt(d)),
            "bias_drug_leave": torch.zeros(m, 1, w + 1),
            "identity": normal(m, n_drugs, w, scale=0.01 / math.sqrt(w)),
        }

    def _names(self) -> list[str]:
        hidden = [name for i in range(1, self.layers) for name in (f"hidden{i}", f"bias_hidden{i}")]
        return [f"{name}_" for name in (*self._entry_names(), *self._drug_names(), "bias_identity", *hidden)]

    def _weights(self) -> dict[str, npt.NDArray[np.float32]]:
        return {name.removesuffix("_"): getattr(self, name) for name in self._names()}

    def _samples(self, weights: Weights, x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Encode samples, shape (n, …) or, in a batch, (members, n, …), to (members, n, width)."""
        import torch

        act = activation(self.activation)
        h = self._entry(weights, x, generator)
        for i in range(1, self.layers):
            dropped = drop(normalised(h, self.norm), self.dropout, generator)
            h = h + act(torch.baddbmm(weights[f"bias_hidden{i}"], dropped, weights[f"hidden{i}"]))
        return drop(normalised(h, self.norm), self.dropout, generator)

    def _drugs(
        self, weights: Weights, x: torch.Tensor, rows: IndexArray, generator: torch.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode drugs to vectors (members, n, width) and biases (members, n); `rows` -1 = unseen."""
        import torch

        h = self._drug_hidden(weights, x, generator)
        out = torch.baddbmm(weights["bias_drug_leave"], h, weights["drug_leave"])
        return self._own(
            weights, out[..., :-1] * self.drug_gain, out[..., -1], rows, self._known(weights, rows, generator)
        )

    def _drug_hidden(self, weights: Weights, x: torch.Tensor, generator: torch.Generator | None):  # type: ignore[no-untyped-def]
        """Return the drug tower's hidden units, shape (members, n, drug_width)."""
        import torch

        x = drop(x.expand(len(weights["identity"]), -1, -1), self.drug_dropout, generator)
        h = activation(self.activation)(torch.baddbmm(weights["bias_drug_enter"], x, weights["drug_enter"]))
        return drop(h, self.drug_dropout, generator)

    def _own(
        self, weights: Weights, vector: torch.Tensor, bias: torch.Tensor, rows: IndexArray, known: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put a seen drug's own vector and bias in the place of what was read from its features."""
        place = np.maximum(rows, 0)
        vector = vector * (1 - known[..., None]) + weights["identity"][:, place] * known[..., None]
        return vector, bias * (1 - known) + weights["bias_identity"][:, place] * known

    def _known(self, weights: Weights, rows: IndexArray, generator: torch.Generator | None) -> torch.Tensor:
        """Return 1 for drugs that go by their own vector, shape (members, n); in training a share does not."""
        import torch

        device, members = weights["identity"].device, len(weights["identity"])
        known = torch.as_tensor((rows >= 0) & self.drug_identity, device=device).float().expand(members, -1)
        if generator is not None and self.identity_dropout > 0:
            known = known * (torch.rand(known.shape, generator=generator) >= self.identity_dropout).to(device)
        return known

    def _learn_inputs(self, x: PairFeatures, targets: npt.NDArray[np.float64]) -> None:
        rng = np.random.default_rng(self.seed)
        self.drug_ids_ = x.drug_ids
        self._learn_samples(x, targets, rng)
        self.drug_block_scale_ = np.array([unit_power(x.drug(name)) for name in x.drug_x], dtype=np.float32)
        self.drug_mean_, self.drug_basis_ = rotation(self._drug_blocks(x), rng)

    def _drug_blocks(self, x: PairFeatures) -> FloatArray:
        if not x.drug_x:
            return np.zeros((len(x.drug_ids), 1), dtype=np.float32)
        parts = zip(x.drug_x, self.drug_block_scale_, strict=True)
        return np.hstack([x.drug(name) * scale for name, scale in parts])

    def _drug_input(self, x: PairFeatures, device: torch.device) -> torch.Tensor:
        return rotated(self._drug_blocks(x), self.drug_mean_, self.drug_basis_, device)

    def _check_params(self) -> None:
        for name, known in (("activation", ACTIVATIONS), ("norm", NORMS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise DataError(f"{name} is {getattr(self, name)!r}; it is one of {', '.join(known)}.")
        for name in ("dropout", "input_dropout", "drug_dropout", "identity_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}; it is at least 0 and below 1.")
        for name in ("width", "layers", "drug_width", "epochs", "batch_size", "members"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}; it is at least 1.")


def replace_members(model: TwoTower, members: int) -> TwoTower:
    """Return an unfitted copy with another number of members."""
    return type(model)(**{**model.get_params(), "members": members})
