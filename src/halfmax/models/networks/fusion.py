"""Fusion: a tower a modality, joined late by a gate over the modalities that a sample has."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import FloatArray, PairFeatures
from halfmax.models.base import JSON, OnEpoch, State, Valid, response_matrix
from halfmax.models.kernel import KernelRidge
from halfmax.models.loop import pick_device
from halfmax.models.networks.mlp import TwoTowerMLP
from halfmax.models.networks.parts import activation, drop, rotated, rotation
from halfmax.models.networks.towers import Normal
from halfmax.models.profile import Profile
from halfmax.models.ridge import choose_weights

if TYPE_CHECKING:
    import torch

#: The least share of a modality in the gate before training, so that every tower is given a gradient.
_LEAST_SHARE = 0.01


class Fusion(TwoTowerMLP):
    """A tower a modality, a softmax gate over the modalities that the sample has, and the drug side of `TwoTowerMLP`.

    h(sample) = Σ_m g_m h_m(x_m), with h_m a tower of shape (k_m) → (width) and g = softmax over the present modalities
    of b_m + ⟨u_m, h_m⟩ / width. A modality that a sample lacks (`Block.absent`) has gate 0: nothing is filled in for
    it. In training a modality of a sample is dropped at random, at least one kept, so that every tower learns to stand
    alone. A sample of which nothing is known is given the mean encoding of the training samples: the drug's mean.
    With one modality, present in every sample, this is `TwoTowerMLP`, bit for bit.

    Parameters
    ----------
    modality_dropout
        Chance that a modality of a sample is dropped in a step.
    focus, components
        As in `TwoTowerMLP`, of each modality on its own; the modalities' shares in a kernel, chosen by exact
        leave-one-out on training rows, are where the gate starts.
    width, layers, drug_width, drug_gain, activation, norm, dropout, input_dropout, drug_dropout, identity_dropout
        As in `TwoTowerMLP`; `input_dropout` is that of every tower.
    drug_identity, learning_rate, weight_decay, epochs, batch_size, patience, members, refit, task, device, precision
        As in `TwoTowerMLP`.

    Notes
    -----
    Modalities are known by name: their order means nothing, and a predictor reads those that it was fitted on.

    References
    ----------
    Arevalo et al. 2017 (gated multimodal units); Neverova et al. 2016, ModDrop (modality dropout); Sharifi-Noghabi et
    al. 2019, MOLI (late fusion of omics for drug response).
    """

    def __init__(
        self,
        modality_dropout: float = 0.2,
        focus: float = 2.0,
        components: int | None = 512,
        width: int = 1024,
        layers: int = 1,
        drug_width: int = 256,
        drug_gain: float = 0.1,
        activation: str = "silu",
        norm: str = "none",
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
        self.modality_dropout = modality_dropout
        super().__init__(
            focus=focus,
            components=components,
            width=width,
            layers=layers,
            drug_width=drug_width,
            drug_gain=drug_gain,
            activation=activation,
            norm=norm,
            dropout=dropout,
            input_dropout=input_dropout,
            drug_dropout=drug_dropout,
            identity_dropout=identity_dropout,
            drug_identity=drug_identity,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            epochs=epochs,
            batch_size=batch_size,
            patience=patience,
            members=members,
            refit=refit,
            task=task,
            device=device,
            precision=precision,
            seed=seed,
        )

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        own: dict[str, JSON] = {"modality_dropout": {"low": 0.0, "high": 0.5, "log": False}}
        return own | super().search_space()

    def _view(self, x: PairFeatures) -> FloatArray:
        """Return the modalities side by side, zeros where one is absent, then a column each that says present (1)."""
        present = np.stack([~x.sample_x[name].absent for name in self.modalities_], axis=1)
        values = [x.sample(name) * present[:, [m]] for m, name in enumerate(self.modalities_)]
        return np.hstack([*values, present]).astype(np.float32, copy=False)

    def _learn_samples(self, x: PairFeatures, targets: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
        self.modalities_ = sorted(x.modalities)
        if not self.modalities_:
            raise DataError("there is no modality to fuse; give at least one.")
        x = replace(x, modalities=tuple(self.modalities_))
        self.sizes_ = [len(x.sample_x[name].names) for name in self.modalities_]
        for m, name in enumerate(self.modalities_):
            focused = self.focus > 0
            gain = KernelRidge(focus=self.focus, blocks={name: 1.0}).fit(x, targets).gain_ if focused else np.float32(1)
            values = x.sample(name)[~x.sample_x[name].absent]
            if not len(values):
                raise DataError(f"no training sample has {name}; leave it out of the modalities.")
            _, basis = rotation(values * gain, rng, self.components)
            setattr(self, f"sample_mean{m}_", np.asarray(values.mean(axis=0)))
            setattr(self, f"sample_basis{m}_", np.ascontiguousarray(np.reshape(gain, (-1, 1)) * basis))
        self.share_ = self._shares(x, targets)

    def _shares(self, x: PairFeatures, targets: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the share of each modality in the kernel that predicts the responses best, summing to 1."""
        n = len(self.modalities_)
        if n == 1:
            return np.ones(1)
        grid = response_matrix(x, targets)
        known = np.flatnonzero(np.isfinite(grid).any(axis=0))
        measured = np.flatnonzero(np.isfinite(grid).any(axis=1))
        grid = grid[np.ix_(measured, known)]
        gram = Profile.of(x, None).take(measured).weighted_gram()
        return choose_weights(gram, n, grid - np.nanmean(grid, axis=0))

    def _sample_input(self, view: FloatArray, device: torch.device) -> torch.Tensor:
        import torch

        ends = np.cumsum(self.sizes_)
        present = torch.as_tensor(np.ascontiguousarray(view[:, ends[-1] :]), device=device)
        parts = []
        for m, (end, size) in enumerate(zip(ends, self.sizes_, strict=True)):
            mean, basis = getattr(self, f"sample_mean{m}_"), getattr(self, f"sample_basis{m}_")
            values = np.ascontiguousarray(view[:, end - size : end])
            parts.append(rotated(values, mean, basis, device) * present[:, [m]])
        return torch.cat([*parts, present], dim=1)

    def _entry_names(self) -> list[str]:
        towers = [name for m in range(len(self.modalities_)) for name in (f"enter{m}", f"bias_enter{m}")]
        return [*towers, "gate", "bias_gate"]

    def _entry_weights(self, normal: Normal) -> dict[str, torch.Tensor]:
        import torch

        weights = {}
        for m in range(len(self.modalities_)):
            k = getattr(self, f"sample_basis{m}_").shape[1]
            weights[f"enter{m}"] = normal(self.members, k, self.width, scale=1 / math.sqrt(max(k, 1)))
            weights[f"bias_enter{m}"] = torch.zeros(self.members, 1, self.width)
        weights["gate"] = torch.zeros(self.members, len(self.modalities_), self.width)
        # a kernel's share is a power, the gate multiplies an amplitude
        start = 0.5 * np.log(np.maximum(self.share_, _LEAST_SHARE))
        weights["bias_gate"] = torch.as_tensor(start, dtype=torch.float32).expand(self.members, 1, -1).clone()
        return weights

    def _entry(
        self, weights: dict[str, torch.Tensor], x: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        import torch

        n = len(self.modalities_)
        x = x if x.dim() == 3 else x.expand(len(weights["gate"]), -1, -1)
        present = x[..., -n:] > 0
        if generator is not None and n > 1 and self.modality_dropout > 0:
            present = _thinned(present, self.modality_dropout, generator)
        act, encoded, start = activation(self.activation), [], 0
        for m in range(n):
            enter = weights[f"enter{m}"]
            part = drop(x[..., start : start + enter.shape[1]], self.input_dropout, generator)
            encoded.append(act(torch.baddbmm(weights[f"bias_enter{m}"], part, enter)))
            start += enter.shape[1]
        towers = torch.stack(encoded, dim=2)  # (members, n, modalities, width)
        asked = (towers * weights["gate"][:, None]).sum(dim=-1) / self.width + weights["bias_gate"]
        gate = torch.softmax(asked.masked_fill(~present, -1e9), dim=-1) * present
        return (towers * gate[..., None]).sum(dim=2)

    def _samples(
        self, weights: dict[str, torch.Tensor], x: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Encode samples as `TwoTower` does; one without any modality is given the mean of the others."""
        import torch

        h = super()._samples(weights, x, generator)
        known = (x[..., -len(self.modalities_) :] > 0).any(dim=-1)
        if bool(known.all()):
            return h
        known = known.expand(h.shape[:2])[..., None]
        mean = weights.get("average")
        if mean is None:  # in training: of this batch
            mean = (h * known).sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.where(known, h, mean)

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

        super()._train(x, targets, valid, start, epochs, on_epoch)
        device = pick_device(self.device)
        weights = {n.removesuffix("_"): torch.as_tensor(getattr(self, n), device=device) for n in super()._names()}
        view = self._view(x)[np.unique(x.sample_index)]
        view = view[view[:, -len(self.modalities_) :].any(axis=1)]
        with torch.no_grad():
            h = self._samples(weights, self._sample_input(view, device), None)
        self.average_ = h.mean(dim=1, keepdim=True).cpu().numpy()

    def _initial(self, grid: npt.NDArray[np.float64], generator: torch.Generator, start: State | None):  # type: ignore[no-untyped-def]
        weights = super()._initial(grid, generator, start)
        weights.pop("average", None)  # learned after training
        return weights

    def _names(self) -> list[str]:
        return [*super()._names(), "average_"]

    def _check_params(self) -> None:
        super()._check_params()
        if not 0 <= self.modality_dropout < 1:
            raise DataError(f"modality_dropout is {self.modality_dropout}; it is at least 0 and below 1.")


def _thinned(present: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Drop a share of the present modalities, shape (members, n, modalities); at least one of those present stays."""
    import torch

    drawn = torch.rand(present.shape, generator=generator).to(present.device) * present
    kept = present & (drawn >= share)
    largest = torch.nn.functional.one_hot(drawn.argmax(dim=-1), present.shape[-1]).bool()
    return kept | (largest & present & ~kept.any(dim=-1, keepdim=True))
