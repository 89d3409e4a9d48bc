"""HeteroGraph: messages between samples, drugs, genes and groups; new nodes read the graph, none changes it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import IndexArray, PairFeatures
from halfmax.models.base import JSON, OnEpoch, State, Valid
from halfmax.models.networks.graph_inputs import GraphInputs
from halfmax.models.networks.mlp import TwoTowerMLP
from halfmax.models.networks.parts import Cells, Weights, activation, drop
from halfmax.models.networks.relational import FROZEN, RELATIONS, ROUNDS, Hears, mean_over
from halfmax.models.networks.towers import Normal

if TYPE_CHECKING:
    import torch


class HeteroGraph(GraphInputs):
    """Score of a pair = ⟨f(sample), g(drug)⟩ + ⟨s, A d⟩ + biases, s and d from two rounds of messages in a graph.

    Nodes are samples, drugs, genes and groups of genes (families, mechanisms, pathways, gene sets). Edges: a drug and
    the genes and groups that it acts on, from the drug blocks ``targets``, ``mechanism`` and ``pathway``; a gene and
    its groups; a sample and the genes that it over- or underexpresses or has mutated, among those that are targets;
    a sample and the drugs that it is more or less sensitive to than others, from training responses only. A node hears
    the mean over each relation, weighted by the size of the deviation where there is one, through weights of that
    relation and round. f is the sample tower of `TwoTowerMLP`; a sample's node starts from the same input. g is a
    vector of its own for a drug seen in training, and for another what its structure and its node say.

    In training the responses of a batch of samples are hidden, all of them for a share of samples (``cold``) and a
    random share of the others, and only hidden ones count. So no response is predicted from itself, and the network
    learns to do with and without them. After training the states of the training graph are kept. What is new reads
    them: a new sample has no response edges, a new drug none either, and nobody's prediction depends on who is
    predicted beside it.

    Parameters
    ----------
    node_width
        Entries of a node's state.
    cold
        Share of a batch's samples whose responses are all hidden.
    hidden
        Share of responses hidden of a batch's other samples.
    stands_out
        From how many standard deviations a sample over- or underexpresses a gene.
    graph_dropout
        Share dropped of what nodes hear and of their inputs.
    gmt
        File of gene sets, read in `fit`, for more groups; empty = none.

    Other parameters are those of `TwoTowerMLP`.

    References
    ----------
    Schlichtkrull et al. 2018 (weights a relation, mean over neighbours), ESWC; Hamilton et al. 2017 (nodes that were
    not in training), NeurIPS; Zhang and Chen 2020 (matrix completion from a graph without the predicted edge), ICLR.
    """

    def __init__(
        self,
        node_width: int = 64,
        cold: float = 0.2,
        hidden: float = 0.5,
        stands_out: float = 1.0,
        graph_dropout: float = 0.2,
        gmt: str = "",
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
        learning_rate: float = 3e-3,
        weight_decay: float = 0.1,
        epochs: int = 30,
        batch_size: int = 64,
        patience: int | None = None,
        members: int = 1,
        refit: bool = True,
        task: str = "regression",
        device: str = "auto",
        precision: str = "float32",
        seed: int = 0,
    ) -> None:
        self.node_width = node_width
        self.cold = cold
        self.hidden = hidden
        self.stands_out = stands_out
        self.graph_dropout = graph_dropout
        self.gmt = gmt
        super().__init__(
            focus=focus,
            components=components,
            width=width,
            layers=layers,
            drug_width=drug_width,
            drug_gain=drug_gain,
            activation=activation,
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
        return {
            **TwoTowerMLP.search_space(),
            "node_width": {"choices": [32, 64, 128]},
            "cold": {"low": 0.0, "high": 1.0, "log": False},
            "hidden": {"low": 0.1, "high": 0.8, "log": False},
            "graph_dropout": {"low": 0.0, "high": 0.5, "log": False},
        }

    def _drug_names(self) -> list[str]:
        rounds = [
            f"{kind}_{relation}{i}"
            for i in range(ROUNDS)
            for kind in RELATIONS
            for relation in (*RELATIONS[kind], "own")
        ]
        biases = [f"bias_{kind}{i}" for i in range(ROUNDS) for kind in RELATIONS]
        nodes = ["node_sample", "bias_node_sample", "node_drug", "node_identity", "node_gene", "node_group"]
        return [*super()._drug_names(), *nodes, *rounds, *biases, "meet", "lean", "node_leave"]

    def _drug_weights(self, normal: Normal, n_drugs: int) -> Weights:
        import torch

        m, k, w = self.members, self.node_width, self.width
        inputs = self.sample_basis_.shape[1]
        weights = {
            **super()._drug_weights(normal, n_drugs),
            "node_sample": normal(m, inputs, k, scale=1 / math.sqrt(max(inputs, 1))),
            "bias_node_sample": torch.zeros(m, 1, k),
            "node_drug": normal(m, self.drug_width, k, scale=1 / math.sqrt(self.drug_width)),
            "node_identity": normal(m, n_drugs, k, scale=0.5),
            "node_gene": normal(m, len(self.genes_), k, scale=0.5),
            "node_group": normal(m, len(self.groups_), k, scale=0.5),
            "meet": normal(m, k, k, scale=0.1 / k),
            "lean": torch.zeros(m, k, 1),
            "node_leave": normal(m, k, w + 1, scale=0.01 / math.sqrt(k)),
        }
        for i in range(ROUNDS):
            for kind, relations in RELATIONS.items():
                for relation in (*relations, "own"):
                    weights[f"{kind}_{relation}{i}"] = normal(m, k, k, scale=0.5 / math.sqrt(k))
                weights[f"bias_{kind}{i}"] = torch.zeros(m, 1, k)
        return weights

    def _weights(self) -> dict[str, npt.NDArray[np.float32]]:
        return super()._weights() | {name: getattr(self, f"{name}_") for name in FROZEN}

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

        self._x = x
        try:
            super()._train(x, targets, valid, start, epochs, on_epoch)
            weights = {name: torch.as_tensor(value) for name, value in super()._weights().items()}
            with torch.no_grad():
                for name, value in self._frozen(weights, x).items():
                    setattr(self, f"{name}_", value.numpy())
        finally:
            del self._x

    def _valid_loss(self, weights: Weights, valid: Valid, device: torch.device):  # type: ignore[no-untyped-def]
        seen = dict(weights)
        inner = super()._valid_loss(seen, valid, device)

        def loss() -> float:
            seen.update(self._frozen(weights, self._x))
            return float(inner())

        return loss

    def _frozen(self, weights: Weights, x: PairFeatures) -> Weights:
        """Return the states of the training graph that new nodes read; the second axis counts rounds."""
        device = weights["identity"].device
        rows = np.arange(len(x.drug_ids))
        known = self._known(weights, rows, None)
        inputs = self._sample_input(self._view(x), device), self._drug_input(x, device)
        graph = self._graph(weights, *inputs, rows, known, known[:, None], None, None)
        return {name: graph[name] for name in FROZEN}

    def _graph(
        self,
        weights: Weights,
        samples: torch.Tensor,
        drugs: torch.Tensor,
        rows: IndexArray,
        known: torch.Tensor,
        shown: torch.Tensor,
        batch: torch.Tensor | None,
        generator: torch.Generator | None,
    ) -> Weights:
        """Return the states after all rounds, and those that nodes heard; of samples, the last round of a `batch` only.

        Parameters
        ----------
        known
            Shape (members, n_drugs): 0 for a drug that is treated as unseen.
        shown
            Shape (members, n_samples or 1, n_drugs): 0 where a response is hidden.
        """
        import torch

        hear = self._hears(weights, generator)
        inputs, edges = self._cut(samples, shown)
        s = self._node_samples(weights, inputs, generator)
        tower, d, facts = self._node_drugs(weights, drugs, rows, known, generator)
        g, p = weights["node_gene"], weights["node_group"]
        n = len(self.genes_)
        member, back = (torch.as_tensor(a, device=s.device) for a in (self.member_, self.member_.T))
        hit = (facts * known[..., None]).transpose(1, 2)  # an unseen drug tells nobody
        heard: dict[str, list[torch.Tensor]] = {name: [] for name in FROZEN}
        for i in range(ROUNDS):
            told = edges.tell_drugs(s, weights[f"drug_sensitive{i}"], weights[f"drug_resistant{i}"])
            for name, state in zip(FROZEN, (g, p, d, told), strict=True):
                heard[name].append(state)
            if batch is not None and i == ROUNDS - 1:
                members = torch.arange(len(batch), device=batch.device)[:, None]
                s, edges = s[members, batch], edges.take(batch)
            before = d
            s = hear("sample", i, s, {**edges.of_genes(g), **edges.of_drugs(d)})
            d = hear("drug", i, d, self._facts(facts, g, p), told)
            if i < ROUNDS - 1:
                genes = {"group": mean_over(member, p), "drug": mean_over(hit[:, :n], before)}
                groups = {"gene": mean_over(back, g), "drug": mean_over(hit[:, n:], before)}
                g, p = hear("gene", i, g, genes), hear("group", i, p, groups)
        return {"sample": s, "drug": d, "tower": tower} | {k: torch.stack(v, dim=1) for k, v in heard.items()}

    def _batch_loss(
        self,
        weights: Weights,
        samples: torch.Tensor,
        drugs: torch.Tensor,
        rows: IndexArray,
        cells: Cells,
        batch: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        import torch

        known = self._known(weights, rows, generator)
        m, n = batch.shape
        share = torch.where(torch.rand(m, n, 1, generator=generator) < self.cold, 1.0, self.hidden)
        hide = (torch.rand(m, n, len(rows), generator=generator) < share).to(batch.device)
        shown = known[:, None].repeat(1, len(samples), 1)
        shown[torch.arange(m, device=batch.device)[:, None], batch] *= ~hide
        graph = self._graph(weights, samples, drugs, rows, known, shown, batch, generator)
        expression = super()._samples(weights, samples[batch][..., : self.sample_basis_.shape[1]], generator)
        h = self._sample_side(weights, expression, graph["sample"])
        v, bias = self._drug_side(weights, graph["tower"], graph["drug"], rows, known)
        return cells.loss((torch.bmm(h, v.transpose(1, 2)) + bias[:, None]).float(), batch, counted=hide)

    def _samples(self, weights: Weights, x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        hear = self._hears(weights, None)
        shown = self._known(weights, np.arange(len(self.drug_ids_)), None)[:, None]
        inputs, edges = self._cut(x, shown)
        s = self._node_samples(weights, inputs, None)
        for i in range(ROUNDS):
            g, d = weights["gene_state"][:, i], weights["drug_state"][:, i]
            s = hear("sample", i, s, {**edges.of_genes(g), **edges.of_drugs(d)})
        return self._sample_side(weights, super()._samples(weights, inputs, None), s)

    def _drugs(
        self, weights: Weights, x: torch.Tensor, rows: IndexArray, generator: torch.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hear = self._hears(weights, None)
        known = self._known(weights, rows, None)
        tower, d, facts = self._node_drugs(weights, x, rows, known, None)
        for i in range(ROUNDS):
            told = weights["drug_told"][:, i][:, np.maximum(rows, 0)] * known[..., None]
            d = hear("drug", i, d, self._facts(facts, weights["gene_state"][:, i], weights["group_state"][:, i]), told)
        return self._drug_side(weights, tower, d, rows, known)

    def _hears(self, weights: Weights, generator: torch.Generator | None) -> Hears:
        return Hears(weights, activation(self.activation), self.graph_dropout, generator)

    def _facts(self, facts: torch.Tensor, g: torch.Tensor, p: torch.Tensor) -> Weights:
        n = len(self.genes_)
        return {"gene": mean_over(facts[:, :n], g), "group": mean_over(facts[:, n:], p)}

    def _node_samples(self, weights: Weights, x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        h = drop(x.expand(len(weights["identity"]), -1, -1), self.input_dropout, generator)
        h = activation(self.activation)(weights["bias_node_sample"] + h @ weights["node_sample"])
        return drop(h, self.graph_dropout, generator)

    def _node_drugs(
        self,
        weights: Weights,
        x: torch.Tensor,
        rows: IndexArray,
        known: torch.Tensor,
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the drug tower's hidden units, drugs' first states, and edges to genes and groups."""
        k = self.drug_basis_.shape[1]
        tower = self._drug_hidden(weights, x[:, :k], generator)
        own = weights["node_identity"][:, np.maximum(rows, 0)] * known[..., None]
        return tower, drop(tower @ weights["node_drug"] + own, self.graph_dropout, generator), x[:, k:]

    def _sample_side(self, weights: Weights, expression: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.cat([expression, s @ weights["meet"], s @ weights["lean"]], dim=2)

    def _drug_side(
        self, weights: Weights, tower: torch.Tensor, d: torch.Tensor, rows: IndexArray, known: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        out = torch.baddbmm(weights["bias_drug_leave"], tower, weights["drug_leave"]) + d @ weights["node_leave"]
        vector, bias = self._own(weights, out[..., :-1] * self.drug_gain, out[..., -1], rows, known)
        return torch.cat([vector, d, torch.ones_like(d[..., :1])], dim=2), bias

    def _check_params(self) -> None:
        super()._check_params()
        for name in ("cold", "hidden", "graph_dropout"):
            if not 0 <= getattr(self, name) <= 1 or (name == "graph_dropout" and self.graph_dropout == 1):
                raise DataError(f"{name} is {getattr(self, name)}; it is a share between 0 and 1.")
        if self.node_width < 1 or self.cold == self.hidden == 0:
            raise DataError("node_width is at least 1, and cold and hidden are not both 0: nothing would be learned.")


class ShuffledHeteroGraph(HeteroGraph):
    """A control: `HeteroGraph` in which every drug has the genes and groups of another drug, drawn by the seed.

    What it loses against `HeteroGraph` is what the network has from knowing what drugs act on.
    """

    is_shuffled: ClassVar[bool] = True
