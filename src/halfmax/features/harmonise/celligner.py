"""Tumours aligned to cell lines in the manner of Celligner: contrastive components out, then mutual neighbours."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import Block
from halfmax.features.harmonise.base import Harmoniser
from halfmax.features.harmonise.reference import ScaleReference, moments

Wide: TypeAlias = "npt.NDArray[np.float64]"
Rows: TypeAlias = "npt.NDArray[np.int64]"
_SAMPLES_A_CLUSTER, _MOST_CLUSTERS, _CLUSTER_COMPONENTS = 20, 20, 30
_FEWEST_PARTNERS = 5


class Celligner(Harmoniser):
    """Contrastive PCA, then correction by mutual nearest neighbours, of a new cohort towards the training samples.

    1. Each gene is centred, and scaled if `scale`, over the cohort and over the training samples.
    2. The directions in which the cohort varies, within its clusters, more than the training samples do altogether are
       found (contrastive PCA: tumours hold immune and stromal cells, cell lines do not) and taken out of both.
    3. In the genes that differ most between clusters, pairs of a new sample and a training sample that are each among
       the other's nearest are found. Each new sample moves by the mean difference of the pairs near it.
    4. Training mean and standard deviation are put back. Training samples themselves never move, so the trained model
       stays valid. In Celligner it is the cell lines that move.

    Parameters
    ----------
    n_contrastive
        Contrastive components taken out.
    k_new, k_training
        A new sample's neighbours among the training samples, and a training sample's among the new ones; less in a
        small cohort, where no more than half of either side counts.
    n_genes
        Genes in which neighbours are sought.
    ndist
        How far a pair's difference reaches, in median distances to the new sample's nearest pairs.
    scale
        Give each gene training standard deviation too; without, the cohort must be in the training's own unit.

    Notes
    -----
    Warren et al., Nature Communications 12:22 (2021); Abid et al., Nature Communications 9:2134 (2018); Haghverdi et
    al., Nature Biotechnology 36:421 (2018). Clusters are k-means on leading components, not a graph's communities;
    genes are chosen by variance between clusters; neighbours by cosine distance; weights are tricube. The background of
    the contrast is the training samples' whole covariance, not that within their clusters: a small cohort has few
    clusters, and with clusters taken out of one side only, differences between tissues would count as foreign.
    """

    least: ClassVar[int] = 30
    transductive: ClassVar[bool] = True
    keeps_profiles: ClassVar[bool] = True

    def __init__(
        self,
        n_contrastive: int = 4,
        k_new: int = 5,
        k_training: int = 50,
        n_genes: int = 1000,
        ndist: float = 3.0,
        scale: bool = True,
    ) -> None:
        self.n_contrastive = n_contrastive
        self.k_new = k_new
        self.k_training = k_training
        self.n_genes = n_genes
        self.ndist = ndist
        self.scale = scale

    def fit_reference(self, reference: ScaleReference) -> Self:
        """Take the training profiles; raise DataError if they were not kept."""
        if not hasattr(reference, "profiles_"):
            raise DataError(
                "celligner needs the training profiles, which were not kept; fit with keep_profiles=True, or take "
                "'rank', 'cohort' or 'combat'."
            )
        self.names_, self.mean_, self.sd_ = reference.names_, reference.mean_, reference.sd_
        self.profiles_ = reference.profiles_
        self.known_ = reference.n_ > 0
        return self

    def _apply(self, block: Block) -> Block:
        out = np.full(block.values.shape, np.nan, dtype=np.float32)
        mean, sd = moments(block.values)
        genes = np.flatnonzero(self.known_ & np.isfinite(mean) & (self.sd_ > 0) & (np.nan_to_num(sd) > 0))
        if len(genes) < 2 * self.n_contrastive + 2:
            raise DataError(f"celligner needs more genes than the {len(genes)} that vary in both; use 'combat'.")
        known = np.isfinite(block.values[:, genes])
        centred = np.where(known, block.values[:, genes] - mean[genes], 0.0)
        target = (self.profiles_[:, genes] - self.mean_[genes]) / self.sd_[genes]
        new = centred / (sd[genes] if self.scale else self.sd_[genes])
        aligned = self._align(new, target.astype(np.float64))
        out[:, genes] = np.where(known, aligned * self.sd_[genes] + self.mean_[genes], np.nan)
        flat = np.setdiff1d(np.flatnonzero(self.known_ & np.isfinite(mean)), genes)
        out[:, flat] = np.where(np.isfinite(block.values[:, flat]), self.mean_[flat], np.nan)
        return Block(out, block.names, block.mask)

    def _align(self, new: Wide, target: Wide) -> Wide:
        groups_new, groups_target = clusters(new), clusters(target)
        components = contrastive_components(_within(new, groups_new), target, self.n_contrastive)
        clean_new, clean_target = (x - (x @ components) @ components.T for x in (new, target))
        spread = _between(clean_new, groups_new) + _between(clean_target, groups_target)
        chosen = np.sort(np.argsort(-spread, kind="stable")[: self.n_genes])
        left, right = (_unit_rows(x[:, chosen]) for x in (clean_new, clean_target))
        pairs = mutual_neighbours(
            left, right, k_left=min(self.k_new, len(right) // 2), k_right=min(self.k_training, len(left) // 2)
        )
        partnered = np.unique(pairs[0])
        if len(partnered) < _FEWEST_PARTNERS:
            raise DataError(
                f"{len(partnered)} of {len(new)} new samples have a mutual neighbour among the {len(target)} training "
                f"samples, and at least {_FEWEST_PARTNERS} must; use 'combat' or 'rank'."
            )
        moves = _mean_moves(clean_new, clean_target, pairs, partnered)
        near = _tricube(left, left[partnered], min(20, len(partnered)), self.ndist)
        return clean_new + near @ moves


def contrastive_components(foreground: Wide, background: Wide, n: int) -> Wide:
    """Return the `n` directions in which the covariance of `foreground` exceeds that of `background` most.

    Both are centred, shape ``(n_samples, n_genes)``. The leading eigenvectors of C_foreground − C_background, shape
    ``(n_genes, n)``, orthonormal; those along which the foreground varies no more are left out.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    n_genes = foreground.shape[1]
    left = foreground / np.sqrt(max(len(foreground) - 1, 1))
    right = background / np.sqrt(max(len(background) - 1, 1))

    def excess(vector: Wide) -> Wide:
        return cast("Wide", left.T @ (left @ vector) - right.T @ (right @ vector))

    if n_genes <= 200:  # small enough to be solved whole
        values, vectors = np.linalg.eigh(left.T @ left - right.T @ right)
    else:
        operator = LinearOperator((n_genes, n_genes), matvec=excess, dtype=np.float64)
        start: Any = np.random.default_rng(0).standard_normal(n_genes)
        values, vectors = eigsh(operator, k=n, which="LA", v0=start, tol=1e-8)
    order = np.argsort(-values, kind="stable")[:n]
    return np.asarray(vectors[:, order[values[order] > 0]], dtype=np.float64)


def mutual_neighbours(left: Wide, right: Wide, k_left: int, k_right: int) -> tuple[Rows, Rows]:
    """Return pairs (row of left, row of right) that are each among the other's nearest.

    Parameters
    ----------
    left, right
        Rows of length 1, shapes ``(n, d)`` and ``(m, d)``; near is a large cosine.
    k_left
        How many of `right` count as near to a row of `left`.
    k_right
        How many of `left` count as near to a row of `right`.
    """
    cosine = left @ right.T
    near_left = _largest(cosine, max(k_left, 1))
    near_right = _largest(cosine.T, max(k_right, 1)).T
    rows, columns = np.nonzero(near_left & near_right)
    return rows.astype(np.int64), columns.astype(np.int64)


def clusters(centred: Wide) -> Rows:
    """Return each row's cluster: k-means on leading components, one cluster for every 20 rows, 20 at most."""
    n = min(len(centred) // _SAMPLES_A_CLUSTER, _MOST_CLUSTERS)
    if n < 2:
        return np.zeros(len(centred), dtype=np.int64)
    from sklearn.cluster import KMeans

    values, vectors = np.linalg.eigh(centred @ centred.T)
    some = slice(-min(_CLUSTER_COMPONENTS, len(values)), None)
    scores = vectors[:, some] * np.sqrt(np.maximum(values[some], 0))
    return np.asarray(KMeans(n, n_init=3, random_state=0).fit_predict(scores), dtype=np.int64)


def _largest(cosine: Wide, k: int) -> npt.NDArray[np.bool_]:
    """Return for each row which of its columns hold the `k` largest values."""
    k = min(k, cosine.shape[1])
    found = np.zeros(cosine.shape, dtype=bool)
    np.put_along_axis(found, np.argpartition(-cosine, k - 1, axis=1)[:, :k], True, axis=1)
    return found


def _centres(values: Wide, groups: Rows) -> Wide:
    member = np.eye(int(groups.max()) + 1)[:, groups]
    return cast("Wide", member @ values / np.maximum(member.sum(axis=1, keepdims=True), 1))


def _within(values: Wide, groups: Rows) -> Wide:
    return values - _centres(values, groups)[groups]


def _between(values: Wide, groups: Rows) -> Wide:
    """Return each gene's variance between clusters as a share of its whole; its whole variance with one cluster."""
    if groups.max() == 0:
        return np.zeros(values.shape[1])
    return cast("Wide", _centres(values, groups)[groups].var(axis=0) / np.maximum(values.var(axis=0), 1e-12))


def _unit_rows(values: Wide) -> Wide:
    return cast("Wide", values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))


def _mean_moves(new: Wide, target: Wide, pairs: tuple[Rows, Rows], partnered: Rows) -> Wide:
    """Return for each partnered new sample the mean of (partner − sample)."""
    place = np.searchsorted(partnered, pairs[0])
    weight = np.zeros((len(partnered), len(target)))
    weight[place, pairs[1]] = 1.0
    return cast("Wide", weight @ target / weight.sum(axis=1, keepdims=True) - new[partnered])


def _tricube(rows: Wide, anchors: Wide, k: int, ndist: float) -> Wide:
    """Return weights of the nearest `k` anchors for each row, adding up to 1, shape ``(n_rows, n_anchors)``."""
    distance = np.sqrt(np.maximum(2 - 2 * rows @ anchors.T, 0))
    near = _largest(-distance, k)
    typical = np.median(np.sort(distance, axis=1)[:, :k], axis=1, keepdims=True)
    reach = np.maximum(typical * ndist, 1e-12)
    weight = np.where(near, (1 - np.minimum(distance / reach, 1) ** 3) ** 3, 0)
    total = weight.sum(axis=1, keepdims=True)
    return cast("Wide", np.where(total > 0, weight / np.maximum(total, 1e-300), near / k))
