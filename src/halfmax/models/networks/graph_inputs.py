"""What a graph network reads: a sample's input, genes that stand out and responses; a drug's structure and facts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from halfmax.features.blocks import FloatArray, PairFeatures, rows_of
from halfmax.models.base import response_matrix
from halfmax.models.networks.knowledge import (
    EDGE_BLOCKS,
    Knowledge,
    drug_edges,
    gene_values,
    knowledge_of,
    shuffled_rows,
)
from halfmax.models.networks.mlp import TwoTowerMLP
from halfmax.models.networks.relational import SampleEdges, response_edges

if TYPE_CHECKING:
    import torch


class GraphInputs(TwoTowerMLP):
    """The inputs of `halfmax.models.networks.hetero.HeteroGraph`, which come with every row as further columns."""

    #: Whether drugs are given the facts of other drugs.
    is_shuffled: ClassVar[bool] = False
    gmt: str
    stands_out: float

    def _learn_inputs(self, x: PairFeatures, targets: npt.NDArray[np.float64]) -> None:
        from halfmax.data.readers.gmt import read_gmt

        known = knowledge_of(x, read_gmt(self.gmt) if self.gmt else None)
        self.genes_, self.groups_ = np.array(known.genes, dtype=str), np.array(known.groups, dtype=str)
        self.member_ = known.member
        self.sample_ids_ = x.sample_ids
        values = self._expression(x)
        there = np.asarray(np.isfinite(values).any(axis=0))
        mean, sd = (np.zeros(len(there), dtype=np.float32) for _ in range(2))
        mean[there], sd[there] = np.nanmean(values[:, there], axis=0), np.nanstd(values[:, there], axis=0)
        self.gene_mean_, self.gene_sd_, self.profiled_ = mean, sd, np.flatnonzero(sd > 1e-6)
        self.mutable_ = np.flatnonzero(np.isfinite(self._mutation(x)).any(axis=0))
        grid = response_matrix(x, targets)
        measured = grid[:, np.isfinite(grid).any(axis=0)]
        self.response_ = np.full(grid.shape, np.nan, dtype=np.float32)
        spread = np.nanstd(measured, axis=0)
        deviation = (measured - np.nanmean(measured, axis=0)) / np.where(spread > 1e-6, spread, 1)
        self.response_[:, np.isfinite(grid).any(axis=0)] = deviation
        self.edges_ = drug_edges(x, known)
        super()._learn_inputs(_structures(x), targets)

    def _view(self, x: PairFeatures) -> FloatArray:
        rows = rows_of(x.sample_ids, self.sample_ids_)
        response = np.where((rows >= 0)[:, None], self.response_[rows], np.float32(np.nan))
        return np.hstack([super()._view(x), self._gene_edges(x), response_edges(response)])

    def _gene_edges(self, x: PairFeatures) -> FloatArray:
        values, used = self._expression(x)[:, self.profiled_], self.profiled_
        z = np.nan_to_num((values - self.gene_mean_[used]) / self.gene_sd_[used])
        mutated = np.nan_to_num(self._mutation(x)[:, self.mutable_]) > 0.5
        parts = (np.where(z > self.stands_out, z, 0), np.where(z < -self.stands_out, -z, 0), mutated)
        means = [part / np.maximum((part > 0).sum(axis=1, keepdims=True), 1) for part in parts]
        return np.hstack(means).astype(np.float32)

    def _expression(self, x: PairFeatures) -> FloatArray:
        return gene_values(x.sample_x.get("expression"), self.genes_.tolist(), len(x.sample_ids))

    def _mutation(self, x: PairFeatures) -> FloatArray:
        block = x.sample_x["mutation"] if "mutation" in x.modalities else None
        return gene_values(block, self.genes_.tolist(), len(x.sample_ids))

    def _sample_input(self, view: FloatArray, device: torch.device) -> torch.Tensor:
        import torch

        n = len(self.sample_mean_)
        rest = torch.as_tensor(np.ascontiguousarray(view[:, n:]), device=device)
        return torch.cat([super()._sample_input(view[:, :n], device), rest], dim=1)

    def _drug_blocks(self, x: PairFeatures) -> FloatArray:
        return super()._drug_blocks(_structures(x))

    def _drug_input(self, x: PairFeatures, device: torch.device) -> torch.Tensor:
        import torch

        if self.is_shuffled:
            edges = self.edges_[shuffled_rows(x.drug_ids, self.drug_ids_, self.seed)]
        else:
            edges = drug_edges(x, Knowledge(tuple(self.genes_.tolist()), tuple(self.groups_.tolist()), self.member_))
        blocks = super()._drug_input(x, device)
        return torch.cat([blocks, torch.as_tensor(edges, device=device)], dim=1)

    def _cut(self, x: torch.Tensor, shown: torch.Tensor) -> tuple[torch.Tensor, SampleEdges]:
        """Return inputs of the sample tower, and a sample's edges."""
        import torch

        g, c, d = len(self.profiled_), len(self.mutable_), len(self.drug_ids_)
        inputs, *parts = torch.split(x, [self.sample_basis_.shape[1], g, g, c, d, d, d], dim=-1)
        to_drugs = (part * shown for part in parts[3:])
        return inputs, SampleEdges(self.profiled_, self.mutable_, *parts[:3], *to_drugs)


def _structures(x: PairFeatures) -> PairFeatures:
    """Return the features without the drug blocks that are edges."""
    return replace(x, drug_x={name: block for name, block in x.drug_x.items() if name not in EDGE_BLOCKS})
