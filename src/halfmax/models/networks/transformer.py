"""ModuleTransformer: gene modules as a sample's tokens, atoms as a drug's, and cross-attention between them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from halfmax.data.readers.gmt import read_gmt
from halfmax.errors import DataError
from halfmax.features.blocks import FloatArray, PairFeatures
from halfmax.models.base import JSON
from halfmax.models.kernel import KernelRidge
from halfmax.models.networks import attention, smiles
from halfmax.models.networks.drug_encoder import EncodedDrugs
from halfmax.models.networks.modules import completed, correlated_modules, module_bases, pathway_modules
from halfmax.models.networks.parts import activation, drop, normalised, rotated, rotation
from halfmax.models.networks.towers import Normal

if TYPE_CHECKING:
    import torch


class ModuleTransformer(EncodedDrugs):
    """Score of a pair = what a drug's queries find among a sample's tokens, + b(drug).

    **Sample.** A token a gene module: genes that vary together in training samples, or the sets of a GMT file. It
    carries the first principal components of the module's expression, and of its genes' mutations and copy numbers
    where these are given, through weights of its own. Layers of self-attention let modules see one another.

    **Drug.** The first token carries the drug blocks (fingerprints, targets, mechanism, …), the others are the tokens
    of its SMILES. The first token's state after self-attention is the drug. A drug seen in training has queries of its
    own, except for a random share in each step that is treated as unseen.

    **Between them**, attention in the factored form of Shen et al. 2021: each of ``slots`` keys spreads a softmax over
    a sample's tokens and collects their values, S(sample) of shape (slots, width / slots), and a drug weighs slots and
    values, G(drug) of the same shape; the score is ⟨S, G⟩. A rank-one G is a query's weights over slots times a
    read-out, and a sum of such is as many heads. A sample is encoded once whatever the number of drugs, and scoring
    is a matrix product.

    With ``skip``, a linear path from the sample's principal components is added to S before its activation: it sees
    what the modules' first components leave out. `docs/decisions/0014-transformers.md` has the ablation.

    Parameters
    ----------
    focus
        How strongly genes are weighted by what a smooth linear fit leans on, as in `KernelRidge`; 0 = not at all.
    gmt
        File of gene sets in place of learned modules, read in `fit`; not needed again.
    modules, components
        Most modules, and the principal components that a token carries.
    token_width, attention_layers, heads
        Width of a sample's tokens, layers of self-attention over them, heads of every self-attention.
    slots, width
        Keys of the cross-attention, and entries of S.
    skip
        Whether there is a linear path, and of how many components, 0 for none.
    layers
        Residual layers after the cross-attention, counted as in `TwoTowerMLP`: 1 = none.
    drug_width, drug_layers, drug_tokens, drug_gain
        Width of a drug's tokens, layers over them, most tokens of a SMILES, and see `TwoTowerMLP`.
    token_dropout
        Share of units dropped within the sample's self-attention.
    activation, dropout, input_dropout, drug_dropout, identity_dropout, drug_identity
        See `TwoTowerMLP`.
    learning_rate, weight_decay, epochs, batch_size, patience, members, refit, task, device, precision, seed
        See `TwoTowerMLP`.

    References
    ----------
    Vaswani et al. 2017, Attention is all you need; Shen et al. 2021, Efficient attention (WACV); Lee et al. 2019, Set
    transformer (ICML); Schwaller et al. 2019 (tokens of SMILES).
    """

    def __init__(
        self,
        focus: float = 2.0,
        gmt: str = "",
        modules: int = 32,
        components: int = 12,
        token_width: int = 64,
        attention_layers: int = 1,
        heads: int = 4,
        slots: int = 16,
        width: int = 512,
        skip: int = 512,
        layers: int = 1,
        drug_width: int = 64,
        drug_layers: int = 1,
        drug_tokens: int = 96,
        drug_gain: float = 0.1,
        activation: str = "silu",
        dropout: float = 0.5,
        token_dropout: float = 0.1,
        input_dropout: float = 0.4,
        drug_dropout: float = 0.3,
        identity_dropout: float = 0.1,
        drug_identity: bool = True,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.1,
        epochs: int = 40,
        batch_size: int = 128,
        patience: int | None = None,
        members: int = 1,
        refit: bool = True,
        task: str = "regression",
        device: str = "auto",
        precision: str = "float32",
        seed: int = 0,
    ) -> None:
        self.focus = focus
        self.gmt = gmt
        self.modules = modules
        self.components = components
        self.token_width = token_width
        self.attention_layers = attention_layers
        self.heads = heads
        self.slots = slots
        self.width = width
        self.skip = skip
        self.layers = layers
        self.drug_width = drug_width
        self.drug_layers = drug_layers
        self.drug_tokens = drug_tokens
        self.drug_gain = drug_gain
        self.activation = activation
        self.dropout = dropout
        self.token_dropout = token_dropout
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
            "modules": {"choices": [16, 32, 64, 128]},
            "components": {"choices": [4, 8, 12, 24]},
            "attention_layers": {"low": 0, "high": 3, "log": False},
            "slots": {"choices": [4, 8, 16, 32]},
            "width": {"choices": [256, 512, 1024]},
            "dropout": {"low": 0.0, "high": 0.8, "log": False},
            "input_dropout": {"low": 0.0, "high": 0.6, "log": False},
        }

    def _learn_samples(self, x: PairFeatures, targets: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
        profile = self._view(x)
        gain = KernelRidge(focus=self.focus).fit(x, targets).gain_ if self.focus > 0 else np.float32(1.0)
        gain = np.broadcast_to(np.asarray(gain, dtype=np.float32), profile.shape[1])
        names = [name for modality in x.modalities for name in x.sample_x[modality].names]
        if self.gmt:
            groups = pathway_modules(names, read_gmt(self.gmt), self.modules)
        else:
            first = len(x.sample_x[x.modalities[0]].names)
            groups = correlated_modules(profile[:, :first], self.modules)
        groups = completed(groups, names)
        self.n_modules_ = len(groups)
        self.sample_mean_ = np.asarray(profile.mean(axis=0))
        basis = module_bases(profile, gain, groups, self.components, rng)
        if self.skip:
            _, linear = rotation(profile * gain, rng, self.skip)
            basis = np.hstack([basis, gain[:, None] * linear])
        self.sample_basis_ = np.ascontiguousarray(basis, dtype=np.float32)

    def _sample_input(self, view: FloatArray, device: torch.device) -> torch.Tensor:
        return rotated(view, self.sample_mean_, self.sample_basis_, device)

    def _entry_names(self) -> list[str]:
        names = ["embed", "bias_embed", "key", "read", "bias_read", *(["linear"] if self.skip else [])]
        return names + attention.layer_names("sample", self.attention_layers)

    def _entry_weights(self, normal: Normal) -> dict[str, torch.Tensor]:
        import torch

        m, t, c, d, w = self.members, self.n_modules_, self.components, self.token_width, self.width
        weights = {
            "embed": normal(m, t, c, d, scale=1 / math.sqrt(c)),
            "bias_embed": normal(m, 1, t, d, scale=0.1),
            "key": normal(m, d, self.slots, scale=1 / math.sqrt(d)),
            # a slot averages the tokens' values: their sum keeps the size of one
            "read": normal(m, d, w // self.slots, scale=math.sqrt(t / d)),
            "bias_read": torch.zeros(m, 1, w),
        }
        if self.skip:
            k = self.sample_basis_.shape[1] - t * c
            weights["linear"] = normal(m, k, w, scale=1 / math.sqrt(max(k, 1)))
        return weights | attention.layer_weights("sample", self.attention_layers, m, d, normal)

    def _entry(
        self, weights: dict[str, torch.Tensor], x: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        import torch

        m, t, c, d = len(weights["embed"]), self.n_modules_, self.components, self.token_width
        x = drop(x if x.dim() == 3 else x.expand(m, -1, -1), self.input_dropout, generator)
        n = x.shape[1]
        own = torch.einsum("mntc,mtcd->mntd", x[..., : t * c].reshape(m, n, t, c), weights["embed"])
        tokens = attention.encode(
            weights,
            "sample",
            own + weights["bias_embed"],
            layers=self.attention_layers,
            heads=self.heads,
            dropout=self.token_dropout,
            act=self.activation,
            generator=generator,
        ).reshape(m, n * t, d)
        share = torch.bmm(normalised(tokens, "layer"), weights["key"]).reshape(m, n, t, self.slots).softmax(dim=2)
        value = torch.bmm(tokens, weights["read"]).reshape(m, n, t, -1)
        found = (share.transpose(2, 3) @ value).reshape(m, n, self.width) + weights["bias_read"]
        if self.skip:
            found = found + torch.bmm(x[..., t * c :], weights["linear"])
        return activation(self.activation)(found)

    def _learn_inputs(self, x: PairFeatures, targets: npt.NDArray[np.float64]) -> None:
        super()._learn_inputs(x, targets)
        self.vocabulary_ = smiles.vocabulary(smiles.smiles_tokens(self._structures(x)))

    def _structures(self, x: PairFeatures) -> list[str]:
        return x.drug_text["smiles"].tolist() if "smiles" in x.drug_text else [""] * len(x.drug_ids)

    def _drug_input(self, x: PairFeatures, device: torch.device) -> torch.Tensor:
        """Return the drug blocks' coordinates and, beside them, the numbers of the tokens."""
        import torch

        tokens = smiles.numbered(smiles.smiles_tokens(self._structures(x)), self.vocabulary_, self.drug_tokens)
        blocks = super()._drug_input(x, device)
        return torch.cat([blocks, torch.as_tensor(tokens, dtype=blocks.dtype, device=device)], dim=1)

    def _drug_names(self) -> list[str]:
        return [*super()._drug_names(), "letters", "places", *attention.layer_names("drug", self.drug_layers)]

    def _drug_weights(self, normal: Normal, n_drugs: int) -> dict[str, torch.Tensor]:
        m, d = self.members, self.drug_width
        return {
            **super()._drug_weights(normal, n_drugs),
            "letters": normal(m, smiles.FIRST + len(self.vocabulary_), d, scale=1.0),
            "places": normal(m, self.drug_tokens, d, scale=0.1),
            **attention.layer_weights("drug", self.drug_layers, m, d, normal),
        }

    def _encode(
        self, weights: dict[str, torch.Tensor], x: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        import torch

        m = len(weights["letters"])
        blocks, numbers = x[:, : -self.drug_tokens], x[:, -self.drug_tokens :].long()
        numbers = numbers[:, : max(int((numbers > 0).sum(dim=1).max()), 1)]
        blocks = drop(blocks.expand(m, -1, -1), self.drug_dropout, generator)
        first = torch.baddbmm(weights["bias_drug_enter"], blocks, weights["drug_enter"])
        letters = weights["letters"][:, numbers] + weights["places"][:, None, : numbers.shape[1]]
        present = torch.cat([torch.ones_like(numbers[:, :1]), numbers], dim=1) > smiles.PADDING
        tokens = attention.encode(
            weights,
            "drug",
            torch.cat([first[:, :, None], letters], dim=2),
            layers=self.drug_layers,
            heads=self.heads,
            dropout=self.drug_dropout,
            act=self.activation,
            generator=generator,
            present=present,
        )
        state = drop(activation(self.activation)(tokens[:, :, 0]), self.drug_dropout, generator)
        return torch.baddbmm(weights["bias_drug_leave"], state, weights["drug_leave"])

    def _check_params(self) -> None:
        super()._check_params()
        for name in ("modules", "components", "token_width", "heads", "slots", "drug_tokens"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}; it is at least 1.")
        for name in ("attention_layers", "drug_layers", "skip"):
            if getattr(self, name) < 0:
                raise DataError(f"{name} is {getattr(self, name)}; it is at least 0.")
        for whole, part in (("token_width", "heads"), ("drug_width", "heads"), ("width", "slots")):
            if getattr(self, whole) % getattr(self, part):
                raise DataError(
                    f"{whole} is {getattr(self, whole)}, which {part} ({getattr(self, part)}) does not divide."
                )
        if not 0 <= self.token_dropout < 1:
            raise DataError(f"token_dropout is {self.token_dropout}; it is at least 0 and below 1.")
