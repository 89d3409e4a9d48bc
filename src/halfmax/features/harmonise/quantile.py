"""One sample at a time: its genes keep their order and take the values that training samples have at those ranks."""

from __future__ import annotations

from typing import Self

import numpy as np

from halfmax.features.blocks import Block, FloatArray
from halfmax.features.harmonise.base import Harmoniser
from halfmax.features.harmonise.reference import ScaleReference


class RankToReference(Harmoniser):
    """Quantile normalisation of each sample to the stored distribution of the training samples.

    Works for one sample, and whatever the company the answer is the same. The target is the pooled distribution, in
    training, of exactly those genes that the sample has, so that a panel is not stretched over the whole genome's
    range. It takes away whatever is monotone over a sample (unit, depth, offset, gain). It leaves what a platform does
    to single genes. It must not be given z-scores of genes, in which the order of genes within a sample means little.

    Parameters
    ----------
    limit
        Values further than this many training sd from the gene's training mean are pulled to it; None leaves them. A
        gene that training arrays hardly see has a tiny sd, and one such gene would outweigh all others of a sample.

    Notes
    -----
    Bolstad, Irizarry, Åstrand and Speed, Bioinformatics 19:185 (2003), with the target fixed on training samples.
    """

    def __init__(self, limit: float | None = 5.0) -> None:
        self.limit = limit

    def fit_reference(self, reference: ScaleReference) -> Self:
        """Take the genes' quantiles, means and standard deviations."""
        self.mean_, self.sd_ = reference.mean_, reference.sd_
        self.names_, self.quantiles_ = reference.names_, reference.quantiles_
        self.known_ = reference.n_ > 0
        return self

    def _apply(self, block: Block) -> Block:
        from scipy.stats import rankdata

        values = np.where(self.known_, block.values, np.nan)
        known = np.isfinite(values)
        out = np.full(values.shape, np.nan, dtype=np.float32)
        patterns, which = np.unique(np.packbits(known, axis=1), axis=0, return_inverse=True)
        for number in range(len(patterns)):  # samples that have the same genes, mostly one group
            rows = np.flatnonzero(which.ravel() == number)
            genes = np.flatnonzero(known[rows[0]])
            if not len(genes):
                continue
            part = values[np.ix_(rows, genes)]
            share = (rankdata(part, axis=1) - 0.5) / len(genes)
            out[np.ix_(rows, genes)] = _at(self.quantiles_[:, genes], share.astype(np.float64))
        return Block(self._limited(out), block.names, block.mask)


def _at(quantiles: FloatArray, share: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> FloatArray:
    """Return the pooled distribution of the genes at these shares."""
    pool = np.sort(quantiles, axis=None).astype(np.float64)
    return np.interp(share, (np.arange(len(pool)) + 0.5) / len(pool), pool).astype(np.float32)
