"""GeneCNN: networks that convolve genes in chromosome order or on a learned plane, and their shuffled controls."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import Block, FloatArray, PairFeatures
from halfmax.models.base import JSON
from halfmax.models.kernel import KernelRidge
from halfmax.models.networks.layout import chromosome_order, correlation_layout
from halfmax.models.networks.parts import ACTIVATIONS, activation, drop, rotation
from halfmax.models.networks.towers import Normal, TwoTower

if TYPE_CHECKING:
    import torch

IntArray = npt.NDArray[np.int64]


class GeneCNN(TwoTower):
    """Two towers whose sample tower is a convolutional network over a map of genes; see the four networks below.

    Genes stand on a map of h × w patches. With the weighted, centred values of a patch's genes as xₚ, one channel a
    modality:

    - patch layer, a convolution whose stride is its width: (n, h · w, genes · modalities) → (n, h · w, channels);
    - ``convolutions`` residual convolutions over a patch and its neighbours (3, on a plane 3 × 3);
    - the mean over ``pool`` patches, all of which side by side enter a layer of ``width`` units.

    That layer also reads the sample's first ``components`` principal components, a linear path around the convolutions,
    which the control has as well; 0 takes it away. Then follow the residual layers, drug tower and loss of `TwoTower`.
    A modality that a sample lacks is zero on the map, and a gene that a modality lacks is too.

    Parameters
    ----------
    focus
        How strongly genes are weighted by what a smooth linear fit leans on, as in `KernelRidge`; 0 = not at all.
    components
        Principal components that pass by the convolutions; 0 = none.
    patch
        Genes in a patch. On a plane a square number, as `pool`.
    channels, convolutions, pool
        Filters of each convolution, convolutions after the patch layer, patches averaged.
    map_dropout
        Share dropped of what leaves the convolutions.
    width, layers, dropout, input_dropout
        Of the sample tower; the last one's share of genes and components is dropped.
    drug_width, drug_gain, activation, drug_dropout, identity_dropout, drug_identity, learning_rate, weight_decay
        See `halfmax.models.networks.mlp.TwoTowerMLP`.
    epochs, batch_size, patience, members, refit, task, device, precision
        See there, too.
    seed
        Also of the order that a shuffled control draws.

    References
    ----------
    Dosovitskiy et al. 2021 (convolution by patches); He et al. 2016 (residual layers); Chang et al. 2018 (CDRscan) and
    Liu et al. 2019 (tCNNS), convolutions over genomic profiles; Bazgir et al. 2020 (REFINED) and Zhu et al. 2021
    (IGTD), pictures of genes, for drug response.
    """

    #: Whether genes stand in random places.
    is_shuffled: ClassVar[bool] = False

    def __init__(
        self,
        focus: float = 2.0,
        components: int = 512,
        patch: int = 16,
        channels: int = 16,
        convolutions: int = 1,
        pool: int = 4,
        map_dropout: float = 0.5,
        width: int = 512,
        layers: int = 1,
        drug_width: int = 256,
        drug_gain: float = 0.1,
        activation: str = "silu",
        dropout: float = 0.5,
        input_dropout: float = 0.5,
        drug_dropout: float = 0.3,
        identity_dropout: float = 0.1,
        drug_identity: bool = True,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.1,
        epochs: int = 30,
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
        self.components = components
        self.patch = patch
        self.channels = channels
        self.convolutions = convolutions
        self.pool = pool
        self.map_dropout = map_dropout
        self.width = width
        self.layers = layers
        self.drug_width = drug_width
        self.drug_gain = drug_gain
        self.activation = activation
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
            "patch": {"choices": [4, 16, 64]},
            "channels": {"choices": [8, 16, 32]},
            "convolutions": {"low": 0, "high": 3, "log": False},
            "pool": {"choices": [1, 4, 16]},
            "map_dropout": {"low": 0.0, "high": 0.6, "log": False},
            "components": {"choices": [0, 128, 512]},
            "activation": {"choices": list(ACTIVATIONS)},
        }

    def _cells(self, genes: list[str], values: FloatArray) -> IntArray:
        """Return which of the genes, -1 = none, stands in each row and column of the map.

        Parameters
        ----------
        genes
            Names, sorted.
        values
            Weighted values of training samples, shape ``(n, n_genes)``.
        """
        raise NotImplementedError

    def _sides(self, size: int) -> tuple[int, int]:
        """Return height and width of what holds `size` cells of the map."""
        raise NotImplementedError

    def _view(self, x: PairFeatures) -> FloatArray:
        """Return the modalities side by side, genes by name, NaN where a sample lacks a modality."""
        if not x.modalities:
            raise DataError(f"{type(self).__name__} convolves genes, but the features hold no modality; name one.")
        blocks = [_by_name(x.sample_x[name]) for name in x.modalities]
        known = [np.where(b.absent[:, None], np.float32(np.nan), b.values) for b in blocks]
        return np.asarray(np.hstack(known), dtype=np.float32)

    def _learn_samples(self, x: PairFeatures, targets: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
        ordered = {name: _by_name(x.sample_x[name]) for name in x.modalities}
        x = replace(x, sample_x={**x.sample_x, **ordered})
        view = self._view(x)[np.unique(x.sample_index)]
        gain = np.ones(view.shape[1], dtype=np.float32)
        if self.focus > 0:
            gain = KernelRidge(focus=self.focus).fit(x, targets).gain_
        known = np.isfinite(view)
        self.sample_mean_ = np.asarray(np.nansum(view, axis=0) / np.maximum(known.sum(axis=0), 1), dtype=np.float32)
        values = np.nan_to_num(view - self.sample_mean_) * gain
        power = math.sqrt(max(float((values.astype(np.float64) ** 2).mean()), 1e-12))
        self.sample_gain_ = np.asarray(gain / power, dtype=np.float32)
        self.place_ = self._places(ordered, values)
        self.sample_basis_ = np.zeros((view.shape[1], 0), dtype=np.float32)
        if self.components:
            basis = rotation(values, rng, self.components)[1]
            self.sample_basis_ = np.ascontiguousarray(basis * power, dtype=np.float32)

    def _places(self, blocks: dict[str, Block], values: FloatArray) -> IntArray:
        """Return the columns of the view that each patch sees, -1 = none, shape (rows, columns, genes · modalities)."""
        starts = np.cumsum([0, *(len(block.names) for block in blocks.values())])
        columns = [
            {gene: start + i for i, gene in enumerate(block.names)}
            for block, start in zip(blocks.values(), starts.tolist(), strict=False)
        ]
        genes = sorted(set().union(*columns))
        table = np.array([[own.get(gene, -1) for own in columns] for gene in genes], dtype=np.int64)
        first = table[np.arange(len(genes)), (table >= 0).argmax(axis=1)]
        cells = self._cells(genes, values[:, first])
        if self.is_shuffled:
            taken = cells >= 0
            cells[taken] = np.random.default_rng([self.seed, 1]).permutation(cells[taken])
        height, width = self._sides(self.patch)
        cells = np.pad(cells, ((0, -cells.shape[0] % height), (0, -cells.shape[1] % width)), constant_values=-1)
        seen = np.where(cells[..., None] >= 0, table[cells], -1)
        rows, cols = cells.shape[0] // height, cells.shape[1] // width
        patches = seen.reshape(rows, height, cols, width, -1).swapaxes(1, 2)
        return np.ascontiguousarray(patches.reshape(rows, cols, -1))

    def _sample_input(self, view: FloatArray, device: torch.device) -> torch.Tensor:
        """Return components and the genes of every patch, shape (n, components + patches · genes · modalities)."""
        import torch

        genes = np.nan_to_num(view - self.sample_mean_) * self.sample_gain_
        placed = np.pad(genes, ((0, 0), (0, 1)))[:, self.place_.ravel()]  # place -1 is the column of zeros
        return torch.as_tensor(np.hstack([genes @ self.sample_basis_, placed]), device=device)

    def _entry_names(self) -> list[str]:
        around = [name for i in range(self.convolutions) for name in (f"around{i}", f"bias_around{i}")]
        return ["patch", "bias_patch", *around, "enter", "bias_enter"]

    def _entry_weights(self, normal: Normal) -> dict[str, torch.Tensor]:
        import torch

        rows, cols, seen = self.place_.shape
        m, c, n_around = self.members, self.channels, 3 if rows == 1 else 9
        height, width = self._pool()
        k = self.sample_basis_.shape[1] + math.ceil(rows / height) * math.ceil(cols / width) * c
        weights = {
            "patch": normal(m, seen, c, scale=1 / math.sqrt(seen)),
            "bias_patch": torch.zeros(m, 1, c),
            "enter": normal(m, k, self.width, scale=1 / math.sqrt(k)),
            "bias_enter": torch.zeros(m, 1, self.width),
        }
        for i in range(self.convolutions):
            weights[f"around{i}"] = normal(m, n_around * c, c, scale=1 / math.sqrt(n_around * c))
            weights[f"bias_around{i}"] = torch.zeros(m, 1, c)
        return weights

    def _entry(
        self, weights: dict[str, torch.Tensor], x: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        import torch

        act = activation(self.activation)
        rows, cols, seen = self.place_.shape
        k = self.sample_basis_.shape[1]
        x = x if x.dim() == 3 else x.expand(len(weights["enter"]), -1, -1)
        m, n, _ = x.shape
        x = drop(x, self.input_dropout, generator)
        patches = x[..., k:].reshape(m, n * rows * cols, seen)
        maps = act(torch.baddbmm(weights["bias_patch"], patches, weights["patch"]))
        for i in range(self.convolutions):
            around = neighbours(maps.view(m, n, rows, cols, -1)).view(m, n * rows * cols, -1)
            maps = maps + act(torch.baddbmm(weights[f"bias_around{i}"], around, weights[f"around{i}"]))
        if self.pool > 1:
            picture = maps.view(m * n, rows, cols, -1).permute(0, 3, 1, 2)
            maps = torch.nn.functional.avg_pool2d(picture, self._pool(), ceil_mode=True)
        left = drop(maps.reshape(m, n, -1), self.map_dropout, generator)
        return act(torch.baddbmm(weights["bias_enter"], torch.cat([x[..., :k], left], dim=2), weights["enter"]))

    def _pool(self) -> tuple[int, int]:
        """Return height and width of the patches averaged, no larger than the map."""
        rows, cols, _ = self.place_.shape
        height, width = self._sides(self.pool)
        return min(height, rows), min(width, cols)

    def _check_params(self) -> None:
        super()._check_params()
        if not 0 <= self.map_dropout < 1:
            raise DataError(f"map_dropout is {self.map_dropout}; it is at least 0 and below 1.")
        for name, least in (("components", 0), ("patch", 1), ("channels", 1), ("convolutions", 0), ("pool", 1)):
            if getattr(self, name) < least:
                raise DataError(f"{name} is {getattr(self, name)}; it is at least {least}.")
        for name in ("patch", "pool"):
            size = getattr(self, name)
            if math.prod(self._sides(size)) != size:
                raise DataError(f"{name} is {size}; on a plane it is a square number, such as 4, 9 or 16.")


class ChromosomeCNN(GeneCNN):
    """A `GeneCNN` over genes in the order of the chromosomes, by cytogenetic band and symbol (HGNC).

    What could be gained by it: amplified and deleted segments move the expression of neighbours together.
    """

    def _cells(self, genes: list[str], values: FloatArray) -> IntArray:
        return chromosome_order(genes)[0][None]

    def _sides(self, size: int) -> tuple[int, int]:
        return 1, size


class PlaneCNN(GeneCNN):
    """A `GeneCNN` over a plane on which genes that correlate in the training samples are neighbours.

    See `halfmax.models.networks.layout.correlation_layout`; a gene of several modalities is placed by the first.
    """

    def _cells(self, genes: list[str], values: FloatArray) -> IntArray:
        return correlation_layout(values)

    def _sides(self, size: int) -> tuple[int, int]:
        return math.isqrt(size), math.isqrt(size)


class ShuffledChromosomeCNN(ChromosomeCNN):
    """The control of `ChromosomeCNN`: the same network, genes in a random order."""

    is_shuffled: ClassVar[bool] = True


class ShuffledPlaneCNN(PlaneCNN):
    """The control of `PlaneCNN`: the same network, genes in random places of the plane."""

    is_shuffled: ClassVar[bool] = True


def neighbours(maps: torch.Tensor) -> torch.Tensor:
    """Return each cell's channels beside those of the cells around it, zeros beyond the edge.

    Shape (members, n, rows, columns, c) to (members, n, rows, columns, 3 · c), or 9 · c where there are several rows.
    """
    import torch

    rows, cols = maps.shape[2:4]
    tall = 0 if rows == 1 else 1
    padded = torch.nn.functional.pad(maps, (0, 0, 1, 1, tall, tall))
    shifts = [(i, j) for i in range(2 * tall + 1) for j in range(3)]
    return torch.cat([padded[:, :, i : i + rows, j : j + cols] for i, j in shifts], dim=-1)


def _by_name(block: Block) -> Block:
    """Return the block with its columns in the order of their names, so that their order in a table means nothing."""
    order = np.argsort(np.array(block.names, dtype=str), kind="stable")
    mask = None if block.mask is None else block.mask[:, order]
    return Block(block.values[:, order], tuple(block.names[i] for i in order), mask)
