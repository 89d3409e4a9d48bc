"""Gene modules: genes that vary together, or a pathway's genes, each read by its own principal components."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, examples
from halfmax.features.blocks import FloatArray, IndexArray
from halfmax.models.networks.layout import correlation_layout
from halfmax.models.networks.parts import rotation

if TYPE_CHECKING:
    import torch


def correlated_modules(values: FloatArray, most: int) -> list[IndexArray]:
    """Return at most `most` groups of columns of about one size, of columns that vary together.

    The columns are laid on a plane on which correlated ones are neighbours, and the plane is cut into tiles.

    Parameters
    ----------
    values
        Shape ``(n_samples, n_genes)``, of training samples only.
    """
    grid = correlation_layout(values)
    rows = 2 ** (int(math.log2(most)) // 2)
    columns = most // rows
    tiles = (
        grid[top:bottom, left:right]
        for top, bottom in _cuts(grid.shape[0], rows)
        for left, right in _cuts(grid.shape[1], columns)
    )
    return [np.sort(tile[tile >= 0]) for tile in tiles if (tile >= 0).any()]


def pathway_modules(names: Sequence[str], sets: Mapping[str, Sequence[str]], most: int, least: int = 3) -> list[IndexArray]:
    """Return the columns of the genes of each set, the `most` largest sets; a gene may stand in several.

    Raises
    ------
    DataError
        If no set has `least` genes among the columns.
    """
    place: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        place.setdefault(name, []).append(column)
    found = []
    for genes in sets.values():
        known = [gene for gene in dict.fromkeys(genes) if gene in place]
        if len(known) >= least:
            found.append(np.array(sorted(column for gene in known for column in place[gene]), dtype=np.int64))
    if not found:
        raise DataError(
            f"none of {len(sets)} gene sets has {least} genes among the {len(place)} of the data: the sets name "
            f"{examples(dict.fromkeys(gene for genes in sets.values() for gene in genes))}, the data "
            f"{examples(place)}. Are both gene symbols?"
        )
    order = np.argsort([-len(columns) for columns in found], kind="stable")
    return [found[i] for i in order[:most]]


def with_other_modalities(
    modules: Sequence[IndexArray], names: Sequence[str], n_first: int
) -> list[IndexArray]:
    """Add to modules of the first `n_first` columns the later columns of the same genes; the rest is a module more."""
    gene_of = {name: column for column, name in enumerate(names[:n_first])}
    home = np.full(n_first, -1, dtype=np.int64)
    for number, columns in enumerate(modules):
        home[columns[columns < n_first]] = number
    later = np.arange(n_first, len(names))
    first = np.array([gene_of.get(name, -1) for name in names[n_first:]], dtype=np.int64)
    module = np.where(first >= 0, home[first], -1) if len(first) else first
    grown = [np.concatenate([columns, later[module == number]]) for number, columns in enumerate(modules)]
    rest = later[module < 0]
    return [*grown, rest] if len(rest) else grown


def module_bases(
    values: FloatArray,
    gain: npt.NDArray[np.floating],
    modules: Sequence[IndexArray],
    components: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Return what turns columns into each module's first principal components, shape (n_genes, n_modules × components).

    Genes are weighted by `gain`. Components are rotated at random within a module, and scaled together so that a module
    keeps its share of the variance: the entries' mean square over all modules is 1.
    """
    basis = np.zeros((values.shape[1], len(modules), components), dtype=np.float32)
    power = 0.0
    for number, columns in enumerate(modules):
        weighted = values[:, columns] * gain[columns]
        _, axes = rotation(weighted, rng, components)
        total = float(((weighted - weighted.mean(axis=0)) @ axes).astype(np.float64).var(axis=0).sum())
        shown = float(np.square((weighted - weighted.mean(axis=0)).astype(np.float64)).sum(axis=1).mean())
        if total <= 0 or shown <= 0:
            continue
        # undo the scale of `rotation`, which makes every module alike
        unit = axes / np.linalg.norm(axes, axis=0).max()
        kept = float(np.square(((weighted - weighted.mean(axis=0)) @ unit).astype(np.float64)).sum(axis=1).mean())
        basis[columns, number, : axes.shape[1]] = unit * gain[columns, None]
        power += kept
    scale = math.sqrt(len(modules) * components / power) if power > 0 else 0.0
    return np.ascontiguousarray(basis.reshape(values.shape[1], -1) * np.float32(scale))


def _cuts(size: int, parts: int) -> list[tuple[int, int]]:
    edges = [size * i // parts for i in range(parts + 1)]
    return [(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]
