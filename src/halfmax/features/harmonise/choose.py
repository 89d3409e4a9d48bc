"""The one call: new samples onto the training scale, by a named way or by the one that suits, with its reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from halfmax.data.findings import Finding, Findings
from halfmax.data.units import check_expression_unit, detect_expression_unit
from halfmax.errors import DataError
from halfmax.features.blocks import Block
from halfmax.features.harmonise.base import HARMONISERS, Harmoniser
from halfmax.features.harmonise.quantile import RankToReference
from halfmax.features.harmonise.reference import ScaleReference, moments
from halfmax.features.omics import select_columns

#: Least samples whose mean and spread are taken for those of a cohort.
COHORT = 10
# Measured on GDSC arrays, shifts of gene means after ranking in training standard deviations (docs/harmonise.md): other
# lines of the same arrays 0.07, of one tissue up to 0.44; 10 to 320 lines by other arrays 0.54 to 0.65, where the
# cohort's own mean and sd serve best; RNA-seq of tumours 0.9 to 1.1, where they take away too much.
_SAME_SCALE, _SAME_PLATFORM, _SAME_KIND = 0.25, 0.5, 0.75
_HEAVY_TAIL, _ONE_KIND, _NARROW, _LOW_COVERAGE = 10.0, 0.8, 0.9, 0.95
_LINEAR = ("counts", "cpm", "tpm", "fpkm")
_NEED_LOGARITHM = ("cohort", "combat", "celligner")


@dataclass(frozen=True)
class Distance:
    """How far new samples lie from the training scale; medians over the shared genes, in training sd.

    Parameters
    ----------
    n_samples, n_genes
        New samples, and training genes that they have.
    raw
        Shift of the gene means as they are.
    ranked
        The same after each sample was put on the training distribution by itself: what a platform does to genes.
    spread
        Standard deviation of the genes over the new samples after that, relative to training; near 0 for one sample.
    heaviest
        Largest distance of a value from its gene's mean, in the new samples' own sd: median over genes.
    """

    n_samples: int
    n_genes: int
    raw: float
    ranked: float
    spread: float
    heaviest: float


@dataclass(frozen=True)
class Choice:
    """The way of harmonising that suits, why, and what was measured for it."""

    method: str
    reason: str
    distance: Distance


def harmonise(
    new: pd.DataFrame, reference: ScaleReference, method: str = "auto", *, unit: str | None = None
) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """Return new samples on the scale of the training samples, and what was done.

    Parameters
    ----------
    new
        Samples × genes under the training's gene names, in any order.
    reference
        The scale of the training samples, such as a predictor's ``expression_scale_``.
    method
        ``none``, ``auto``, or one of `HARMONISERS`: ``rank``, ``zscore``, ``cohort``, ``cohort_quantile``, ``combat``,
        ``celligner``.
    unit
        Unit of the values, a key of `EXPRESSION_UNITS`; detected if not given.

    Returns
    -------
    Samples × training genes, in training order, float32, NaN where the new samples lack a gene; and findings, among
    them ``transductive`` where new samples change each other's values, which a report must declare.

    Raises
    ------
    DataError
        If there are too few samples for the method, no gene in common, or a unit that the method cannot take.
    UnknownNameError
        If there is no such method or unit.
    """
    found = Findings()
    block = _shared(new, reference)
    unit = _unit(new, unit)
    reason = "as asked"
    if method == "auto":
        choice = choose(block, reference, unit)
        method, reason = choice.method, choice.reason
    if method != "none":
        _refuse_unit(method, unit)
        step = HARMONISERS.get(method)().fit_reference(reference)
        after = step.transform(block)
        said = f"{len(new)} samples are put on the training scale by {method!r} ({reason}); it needs {step.needs}."
        found.info("harmonised", said, [method], count=len(new))
        if step.transductive:
            found.warn(
                "transductive",
                f"{method!r} uses the distribution of these {len(new)} samples: a sample's answer changes with its "
                "company, and a report of a test on them must say so.",
                count=len(new),
            )
            _warn_if_narrow(block, reference, unit, found)
        _count_limited(step, after, reference, found)
        block = after
    else:
        found.info("not-harmonised", f"the samples are left as they are ({reason}).", count=len(new))
    empty = [str(name) for name, n in zip(block.names, np.isfinite(block.values).sum(axis=0), strict=True) if n == 0]
    if len(empty) > (1 - _LOW_COVERAGE) * len(block.names):
        found.warn(
            "missing-genes", f"{len(empty)} of {len(block.names)} training genes are missing in every sample.", empty
        )
    return pd.DataFrame(block.values, index=new.index, columns=list(block.names)), found.all()


def choose(new: Block, reference: ScaleReference, unit: str = "unknown") -> Choice:
    """Return the way that suits these samples, with its reason; labels play no part.

    Parameters
    ----------
    new
        New samples in the training genes.
    unit
        What the values are, where that is known.
    """
    far = distance(new, reference)
    shift = f"gene means lie {far.ranked:.2f} training sd away when samples are ranked, {far.raw:.2f} as they are"
    if unit == "zscore_gene":
        if far.n_samples >= COHORT and far.heaviest > _HEAVY_TAIL:
            return Choice("cohort_quantile", f"z-scores of genes with heavy tails, {far.heaviest:.0f} sd", far)
        return Choice("zscore", "the values are z-scores of genes already", far)
    if far.n_samples < COHORT:
        return Choice("rank", f"{far.n_samples} samples are no cohort, which begins at {COHORT}", far)
    if far.raw <= _SAME_SCALE:
        return Choice("none", f"they are on the training scale: {shift}", far)
    if far.ranked <= _SAME_PLATFORM:
        return Choice("rank", f"as on the training's platform: {shift}", far)
    if far.ranked > _SAME_KIND or far.spread < _ONE_KIND:
        why = "unlike the training samples in kind, so that a cohort's own mean would take too much away"
        return Choice("rank", f"{why}: {shift}, and genes vary {far.spread:.2f} times as much", far)
    if far.heaviest > _HEAVY_TAIL or unit in _LINEAR:
        return Choice("cohort_quantile", f"another platform and heavy tails: {shift}", far)
    return Choice("cohort", f"another platform, a mixture as in training: {shift}", far)


def distance(new: Block, reference: ScaleReference) -> Distance:
    """Return how far samples, in the training genes, lie from the training scale."""
    mean, sd = moments(new.values)
    usable = np.isfinite(mean) & (reference.sd_ > 0) & (reference.n_ > 0)
    if not usable.any():
        raise DataError("no new sample has a value for any training gene; check the gene names.")
    centre, spread = reference.mean_[usable], reference.sd_[usable]
    ranked = RankToReference(limit=None).fit_reference(reference).transform(new).values[:, usable]
    ranked_mean, ranked_sd = moments(ranked)
    largest = np.nanmax(np.abs(new.values[:, usable] - mean[usable]), axis=0) / np.maximum(sd[usable], 1e-12)
    return Distance(
        n_samples=len(new.values),
        n_genes=int(usable.sum()),
        raw=float(np.median(np.abs(mean[usable] - centre) / spread)),
        ranked=float(np.median(np.abs(ranked_mean - centre) / spread)),
        spread=float(np.median(ranked_sd / spread)),
        heaviest=float(np.median(largest)),
    )


def _shared(new: pd.DataFrame, reference: ScaleReference) -> Block:
    if new.empty:
        raise DataError(f"the table of new samples has {len(new)} rows and {new.shape[1]} columns; nothing to do.")
    for what, index in (("sample ids", new.index), ("genes", new.columns)):
        if index.has_duplicates:
            raise DataError(f"{int(index.duplicated().sum())} {what} occur more than once; make them unique.")
    values = new.to_numpy(dtype=np.float32)
    if n := int(np.isinf(values).sum()):
        raise DataError(f"{n} values are infinite; correct or empty them.")
    return select_columns(Block(values, tuple(map(str, new.columns))), tuple(reference.names_.tolist()))


def _unit(new: pd.DataFrame, stated: str | None) -> str:
    if stated is None:
        return detect_expression_unit(new).unit
    check_expression_unit(stated)
    return stated


def _refuse_unit(method: str, unit: str) -> None:
    if method == "rank" and unit == "zscore_gene":
        raise DataError(
            "the values are z-scores of genes, and the order of a sample's genes says nothing then; use 'zscore', or "
            "'cohort' with ten samples or more."
        )
    if method in _NEED_LOGARITHM and unit in _LINEAR:
        raise DataError(
            f"{method!r} works on logarithms, and the values are {unit}; convert them with to_log first, or use 'rank' "
            "or 'cohort_quantile'."
        )


def _count_limited(step: Harmoniser, after: Block, reference: ScaleReference, found: Findings) -> None:
    """Say how many values were pulled to the method's limit; genes that are constant in training always are."""
    if step.limit is None:
        return
    reach = step.limit * reference.sd_.astype(np.float64)
    at_limit = (np.abs(after.values - reference.mean_.astype(np.float64)) >= reach * (1 - 1e-4)) & (reference.sd_ > 0)
    if n := int(at_limit.sum()):
        worst = np.argsort(-at_limit.sum(axis=0), kind="stable")[:3]
        found.warn(
            "limited",
            f"{n} of {after.values.size} values lay {step.limit:g} or more training sd from their gene's training mean "
            "and were pulled to it.",
            [after.names[i] for i in worst if at_limit[:, i].any()],
            n,
        )


def _warn_if_narrow(block: Block, reference: ScaleReference, unit: str, found: Findings) -> None:
    if unit == "zscore_gene":
        return
    far = distance(block, reference)
    if far.spread < _NARROW:
        found.warn(
            "narrow-cohort",
            f"the genes vary {far.spread:.2f} times as much as in training, as in a cohort of one or few tissues; what "
            "these samples have in common is taken away with the platform's effect. Add samples of other tissues.",
            count=far.n_samples,
        )
