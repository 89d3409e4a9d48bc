"""FineTuned: a pretrained encoder of drugs as a network's drug tower, fine-tuned by low-rank adapters."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, ModelFileError
from halfmax.features.blocks import PairFeatures
from halfmax.features.encoders import Encoder, load_encoder
from halfmax.models.base import JSON
from halfmax.models.networks.drug_encoder import EncodedDrugs
from halfmax.models.networks.mlp import TwoTowerMLP
from halfmax.models.networks.parts import activation, drop, normalised
from halfmax.models.networks.towers import Normal

if TYPE_CHECKING:
    import torch

#: Ends of the names of query and value projections in the architectures that transformers has.
_PROJECTIONS = ("query", "value", "q_proj", "v_proj", "q_lin", "v_lin", "Wqkv", "in_proj_qkv")
_TEXTS = ("description", "smiles")


class FineTuned(EncodedDrugs, TwoTowerMLP):
    """The sample tower of `TwoTowerMLP`; a drug is what a pretrained encoder makes of its text, fine-tuned.

    The encoder's weights stay as they are. To the product x W of each query and value projection of its attention,
    (x A) B · ``alpha`` / ``rank`` is added, with A of shape (d, rank), B of shape (rank, d) and B zero at first. A and
    B are trained and saved, the encoder is not: its folder must be there, with the same content, for predictions.
    Its mean-pooled last layer goes through the drug tower of `TwoTowerMLP`.

    A step encodes the drugs that identity dropout holds unseen. With encoders of millions of weights this asks for a
    GPU or patience; frozen vectors (drug block ``text:ENCODER``) are computed once.

    Parameters
    ----------
    encoder
        Folder, or a hub's repository in its cache; see `halfmax.features.encoders.load_encoder`.
    text
        ``description`` (what is known of the drug) or ``smiles``.
    rank, alpha
        Of the adapters; rank 0 = the encoder stays frozen.
    focus, components, width, layers, drug_width, drug_gain, activation, norm
        See `TwoTowerMLP`.
    dropout, input_dropout, drug_dropout, identity_dropout, drug_identity
        See `TwoTowerMLP`.
    learning_rate, weight_decay, epochs, batch_size, patience, members, refit, task, device, precision, seed
        See `TwoTowerMLP`.

    References
    ----------
    Hu et al. 2022, LoRA: low-rank adaptation of large language models (ICLR). Encoders meant: Lee et al. 2020
    (BioBERT), Chithrananda et al. 2020 (ChemBERTa).
    """

    def __init__(
        self,
        encoder: str = "",
        text: str = "description",
        rank: int = 4,
        alpha: float = 8.0,
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
        members: int = 1,
        refit: bool = True,
        task: str = "regression",
        device: str = "auto",
        precision: str = "float32",
        seed: int = 0,
    ) -> None:
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
        self.encoder = encoder
        self.text = text
        self.rank = rank
        self.alpha = alpha

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return super().search_space() | {
            "rank": {"choices": [0, 2, 4, 8, 16]},
            "alpha": {"low": 1.0, "high": 32.0, "log": True},
        }

    def _learn_inputs(self, x: PairFeatures, targets: npt.NDArray[np.float64]) -> None:
        encoder = load_encoder(self.encoder)
        self.encoder_sha256_ = encoder.sha256
        self.encoder_width_ = encoder.width
        shapes = [(p.in_features, p.out_features) for _, p in projections(encoder.network)] if self.rank else []
        self.adapter_shapes_ = np.array(shapes, dtype=np.int64).reshape(-1, 2)
        super()._learn_inputs(x, targets)

    def _loaded(self) -> Encoder:
        encoder = load_encoder(self.encoder)
        if encoder.sha256 != self.encoder_sha256_:
            raise ModelFileError(
                f"the encoder {self.encoder} is not the one that was fine-tuned: its sha256 is {encoder.sha256[:12]}… "
                f"instead of {self.encoder_sha256_[:12]}…. Put the old folder back, or fit again."
            )
        return encoder

    def _drug_input(self, x: PairFeatures, device: torch.device) -> torch.Tensor:
        """Return token numbers and, beside them, their mask; the tokens of an empty text are those of its ends."""
        import torch

        if self.text not in x.drug_text:
            raise DataError(f"the drugs come without the text {self.text!r}; there is: {', '.join(x.drug_text)}.")
        tokens = self._loaded().tokens(x.drug_text[self.text].tolist())
        return torch.cat([tokens["input_ids"], tokens["attention_mask"]], dim=1).to(device, torch.float32)

    def _drug_names(self) -> list[str]:
        adapters = [f"adapter{i}_{end}" for i in range(len(self.adapter_shapes_)) for end in ("down", "up")]
        return [*super()._drug_names(), *adapters]

    def _drug_weights(self, normal: Normal, n_drugs: int) -> dict[str, torch.Tensor]:
        import torch

        m, d = self.members, self.drug_width
        weights = super()._drug_weights(normal, n_drugs)
        weights["drug_enter"] = normal(m, self.encoder_width_, d, scale=1 / math.sqrt(self.encoder_width_))
        for i, (inside, outside) in enumerate(self.adapter_shapes_.tolist()):
            weights[f"adapter{i}_down"] = normal(m, inside, self.rank, scale=1 / math.sqrt(inside))
            weights[f"adapter{i}_up"] = torch.zeros(m, self.rank, outside)
        return weights

    def _encode(
        self, weights: dict[str, torch.Tensor], x: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        import torch

        numbers, mask = x.long().chunk(2, dim=1)
        longest = max(int(mask.sum(dim=1).max()), 1)
        tokens = {"input_ids": numbers[:, :longest], "attention_mask": mask[:, :longest]}
        encoder, places = self._adapted(x.device)
        pooled = []
        for member in range(len(weights["drug_enter"])):
            for i, place in enumerate(places):
                place.set(weights[f"adapter{i}_down"][member], weights[f"adapter{i}_up"][member])
            pooled.append(encoder.pooled(tokens))
        vectors = normalised(torch.stack(pooled), "layer")
        vectors = drop(vectors, self.drug_dropout, generator)
        hidden = activation(self.activation)(torch.baddbmm(weights["bias_drug_enter"], vectors, weights["drug_enter"]))
        hidden = drop(hidden, self.drug_dropout, generator)
        return torch.baddbmm(weights["bias_drug_leave"], hidden, weights["drug_leave"])

    def _adapted(self, device: torch.device) -> tuple[Encoder, list[Any]]:
        """Return a copy of the encoder with adapters in place; made once a model and device."""
        from dataclasses import replace

        made = getattr(self, "_copy", None)
        if made is None or made[0] != (self.encoder_sha256_, str(device)):
            encoder = self._loaded()
            network = copy.deepcopy(encoder.network).to(device)
            places = []
            for name, projection in projections(network) if self.rank else []:
                parent, _, child = name.rpartition(".")
                place = adapter(projection, self.alpha / self.rank)
                setattr(network.get_submodule(parent), child, place)
                places.append(place)
            made = self._copy = ((self.encoder_sha256_, str(device)), replace(encoder, network=network), places)
        return made[1], made[2]

    def _check_params(self) -> None:
        super()._check_params()
        if not self.encoder:
            raise DataError("encoder is not given; name the folder of a pretrained encoder.")
        if self.text not in _TEXTS:
            raise DataError(f"text is {self.text!r}; it is one of {', '.join(_TEXTS)}.")
        if self.rank < 0:
            raise DataError(f"rank is {self.rank}; it is at least 0.")


def projections(network: torch.nn.Module) -> list[tuple[str, Any]]:
    """Return name and layer of each query and value projection.

    Raises
    ------
    DataError
        If the architecture has none under a known name.
    """
    import torch

    found = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Linear) and name.rpartition(".")[2] in _PROJECTIONS
    ]
    if not found:
        raise DataError(
            f"the encoder ({type(network).__name__}) has no attention projections under the names "
            f"{', '.join(_PROJECTIONS)}; use rank=0, which leaves it frozen."
        )
    return found


def adapter(projection: torch.nn.Linear, scale: float) -> Any:
    """Return the projection with what its adapter adds; ``set`` says of which weights."""
    import torch

    class Adapter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.projection = projection
            self.pair: tuple[torch.Tensor, torch.Tensor] | None = None

        def set(self, down: torch.Tensor, up: torch.Tensor) -> None:
            self.pair = (down, up)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.projection(x)
            return out if self.pair is None else out + (x @ self.pair[0]) @ self.pair[1] * scale

    return Adapter()
