"""Messages between kinds of nodes: the mean over each relation, through weights of that relation and round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from halfmax.features.blocks import FloatArray, IndexArray
from halfmax.models.networks.parts import Weights, drop

if TYPE_CHECKING:
    import torch

ROUNDS = 2
#: Relations by the kind of node that hears; each has its own weights in each round.
RELATIONS: Mapping[str, tuple[str, ...]] = {
    "sample": ("over", "under", "mutated", "sensitive", "resistant"),
    "drug": ("gene", "group", "sensitive", "resistant"),
    "gene": ("group", "drug"),
    "group": ("gene", "drug"),
}
#: What is kept of the training graph: states before each round, and what samples told drugs in it.
FROZEN = ("gene_state", "group_state", "drug_state", "drug_told")


@dataclass(frozen=True)
class Hears:
    """How a node takes up what it hears: h + act(b + h W + Σ over relations mean W_relation).

    Schlichtkrull et al. 2018, with the node's own state added.
    """

    weights: Weights
    act: Callable[[torch.Tensor], torch.Tensor]
    dropout: float
    generator: torch.Generator | None

    def __call__(
        self, kind: str, i: int, h: torch.Tensor, means: Mapping[str, torch.Tensor], told: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the states of nodes of one kind after round `i`, shape (members, n, k); `told` has its weights."""
        total = self.weights[f"bias_{kind}{i}"] + h @ self.weights[f"{kind}_own{i}"]
        for relation, mean in means.items():
            total = total + mean @ self.weights[f"{kind}_{relation}{i}"]
        return h + drop(self.act(total if told is None else total + told), self.dropout, self.generator)


@dataclass(frozen=True)
class SampleEdges:
    """A sample's edges, each of shape (members, n, ·) or (n, ·): to genes (rows sum to a mean), and to drugs.

    Parameters
    ----------
    profiled, mutable
        The genes whose expression, and whose mutations, are known.
    over, under, mutated
        To `profiled` and `mutable` genes, divided by their number.
    sensitive, resistant
        To drugs, the size of the deviation; 0 where a response is hidden.
    measured
        1 where a response is shown.
    """

    profiled: IndexArray
    mutable: IndexArray
    over: torch.Tensor
    under: torch.Tensor
    mutated: torch.Tensor
    sensitive: torch.Tensor
    resistant: torch.Tensor
    measured: torch.Tensor

    def of_genes(self, g: torch.Tensor) -> Weights:
        """Return what samples hear from genes, by relation."""
        told: Weights = {}
        if len(self.profiled):
            told |= {"over": self.over @ g[:, self.profiled], "under": self.under @ g[:, self.profiled]}
        return told | ({"mutated": self.mutated @ g[:, self.mutable]} if len(self.mutable) else {})

    def of_drugs(self, d: torch.Tensor) -> Weights:
        """Return what samples hear from drugs, by relation: means over all drugs with a response."""
        n = self.measured.sum(dim=-1, keepdim=True).clamp(min=1)
        return {"sensitive": self.sensitive @ d / n, "resistant": self.resistant @ d / n}

    def tell_drugs(self, s: torch.Tensor, sensitive: torch.Tensor, resistant: torch.Tensor) -> torch.Tensor:
        """Return what drugs hear from samples: means over all samples with a response, through these weights."""
        n = self.measured.sum(dim=-2).clamp(min=1)[..., None]
        return (
            self.sensitive.transpose(-1, -2) @ (s @ sensitive) + self.resistant.transpose(-1, -2) @ (s @ resistant)
        ) / n

    def take(self, batch: torch.Tensor) -> SampleEdges:
        """Return the edges of these samples, shape (members, n)."""
        import torch

        members = torch.arange(len(batch), device=batch.device)[:, None]
        to_genes = (e[batch] for e in (self.over, self.under, self.mutated))
        to_drugs = (e[members, batch] for e in (self.sensitive, self.resistant, self.measured))
        return SampleEdges(self.profiled, self.mutable, *to_genes, *to_drugs)


def mean_over(edges: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Return the mean state of each row's neighbours, zeros where it has none; edges are zeros and ones."""
    return edges @ states / edges.sum(dim=-1, keepdim=True).clamp(min=1)


def response_edges(deviation: FloatArray) -> FloatArray:
    """Return sensitive, resistant and measured side by side, shape (n, 3 d), from deviations, NaN = not measured."""
    z = np.nan_to_num(deviation)
    return np.hstack([np.maximum(-z, 0), np.maximum(z, 0), np.isfinite(deviation)]).astype(np.float32)
