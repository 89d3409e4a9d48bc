"""TwoTowerMLP: a tower for samples, one for drugs, and their inner product, trained on whole blocks of pairs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Self

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
from halfmax.models.kernel import KernelRidge
from halfmax.models.loop import LoopSettings, pick_device, train
from halfmax.models.networks.parts import ACTIVATIONS, Cells, activation, drop, joined, rotated, rotation

if TYPE_CHECKING:
    import torch

#: Samples scored at a time: what they need stays in the processor's cache.
_ROWS = 256


class TwoTowerMLP(BaseModel):
    """Score of a pair = ⟨f(sample), g(drug)⟩ + b(drug), for an ensemble of members trained side by side.

    The sample tower reads expression in the coordinates of the training samples' first principal components, randomly
    rotated: the first layer costs a tenth, and weight decay acts as ridge does. The drug
    tower reads fingerprints and descriptors and serves unseen drugs; a drug seen in training has a learned vector and
    bias of its own, except for a random share that is treated as unseen in each step. A step encodes a batch of
    samples and every drug once and takes the squared error (or cross-entropy) over the measured cells of the block.

    Parameters
    ----------
    focus
        How strongly genes are weighted by what a smooth linear fit leans on, as in `KernelRidge`; 0 = not at all.
    components
        Principal components kept; None = all that the training samples span.
    width, layers
        Units and hidden layers of the sample tower; layers after the first are residual.
    drug_width, drug_gain
        Units of the drug tower, and what its vectors are multiplied by. An optimiser step moves all entries of a vector
        at once: with a gain of 1 the tower's scores swing before they settle.
    activation
        ``relu``, ``tanh``, ``silu`` or ``gelu``.
    dropout, input_dropout, drug_dropout
        Shares dropped of the sample tower's units, of its inputs and in the drug tower.
    identity_dropout
        Share of seen drugs that are treated as unseen in a step, which trains the drug tower.
    drug_identity
        Whether seen drugs have a vector of their own.
    learning_rate, weight_decay, epochs, batch_size, patience
        See `LoopSettings`; the batch counts samples.
    members
        Networks in the ensemble; their mean is the prediction, their variance the variance.
    refit
        After the best epoch is known from validation, train anew on training and validation samples for as long.
    task
        ``regression``, or ``classification`` of 0/1 labels with balanced weights.
    device, precision
        ``auto``, ``cpu``, ``cuda``, ``mps``; ``float32``, or ``bfloat16`` products on a GPU.

    References
    ----------
    Radhakrishnan et al. 2024 (weights of features from a first fit); Hinton et al. 2012 (dropout); Loshchilov and
    Hutter 2019 (AdamW); Lakshminarayanan et al. 2017 (ensembles).
    """

    uses_valid: ClassVar[bool] = True

    def __init__(
        self,
        focus: float = 2.0,
        components: int | None = 512,
        width: int = 1024,
        layers: int = 1,
        drug_width: int = 256,
        drug_gain: float = 0.1,
        activation: str = "silu",
        dropout: float = 0.5,
        input_dropout: float = 0.5,
        drug_dropout: float = 0.3,
        identity_dropout: float = 0.1,
        drug_identity: bool = True,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.1,
        epochs: int = 60,
        batch_size: int = 128,
        patience: int | None = None,
        members: int = 2,
        refit: bool = True,
        task: str = "regression",
        device: str = "auto",
        precision: str = "float32",
        seed: int = 0,
    ) -> None:
        self.focus = focus
        self.components = components
        self.width = width
        self.layers = layers
        self.drug_width = drug_width
        self.drug_gain = drug_gain
        self.activation = activation
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.drug_dropout = drug_dropout
        self.identity_dropout = identity_dropout
        self.drug_identity = drug_identity
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.members = members
        self.refit = refit
        self.task = task
        self.device = device
        self.precision = precision
        self.seed = seed

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return {
            "learning_rate": {"low": 3e-4, "high": 3e-3, "log": True},
            "weight_decay": {"low": 0.01, "high": 1.0, "log": True},
            "width": {"choices": [256, 512, 1024, 2048]},
            "layers": {"low": 1, "high": 3, "log": False},
            "activation": {"choices": list(ACTIVATIONS)},
            "dropout": {"low": 0.0, "high": 0.8, "log": False},
            "input_dropout": {"low": 0.0, "high": 0.6, "log": False},
            "batch_size": {"choices": [32, 64, 128, 256]},
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
            self._train(x, targets, None, start, epochs, _until(best, on_epoch))
            self.history_ = scout.history_ + [r | {"member": "ensemble"} for r in self.history_]
        else:
            self._train(x, targets, valid, start, epochs, on_epoch)
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the members' mean, and their variance where there are several."""
        self._check_fitted()
        import torch

        device = pick_device(self.device)
        weights = {name: torch.as_tensor(value, device=device) for name, value in self._weights().items()}
        profile = x.sample(*x.modalities)
        shape = (len(x.sample_ids), len(x.drug_ids))
        mean, variance = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
        with torch.no_grad():
            rows = rows_of(x.drug_ids, self.drug_ids_)
            drug, bias = self._drugs(weights, self._drug_input(x, device), rows, None)
            for part in (slice(start, start + _ROWS) for start in range(0, shape[0], _ROWS)):
                sample = self._samples(weights, self._sample_input(profile[part], device), None)
                score = torch.baddbmm(bias[:, None], sample, drug.transpose(1, 2)).cpu().numpy()
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
        samples = self._sample_input(x.sample(*x.modalities), device)
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
                h = self._samples(weights, samples[batch], generator)
                v, bias = self._drugs(weights, drugs, rows, generator)
                score = torch.bmm(h, v.transpose(1, 2)) + bias[:, None]
            return cells.loss(score.float(), batch)

        valid_loss = None if valid is None else self._valid_loss(weights, valid, device)
        settings = LoopSettings(epochs, self.learning_rate, self.weight_decay, 5.0 * self.members, self.patience)
        history = train(weights, batches, loss_of, valid_loss, settings, on_epoch)
        for name, value in weights.items():
            setattr(self, f"{name}_", value.detach().cpu().numpy())
        for record in history:
            record["train_loss"] /= self.members  # what is trained is the sum over members
        self.history_ = [
            {k: int(v) if k == "epoch" else v for k, v in record.items()} | {"member": "all"} for record in history
        ]

    def _valid_loss(self, weights: dict[str, torch.Tensor], valid: Valid, device: torch.device):  # type: ignore[no-untyped-def]
        import torch

        x, y = valid
        cells = Cells(response_matrix(x, check_targets(x, y)), self.task, device)
        samples = self._sample_input(x.sample(*x.modalities), device)
        drugs = self._drug_input(x, device)
        rows = rows_of(x.drug_ids, self.drug_ids_)
        everyone = torch.arange(len(x.sample_ids), device=device).expand(self.members, -1)

        def loss() -> float:
            h = self._samples(weights, samples, None)
            v, bias = self._drugs(weights, drugs, rows, None)
            score = (torch.bmm(h, v.transpose(1, 2)) + bias[:, None]).mean(dim=0, keepdim=True)
            return float(cells.loss(score, everyone[:1]))

        return loss

    def _initial(self, grid: npt.NDArray[np.float64], generator: torch.Generator, start: State | None):  # type: ignore[no-untyped-def]
        import torch

        if start is not None:
            return {k.removesuffix("_"): torch.as_tensor(np.array(start.arrays[k])) for k in self._names()}
        m, k, w, d = self.members, self.sample_basis_.shape[1], self.width, self.drug_width
        kd, n_drugs = self.drug_basis_.shape[1], grid.shape[1]

        def normal(*shape: int, scale: float) -> torch.Tensor:
            return torch.randn(*shape, generator=generator) * scale

        count = np.isfinite(grid).sum(axis=0)
        mean = np.nansum(grid, axis=0) / np.maximum(count, 1)
        if self.task == "classification":
            mean = np.zeros_like(mean)
        bias = torch.as_tensor(np.where(count > 0, mean, 0), dtype=torch.float32)
        weights = {
            "enter": normal(m, k, w, scale=1 / math.sqrt(max(k, 1))),
            "bias_enter": torch.zeros(m, 1, w),
            "drug_enter": normal(m, kd, d, scale=1 / math.sqrt(max(kd, 1))),
            "bias_drug_enter": torch.zeros(m, 1, d),
            "drug_leave": normal(m, d, w + 1, scale=0.01 / math.sqrt(d)),
            "bias_drug_leave": torch.zeros(m, 1, w + 1),
            "identity": normal(m, n_drugs, w, scale=0.01 / math.sqrt(w)),
            "bias_identity": bias.expand(m, n_drugs).clone(),
        }
        for i in range(1, self.layers):
            weights[f"hidden{i}"] = normal(m, w, w, scale=0.1 / math.sqrt(w))
            weights[f"bias_hidden{i}"] = torch.zeros(m, 1, w)
        return weights

    def _names(self) -> list[str]:
        hidden = [name for i in range(1, self.layers) for name in (f"hidden{i}_", f"bias_hidden{i}_")]
        towers = ["enter_", "bias_enter_", "drug_enter_", "bias_drug_enter_", "drug_leave_", "bias_drug_leave_"]
        return [*towers, "identity_", "bias_identity_", *hidden]

    def _weights(self) -> dict[str, npt.NDArray[np.float32]]:
        return {name.removesuffix("_"): getattr(self, name) for name in self._names()}

    def _samples(
        self, weights: dict[str, torch.Tensor], x: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Encode samples, shape (n, k) or (members, n, k), to (members, n, width)."""
        import torch

        act = activation(self.activation)
        x = x if x.dim() == 3 else x.expand(len(weights["enter"]), -1, -1)
        h = act(torch.baddbmm(weights["bias_enter"], drop(x, self.input_dropout, generator), weights["enter"]))
        for i in range(1, self.layers):
            dropped = drop(h, self.dropout, generator)
            h = h + act(torch.baddbmm(weights[f"bias_hidden{i}"], dropped, weights[f"hidden{i}"]))
        return drop(h, self.dropout, generator)

    def _drugs(
        self,
        weights: dict[str, torch.Tensor],
        x: torch.Tensor,
        rows: npt.NDArray[np.int64],
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode drugs to vectors (members, n, width) and biases (members, n); `rows` -1 = unseen."""
        import torch

        act = activation(self.activation)
        members = len(weights["enter"])
        x = drop(x.expand(members, -1, -1), self.drug_dropout, generator)
        h = drop(act(torch.baddbmm(weights["bias_drug_enter"], x, weights["drug_enter"])), self.drug_dropout, generator)
        out = torch.baddbmm(weights["bias_drug_leave"], h, weights["drug_leave"])
        vector, bias = out[..., :-1] * self.drug_gain, out[..., -1]
        known = torch.as_tensor(rows >= 0, device=x.device).float().expand(members, -1)
        if not self.drug_identity:
            known = torch.zeros_like(known)
        if generator is not None and self.identity_dropout > 0:
            kept = torch.rand(known.shape, generator=generator) >= self.identity_dropout
            known = known * kept.to(x.device)
        place = torch.as_tensor(np.maximum(rows, 0), device=x.device)
        vector = vector * (1 - known[..., None]) + weights["identity"][:, place] * known[..., None]
        return vector, bias * (1 - known) + weights["bias_identity"][:, place] * known

    def _learn_inputs(self, x: PairFeatures, targets: npt.NDArray[np.float64]) -> None:
        rng = np.random.default_rng(self.seed)
        self.drug_ids_ = x.drug_ids
        profile = x.sample(*x.modalities)
        gain = KernelRidge(focus=self.focus).fit(x, targets).gain_ if self.focus > 0 else np.float32(1.0)
        _, basis = rotation(profile * gain, rng, self.components)
        self.sample_mean_ = np.asarray(profile.mean(axis=0))
        self.sample_basis_ = np.ascontiguousarray(np.reshape(gain, (-1, 1)) * basis)
        drug = [_unit_power(x.drug(name)) for name in x.drug_x]
        self.drug_block_scale_ = np.array([scale for _, scale in drug], dtype=np.float32)
        self.drug_mean_, self.drug_basis_ = rotation(self._drug_blocks(x), rng)

    def _sample_input(self, profile: FloatArray, device: torch.device) -> torch.Tensor:
        return rotated(profile, self.sample_mean_, self.sample_basis_, device)

    def _drug_blocks(self, x: PairFeatures) -> FloatArray:
        if not x.drug_x:
            return np.zeros((len(x.drug_ids), 1), dtype=np.float32)
        parts = zip(x.drug_x, self.drug_block_scale_, strict=True)
        return np.hstack([x.drug(name) * scale for name, scale in parts])

    def _drug_input(self, x: PairFeatures, device: torch.device) -> torch.Tensor:
        return rotated(self._drug_blocks(x), self.drug_mean_, self.drug_basis_, device)

    def _check_params(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise DataError(f"activation is {self.activation!r}; it is one of {', '.join(ACTIVATIONS)}.")
        for name in ("dropout", "input_dropout", "drug_dropout", "identity_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}; it is at least 0 and below 1.")
        if self.components is not None and self.components < 1:
            raise DataError(f"components is {self.components}; it is at least 1, or none for all.")
        for name in ("width", "layers", "drug_width", "epochs", "batch_size", "members"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}; it is at least 1.")


def replace_members(model: TwoTowerMLP, members: int) -> TwoTowerMLP:
    """Return an unfitted copy with another number of members."""
    return TwoTowerMLP(**{**model.get_params(), "members": members})  # type: ignore[arg-type]


def _until(last: int, on_epoch: OnEpoch | None) -> OnEpoch:
    def stop(epoch: int, log: object) -> bool:
        asked = on_epoch is not None and on_epoch(epoch, log)  # type: ignore[arg-type]
        return asked or epoch >= last

    return stop


def _unit_power(values: FloatArray) -> tuple[FloatArray, float]:
    power = float(((values - values.mean(axis=0)) ** 2).sum(axis=1).mean()) if values.size else 0.0
    return values, 1 / math.sqrt(power) if power > 1e-12 else 0.0
