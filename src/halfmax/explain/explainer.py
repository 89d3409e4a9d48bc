"""Explainer: a predictor asked why, for new samples and any of its drugs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.background import Background
from halfmax.data.findings import Finding, Findings
from halfmax.errors import DataError
from halfmax.explain.attribution import Attribution, Feature
from halfmax.explain.explanation import Explanation
from halfmax.explain.paths import path_of
from halfmax.features.blocks import PairFeatures, rows_of
from halfmax.new_samples import match_samples
from halfmax.predictor import REFUSE_COVERAGE, Predictor

Array = npt.NDArray[np.float64]
#: A sum that differs by more from the prediction is said [measure's unit].
LARGEST_GAP = 1e-4
#: Values of an explanation held at once.
_MOST_VALUES = 400_000_000
#: No sample of training has an id that starts so: a model that knows samples by id treats it as new.
_NEW = "\x1fnew "


class Explainer:
    """Why a predictor expects what it does, against its mean prediction of the same drug over a fixed background.

    Parameters
    ----------
    predictor
        A fitted predictor.
    background
        Training samples to compare with; those that the predictor carries, by default.
    tissue
        Only the background's samples of this tissue ("why more sensitive than other lung lines?").

    Notes
    -----
    The drug is held fixed, the sample alone varies: what is explained is the prediction within a drug. Every sample is
    explained as a new one, by its profile, also where the predictor has seen responses of it.
    """

    def __init__(
        self, predictor: Predictor, *, background: Background | None = None, tissue: str | None = None
    ) -> None:
        self.predictor = predictor
        self.given = background
        self.tissue = tissue

    @cached_property
    def background(self) -> Background:
        """The training samples compared with.

        Raises
        ------
        DataError
            If the predictor carries none.
        """
        found = self.given or getattr(self.predictor, "background_", None)
        if found is None:
            raise DataError(
                "this predictor has no background: it was saved by an earlier version, or fitted with background=0. "
                "Fit it again, or give training samples: Explainer(predictor, background=Background.of(dataset, …))."
            )
        return found if self.tissue is None else found.like(self.tissue)

    @cached_property
    def path(self):  # type: ignore[no-untyped-def]
        """The path through the model that is attributed."""
        return path_of(self.predictor.model)

    @cached_property
    def lines(self) -> PairFeatures:
        """The background's samples, encoded, with every drug of the predictor."""
        held, predictor = self.background, self.predictor
        names = {name: predictor.features_.input_names(name) for name in held.omics}
        table = pd.DataFrame({"tissue": held.tissue}, index=pd.Index(held.sample_ids.astype(object), name="sample_id"))
        table = table.replace("", None)
        dataset = predictor.pairs_of(held.frames(names), predictor.drugs_, table)
        return as_new(predictor.features_.transform(dataset))

    @cached_property
    def base(self) -> Array:
        """Mean prediction of each drug over the background, shape ``(n_drugs,)`` [measure.unit]."""
        return np.asarray(self.predict(self.lines).mean(axis=0))

    def explain(
        self,
        omics: Mapping[str, pd.DataFrame] | pd.DataFrame,
        drugs: Sequence[str] | None = None,
        *,
        samples: pd.DataFrame | None = None,
        allow_low_coverage: bool = False,
    ) -> Explanation:
        """Explain the predictions of new samples.

        Parameters
        ----------
        omics
            Modality to samples × features, as `Predictor.predict_samples` takes them; one table is expression.
        drugs
            Drug ids or names; all by default.
        samples
            Optional table of the samples (tissue, …).

        Raises
        ------
        DataError
            If the model or the samples cannot be used, or more pairs are asked for than fit into memory.
        UnknownNameError
            If a drug is not among the training drugs.
        """
        tables = {"expression": omics} if isinstance(omics, pd.DataFrame) else omics
        least = None if allow_low_coverage else REFUSE_COVERAGE
        matched, matches = match_samples(self.predictor.features_, tables, least)
        findings = [finding for match in matches.values() for finding in match.findings]
        one_drug = self.predictor.drugs_.iloc[:1]
        x = self.predictor.features_.transform(self.predictor.pairs_of(matched, one_drug, samples))
        return self.explain_encoded(x, drugs, findings=findings)

    def explain_encoded(
        self, x: PairFeatures, drugs: Sequence[str] | None = None, *, findings: Sequence[Finding] = ()
    ) -> Explanation:
        """Explain samples that `FeaturePipeline.transform` has encoded; its drugs and pairs are not looked at."""
        chosen = self.predictor.find_drugs(drugs).index.to_numpy(dtype=str)
        lines = self.with_drugs(self.lines, chosen)
        asked = self.with_drugs(x, chosen)
        if len(x.sample_ids) * len(chosen) * sum(len(b.names) for b in x.sample_x.values()) > _MOST_VALUES:
            raise DataError(
                f"{len(x.sample_ids)} samples × {len(chosen)} drugs are too many values at once; explain fewer a time."
            )
        new = as_new(asked)
        found: Attribution = self.path.attribute(new, lines)
        prediction = self.predict(new)
        scale = self.predictor.scale_[1]
        rows = rows_of(chosen, self.lines.drug_ids)
        inputs, imputed = _inputs(asked, found.features)
        reference = self.predictor.reference_
        known = rows_of(chosen, reference["drug_id"])
        out = Explanation(
            sample_ids=x.sample_ids,
            drug_ids=chosen,
            modality=np.array([block for block, _ in found.features], dtype=str),
            feature=np.array([name for _, name in found.features], dtype=str),
            values=found.values * scale,
            inputs=inputs,
            imputed=imputed,
            prediction=prediction,
            base=self.base[rows],
            drug_mean=np.where(known >= 0, reference["mean"][known], np.nan),
            measure=self.predictor.measure_,
            method=self.path.method,
            background={"samples": len(self.background), "sha256": self.background.sha256, "tissue": self.tissue},
            spread=None if found.variance is None else np.sqrt(found.variance) * scale,
            parts={name: part * scale for name, part in found.parts.items()},
        )
        return replace(out, findings=(*findings, *self._told(out, asked)))

    def predict(self, x: PairFeatures) -> Array:
        """Return the prediction of every sample with every drug of `x`, shape ``(n, m)`` [measure.unit]."""
        mean = self.predictor.predict_pairs(x.grid()).mean.astype(np.float64)
        return mean.reshape(len(x.sample_ids), len(x.drug_ids))

    def with_drugs(self, x: PairFeatures, drug_ids: npt.NDArray[np.str_]) -> PairFeatures:
        """Return the samples of `x` with these drugs of the predictor."""
        lines = self.lines
        rows = rows_of(drug_ids, lines.drug_ids)
        return replace(
            x,
            drug_ids=drug_ids,
            drug_x={name: block.take(rows) for name, block in lines.drug_x.items()},
            drug_text={name: text[rows] for name, text in lines.drug_text.items()},
        ).grid()

    def _told(self, out: Explanation, asked: PairFeatures) -> tuple[Finding, ...]:
        findings = Findings()
        gap = float(out.gap.max(initial=0))
        said = findings.warn if gap > LARGEST_GAP else findings.info
        said("additivity-gap", f"attributions sum to the predicted difference within {gap:.1e} {out.measure.unit}.")
        seen = np.abs(self.predict(asked) - out.prediction).max(axis=1, initial=0) > LARGEST_GAP
        if seen.any():
            findings.info(
                "seen-samples",
                f"{int(seen.sum())} samples were in training: explained is what their profile alone says.",
                asked.sample_ids[seen].tolist(),
                int(seen.sum()),
            )
        n = int(out.imputed.sum(axis=1).max(initial=0))
        if n:
            findings.info("imputed-features", f"up to {n} features of a sample were missing and filled in.", (), n)
        return findings.all()


def as_new(x: PairFeatures) -> PairFeatures:
    """Return the same samples under ids that no model knows."""
    return replace(x, sample_ids=np.char.add(_NEW, x.sample_ids))


def _inputs(x: PairFeatures, features: Sequence[Feature]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return what the model was given of each feature, NaN where it makes that inside, and what was filled in."""
    values = np.full((len(x.sample_ids), len(features)), np.nan)
    filled = np.zeros(values.shape, dtype=bool)
    place = {feature: i for i, feature in enumerate(features)}
    for name, block in x.sample_x.items():
        at = np.array([place.get((name, column), -1) for column in block.names], dtype=np.int64)
        values[:, at[at >= 0]] = block.values[:, at >= 0]
        if block.mask is not None:
            filled[:, at[at >= 0]] = block.mask[:, at >= 0]
    return values, filled
