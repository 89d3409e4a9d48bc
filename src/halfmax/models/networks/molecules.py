"""GIN and GAT: two-tower networks whose drug tower passes messages between the atoms of a molecule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import IndexArray, PairFeatures
from halfmax.models.base import JSON
from halfmax.models.networks.mlp import TwoTowerMLP
from halfmax.models.networks.molecule_graphs import N_ATOM, N_BOND, MoleculeGraphs, molecule_graphs
from halfmax.models.networks.parts import Weights, activation, drop
from halfmax.models.networks.towers import Normal

if TYPE_CHECKING:
    import torch


class MoleculeNetwork(TwoTowerMLP):
    """What `GIN` and `GAT` share: all but how an atom hears its neighbours.

    A drug is its structure alone: atoms with element, degree, charge, hydrogens, hybridisation, aromaticity and ring
    membership, and bonds with type, conjugation and ring membership. After some rounds of messages the atoms' states
    of every round are averaged and summed over the molecule, and a hidden layer makes the drug's vector and bias of
    it. A drug without a structure is given a learned one. The rest is `TwoTowerMLP`: its sample tower, and a vector
    of its own for a drug seen in training, except for a random share in each step, which trains the tower. Only
    these drugs' molecules are computed in a step.

    Parameters
    ----------
    rounds
        Rounds of messages: how many bonds an atom sees.
    heads
        Heads of attention; of no effect in `GIN`.
    structure_dropout
        Share of the molecules that are treated as unknown in a step, which trains what stands for an unknown one.
    drug_width
        Units of an atom and of the hidden layer.
    """

    is_rewired: ClassVar[bool] = False

    def __init__(
        self,
        rounds: int = 3,
        heads: int = 4,
        structure_dropout: float = 0.05,
        focus: float = 2.0,
        components: int | None = 512,
        width: int = 1024,
        layers: int = 1,
        drug_width: int = 64,
        drug_gain: float = 0.1,
        activation: str = "silu",
        dropout: float = 0.5,
        input_dropout: float = 0.5,
        drug_dropout: float = 0.1,
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
        self.rounds = rounds
        self.heads = heads
        self.structure_dropout = structure_dropout
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
            "rounds": {"low": 2, "high": 5, "log": False},
            "drug_width": {"choices": [32, 64, 128]},
            "drug_dropout": {"low": 0.0, "high": 0.5, "log": False},
            "identity_dropout": {"low": 0.05, "high": 0.5, "log": False},
        }

    def _round_names(self) -> list[str]:
        """Return the names of the weights of one round."""
        raise NotImplementedError

    def _round_weights(self, normal: Normal) -> Weights:
        """Return the weights of one round."""
        raise NotImplementedError

    def _round(
        self, weights: Weights, i: int, h: torch.Tensor, bonds: torch.Tensor, ends: torch.Tensor
    ) -> torch.Tensor:
        """Return what round `i` adds to the atoms' states, shape (members, n_atoms, drug_width)."""
        raise NotImplementedError

    def _drug_names(self) -> list[str]:
        rounds = [f"{name}{i}" for i in range(self.rounds) for name in self._round_names()]
        ends = ["drug_enter", "bias_drug_enter", "drug_leave", "bias_drug_leave", "identity"]
        return ["atom", "bias_atom", *rounds, "unknown", *ends]

    def _drug_weights(self, normal: Normal, n_drugs: int) -> Weights:
        import torch

        m, w, c = self.members, self.width, self.drug_width
        read = 2 * c * (self.rounds + 1)
        weights = {"atom": normal(m, N_ATOM, c, scale=math.sqrt(1 / 7)), "bias_atom": torch.zeros(m, 1, c)}
        for i in range(self.rounds):
            weights |= {f"{name}{i}": value for name, value in self._round_weights(normal).items()}
        return weights | {
            "unknown": normal(m, 1, read, scale=0.1),
            "drug_enter": normal(m, read, c, scale=1 / math.sqrt(read)),
            "bias_drug_enter": torch.zeros(m, 1, c),
            "drug_leave": normal(m, c, w + 1, scale=0.01 / math.sqrt(c)),
            "bias_drug_leave": torch.zeros(m, 1, w + 1),
            "identity": normal(m, n_drugs, w, scale=0.01 / math.sqrt(w)),
        }

    def _learn_inputs(self, x: PairFeatures, targets: npt.NDArray[np.float64]) -> None:
        self.drug_ids_ = x.drug_ids
        self._learn_samples(x, targets, np.random.default_rng(self.seed))
        graphs = self._graphs(x)
        # so that a sum over atoms is about 1 for the molecules of training
        self.n_atoms_ = np.float32(max(graphs.n_atoms.mean(), 1)).reshape(1)

    def _graphs(self, x: PairFeatures) -> MoleculeGraphs:
        smiles = x.drug_text.get("smiles", np.full(len(x.drug_ids), ""))
        return molecule_graphs(smiles.tolist(), rewired=self.seed if self.is_rewired else None)

    def _drug_input(self, x: PairFeatures, device: torch.device) -> MoleculeGraphs:  # type: ignore[override]
        return self._graphs(x)

    def _drugs(  # type: ignore[override]
        self,
        weights: Weights,
        x: MoleculeGraphs,
        rows: IndexArray,
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        known = self._known(weights, rows, generator)
        needed = np.flatnonzero((known < 1).any(dim=0).cpu().numpy())
        shape = (len(known), len(x), self.width + 1)
        out = torch.zeros(shape, device=known.device)
        if len(needed):
            place = torch.as_tensor(needed, device=known.device)
            out = out.index_copy(1, place, self._tower(weights, x.take(needed), generator))
        return self._own(weights, out[..., :-1] * self.drug_gain, out[..., -1], rows, known)

    def _tower(self, weights: Weights, x: MoleculeGraphs, generator: torch.Generator | None) -> torch.Tensor:
        """Encode molecules to (members, n, width + 1)."""
        import torch

        act, device = activation(self.activation), weights["atom"].device
        atoms, bonds, ends, molecule = (
            torch.as_tensor(np.array(a), device=device) for a in (x.atoms, x.bonds, x.ends, x.molecule)
        )
        h = act(weights["bias_atom"] + atoms @ weights["atom"])
        states = [h]
        for i in range(self.rounds):
            h = h + drop(self._round(weights, i, h, bonds, ends), self.drug_dropout, generator)
            states.append(h)
        every = torch.cat(states, dim=2)
        total = every.new_zeros(len(every), len(x), every.shape[2]).index_add(1, molecule, every)
        n = torch.as_tensor(x.n_atoms, device=device, dtype=total.dtype)[:, None]
        pooled = torch.cat([total / n.clamp(min=1), total / float(self.n_atoms_[0])], dim=2)
        lost = (n == 0).expand(len(pooled), -1, 1)
        if generator is not None and self.structure_dropout > 0:
            lost = lost | (torch.rand(lost.shape, generator=generator) < self.structure_dropout).to(device)
        pooled = torch.where(lost, weights["unknown"], pooled)
        pooled = drop(pooled, self.drug_dropout, generator)
        h = drop(
            act(torch.baddbmm(weights["bias_drug_enter"], pooled, weights["drug_enter"])), self.drug_dropout, generator
        )
        return torch.baddbmm(weights["bias_drug_leave"], h, weights["drug_leave"])

    def _check_params(self) -> None:
        super()._check_params()
        if not 0 <= self.structure_dropout < 1:
            raise DataError(f"structure_dropout is {self.structure_dropout}; it is at least 0 and below 1.")
        if self.rounds < 1 or self.heads < 1 or self.drug_width % self.heads:
            raise DataError(
                f"rounds is {self.rounds}, heads {self.heads}, drug_width {self.drug_width}; rounds and heads are at "
                "least 1, and drug_width is a multiple of heads."
            )


class GIN(MoleculeNetwork):
    """Graph isomorphism network: an atom adds up its neighbours' states and bonds, and a hidden layer reads the sum.

    h(v) ← h(v) + MLP((1 + ε) h(v) + Σ_u act(h(u) + bond(u, v))). Parameters are those of `MoleculeNetwork`.

    References
    ----------
    Xu et al. 2019 (GIN), ICLR; Hu et al. 2020 (bonds in the sum), ICLR; He et al. 2016 (residual layers).
    """

    def _round_names(self) -> list[str]:
        return ["bond", "eps", "hear", "bias_hear", "say", "bias_say"]

    def _round_weights(self, normal: Normal) -> Weights:
        import torch

        m, c = self.members, self.drug_width
        return {
            "bond": normal(m, N_BOND, c, scale=0.5),
            "eps": torch.zeros(m, 1, 1),
            "hear": normal(m, c, c, scale=1 / math.sqrt(2 * c)),
            "bias_hear": torch.zeros(m, 1, c),
            "say": normal(m, c, c, scale=0.5 / math.sqrt(c)),
            "bias_say": torch.zeros(m, 1, c),
        }

    def _round(
        self, weights: Weights, i: int, h: torch.Tensor, bonds: torch.Tensor, ends: torch.Tensor
    ) -> torch.Tensor:
        import torch

        act = activation(self.activation)
        told = act(h[:, ends[0]] + bonds @ weights[f"bond{i}"])
        heard = ((1 + weights[f"eps{i}"]) * h).index_add(1, ends[1], told)
        hidden = act(torch.baddbmm(weights[f"bias_hear{i}"], heard, weights[f"hear{i}"]))
        return torch.baddbmm(weights[f"bias_say{i}"], hidden, weights[f"say{i}"])


class GAT(MoleculeNetwork):
    """Graph attention network: an atom weighs its neighbours and itself, several heads side by side.

    The weight of u for v is the softmax over v's neighbours of a · leaky_relu(W h(u) + V h(v) + bond(u, v)), the
    attention of Brody et al.; what is summed is W h(u). Parameters are those of `MoleculeNetwork`.

    References
    ----------
    Veličković et al. 2018 (GAT), ICLR; Brody et al. 2022 (attention that depends on both ends), ICLR.
    """

    def _round_names(self) -> list[str]:
        return ["bond", "source", "target", "attend", "bias_say"]

    def _round_weights(self, normal: Normal) -> Weights:
        import torch

        m, c = self.members, self.drug_width
        return {
            "bond": normal(m, N_BOND, c, scale=0.5),
            "source": normal(m, c, c, scale=1 / math.sqrt(c)),
            "target": normal(m, c, c, scale=1 / math.sqrt(c)),
            "attend": normal(m, 1, c, scale=1 / math.sqrt(c // self.heads)),
            "bias_say": torch.zeros(m, 1, c),
        }

    def _round(
        self, weights: Weights, i: int, h: torch.Tensor, bonds: torch.Tensor, ends: torch.Tensor
    ) -> torch.Tensor:
        import torch

        m, n, c = h.shape
        own = torch.arange(n, device=h.device)
        start, stop = torch.cat([ends[0], own]), torch.cat([ends[1], own])
        source, target = torch.bmm(h, weights[f"source{i}"]), torch.bmm(h, weights[f"target{i}"])
        bond = torch.cat([bonds @ weights[f"bond{i}"], h.new_zeros(m, n, c)], dim=1)
        said = source[:, start]
        met = torch.nn.functional.leaky_relu(said + target[:, stop] + bond, 0.2) * weights[f"attend{i}"]
        score = met.reshape(m, -1, self.heads, c // self.heads).sum(dim=3)
        index = stop[None, :, None].expand_as(score)
        most = score.detach().new_full((m, n, self.heads), -math.inf).scatter_reduce(1, index, score.detach(), "amax")
        weight = (score - most[:, stop]).exp()
        total = weight.new_zeros(m, n, self.heads).index_add(1, stop, weight)
        weight = weight / total[:, stop]
        heard = h.new_zeros(m, n, c).index_add(1, stop, said * weight.repeat_interleave(c // self.heads, dim=2))
        return activation(self.activation)(heard + weights[f"bias_say{i}"])


class RewiredGIN(GIN):
    """A control: `GIN` on molecules whose bonds are exchanged at random, every atom keeping its number of bonds.

    What it loses against `GIN` on unseen drugs is what the network has from how a molecule is put together, beyond
    which atoms it has.
    """

    is_rewired: ClassVar[bool] = True
