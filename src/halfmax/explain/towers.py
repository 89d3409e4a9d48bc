"""Expected gradients of networks with two towers: in closed form for one hidden layer, by quadrature for the others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.explain.attribution import Attribution, drug_rows, features_of
from halfmax.explain.linear import NODES, unit_rule
from halfmax.features.blocks import FloatArray, PairFeatures
from halfmax.models.networks.mlp import TwoTowerMLP
from halfmax.models.networks.parts import activation
from halfmax.models.networks.towers import TwoTower

if TYPE_CHECKING:
    import torch

#: Inputs this near are taken to be one: the slope between them is the derivative there.
_NEAR = 1e-3
#: Features whose way into the network is read at a time.
_ROWS = 1024


class OneLayerPath:
    """Expected gradients of ⟨act(W x + c), g(drug)⟩, all drugs at once, without quadrature.

    Along the line from b to x a hidden unit's input moves evenly from u_b to u_x, so the mean of act′ on it is
    (act(u_x) − act(u_b)) / (u_x − u_b), for any activation. With this slope q, what feature j adds to unit h is
    (x_j − b_j) W_jh q_h; the units' shares of a drug's score are linear, and so the same Jacobian serves every drug.

    References
    ----------
    Erion et al. 2021 (expected gradients); Sundararajan et al. 2017 (integrated gradients).
    """

    label = "network"
    method = "expected gradients (Aumann–Shapley), closed form"

    def __init__(self, model: TwoTower) -> None:
        self.model = model

    @staticmethod
    def fits(model: TwoTower) -> bool:
        """Whether the network is of this kind: one hidden layer on linear coordinates, and an inner product."""
        kind: Any = type(model)
        same = {"_entry": TwoTowerMLP, "_sample_input": TwoTowerMLP, "_view": TwoTower, "_samples": TwoTower}
        same |= {"_scores": TwoTower, "_score": TwoTower}
        plain = model.layers == 1 and model.norm == "none"
        return plain and all(getattr(kind, name) is getattr(source, name) for name, source in same.items())

    def attribute(self, x: PairFeatures, background: PairFeatures) -> Attribution:
        """Return the mean over members of what each feature adds, and its variance between them."""
        import torch

        model = self.model
        inputs, lines = (torch.as_tensor(model._view(side)) for side in (x, background))
        vectors = drug_vectors(model, x)
        shape = (len(inputs), len(x.drug_ids), inputs.shape[1])
        total, square = np.zeros(shape), np.zeros(shape)
        with torch.no_grad():
            for e, enter in enumerate(self._enter):
                bias = torch.as_tensor(model.bias_enter_[e])  # type: ignore[attr-defined]
                mean = torch.as_tensor(model.sample_mean_)  # type: ignore[attr-defined]
                u_x, u_b = ((side - mean) @ enter + bias for side in (inputs, lines))
                for i in range(len(inputs)):
                    slope = self._slope(u_x[i], u_b)
                    moved = inputs[i][:, None] * slope.mean(dim=0) - lines.T @ slope / len(lines)
                    part = (moved.mul_(enter) @ vectors[e].T).T.double().numpy()
                    total[i] += part
                    square[i] += part**2
        n = len(self._enter)
        mean_ = total / n
        variance = np.maximum(square / n - mean_**2, 0) if n > 1 else None
        return Attribution(features_of(x, x.modalities), mean_, variance)

    @cached_property
    def _enter(self) -> list[torch.Tensor]:
        """Each member's first layer in features, shape (d, width)."""
        import torch

        basis = torch.as_tensor(self.model.sample_basis_)  # type: ignore[attr-defined]
        return [basis @ torch.as_tensor(enter) for enter in self.model.enter_]  # type: ignore[attr-defined]

    def _slope(self, u: torch.Tensor, lines: torch.Tensor) -> torch.Tensor:
        """Return the mean slope of each hidden unit between one sample and every line, shape (n_lines, width)."""
        import torch

        act = activation(self.model.activation)
        high, low = u.double(), lines.double()
        step = high - low
        middle = (high + low) / 2
        there = (act(middle + _NEAR / 2) - act(middle - _NEAR / 2)) / _NEAR
        near = step.abs() < _NEAR
        return torch.where(near, there, (act(high) - act(low)) / torch.where(near, 1.0, step)).float()


class GradientPath:
    """Expected gradients of any two-tower network, a drug at a time, by a Gauss–Legendre rule on each line.

    Whatever comes before the first layer has to be linear in the features (components, patches of genes), and is read
    off by asking about each feature alone. Networks with kinks or normalised layers close less well; the gap says how.

    References
    ----------
    Erion et al. 2021.
    """

    label = "network"
    method = "expected gradients (Aumann–Shapley), Gauss–Legendre"

    def __init__(self, model: TwoTower, nodes: int = NODES) -> None:
        self.model = model
        self.nodes = nodes

    def attribute(self, x: PairFeatures, background: PairFeatures) -> Attribution:
        """Return the mean over the background of difference times integrated gradient; one pass back a drug.

        Raises
        ------
        DataError
            If a sample lacks a modality: there is no way from having none to having one.
        """
        import torch

        model = self.model
        for name in x.modalities:
            if x.sample_x[name].absent.any() or background.sample_x[name].absent.any():
                raise DataError(f"some samples have no {name}; {type(model).__name__} is explained where all have it.")
        self._order = features_of(x, x.modalities)
        columns = self._columns(x)
        view_x, view_b = (self.model._view(side) for side in (x, background))
        values = np.zeros((len(view_x), len(x.drug_ids), len(columns)))
        device = torch.device("cpu")
        start, lines = model._sample_input(view_b, device), []
        for row in view_x:
            end = model._sample_input(row[None], device)
            lines.append(self._gradients(x, start, end[0] - start))
        gradients = np.stack(lines)  # samples × drugs × lines × inputs
        difference = (view_x[:, None] - view_b[None])[..., columns].astype(np.float64)
        for part, way in self._ways(view_b, columns):
            there = gradients @ way.T.astype(np.float64)  # samples × drugs × lines × features
            values[..., part] = (there * difference[:, None, :, part]).mean(axis=2)
        return Attribution(self._order, values)

    def _columns(self, x: PairFeatures) -> npt.NDArray[np.int64]:
        """Return where each feature stands in the network's view, found by asking with its number in its place."""
        from dataclasses import replace

        n = 0
        blocks = dict(x.sample_x)
        for name in x.modalities:
            block = blocks[name]
            d = len(block.names)
            numbers = np.arange(n + 1, n + d + 1, dtype=np.float32)[None]
            blocks[name] = replace(block, values=numbers, mask=None)
            n += d
        others = {k: b if k in x.modalities else b.take(np.zeros(1, dtype=np.int64)) for k, b in blocks.items()}
        view = self.model._view(replace(x, sample_ids=x.sample_ids[:1], sample_x=others))[0]
        place = np.full(n + 1, -1, dtype=np.int64)
        said = np.rint(view).astype(np.int64)
        # what the view adds (whether a modality is there) comes last and is skipped
        place[said[:n]] = np.arange(n)
        return place[1:]

    def _ways(self, view_b: FloatArray, columns: npt.NDArray[np.int64]) -> Iterator[tuple[slice, FloatArray]]:
        """Yield parts of the features, and what a unit of each adds to the first layer's inputs."""
        import torch

        zero = np.zeros_like(view_b[:1])
        zero[:, columns.max() + 1 :] = view_b[:1, columns.max() + 1 :]
        device = torch.device("cpu")
        base = self.model._sample_input(zero, device).numpy()
        for first in range(0, len(columns), _ROWS):
            part = slice(first, min(first + _ROWS, len(columns)))
            asked = np.repeat(zero, part.stop - first, axis=0)
            asked[np.arange(part.stop - first), columns[part]] += 1
            yield part, self.model._sample_input(asked, device).numpy() - base

    def _gradients(self, x: PairFeatures, start: torch.Tensor, step: torch.Tensor) -> npt.NDArray[np.float64]:
        """Return each drug's gradient in the first layer's inputs, averaged along each line: (n_drugs, n_lines, k)."""
        import torch

        model = self.model
        t, weight = unit_rule(self.nodes)
        weights = {name: torch.as_tensor(value) for name, value in model._weights().items()}
        with torch.no_grad():
            rows = drug_rows(x, model.drug_ids_)
            drug, bias = model._drugs(weights, model._drug_input(x, torch.device("cpu")), rows, None)
        times = torch.as_tensor(t, dtype=start.dtype).reshape(-1, *([1] * start.dim()))
        points = (start + times * step).reshape(-1, *start.shape[1:]).requires_grad_()
        sample = model._samples(weights, points, None)
        out = []
        for d in range(len(rows)):
            score = model._scores(weights, sample, drug[:, [d]], bias[:, [d]]).mean(dim=0).sum()
            (gradient,) = torch.autograd.grad(score, points, retain_graph=d + 1 < len(rows))
            by_node = gradient.reshape(len(t), len(start), -1).double().numpy()
            out.append(np.tensordot(weight, by_node, axes=1))
        return np.stack(out)


def drug_vectors(model: TwoTower, x: PairFeatures) -> torch.Tensor:
    """Return each member's drug vectors, shape (members, n_drugs, width)."""
    import torch

    weights = {name: torch.as_tensor(value) for name, value in model._weights().items()}
    with torch.no_grad():
        drug, _ = model._drugs(weights, model._drug_input(x, torch.device("cpu")), drug_rows(x, model.drug_ids_), None)
    return drug
