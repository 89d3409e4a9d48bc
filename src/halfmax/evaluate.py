"""Cross-validation: every model on the same folds, with the naive baselines and cluster intervals beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.compare import BASELINE
from halfmax.data.dataset import ResponseDataset
from halfmax.errors import DataError
from halfmax.features.pipeline import FeaturePipeline
from halfmax.features.stability import selected_features
from halfmax.label_metrics import best_cutoff, label_metrics
from halfmax.labels import Decide, Labels, Threshold
from halfmax.metrics import COLUMNS, Fold, group_metrics, interval, regression_metrics, tidy
from halfmax.models.base import MODELS
from halfmax.predictor import Encoded, Predictor, encode
from halfmax.resume import Fitted, Resume
from halfmax.split import Split
from halfmax.state import parameters_of

log = logging.getLogger(__name__)
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ModelSpec:
    """A model to evaluate: the name shown, the registered name and its hyper-parameters.

    Parameters
    ----------
    runner
        Fits and predicts elsewhere, such as in a process or an environment of its own, in the place of the registered
        model: given all data and a split, it returns what `Resume.unit` keeps. It must look at no test response.
    """

    label: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    runner: Callable[[ResponseDataset, Split], Fitted] | None = None


@dataclass(frozen=True)
class Progress:
    """Where a cross-validation is: fold and model, and the epoch of a network."""

    fold: str
    model: str
    done: int
    total: int
    epoch: int | None = None
    log: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """What a cross-validation found.

    Parameters
    ----------
    metrics
        Tidy: model, fold, group_by, group, metric, value, n, low, high.
    predictions
        sample_id, drug_id, fold, model, y_true, y_pred. In classification y_true is 1 for sensitive, and a pair is
        called so where y_pred, the score less the cutoff, plus a half, is above 0.5.
    timings
        model, fold, fit_s, predict_s, cpu_s, n_train, n_test; in classification also the cutoff of the score; where a
        model ran in a process of its own, also peak_mb [MB].
    curves
        model, fold, member, epoch, train_loss, valid_loss.
    selected
        What selecting steps kept in each fold (training and validation rows): fold, block, step, feature, n_offered.
        `halfmax.features.stability.jaccard_stability` says how alike the folds are.
    """

    metrics: pd.DataFrame
    predictions: pd.DataFrame
    timings: pd.DataFrame
    curves: pd.DataFrame
    selected: pd.DataFrame = field(default_factory=lambda: selected_features({}))


def cross_validate(
    dataset: ResponseDataset,
    splits: Sequence[Split],
    models: Sequence[ModelSpec],
    *,
    features: Callable[[], FeaturePipeline] = FeaturePipeline,
    threshold: Threshold | None = None,
    decide: Decide = "f1",
    tests: Sequence[ResponseDataset] | None = None,
    n_boot: int = 200,
    seed: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
    resume: Resume | None = None,
) -> Results:
    """Fit and score every model on every split.

    Parameters
    ----------
    features
        Makes an unfitted pipeline; a new one is fitted on the training rows of every fold.
    threshold
        Turns the task into classification: sensitive or not, by a threshold learned from training rows.
    decide
        How the score above which a pair is called sensitive is chosen: best by this metric on the validation rows, of a
        fit that has not seen them; or ``share``, and wherever there are none, the training share of sensitive pairs.
    tests
        Responses to score in place of each split's own test rows, such as those of another screen: see
        `halfmax.between_screens`, which makes sure that nothing of them is in training.
    n_boot
        Cluster-bootstrap replicates for the 95 % intervals; clusters are the split's groups (samples, or drugs under
        LDO).
    resume
        Where finished models are kept, so that a run that was cut off does not fit them again.

    Raises
    ------
    DataError
        If no model is given, two share a label, or there is not one of `tests` for each split.
    """
    labels = [m.label for m in models]
    if not models or len(set(labels)) != len(labels):
        raise DataError(f"models to evaluate must be given and have different labels; got {labels}.")
    if tests is not None and len(tests) != len(splits):
        raise DataError(f"there are {len(tests)} tests for {len(splits)} splits; give one for each.")
    rows: list[dict[str, object]] = []
    predictions, timings, curves, selected = [], [], [], []
    replicates: dict[tuple[str, str], list[tuple[float, int, Array]]] = {}
    for i, split in enumerate(splits):
        fold = FoldRun(dataset, split, features, threshold, None if tests is None else tests[i], decide)
        n_test = fold.test.n_pairs
        selected.append(selected_features({split.fold: fold.pipeline}))
        for j, spec in enumerate(models):
            where = Progress(split.fold, spec.label, i * len(models) + j, len(splits) * len(models))
            predicted, timing, curve = fold.fit_or_resume(spec, _epoch_reporter(where, on_progress), resume)
            if not np.isfinite(predicted).all():
                n_bad = int((~np.isfinite(predicted)).sum())
                raise DataError(f"{spec.label} predicted NaN or infinity for {n_bad} of {len(predicted)} test pairs.")
            timings.append({"model": spec.label, "fold": split.fold} | timing)
            curves.append(curve.assign(model=spec.label, fold=split.fold))
            predictions.append(fold.table(predicted).assign(fold=split.fold, model=spec.label))
            scored = fold.score(predicted, n_boot, seed)
            for metric, (value, draws) in scored.items():
                replicates.setdefault((spec.label, metric), []).append((value, n_test, draws))
                low, high = interval(draws)
                rows.append(_row(spec.label, split.fold, "all", "", metric, value, n_test, low, high))
            rows += fold.group_rows(spec.label, predicted)
    rows += _over_folds(replicates)
    if on_progress is not None:
        on_progress(Progress("", "", len(splits) * len(models), len(splits) * len(models)))
    metrics = _mean_groups(tidy(rows))
    empty = pd.DataFrame(columns=["model", "fold", "member", "epoch", "train_loss", "valid_loss"])
    known = [c for c in curves if len(c)]
    return Results(
        metrics,
        pd.concat(predictions, ignore_index=True),
        pd.DataFrame(timings),
        pd.concat(known, ignore_index=True).reindex(columns=empty.columns) if known else empty,
        pd.concat(selected, ignore_index=True),
    )


class FoldRun:
    """One fold: data cut and encoded once for all models."""

    def __init__(
        self,
        dataset: ResponseDataset,
        split: Split,
        features: Callable[[], FeaturePipeline],
        threshold: Threshold | None,
        test: ResponseDataset | None = None,
        decide: Decide = "f1",
    ) -> None:
        self.dataset, self.split, self._features, self._decide = dataset, split, features, decide
        self._encoded: dict[bool, Encoded] = {}
        train = dataset.take(split.fit_rows)
        self.labels = None if threshold is None else Labels.learn(threshold, train)
        self.test = self._labelled(dataset.take(split.test) if test is None else test)
        self._train = {False: self._labelled(train)}
        baseline = Predictor.of(BASELINE).fit(self._train[False], encoded=self._encode(validates=False))
        self._test_x = {False: self._encoded[False].features.transform(self.test)}
        y = self.test.response["value"].to_numpy(dtype=np.float64)
        sample, drug = (pd.factorize(self.test.response[c])[0].astype(np.int64) for c in ("sample_id", "drug_id"))
        cluster = drug if split.protocol == "LDO" else sample
        self.fold = Fold(y, baseline.predict_pairs(self._test_x[False]).mean.astype(np.float64), sample, drug, cluster)

    @property
    def pipeline(self) -> FeaturePipeline:
        """The pipeline fitted on all rows that may be seen."""
        return self._encoded[False].features

    def fit_predict(
        self, spec: ModelSpec, on_epoch: Callable[[int, Mapping[str, float]], bool]
    ) -> tuple[Array, dict[str, float], pd.DataFrame]:
        """Return test predictions, timings and the learning curve of one model."""
        validates = bool(getattr(MODELS.get(spec.name), "uses_valid", False)) and len(self.split.valid) > 0
        encoded = self._encode(validates=validates)
        if validates not in self._test_x:
            self._test_x[validates] = encoded.features.transform(self.test)
        predictor = Predictor.of(spec.name, spec.params)
        cpu, wall = time.process_time(), time.perf_counter()
        predictor.fit(self._train[validates], encoded=encoded, on_epoch=on_epoch)
        fitted = time.perf_counter()
        prediction = predictor.predict_pairs(self._test_x[validates])
        timing = {
            "fit_s": fitted - wall,
            "predict_s": time.perf_counter() - fitted,
            "cpu_s": time.process_time() - cpu,
            "n_train": len(encoded.y),
            "n_test": self.test.n_pairs,
        }
        history = pd.DataFrame(getattr(predictor.model, "history_", []))
        value = prediction.mean.astype(np.float64)
        if self.labels is not None:
            timing["cutoff"] = self._cutoff(spec, regresses=prediction.probability is None)
            timing["cpu_s"] = time.process_time() - cpu
            value = value - timing["cutoff"] + 0.5
        return value, timing, history

    def _cutoff(self, spec: ModelSpec, *, regresses: bool) -> float:
        """Return the score above which a pair is called sensitive; test rows play no part."""
        # a regression of labels: its training share means even odds
        share = self.labels.share if self.labels is not None and regresses else 0.5
        if self._decide == "share" or not len(self.split.valid):
            return share
        encoded = self._encode(validates=True)
        held_out = encoded.valid
        if held_out is None or held_out[1].min() == held_out[1].max():
            log.info(
                "%s, fold %s: validation rows are of one class; the cutoff is the share", spec.label, self.split.fold
            )
            return share
        stops = "refit" in parameters_of(MODELS.get(spec.name))
        params = {**spec.params, "refit": False} if stops else spec.params
        blind = encoded if stops else replace(encoded, valid=None)
        scout = Predictor.of(spec.name, params).fit(self._train[True], encoded=blind)
        score = scout.predict_pairs(held_out[0]).mean.astype(np.float64)
        return best_cutoff(held_out[1] > 0.5, score, self._decide)

    def fit_or_resume(
        self, spec: ModelSpec, on_epoch: Callable[[int, Mapping[str, float]], bool], resume: Resume | None
    ) -> Fitted:
        """Return what `fit_predict` does, from `resume` where it was done before."""

        def fit() -> Fitted:
            return self.fit_predict(spec, on_epoch) if spec.runner is None else spec.runner(self.dataset, self.split)

        return fit() if resume is None else resume.unit(self.split.fold, spec.label, fit)

    def score(self, predicted: Array, n_boot: int, seed: int) -> dict[str, tuple[float, Array]]:
        """Return every metric with its bootstrap replicates."""
        if self.labels is None:
            return regression_metrics(self.fold, predicted, n_boot=n_boot, seed=seed)
        return label_metrics(self.fold.y > 0.5, predicted, predicted > 0.5, self.fold.cluster, n_boot=n_boot, seed=seed)

    def group_rows(self, label: str, predicted: Array) -> list[dict[str, object]]:
        """Return metric rows by drug and by tissue."""
        if self.labels is not None:
            return []
        groups = {"drug": self.test.response["drug_id"]}
        if "tissue" in self.test.samples:
            groups["tissue"] = self.test.response["sample_id"].map(self.test.samples["tissue"]).fillna("unknown")
        rows = []
        for by, values in groups.items():
            codes, names = pd.factorize(values.astype(str), sort=True)
            found = group_metrics(self.fold, predicted, codes.astype(np.int64), len(names))
            n = found.pop("n")
            for metric, value in found.items():
                rows += [
                    _row(label, self.split.fold, by, str(g), metric, v, int(k), np.nan, np.nan)
                    for g, v, k in zip(names, value, n, strict=True)
                ]
        return rows

    def table(self, predicted: Array) -> pd.DataFrame:
        """Return test pairs with measured and predicted values."""
        pairs = self.test.response[["sample_id", "drug_id"]]
        return pairs.assign(y_true=self.fold.y.astype(np.float32), y_pred=predicted.astype(np.float32))

    def _encode(self, *, validates: bool) -> Encoded:
        if validates not in self._encoded:
            valid = None
            if validates:
                self._train[True] = self._labelled(self.dataset.take(self.split.train))
                valid = self._labelled(self.dataset.take(self.split.valid))
            self._encoded[validates] = encode(self._features(), self._train[validates], valid)
        return self._encoded[validates]

    def _labelled(self, part: ResponseDataset) -> ResponseDataset:
        return part if self.labels is None else self.labels.apply(part)


def assay_agreement(one: pd.DataFrame, other: pd.DataFrame, comparison: str) -> dict[str, object]:
    """Return how well two measurements of the same pairs agree: the ceiling that a model should be read against.

    Parameters
    ----------
    one, other
        Columns sample_id, drug_id, value.
    """
    both = one.merge(other, on=["sample_id", "drug_id"], suffixes=("", "_other"))
    if len(both) < 3:
        raise DataError(f"{comparison}: only {len(both)} pairs were measured twice.")
    y, p = both["value"].to_numpy(dtype=np.float64), both["value_other"].to_numpy(dtype=np.float64)
    sample, drug = (pd.factorize(both[c])[0].astype(np.int64) for c in ("sample_id", "drug_id"))
    found = regression_metrics(Fold(y, np.full(len(y), y.mean()), sample, drug, sample), p, n_boot=0)
    names = ("pearson", "within_drug_pearson", "rmse")
    counts = {"comparison": comparison, "n_pairs": len(both), "n_drugs": int(drug.max()) + 1}
    return counts | {name: found[name][0] for name in names}


def _over_folds(replicates: Mapping[tuple[str, str], list[tuple[float, int, Array]]]) -> list[dict[str, object]]:
    """Mean over folds, with an interval from folds drawn independently."""
    rows = []
    for (label, metric), folds in replicates.items():
        values = np.array([v for v, _, _ in folds])
        known = np.isfinite(values)
        value = float(values[known].mean()) if known.any() else float("nan")
        low = high = float("nan")
        if known.any():
            low, high = interval(np.mean([d for (v, _, d) in folds if np.isfinite(v)], axis=0))
        rows.append(_row(label, "all", "all", "", metric, value, sum(n for _, n, _ in folds), low, high))
    return rows


def _mean_groups(metrics: pd.DataFrame) -> pd.DataFrame:
    """Append, for every drug and tissue, the mean over the folds in which it was tested."""
    by_group = metrics[metrics["group_by"] != "all"]
    if by_group.empty:
        return metrics
    keys = ["model", "group_by", "group", "metric"]
    mean = by_group.groupby(keys, sort=False, as_index=False).agg(value=("value", "mean"), n=("n", "sum"))
    return pd.concat([metrics, mean.assign(fold="all", low=np.nan, high=np.nan)[metrics.columns]], ignore_index=True)


def _row(*values: object) -> dict[str, object]:
    return dict(zip(COLUMNS, values, strict=True))


def _epoch_reporter(
    where: Progress, on_progress: Callable[[Progress], None] | None
) -> Callable[[int, Mapping[str, float]], bool]:
    if on_progress is not None:
        on_progress(where)

    def report(epoch: int, values: Mapping[str, float]) -> bool:
        if on_progress is not None:
            on_progress(Progress(where.fold, where.model, where.done, where.total, epoch, values))
        return False

    return report
