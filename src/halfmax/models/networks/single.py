"""SingleTower: the features of sample and drug side by side through one network, pair by pair."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.models.base import JSON
from halfmax.models.networks.mlp import TwoTowerMLP
from halfmax.models.networks.parts import activation, drop, normalised
from halfmax.models.networks.towers import Normal

if TYPE_CHECKING:
    import torch

#: Drugs scored at a time: a pair needs ``width`` numbers, and all pairs at once would not fit in the cache.
_DRUGS = 32


class SingleTower(TwoTowerMLP):
    """Score of a pair = network([sample, drug]) + b(drug).

    The first layer of a network over two inputs side by side is a sum of two layers, W [s, d] = Wₛ s + W_d d. So each
    sample and each drug passes its half of the first layer once, the halves are added for each pair together with their
    product (without it the network has to make products out of sums, and does so badly), and only the layers after it
    work on pairs. A step is trained on the block of a batch of samples and a random part of the drugs.
    A drug seen in training has a learned vector in the place of W_d d and a bias of its own, except for a random share
    that is treated as unseen in each step.

    Parameters
    ----------
    focus, components, activation, norm, input_dropout, drug_dropout, identity_dropout, drug_identity, learning_rate
        See `TwoTowerMLP`.
    width, layers
        Units, and hidden layers over pairs; layers after the first are residual.
    dropout
        Share dropped of a pair's units before each layer after the first.
    drugs
        Drugs that a step is trained on, drawn anew for each; None = all.
    weight_decay, epochs, batch_size, patience, members, refit, task, device, precision, seed
        See `TwoTowerMLP`.

    Notes
    -----
    Shapes: samples (members, n, components) → (members, n, width); drugs (members, n_drugs, components of the drug
    blocks) → (members, n_drugs, width); pairs (members, n, n_drugs, width) → scores (members, n, n_drugs). Scoring
    costs ``width`` times what an inner product does for each layer after the first.

    References
    ----------
    Baptista et al. 2021 and Liu et al. 2019 (networks over concatenated features of line and drug); He and Chua 2017
    (the product of the halves); He et al. 2016 (residual layers).
    """

    drug_width = 1
    drug_gain = 1.0

    def __init__(
        self,
        focus: float = 2.0,
        components: int | None = 512,
        width: int = 256,
        layers: int = 1,
        activation: str = "silu",
        norm: str = "none",
        dropout: float = 0.2,
        input_dropout: float = 0.5,
        drug_dropout: float = 0.3,
        identity_dropout: float = 0.1,
        drug_identity: bool = True,
        drugs: int | None = 64,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.1,
        epochs: int = 60,
        batch_size: int = 32,
        patience: int | None = None,
        members: int = 1,
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
        self.activation = activation
        self.norm = norm
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.drug_dropout = drug_dropout
        self.identity_dropout = identity_dropout
        self.drug_identity = drug_identity
        self.drugs = drugs
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
        own: dict[str, JSON] = {"width": {"choices": [128, 256, 512]}, "norm": {"choices": ["none", "rms"]}}
        return super().search_space() | own

    def _entry_names(self) -> list[str]:
        return ["enter", "bias_enter", "leave"]

    def _entry_weights(self, normal: Normal) -> dict[str, torch.Tensor]:
        m, w = self.members, self.width
        return {**super()._entry_weights(normal), "leave": normal(m, 1, w, scale=0.01 / math.sqrt(w))}

    def _samples(
        self, weights: dict[str, torch.Tensor], x: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        import torch

        x = x if x.dim() == 3 else x.expand(len(weights["enter"]), -1, -1)
        return torch.baddbmm(weights["bias_enter"], drop(x, self.input_dropout, generator), weights["enter"])

    def _drug_names(self) -> list[str]:
        return ["drug_enter", "identity"]

    def _drug_weights(self, normal: Normal, n_drugs: int) -> dict[str, torch.Tensor]:
        m, w, kd = self.members, self.width, self.drug_basis_.shape[1]
        return {
            "drug_enter": normal(m, kd, w, scale=1 / math.sqrt(max(kd, 1))),
            "identity": normal(m, n_drugs, w, scale=1.0),
        }

    def _drugs(
        self,
        weights: dict[str, torch.Tensor],
        x: torch.Tensor,
        rows: npt.NDArray[np.int64],
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        x = drop(x.expand(len(weights["identity"]), -1, -1), self.drug_dropout, generator)
        half = torch.bmm(x, weights["drug_enter"])
        # What is unseen has no bias of its own: the network finds its level from its features.
        return self._own(weights, half, torch.zeros_like(half[..., 0]), rows, self._known(weights, rows, generator))

    def _columns(self, n_drugs: int, generator: torch.Generator) -> torch.Tensor | None:
        import torch

        if self.drugs is None or self.drugs >= n_drugs:
            return None
        return torch.randperm(n_drugs, generator=generator)[: self.drugs]

    def _score(
        self,
        weights: dict[str, torch.Tensor],
        sample: torch.Tensor,
        drug: torch.Tensor,
        bias: torch.Tensor,
        generator: torch.Generator | None,
    ) -> torch.Tensor:
        import torch

        if generator is None and drug.shape[1] > _DRUGS:
            cut = zip(torch.split(drug, _DRUGS, dim=1), torch.split(bias, _DRUGS, dim=1), strict=True)
            return torch.cat([self._score(weights, sample, d, b, None) for d, b in cut], dim=2)
        act = activation(self.activation)
        m, n, w = sample.shape
        h = act(sample[:, :, None] + drug[:, None] + sample[:, :, None] * drug[:, None]).reshape(m, -1, w)
        for i in range(1, self.layers):
            dropped = drop(normalised(h, self.norm), self.dropout, generator)
            h = h + act(torch.baddbmm(weights[f"bias_hidden{i}"], dropped, weights[f"hidden{i}"]))
        h = drop(normalised(h, self.norm), self.dropout, generator)
        return torch.bmm(h, weights["leave"].transpose(1, 2)).reshape(m, n, -1) + bias[:, None]

    def _scores(
        self, weights: dict[str, torch.Tensor], sample: torch.Tensor, drug: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        return self._score(weights, sample, drug, bias, None)

    def _check_params(self) -> None:
        super()._check_params()
        if self.drugs is not None and self.drugs < 1:
            raise DataError(f"drugs is {self.drugs}; it is at least 1, or none for all.")
