"""Objective: what a trial is worth: a metric's mean over inner folds, each encoded once for all trials."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from halfmax.data.dataset import ResponseDataset
from halfmax.errors import DataError
from halfmax.evaluate import FoldRun, ModelSpec
from halfmax.labels import Decide
from halfmax.models.base import MODELS
from halfmax.run import make_features, make_threshold
from halfmax.split import Split
from halfmax.state import parameters_of
from halfmax.tune.settings import Plan
from halfmax.tune.study import Unnecessary, slot_of, suggest

if TYPE_CHECKING:
    import optuna

#: Told of every epoch of a trial: place in the budget, inner fold, epoch, record.
OnTrial = Callable[[int, str, int | None, Mapping[str, float]], None]


class InnerFolds:
    """The inner folds of one outer fold; a fold is encoded when it is first needed, and kept.

    Parameters
    ----------
    plan
        What to search.
    fold
        Name of the outer fold.
    """

    def __init__(self, plan: Plan, fold: str) -> None:
        self.plan = plan
        self.fold = fold
        outer = next(split for split in plan.prepared.splits if split.fold == fold)
        self._dataset = plan.prepared.dataset.take(outer.fit_rows)
        self._runs: dict[int, FoldRun] = {}

    def __len__(self) -> int:
        return len(self.plan.inner[self.fold])

    def run(self, i: int) -> FoldRun:
        """Return an inner fold, cut and encoded."""
        if i not in self._runs:
            self._runs[i] = fold_run(self.plan, self._dataset, self.plan.inner[self.fold][i])
        return self._runs[i]

    def score(self, spec: ModelSpec, i: int, on_epoch: Callable[[int, Mapping[str, float]], bool]) -> float:
        """Fit on an inner fold and return the metric on its test rows."""
        predicted, _, _ = self.run(i).fit_predict(spec, on_epoch)
        return score_of(self.run(i), predicted, self.plan)


def fold_run(plan: Plan, dataset: ResponseDataset, split: Split) -> FoldRun:
    """Return one fold, cut and encoded as the plan's configuration says."""
    config = plan.config
    # a cutoff is looked for, which costs a fit, only where the metric depends on it
    decide: Decide = "share" if plan.metric in ("roc_auc", "pr_auc") else config.task.decide
    return FoldRun(dataset, split, lambda: make_features(config), make_threshold(config), None, decide)


def score_of(run: FoldRun, predicted: Any, plan: Plan) -> float:
    """Return the plan's metric of a fold's predictions.

    Raises
    ------
    DataError
        If it has no value there.
    """
    value = run.score(predicted, 0, plan.config.seed)[plan.metric][0]
    if not math.isfinite(value):
        raise DataError(f"{plan.metric} has no value on fold {run.split.fold}: too few or constant responses.")
    return float(value)


class Objective:
    """What optuna calls with a trial.

    Parameters
    ----------
    model
        Registered name.
    folds
        The inner folds, shared by the models.
    study
        The study that the trials belong to.
    budget
        Trials of the study.
    worker
        Name of this process, see `halfmax.tune.study.alive`.
    on_trial
        Told where it is.
    """

    def __init__(
        self,
        model: str,
        folds: InnerFolds,
        study: optuna.Study,
        budget: int,
        worker: str,
        on_trial: OnTrial | None = None,
    ) -> None:
        self.model, self.folds, self.study, self.budget = model, folds, study, budget
        self.worker, self.on_trial = worker, on_trial
        self.given = folds.plan.config.params_of(model)
        self.epochs = epochs_of(model, folds.plan)

    def __call__(self, trial: optuna.Trial) -> float:
        """Return the mean of the metric over the inner folds.

        Raises
        ------
        Unnecessary
            If the budget is spent.
        optuna.TrialPruned
            If the trial is behind.
        """
        trial.set_user_attr("worker", self.worker)
        slot = slot_of(self.study, self.study._storage.get_trial(trial._trial_id))
        if slot >= self.budget:
            trial.set_user_attr("unnecessary", True)
            raise Unnecessary("the budget is spent.")
        params = self.given | suggest(trial, self.folds.plan.spaces[self.model])
        trial.set_user_attr("slot", slot)
        try:
            return self._mean(trial, slot, params)
        except _pruned():
            raise
        except Exception as error:
            trial.set_user_attr("reason", str(error)[:500])
            raise

    def _mean(self, trial: optuna.Trial, slot: int, params: Mapping[str, Any]) -> float:
        scores: list[float] = []
        spent, begun = 0.0, time.process_time()
        try:
            for i in range(len(self.folds)):
                self.folds.run(i)  # so that encoding, which all trials share, is no trial's cost
                begun = time.process_time()
                spec = ModelSpec(self.model, self.model, params)
                scores.append(self.folds.score(spec, i, self._reporter(trial, slot, i)))
                spent += time.process_time() - begun
                begun = time.process_time()
                trial.set_user_attr("scores", scores)
                if self.epochs is None and self.folds.plan.settings.prune != "none":
                    trial.report(sum(scores) / len(scores), i + 1)
                    self._prune(trial)
        finally:
            trial.set_user_attr("cpu_s", round(spent + time.process_time() - begun, 3))
        return sum(scores) / len(scores)

    def _reporter(self, trial: optuna.Trial, slot: int, i: int) -> Callable[[int, Mapping[str, float]], bool]:
        """Return what a fold's training calls after each epoch; the first training that validates is reported."""
        fold, last = self.folds.plan.inner[self.folds.fold][i].fold, 0
        if self.on_trial is not None:
            self.on_trial(slot, fold, None, {})

        def report(epoch: int, values: Mapping[str, float]) -> bool:
            nonlocal last
            if self.on_trial is not None:
                self.on_trial(slot, fold, epoch, values)
            pruning = self.folds.plan.settings.prune != "none" and self.epochs is not None
            if pruning and "valid_loss" in values and last < epoch:
                last = epoch
                loss = float(values["valid_loss"])
                trial.report(-loss if self.folds.plan.higher_is_better else loss, i * (self.epochs or 0) + epoch)
                self._prune(trial)
            return False

        return report

    def _prune(self, trial: optuna.Trial) -> None:
        if trial.should_prune():
            raise _pruned()("behind the others")


def epochs_of(model: str, plan: Plan) -> int | None:
    """Return the most epochs of a model that validates after each, or None: then a trial is judged fold by fold."""
    cls = MODELS.get(model)
    default = parameters_of(cls).get("epochs")
    validates = getattr(cls, "uses_valid", False) and plan.config.split.valid_fraction > 0
    if default is None or not validates or "epochs" in plan.spaces[model]:
        return None
    return int(plan.config.params_of(model).get("epochs", default.default))


def _pruned() -> type[Exception]:
    from optuna import TrialPruned

    found: type[Exception] = TrialPruned
    return found
