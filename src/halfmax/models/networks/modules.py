"""Gene modules: genes that vary together, or a pathway's genes, each read by its own principal components."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, examples
from halfmax.features.blocks import FloatArray, IndexArray
from halfmax.models.networks.layout import correlation_layout


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
    tiles = (
        grid[top:bottom, left:right]
        for top, bottom in _cuts(grid.shape[0], rows)
        for left, right in _cuts(grid.shape[1], most // rows)
    )
    return [np.sort(tile[tile >= 0]) for tile in tiles if (tile >= 0).any()]


def pathway_modules(
    names: Sequence[str], sets: Mapping[str, Sequence[str]], most: int, least: int = 3
) -> list[IndexArray]:
    """Return the columns of each set's genes, for the `most` largest sets; a gene may stand in several.

    Raises
    ------
    DataError
        If no set has `least` genes among the columns.
    """
    place: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        place.setdefault(name, []).append(column)
    known = {name: [gene for gene in dict.fromkeys(genes) if gene in place] for name, genes in sets.items()}
    found = sorted((genes for genes in known.values() if len(genes) >= least), key=len, reverse=True)
    if not found:
        wanted = dict.fromkeys(gene for genes in sets.values() for gene in genes)
        raise DataError(
            f"none of {len(sets)} gene sets has {least} genes among the {len(place)} of the data: the sets name "
            f"{examples(wanted)}, the data {examples(place)}. Are both gene symbols?"
        )
    return [np.array(sorted(c for gene in genes for c in place[gene]), dtype=np.int64) for genes in found[:most]]


def completed(modules: Sequence[IndexArray], names: Sequence[str]) -> list[IndexArray]:
    """Add columns that are in no module: to that of the gene's other column, or else all to a module of their own.

    So a gene's mutation and copy number join its expression.
    """
    home = np.full(len(names), -1, dtype=np.int64)
    for number, columns in enumerate(modules):
        home[columns] = number
    of_gene = {name: int(number) for name, number in zip(names, home, strict=True) if number >= 0}
    left = np.flatnonzero(home < 0)
    joins = np.array([of_gene.get(names[column], -1) for column in left.tolist()], dtype=np.int64)
    grown = [np.concatenate([columns, left[joins == number]]) for number, columns in enumerate(modules)]
    rest = left[joins < 0]
    return [*grown, rest] if len(rest) else grown


def module_bases(
    values: FloatArray,
    gain: npt.NDArray[np.floating],
    modules: Sequence[IndexArray],
    components: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Return what turns centred columns into modules' components, shape (n_genes, n_modules × components).

    Genes are weighted by `gain`. The first principal components are rotated at random within a module and scaled all
    together, so that each module keeps its share of the variance and the entries' mean square is 1.
    """
    basis = np.zeros((values.shape[1], len(modules), components), dtype=np.float32)
    power = 0.0
    for number, columns in enumerate(modules):
        weighted = values[:, columns] * gain[columns]
        _, size, axes = np.linalg.svd(weighted - weighted.mean(axis=0), full_matrices=False)
        kept = int((size[:components] > max(float(size[0]) * 1e-3, 1e-6)).sum())
        turn, _ = np.linalg.qr(rng.standard_normal((kept, kept)))
        basis[columns, number, :kept] = gain[columns, None] * (axes[:kept].T @ turn)
        power += float((size[:kept].astype(np.float64) ** 2).sum()) / len(values)
    scale = math.sqrt(len(modules) * components / power) if power > 0 else 0.0
    return np.ascontiguousarray(basis.reshape(values.shape[1], -1) * np.float32(scale))


def _cuts(size: int, parts: int) -> list[tuple[int, int]]:
    edges = [size * i // parts for i in range(parts + 1)]
    return [(a, b) for a, b in pairwise(edges) if b > a]
