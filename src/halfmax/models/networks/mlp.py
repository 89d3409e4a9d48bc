"""TwoTowerMLP: a tower for samples that reads principal components, one for drugs, and their inner product."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import FloatArray, PairFeatures
from halfmax.models.base import JSON
from halfmax.models.kernel import KernelRidge
from halfmax.models.networks.parts import ACTIVATIONS, activation, drop, rotated, rotation
from halfmax.models.networks.towers import Normal, TwoTower

if TYPE_CHECKING:
    import torch


class TwoTowerMLP(TwoTower):
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
    norm
        How a sample's units are scaled before each residual layer and before the score: ``none``, ``layer`` or
        ``rms``.
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

    def __init__(
        self,
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
        self.focus = focus
        self.components = components
        self.width = width
        self.layers = layers
        self.drug_width = drug_width
        self.drug_gain = drug_gain
        self.activation = activation
        self.norm = norm
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

    def _learn_samples(self, x: PairFeatures, targets: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
        profile = TwoTower._view(self, x)  # a subclass may look at more
        gain = KernelRidge(focus=self.focus).fit(x, targets).gain_ if self.focus > 0 else np.float32(1.0)
        _, basis = rotation(profile * gain, rng, self.components)
        self.sample_mean_ = np.asarray(profile.mean(axis=0))
        self.sample_basis_ = np.ascontiguousarray(np.reshape(gain, (-1, 1)) * basis)

    def _sample_input(self, view: FloatArray, device: torch.device) -> torch.Tensor:
        return rotated(view, self.sample_mean_, self.sample_basis_, device)

    def _entry_names(self) -> list[str]:
        return ["enter", "bias_enter"]

    def _entry_weights(self, normal: Normal) -> dict[str, torch.Tensor]:
        import torch

        m, k, w = self.members, self.sample_basis_.shape[1], self.width
        return {"enter": normal(m, k, w, scale=1 / math.sqrt(max(k, 1))), "bias_enter": torch.zeros(m, 1, w)}

    def _entry(
        self, weights: dict[str, torch.Tensor], x: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        import torch

        x = x if x.dim() == 3 else x.expand(len(weights["enter"]), -1, -1)
        dropped = drop(x, self.input_dropout, generator)
        return activation(self.activation)(torch.baddbmm(weights["bias_enter"], dropped, weights["enter"]))

    def _check_params(self) -> None:
        super()._check_params()
        if self.components is not None and self.components < 1:
            raise DataError(f"components is {self.components}; it is at least 1, or none for all.")
