"""MultiTask: a network over samples with one output a drug, and no drug side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from halfmax.features.blocks import PairFeatures
from halfmax.models.base import JSON
from halfmax.models.networks.mlp import TwoTowerMLP
from halfmax.models.networks.towers import Normal

if TYPE_CHECKING:
    import torch


class MultiTask(TwoTowerMLP):
    """Score of a pair = ⟨f(sample), head of the drug⟩ + b(drug): drugs are tasks that share a network over samples.

    It is `TwoTowerMLP` without the drug tower: what is known of a drug is its responses. A drug without training
    responses is given the mean of all heads, which is a sample's general sensitivity, and the mean bias.

    Parameters
    ----------
    focus, components, width, layers, activation, norm, dropout, input_dropout, learning_rate, weight_decay, epochs
        See `TwoTowerMLP`.
    batch_size, patience, members, refit, task, device, precision, seed
        See `TwoTowerMLP`.

    Notes
    -----
    Shapes: samples (members, n, components) → (members, n, width); heads (members, n_drugs, width); scores
    (members, n, n_drugs).

    References
    ----------
    Caruana 1997 (multi-task learning); Yuan et al. 2016 (multi-task models of drug sensitivity).
    """

    drug_width = 1
    drug_gain = 0.0
    drug_dropout = 0.0
    identity_dropout = 0.0
    drug_identity = True

    def __init__(
        self,
        focus: float = 2.0,
        components: int | None = 512,
        width: int = 1024,
        layers: int = 1,
        activation: str = "silu",
        norm: str = "none",
        dropout: float = 0.5,
        input_dropout: float = 0.5,
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
        self.activation = activation
        self.norm = norm
        self.dropout = dropout
        self.input_dropout = input_dropout
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
        return super().search_space() | {"norm": {"choices": ["none", "rms"]}}

    def _learn_inputs(self, x: PairFeatures, targets: npt.NDArray[np.float64]) -> None:
        self.drug_ids_ = x.drug_ids
        self._learn_samples(x, targets, np.random.default_rng(self.seed))

    def _drug_input(self, x: PairFeatures, device: torch.device) -> torch.Tensor:
        import torch

        return torch.zeros(len(x.drug_ids), 0, device=device)

    def _drug_names(self) -> list[str]:
        return ["identity"]

    def _drug_weights(self, normal: Normal, n_drugs: int) -> dict[str, torch.Tensor]:
        return {"identity": normal(self.members, n_drugs, self.width, scale=0.01 / math.sqrt(self.width))}

    def _drugs(
        self,
        weights: dict[str, torch.Tensor],
        x: torch.Tensor,
        rows: npt.NDArray[np.int64],
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        head, bias = weights["identity"], weights["bias_identity"]
        if (rows >= 0).all():
            return head[:, rows], bias[:, rows]
        mean, level = head.mean(dim=1, keepdim=True), bias.mean(dim=1, keepdim=True)
        n = len(rows)
        return self._own(
            weights, mean.expand(-1, n, -1), level.expand(-1, n), rows, self._known(weights, rows, generator)
        )
