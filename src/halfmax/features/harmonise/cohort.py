"""A cohort at a time: each gene's own distribution over the cohort is put on its distribution in training."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from halfmax.features.blocks import Block
from halfmax.features.harmonise.base import Harmoniser
from halfmax.features.harmonise.reference import ScaleReference, moments


class CohortStandardise(Harmoniser):
    """z-scores of each gene over the new cohort, then training mean and standard deviation.

    It takes away what a platform does to single genes, and with it whatever the cohort has in common: the mean of a
    cohort of one tissue becomes the mean of all training tissues. A gene that is constant in the cohort becomes the
    training mean.
    """

    least: ClassVar[int] = 10
    transductive: ClassVar[bool] = True

    def fit_reference(self, reference: ScaleReference) -> Self:
        """Take the genes' means and standard deviations."""
        self.names_, self.mean_, self.sd_ = reference.names_, reference.mean_, reference.sd_
        self.known_ = reference.n_ > 0
        return self

    def _apply(self, block: Block) -> Block:
        mean, sd = moments(block.values)
        gain = np.where(sd > 1e-8, self.sd_ / np.where(sd > 1e-8, sd, 1), 0)
        values = (block.values - mean) * gain + self.mean_
        return Block(np.where(self.known_, values, np.nan).astype(np.float32), block.names, block.mask)


class CohortQuantile(Harmoniser):
    """Each gene's ranks over the new cohort, then the gene's training quantiles at those ranks.

    As `CohortStandardise`, for values with heavy tails, which mean and standard deviation do not survive.

    Notes
    -----
    Feature-specific quantile normalisation: Franks, Cai and Whitfield, Bioinformatics 34:1868 (2018).
    """

    least: ClassVar[int] = 10
    transductive: ClassVar[bool] = True

    def fit_reference(self, reference: ScaleReference) -> Self:
        """Take the genes' quantiles."""
        self.names_, self.quantiles_ = reference.names_, reference.quantiles_
        self.known_ = reference.n_ > 0
        return self

    def _apply(self, block: Block) -> Block:
        from scipy.stats import rankdata

        known = np.isfinite(block.values)
        some = known.any(axis=0)
        ranks = np.full(block.values.shape, np.nan)
        ranks[:, some] = rankdata(block.values[:, some], axis=0, nan_policy="omit")
        share = (ranks - 0.5) / np.maximum(known.sum(axis=0), 1)
        n = len(self.quantiles_)
        place = np.clip(np.nan_to_num(share, nan=0.5) * n - 0.5, 0, n - 1)
        below = np.minimum(place.astype(np.int64), n - 2) if n > 1 else np.zeros(place.shape, dtype=np.int64)
        low = np.take_along_axis(self.quantiles_, below, axis=0)
        high = np.take_along_axis(self.quantiles_, np.minimum(below + 1, n - 1), axis=0)
        values = np.where(known & self.known_, low + (high - low) * (place - below), np.nan)
        return Block(values.astype(np.float32), block.names, block.mask)


class GeneZscore(Harmoniser):
    """Values that are z-scores of genes over somebody's cohort already: training mean + z × training sd.

    Works for one sample, for the cohort was used before. What that cohort had in common is not in its z-scores.

    Parameters
    ----------
    limit
        Largest z-score; larger ones are pulled to it. None leaves them.
    """

    def __init__(self, limit: float | None = 5.0) -> None:
        self.limit = limit

    def fit_reference(self, reference: ScaleReference) -> Self:
        """Take the genes' means and standard deviations."""
        self.names_, self.mean_, self.sd_ = reference.names_, reference.mean_, reference.sd_
        self.known_ = reference.n_ > 0
        return self

    def _apply(self, block: Block) -> Block:
        values = np.where(self.known_, block.values * self.sd_ + self.mean_, np.nan)
        return Block(self._limited(values.astype(np.float32)), block.names, block.mask)
