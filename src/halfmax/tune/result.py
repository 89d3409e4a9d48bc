"""Tuning: what a search found, as tables, and how far inner scores flatter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from halfmax.config import to_toml
from halfmax.data.storage import atomic_file
from halfmax.models.base import JSON
from halfmax.tune.settings import Plan
from halfmax.tune.space import defaults_in

if TYPE_CHECKING:
    import optuna

TRIAL_COLUMNS = ("model", "fold", "trial", "place", "state", "value", "cpu_s", "seconds", "scores", "params", "reason")
STUDY_COLUMNS = (
    *("model", "fold", "metric", "n_trials", "n_complete", "n_pruned", "n_failed", "n_interrupted", "cpu_s"),
    *("inner_default", "inner_best", "outer_default", "outer_best", "gap_default", "gap_best", "optimism", "params"),
)


@dataclass(frozen=True)
class Outer:
    """Scores of the best and the default parameters on an outer fold, and the predictions of the best."""

    tuned: float
    default: float
    predictions: pd.DataFrame


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Parameters
    ----------
    plan
        What was searched.
    trials
        model, fold, trial, place (in the budget), state (``complete``, ``pruned``, ``failed``, ``interrupted``), value,
        cpu_s [s], seconds [s], scores (by inner fold, JSON), params (JSON), reason (why it failed).
    studies
        One row a model and outer fold: how many trials of which state; cpu_s [s] of all of them; inner_default and
        inner_best, the mean over inner folds with the default parameters and with the best; outer_default and
        outer_best, the same on the outer fold's test part, seen once; gap_default and gap_best, by how much the outer
        score is worse than the inner one; optimism = gap_best − gap_default, what choosing adds to the gap; params
        (JSON). NaN where there is no such figure.
    importance
        model, fold, parameter, importance: its share of what good trials have in common (PED-ANOVA, Watanabe et al.
        2023), 1 in sum; empty below four complete trials.
    predictions
        sample_id, drug_id, y_true, y_pred, fold, model of the outer folds.
    """

    plan: Plan
    trials: pd.DataFrame
    studies: pd.DataFrame
    importance: pd.DataFrame
    predictions: pd.DataFrame

    def best(self, model: str) -> dict[str, JSON]:
        """Return the best parameters of a model on the first outer fold."""
        found: dict[str, JSON] = json.loads(self.studies.loc[self.studies["model"] == model, "params"].iloc[0])
        return found

    def write(self, folder: Path) -> Path:
        """Write tuning.html, trials.csv, studies.csv, importance.csv, and return the path of the page.

        Where the search was nested, predictions.parquet as well; otherwise best.toml, the configuration with the best
        parameters, for ``halfmax run``.
        """
        from halfmax.tune.page import render

        for name in ("trials", "studies", "importance"):
            table: pd.DataFrame = getattr(self, name)
            with atomic_file(folder / f"{name}.csv") as path:
                table.to_csv(path, index=False, float_format="%.6g")
        if self.plan.settings.nested:
            with atomic_file(folder / "predictions.parquet") as path:
                self.predictions.to_parquet(path, index=False, compression="zstd")
        else:
            with atomic_file(folder / "best.toml") as path:
                path.write_text(to_toml(self.best_config()), encoding="utf-8")
        page = render(self)
        with atomic_file(folder / "tuning.html") as path:
            path.write_text(page, encoding="utf-8")
        return folder / "tuning.html"

    def best_config(self) -> dict[str, Any]:
        """Return the run's configuration with the best parameters of each model."""
        config = self.plan.config
        params = {name: dict(values) for name, values in config.params.items()}
        main = dict(config.model)
        for model in self.plan.settings.models:
            if model == config.main_model:
                main |= self.best(model)
            else:
                params[model] = params.get(model, {}) | self.best(model)
        changed = config.model_copy(update={"model": main, "params": params})
        return changed.model_dump(mode="json", exclude_none=True)


def tables(
    plan: Plan, studies: Mapping[tuple[str, str], optuna.Study], outer: Mapping[tuple[str, str], Outer]
) -> Tuning:
    """Read the studies."""
    trials, rows, importance = [], [], []
    for (model, fold), study in studies.items():
        table = _trials(study).assign(model=model, fold=fold)
        trials.append(table)
        rows.append(_study_row(plan, model, fold, study, table, outer.get((model, fold))))
        for name, share in _importance(study).items():
            importance.append({"model": model, "fold": fold, "parameter": name, "importance": share})
    predictions = [found.predictions for found in outer.values()]
    return Tuning(
        plan,
        pd.concat(trials, ignore_index=True)[list(TRIAL_COLUMNS)],
        pd.DataFrame(rows, columns=list(STUDY_COLUMNS)),
        pd.DataFrame(importance, columns=["model", "fold", "parameter", "importance"]),
        pd.concat(predictions, ignore_index=True) if predictions else pd.DataFrame(),
    )


def _trials(study: optuna.Study) -> pd.DataFrame:
    rows = []
    for trial in study.get_trials(deepcopy=False):
        attrs = trial.user_attrs
        if attrs.get("unnecessary", False):
            continue
        state = trial.state.name.lower()
        if state == "fail":
            state = "failed" if "reason" in attrs else "interrupted"
        rows.append(
            {
                "trial": trial.number,
                "place": attrs.get("slot", -1),
                "state": state,
                "value": trial.value if state == "complete" else np.nan,
                "cpu_s": attrs.get("cpu_s", np.nan),
                "seconds": np.nan if trial.duration is None else trial.duration.total_seconds(),
                "scores": json.dumps(attrs.get("scores", [])),
                "params": json.dumps(trial.params),
                "reason": attrs.get("reason", ""),
            }
        )
    return pd.DataFrame(rows, columns=[c for c in TRIAL_COLUMNS if c not in ("model", "fold")])


def _study_row(
    plan: Plan, model: str, fold: str, study: optuna.Study, trials: pd.DataFrame, outer: Outer | None
) -> dict[str, object]:
    nan = float("nan")
    counts = trials["state"].value_counts()
    best, inner_best = study.best_trial, float(study.best_value)
    default = json.dumps(defaults_in(model, plan.spaces[model]))
    same = trials.loc[(trials["params"].map(json.loads) == json.loads(default)) & (trials["state"] == "complete")]
    inner_default = float(same["value"].iloc[0]) if len(same) else float(study.user_attrs.get("default", nan))
    outer_default, outer_best = (nan, nan) if outer is None else (outer.default, outer.tuned)
    sign = -1.0 if plan.higher_is_better else 1.0
    gap_default, gap_best = sign * (outer_default - inner_default), sign * (outer_best - inner_best)
    figures = (inner_default, inner_best, outer_default, outer_best, gap_default, gap_best, gap_best - gap_default)
    n = [int(counts.get(state, 0)) for state in ("complete", "pruned", "failed", "interrupted")]
    row = (model, fold, plan.metric, sum(n[:3]), *n, trials["cpu_s"].sum(), *figures, json.dumps(best.params))
    return dict(zip(STUDY_COLUMNS, row, strict=True))


def _importance(study: optuna.Study) -> dict[str, float]:
    """Return each parameter's share; nothing where too few trials, or equal ones, say nothing."""
    from optuna.importance import get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    return {name: float(share) for name, share in get_param_importances(study).items()}
