"""ModuleTransformer: prototype."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from halfmax.features.blocks import FloatArray, PairFeatures
from halfmax.models.base import JSON
from halfmax.models.kernel import KernelRidge
from halfmax.models.networks import attention
from halfmax.models.networks.modules import correlated_modules, module_bases
from halfmax.models.networks.parts import ACTIVATIONS, activation, drop, rotated, rotation
from halfmax.models.networks.towers import Normal, TwoTower

if TYPE_CHECKING:
    import torch


class ModuleTransformer(TwoTower):
    def __init__(
        self,
        focus: float = 2.0,
        modules: int = 64,
        components: int = 12,
        token_width: int = 64,
        sample_layers: int = 2,
        heads: int = 4,
        slots: int = 16,
        width: int = 512,
        final_act: bool = True,
        scale_by_power: bool = True,
        skip: bool = False,
        layers: int = 1,
        drug_width: int = 256,
        drug_gain: float = 0.1,
        activation: str = "silu",
        dropout: float = 0.5,
        token_dropout: float = 0.1,
        input_dropout: float = 0.3,
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
        for k, v in list(locals().items()):
            if k != "self":
                setattr(self, k, v)

    def _learn_samples(self, x, targets, rng):
        profile = self._view(x)
        gain = KernelRidge(focus=self.focus).fit(x, targets).gain_ if self.focus > 0 else np.float32(1.0)
        gain = np.broadcast_to(gain, profile.shape[1])
        groups = correlated_modules(profile, self.modules)
        self.sample_mean_ = np.asarray(profile.mean(axis=0))
        basis = module_bases(profile, gain, groups, self.components, rng)
        if not self.scale_by_power:
            b = (profile - self.sample_mean_) @ basis
            p = (b.reshape(len(b), -1, self.components) ** 2).mean(axis=(0, 2)) ** 0.5
            basis = basis / np.repeat(np.maximum(p, 1e-6), self.components)
        self.n_tokens_ = len(groups)
        if self.skip:
            _, extra = rotation(profile * gain, rng, 512)
            basis = np.hstack([basis, gain[:, None] * extra])
        self.sample_basis_ = np.ascontiguousarray(basis, dtype=np.float32)

    def _sample_input(self, view, device):
        return rotated(view, self.sample_mean_, self.sample_basis_, device)

    def _entry_names(self):
        own = ["embed", "bias_embed", "key", "read", "bias_read"]
        if self.skip:
            own.append("skip_enter")
        return own + attention.layer_names("sample", self.sample_layers)

    def _entry_weights(self, normal):
        import torch

        m, t, c, d = self.members, self.n_tokens_, self.components, self.token_width
        w = {
            "embed": normal(m, t, c, d, scale=1 / math.sqrt(c)),
            "bias_embed": normal(m, 1, t, d, scale=0.1),
            "key": normal(m, d, self.slots, scale=1 / math.sqrt(d)),
            "read": normal(m, d, self.width // self.slots, scale=math.sqrt(t) / math.sqrt(d)),
            "bias_read": torch.zeros(m, 1, self.width),
        }
        if self.skip:
            k = self.sample_basis_.shape[1] - t * c
            w["skip_enter"] = normal(m, k, self.width, scale=1 / math.sqrt(k))
        return w | attention.layer_weights("sample", self.sample_layers, m, d, normal)

    def _entry(self, weights, x, generator):
        import torch

        m, t, c, d = self.members, self.n_tokens_, self.components, self.token_width
        m = len(weights["embed"])
        x = x if x.dim() == 3 else x.expand(m, -1, -1)
        x = drop(x, self.input_dropout, generator)
        n = x.shape[1]
        tokens = torch.einsum("mntc,mtcd->mntd", x[..., : t * c].reshape(m, n, t, c), weights["embed"])
        tokens = tokens + weights["bias_embed"]
        h = attention.encode(
            weights, "sample", tokens, layers=self.sample_layers, heads=self.heads, dropout=self.token_dropout,
            act=self.activation, generator=generator,
        )
        flat = h.reshape(m, n * t, d)
        share = torch.bmm(attention.normalised(flat), weights["key"]).reshape(m, n, t, self.slots).softmax(dim=2)
        value = torch.bmm(flat, weights["read"]).reshape(m, n, t, -1)
        pooled = (share.transpose(2, 3) @ value).reshape(m, n, self.width) + weights["bias_read"]
        if self.skip:
            pooled = pooled + torch.bmm(x[..., t * c :], weights["skip_enter"])
        return activation(self.activation)(pooled) if self.final_act else pooled
