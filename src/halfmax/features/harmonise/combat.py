"""ComBat: location and scale of each gene in a batch, shrunk over the genes by parametric empirical Bayes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, UnknownNameError, examples
from halfmax.features.blocks import Block
from halfmax.features.harmonise.base import Harmoniser
from halfmax.features.harmonise.reference import ScaleReference, moments

Wide: TypeAlias = "npt.NDArray[np.float64]"
_TOLERANCE, _MOST_ROUNDS = 1e-4, 1000


@dataclass(frozen=True)
class BatchEffect:
    """Shift and variance factor of each gene in one batch, in standard deviations of the standardised data."""

    shift: Wide
    variance: Wide


def batch_effect(standardised: Wide, *, mean_only: bool = False) -> BatchEffect:
    """Return the empirical-Bayes batch effect of standardised values of one batch.

    Parameters
    ----------
    standardised
        Shape ``(n_samples, n_genes)``, at least two samples; no NaN.
    mean_only
        Leave variances as they are, so the posterior of a shift is that of n values with variance 1.

    Notes
    -----
    Johnson, Li and Rabinovic, Biostatistics 8:118 (2007), section 3: normal prior of the shifts, inverse gamma prior of
    the variances, hyper-parameters by the method of moments, posterior means by turns until no gene changes by more
    than 10⁻⁴ of itself.
    """
    n = len(standardised)
    mean = standardised.mean(axis=0)
    centre, spread = float(mean.mean()), float(mean.var(ddof=1)) if len(mean) > 1 else 0.0
    if mean_only:
        return BatchEffect((spread * n * mean + centre) / (spread * n + 1), np.ones(len(mean)))
    variance = standardised.var(axis=0, ddof=1)
    average, between = float(variance.mean()), float(variance.var(ddof=1)) if len(variance) > 1 else 0.0
    if between <= 0:  # one gene, or all alike: nothing to shrink to
        return BatchEffect(mean, variance)
    shape = 2 + average**2 / between
    rate = average * (shape - 1)
    square = (standardised**2).sum(axis=0)
    shift, scale = mean, variance
    for _ in range(_MOST_ROUNDS):
        new_shift = (spread * n * mean + scale * centre) / (spread * n + scale)
        # sum of (z - shift)^2, without the matrix
        new_scale = (rate + 0.5 * (square - 2 * n * mean * new_shift + n * new_shift**2)) / (n / 2 + shape - 1)
        change = max(_change(new_shift, shift), _change(new_scale, scale))
        shift, scale = new_shift, new_scale
        if change < _TOLERANCE:
            return BatchEffect(shift, scale)
    raise DataError(f"ComBat did not settle in {_MOST_ROUNDS} rounds; are there genes that never vary?")


def combat(
    values: npt.NDArray[np.floating[Any]],
    batch: Sequence[object] | npt.NDArray[Any],
    *,
    design: npt.NDArray[np.floating[Any]] | None = None,
    reference: object | None = None,
    mean_only: bool = False,
) -> Wide:
    """Return values with the batches' effects taken away.

    Parameters
    ----------
    values
        Shape ``(n_samples, n_genes)``, on a log scale; no NaN.
    batch
        Shape ``(n_samples,)``, each sample's batch, of at least two samples each.
    design
        Shape ``(n_samples, n_covariates)``: what is to be kept, without a column of ones.
    reference
        The batch onto whose scale the others are put, and which itself stays as it is; otherwise all move to the
        scale of all.
    mean_only
        Leave variances as they are.

    Raises
    ------
    DataError
        If values are missing, a batch has one sample only, or the covariates cannot be told from the batches.
    UnknownNameError
        If there is no such reference batch.

    Notes
    -----
    Johnson, Li and Rabinovic, Biostatistics 8:118 (2007); the reference batch as in Zhang, Jenkins, Manimaran and
    Johnson, BMC Bioinformatics 19:262 (2018). A gene that never varies is left as it is.
    """
    wide = np.asarray(values, dtype=np.float64)
    names, which = np.unique(np.asarray(batch), return_inverse=True)
    _check(wide, names, which, reference, mean_only=mean_only)
    kept = np.zeros((len(wide), 0)) if design is None else np.asarray(design, dtype=np.float64)
    one_hot = np.eye(len(names))[which]
    full = np.hstack([one_hot, kept])
    if np.linalg.matrix_rank(full) < full.shape[1]:
        raise DataError(f"the {kept.shape[1]} covariates cannot be told from the {len(names)} batches; leave some out.")
    effects, *_ = np.linalg.lstsq(full, wide, rcond=None)
    n_batches = len(names)
    is_reference = names == reference if reference is not None else np.zeros(n_batches, dtype=bool)
    weight = is_reference.astype(float) if is_reference.any() else one_hot.mean(axis=0)
    level = weight @ effects[:n_batches] + kept @ effects[n_batches:]
    counted = np.flatnonzero(is_reference[which]) if is_reference.any() else np.arange(len(wide))
    pooled = np.sqrt(((wide[counted] - full[counted] @ effects) ** 2).mean(axis=0))
    varies = pooled > 1e-9 * np.maximum(np.abs(level).max(axis=0), 1)
    out = wide.copy()
    z = (wide[:, varies] - level[:, varies]) / pooled[varies]
    for number in np.flatnonzero(~is_reference):
        rows = which == number
        effect = batch_effect(z[rows], mean_only=mean_only)
        z[rows] = (z[rows] - effect.shift) / np.sqrt(effect.variance)
    moved = ~is_reference[which]
    out[np.ix_(moved, varies)] = (z * pooled[varies] + level[:, varies])[moved]
    return out


class ReferenceComBat(Harmoniser):
    """ComBat of the new cohort with the training samples as reference batch.

    The training samples stay as they are, so the trained model stays valid, and all that is needed of them is each
    gene's mean and standard deviation. Compared with `CohortStandardise`, shifts and factors of single genes are
    shrunk to those of all genes, which tells most in small cohorts. What the cohort has in common is taken away too.

    Notes
    -----
    Johnson, Li and Rabinovic, Biostatistics 8:118 (2007), as in `combat`. A gene measured in some samples of the cohort
    only is set to the cohort's mean where the effect is estimated; one measured in none, or constant in training, takes
    no part and stays missing, or at the training mean.
    """

    least: ClassVar[int] = 5
    transductive: ClassVar[bool] = True

    def __init__(self, mean_only: bool = False) -> None:
        self.mean_only = mean_only

    def fit_reference(self, reference: ScaleReference) -> Self:
        """Take the genes' means and standard deviations."""
        self.names_, self.mean_, self.sd_ = reference.names_, reference.mean_, reference.sd_
        self.known_ = reference.n_ > 0
        return self

    def _apply(self, block: Block) -> Block:
        wide = block.values.astype(np.float64)
        mean, _ = moments(wide)
        usable = self.known_ & np.isfinite(mean) & (self.sd_ > 0)
        out = np.where(np.isfinite(wide) & self.known_, self.mean_.astype(np.float64), np.nan)
        part, centre, spread = wide[:, usable], self.mean_[usable].astype(np.float64), self.sd_[usable]
        missing = ~np.isfinite(part)
        z = (np.where(missing, mean[usable], part) - centre) / spread
        effect = batch_effect(z, mean_only=self.mean_only)
        adjusted = (z - effect.shift) / np.sqrt(effect.variance) * spread + centre
        out[:, usable] = np.where(missing, np.nan, adjusted)
        return Block(out.astype(np.float32), block.names, block.mask)


def _change(new: Wide, old: Wide) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(new - old) / np.abs(old)
    return float(np.nan_to_num(change, nan=0.0, posinf=1.0).max(initial=0.0))


def _check(wide: Wide, names: npt.NDArray[Any], which: npt.NDArray[Any], reference: object, *, mean_only: bool) -> None:
    if wide.ndim != 2 or len(which) != len(wide):
        raise DataError(f"there are {len(which)} batches for values of shape {wide.shape}; give one a sample.")
    if n := int((~np.isfinite(wide)).sum()):
        raise DataError(f"{n} values are missing or infinite; ComBat needs all of them: impute, or leave genes out.")
    if reference is not None and reference not in names:
        raise UnknownNameError(f"there is no batch {reference!r}; batches: {examples(names, 10)}.")
    n_samples = np.bincount(which)
    alone = names[n_samples < 2]
    if len(alone) and not mean_only:
        raise DataError(f"{len(alone)} batches have one sample only, e.g. {examples(alone)}; use mean_only=True.")
