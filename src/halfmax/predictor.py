"""Predictor: features, target scale and model together, fitted on a dataset and asked about new samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.background import SIZE as BACKGROUND_SIZE
from halfmax.background import Background
from halfmax.data.dataset import ResponseDataset
from halfmax.errors import DataError, NotFittedError, UnknownNameError, did_you_mean, examples
from halfmax.features.blocks import PairFeatures
from halfmax.features.harmonise.base import HARMONISERS
from halfmax.features.harmonise.choose import harmonise as harmonise_expression
from halfmax.features.harmonise.reference import ScaleReference
from halfmax.features.pipeline import FeaturePipeline, omics_block
from halfmax.labels import SENSITIVE
from halfmax.model_folder import load_predictor, save_predictor
from halfmax.models.base import MODELS, Model, OnEpoch, Prediction
from halfmax.new_samples import match_samples
from halfmax.panel import New, Panel
from halfmax.uncertainty.answers import LEVEL, support_of, weighted_coverage, with_domain, with_intervals, withhold
from halfmax.uncertainty.calibrate import learn_domain, out_of_fold
from halfmax.uncertainty.conformal import Intervals, learn_intervals
from halfmax.uncertainty.spread import compared, drug_spread

if TYPE_CHECKING:
    from halfmax.data.findings import Finding
    from halfmax.data.identifiers import GeneMatch

Array = npt.NDArray[np.float64]
#: Share of a predictor's genes below which it refuses.
REFUSE_COVERAGE = 0.80


@dataclass(frozen=True)
class Encoded:
    """Training and validation rows after a fitted pipeline; shared by models that are fitted on the same rows."""

    features: FeaturePipeline
    train: PairFeatures
    y: npt.NDArray[np.float64]
    valid: tuple[PairFeatures, npt.NDArray[np.float64]] | None = None
    scale: ScaleReference | None = None


def encode(features: FeaturePipeline, train: ResponseDataset, valid: ResponseDataset | None = None) -> Encoded:
    """Fit `features` on `train` and encode both."""
    features = features.fit(train)
    held_out = None if valid is None else (features.transform(valid), _values(valid))
    return Encoded(features, features.transform(train), _values(train), held_out, _scale(features, train))


class Predictor:
    """Everything between a table of samples and a predicted response.

    Parameters
    ----------
    model
        An unfitted model.
    model_name
        The name it is registered under, by which a saved folder finds it again.
    """

    def __init__(self, model: Model, model_name: str) -> None:
        self.model = model
        self.model_name = model_name

    @classmethod
    def of(cls, name: str, params: Mapping[str, Any] | None = None) -> Self:
        """Return an unfitted predictor around the registered model `name`."""
        return cls(MODELS.get(name)(**(params or {})), name)

    def fit(
        self,
        train: ResponseDataset,
        valid: ResponseDataset | None = None,
        *,
        encoded: Encoded | None = None,
        features: FeaturePipeline | None = None,
        keep_profiles: bool = False,
        background: int = BACKGROUND_SIZE,
        calibrate: int = 0,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Learn features, target scale, model, each drug's own distribution and the domain from `train`.

        Parameters
        ----------
        valid
            Held-out samples (or drugs) for early stopping; nothing else is learned from it.
        encoded
            The same rows already encoded, to share the work between models; the domain is not learned then.
        features
            An unfitted pipeline; the default one otherwise.
        keep_profiles
            Save the training samples' expression with the predictor, which harmonising by ``celligner`` needs.
        background
            How many training samples' profiles are saved with the predictor for its explanations, see `Background`;
            0 = none, and nothing can be explained.
        calibrate
            Cross-validate in so many folds, samples left out, to learn intervals; 0 for none. See `calibrate`.
        """
        shared = encoded is not None
        encoded = encoded or encode(features or FeaturePipeline(), train, valid)
        y = encoded.y
        spread = float(y.std())
        self.features_ = encoded.features
        keeps = keep_profiles and encoded.scale is not None
        self.expression_scale_ = _scale(encoded.features, train, profiles=True) if keeps else encoded.scale
        self.scale_ = (float(y.mean()), spread if spread > 1e-12 else 1.0)
        if train.measure == SENSITIVE:
            self.scale_ = (0.0, 1.0)  # labels stay labels
        held_out = None if encoded.valid is None else (encoded.valid[0], self._scaled(encoded.valid[1]))
        self.model.fit(encoded.train, self._scaled(y), valid=held_out, on_epoch=on_epoch)
        self.measure_ = train.measure
        self.panels_: dict[New, Panel] = {}
        self.drugs_ = train.drugs
        kept = Background.of(train, encoded.features.modalities, background) if background > 0 else None
        self.background_ = kept
        self.reference_ = drug_spread(encoded.train, y)
        self.intervals_: dict[New, Intervals] = {}
        self.domain_ = None if shared else learn_domain(encoded.train, y)
        self.about_: dict[str, Any] = {
            "data": {"name": train.name, "notes": dict(train.notes)},
            "n_samples": len(train.samples),
            "n_pairs": train.n_pairs,
        }
        if calibrate:
            self.calibrate(out_of_fold(self._left_out(), train, calibrate))
        return self

    def calibrate(self, predictions: pd.DataFrame, new: New = "sample") -> Self:
        """Learn intervals from a cross-validation of the same recipe that left out samples, or drugs.

        Parameters
        ----------
        predictions
            sample_id, drug_id, y_true, y_pred [measure.unit]: each pair as it was predicted when left out.
        """
        self._check_fitted()
        ids = np.unique(predictions["sample_id"].to_numpy(dtype=str))
        alike = None if self.domain_ is None or new == "drug" else self.domain_.weights_within(ids)
        self.intervals_[new] = learn_intervals(predictions, new, alike)
        return self

    def predict_pairs(self, x: PairFeatures) -> Prediction:
        """Predict encoded pairs in the measure's unit."""
        self._check_fitted()
        raw = self.model.predict(x)
        mean, spread = self.scale_
        return replace(
            raw,
            mean=(raw.mean * np.float32(spread) + np.float32(mean)).astype(np.float32),
            variance=None if raw.variance is None else raw.variance * np.float32(spread**2),
            quantiles=None
            if raw.quantiles is None
            else {q: (v * np.float32(spread) + np.float32(mean)).astype(np.float32) for q, v in raw.quantiles.items()},
        )

    def predict(self, dataset: ResponseDataset, *, level: float = LEVEL) -> pd.DataFrame:
        """Predict every pair of `dataset`, measured or not.

        Returns
        -------
        Columns sample_id, drug_id, prediction, low and high [all measure.unit] (`level` of new pairs lie between them;
        empty where no cross-validation told the errors), sd and quantiles such as q0.05 (where the model has them),
        drug_mean (of the training samples), difference (prediction − drug_mean) and percentile (share of
        training samples with a lower value).
        """
        self._check_fitted()
        return self._answers(dataset, self.features_.transform(dataset), level)

    def _answers(self, dataset: ResponseDataset, x: PairFeatures, level: float) -> pd.DataFrame:
        out = dataset.response[["sample_id", "drug_id"]].reset_index(drop=True)
        prediction = self.predict_pairs(x)
        value = prediction.mean.astype(np.float64)
        if not np.isfinite(value).all():
            raise DataError(f"{int((~np.isfinite(value)).sum())} predictions are not finite; the inputs are unusable.")
        out["prediction"] = value
        if prediction.variance is not None:
            out["sd"] = np.sqrt(prediction.variance).astype(np.float64)
        for q, values in (prediction.quantiles or {}).items():
            out[f"q{q:g}"] = values.astype(np.float64)
        out = with_intervals(out, x, self.intervals_, self.reference_["drug_id"], self.domain_, level)
        return compared(out, self.reference_)

    def predict_samples(
        self,
        omics: Mapping[str, pd.DataFrame],
        *,
        drugs: Sequence[str] | None = None,
        samples: pd.DataFrame | None = None,
        allow_low_coverage: bool = False,
        harmonise: str = "none",
        level: float = LEVEL,
        allow_outside: bool = True,
    ) -> tuple[pd.DataFrame, dict[str, GeneMatch]]:
        """Rank drugs for new samples.

        Parameters
        ----------
        omics
            Modality to samples × features, in any gene order, with any extra columns.
        drugs
            Drug ids or names; all training drugs by default.
        samples
            Optional table of the samples (tissue, …).
        harmonise
            How expression is put on the training scale: ``none``, ``auto``, or one of `HARMONISERS` (``rank``,
            ``cohort``, ``combat``, ``celligner``, …). `harmonise` returns the findings, too.
        level
            Share of new pairs that the intervals are to hold.
        allow_outside
            False empties the answers for samples outside the domain; see `halfmax.uncertainty.answers.withhold`.

        Returns
        -------
        The table of `predict`, most sensitive first within each sample by difference to the drug's mean, with
        gene_coverage, weighted_coverage (of the genes' roles), domain_percentile, domain (inside, edge, outside or
        unknown), tissue_guess, tissue_probability (see `Domain`), drug_support (see `drug_support`), and where
        expression was harmonised with harmonised (the method) and transductive (whether the
        samples changed each other's values); and how the genes of each modality were matched.

        Raises
        ------
        DataError
            If there is no sample, a needed modality is absent, or too few genes are known.
        UnknownNameError
            If a drug is not among the training drugs.
        """
        self._check_fitted()
        least = None if allow_low_coverage else REFUSE_COVERAGE
        matched, matches = match_samples(self.features_, omics, least)
        if harmonise != "none":
            matched["expression"], said = self.harmonise(matched.get("expression", pd.DataFrame()), harmonise)
        coverage = matches["expression"].coverage if "expression" in matches else float("nan")
        dataset = self.pairs_of(matched, self.find_drugs(drugs), samples)
        x = self.features_.transform(dataset)
        table = self._answers(dataset, x, level).assign(gene_coverage=coverage)
        table["weighted_coverage"] = weighted_coverage(self.domain_, self.features_, matched)
        table = with_domain(table, x, self.domain_)
        table["drug_support"] = table["drug_id"].map(support_of(dataset.drugs, self.drugs_))
        table = self._ranked(table) if allow_outside else withhold(self._ranked(table))[0]
        if harmonise != "none":
            method = next((f.examples[0] for f in said if f.code == "harmonised"), "none")
            table["harmonised"] = method
            table["transductive"] = method != "none" and HARMONISERS.get(method).transductive
        return table, matches

    def panel(self, new: New) -> Panel:
        """Return what serves a new ``sample`` or ``drug`` with a few measured values.

        Raises
        ------
        DataError
            If the predictor has not learned it.
        """
        self._check_fitted()
        if new not in self.panels_:
            protocol = "LCO" if new == "sample" else "LDO"
            raise DataError(
                f"this predictor does not know its errors on a new {new}; they are learned by a cross-validation that "
                f"leaves {new}s out: halfmax run --protocol {protocol}, or panels_ of learn_panel."
            )
        return self.panels_[new]

    def add_measured(
        self,
        table: pd.DataFrame,
        measured: pd.DataFrame,
        *,
        new: New = "sample",
        bridge: pd.DataFrame | None = None,
        drugs: Sequence[str] | None = None,
    ) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
        """Return the predictions of `table` corrected by a few measured values, and what was found.

        Parameters
        ----------
        table
            From `predict_samples` with all drugs, or from `predict` of a new drug and all training samples.
        measured, bridge
            See `Panel.condition`.
        new
            Whether the measured values are of new samples or of new drugs.
        drugs
            Keep only these afterwards.
        """
        out, findings = self.panel(new).condition(table, measured, bridge=bridge)
        for end in ("low", "high"):
            if end in out:
                out[end] += out["prediction"] - out["before"]
        out = compared(out, self.reference_)
        if drugs is not None:
            out = out[out["drug_id"].isin(self.find_drugs(drugs).index)]
        return (self._ranked(out) if "rank" in out else out.reset_index(drop=True)), findings

    def harmonise(
        self, expression: pd.DataFrame, method: str = "auto", *, unit: str | None = None
    ) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
        """Return expression (samples × genes, training names) on the scale of the training samples, and what was done.

        Parameters and errors are those of `halfmax.features.harmonise.choose.harmonise`.
        """
        self._check_fitted()
        if self.expression_scale_ is None:
            raise DataError("this predictor knows no training scale of expression; fit it again, or harmonise='none'.")
        return harmonise_expression(expression, self.expression_scale_, method, unit=unit)

    def find_drugs(self, drugs: Sequence[str] | None) -> pd.DataFrame:
        """Return the training drugs of these ids or names (case does not matter)."""
        self._check_fitted()
        if drugs is None:
            return self.drugs_
        by_name = {str(i).lower(): i for i in self.drugs_.index}
        if unknown := [d for d in drugs if d.lower() not in by_name]:
            raise UnknownNameError(
                f"{len(unknown)} drugs are not among the {len(self.drugs_)} that this predictor knows: "
                f"{examples(unknown)}.{did_you_mean(unknown[0], map(str, self.drugs_.index))}"
            )
        return self.drugs_.loc[list(dict.fromkeys(by_name[d.lower()] for d in drugs))]

    def save(self, folder: Path | str) -> Path:
        """Write the predictor as a folder of JSON and safetensors; whole or not at all."""
        self._check_fitted()
        return save_predictor(self, Path(folder))

    @classmethod
    def load(cls, folder: Path | str) -> Predictor:
        """Read a saved predictor; raise ModelFileError if anything in it is missing, foreign or changed."""
        return load_predictor(cls, Path(folder))

    def _left_out(self) -> Callable[[ResponseDataset, ResponseDataset], Array]:
        """Return the function that fits the same recipe on one dataset and predicts another."""

        def predict(train: ResponseDataset, test: ResponseDataset) -> Array:
            encoded = encode(deepcopy(self.features_), train)
            part = Predictor.of(self.model_name, self.model.get_params()).fit(train, encoded=encoded)
            return part.predict_pairs(encoded.features.transform(test)).mean.astype(np.float64)

        return predict

    def pairs_of(
        self, omics: Mapping[str, pd.DataFrame], drugs: pd.DataFrame, samples: pd.DataFrame | None
    ) -> ResponseDataset:
        """Return every pair of these samples (tables under the training names) and drugs as a dataset to predict."""
        ids = list(dict.fromkeys(i for frame in omics.values() for i in map(str, frame.index)))
        if not ids:
            raise DataError("there is no sample in the table.")
        table = pd.DataFrame(index=pd.Index(ids, name="sample_id"))
        if samples is not None:
            table = table.join(samples.set_axis(samples.index.astype(str)))
        response = pd.DataFrame(
            {
                "sample_id": np.repeat(np.array(ids, dtype=object), len(drugs)),
                "drug_id": np.tile(drugs.index.to_numpy(dtype=object), len(ids)),
                "value": np.nan,
            }
        )
        return ResponseDataset("new samples", self.measure_, response, table, drugs, dict(omics))

    def _ranked(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the table with the most sensitive drug of each sample first, by difference to the drug's mean."""
        sign = -1 if self.measure_.higher_is_sensitive else 1
        order = np.lexsort((sign * table["difference"].fillna(np.inf), table["sample_id"]))
        table = table.drop(columns="rank", errors="ignore").iloc[order].reset_index(drop=True)
        table.insert(2, "rank", table.groupby("sample_id", sort=False).cumcount() + 1)
        return table

    def _scaled(self, y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return (y - self.scale_[0]) / self.scale_[1]

    def _check_fitted(self) -> None:
        if not hasattr(self, "scale_"):
            raise NotFittedError("the Predictor has not been fitted; call fit, or load a saved one.")


def _values(dataset: ResponseDataset) -> npt.NDArray[np.float64]:
    return dataset.response["value"].to_numpy(dtype=np.float64)


def _scale(features: FeaturePipeline, train: ResponseDataset, *, profiles: bool = False) -> ScaleReference | None:
    """Return the scale of the training samples' expression, of which no response is a part."""
    if "expression" not in features.modalities or len(train.omics["expression"]) < 2:
        return None
    return ScaleReference(profiles=profiles).fit(omics_block(train, "expression"))
