"""Where each gene stands: along the chromosomes, or on a plane on which correlated genes are neighbours."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from halfmax.data.gene_names import cytoband, resolve
from halfmax.features.blocks import FloatArray, IndexArray

_BAND = re.compile(r"(?P<chromosome>\d{1,2}|X|Y)(?P<arm>[pq])?(?P<band>\d+(?:\.\d+)?)?")
_SEX = {"X": 23, "Y": 24}
_MITOCHONDRION, _NOWHERE = 25, 99
#: Principal components of the samples by which genes are compared; later ones are mostly noise.
_RANK = 64


def chromosome_order(names: Sequence[str]) -> tuple[IndexArray, int]:
    """Return the order of genes from 1pter to Yqter, and how many the table of genes does not place.

    Within a band genes stand by symbol, since the table has no finer position; genes without a place come last. The
    order is a function of the names alone, not of the order in which they are given.
    """
    keys = [(*_place(name), name) for name in names]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    return order, sum(key[0] == _NOWHERE for key in keys)


def _place(name: str) -> tuple[int, float]:
    symbols, _ = resolve(name)
    band = cytoband(symbols[0]) if len(symbols) == 1 else None
    if band == "MT":
        return _MITOCHONDRION, 0.0
    found = _BAND.match(band or "")
    if not found:
        return _NOWHERE, 0.0
    chromosome = _SEX.get(found["chromosome"]) or int(found["chromosome"])
    distance = float(found["band"] or 0)
    return chromosome, -distance if found["arm"] == "p" else distance


def correlation_layout(values: FloatArray) -> npt.NDArray[np.int64]:
    """Return a nearly square grid of columns of `values`, -1 where a cell is empty, correlated columns side by side.

    Genes are points in the space of the samples' first components, scaled to unit length, so that nearness is
    correlation. The plane is halved along its longer side again and again, and each half is given the half of the genes
    that lies to its side along their own first principal axis. Axes point as the parent's second and first axes do,
    which keeps the halves of neighbours facing each other. Nothing is drawn at random.

    Parameters
    ----------
    values
        Shape ``(n_samples, n_genes)``, of training samples only.

    References
    ----------
    Boley 1998 (principal direction divisive partitioning); Zhu et al. 2021 (IGTD: images from tables), Sci. Rep. 11.
    """
    n = values.shape[1]
    height = max(math.isqrt(n), 1)
    width = -(-n // height)
    grid = np.full((height, width), -1, dtype=np.int64)
    points = _points(values)
    start = points[:, :2]
    _fill(grid, points, np.arange(n), start)
    return grid


def _points(values: FloatArray) -> npt.NDArray[np.float64]:
    centred = (values - values.mean(axis=0)).astype(np.float64)
    centred /= np.maximum(np.linalg.norm(centred, axis=0), 1e-12)
    size, left = np.linalg.eigh(centred @ centred.T)
    axes = left[:, ::-1][:, : min(_RANK, len(size))]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    points = centred.T @ axes
    if points.shape[1] < 2:
        points = np.hstack([points, np.zeros((len(points), 2 - points.shape[1]))])
    return np.asarray(points)


def _fill(
    grid: npt.NDArray[np.int64],
    points: npt.NDArray[np.float64],
    genes: npt.NDArray[np.int64],
    facing: npt.NDArray[np.float64],
) -> None:
    """Give `genes` the cells of `grid` in place; `facing` (n_genes, 2) says which way is down and which is right."""
    if grid.size == 1 or not len(genes):
        grid.flat[: len(genes)] = genes
        return
    side = int(grid.shape[1] > grid.shape[0])
    cut = grid.shape[side] // 2
    first, second = np.split(grid, [cut], axis=side)
    score = _axis(points[genes])
    if score @ (facing[genes, side] - facing[genes, side].mean()) < 0:
        score = -score
    ranked = genes[np.lexsort((genes, score))]
    taken = min(max(round(len(genes) * first.size / grid.size), len(genes) - second.size), first.size)
    facing = facing.copy()
    facing[genes, side] = score
    _fill(first, points, ranked[:taken], facing)
    _fill(second, points, ranked[taken:], facing)


def _axis(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return where points lie along their first principal axis."""
    centred = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return np.asarray(centred @ axes[:, -1])
