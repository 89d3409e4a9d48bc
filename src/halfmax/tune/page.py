"""The page of a search: what was tried, what it cost, what it found, and by how much inner scores flatter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from halfmax.config import to_toml
from halfmax.report.canvas import Style, styles_of, words
from halfmax.report.words import METRICS, joined, number
from halfmax.split import PROTOCOLS
from halfmax.tune import plots

if TYPE_CHECKING:
    from halfmax.tune.result import Tuning

_SEARCHES = {
    "tpe": "tree-structured Parzen estimators (TPE)",
    "gp": "a Gaussian process",
    "random": "random search",
    "grid": "a grid",
}
_PRUNERS = {"none": "", "asha": "successive halving (ASHA)", "hyperband": "Hyperband"}


def render(tuning: Tuning) -> str:
    """Return the search as one HTML page that loads nothing from elsewhere and runs no script."""
    from halfmax import RESEARCH_USE

    environment = Environment(loader=PackageLoader("halfmax"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"num": number}
    source, _, _ = environment.loader.get_source(environment, "report.html.j2")  # type: ignore[union-attr]
    style = source.partition("<style>")[2].partition("</style>")[0]  # one look for every page
    return environment.get_template("tuning.html.j2").render(
        page=Page(tuning), style=Markup(style), notice=RESEARCH_USE
    )


class Page:
    """Everything the template asks for."""

    def __init__(self, tuning: Tuning) -> None:
        self.tuning = tuning
        self.plan = tuning.plan
        self.styles: Mapping[str, Style] = styles_of(self.plan.settings.models)

    @property
    def name(self) -> str:
        """Of the run."""
        return self.plan.config.name

    @property
    def metric(self) -> str:
        """The metric's name in words."""
        return METRICS[self.plan.metric].name if self.plan.metric in METRICS else words(self.plan.metric)

    @property
    def title(self) -> str:
        """What was tuned, on which data."""
        models = joined([self.styles[m].label for m in self.plan.settings.models])
        return f"Tuning {models} on {self.plan.prepared.dataset.name}"

    @property
    def basis(self) -> str:
        """Protocol, folds and budget."""
        settings, n_outer = self.plan.settings, len(self.plan.prepared.splits)
        outer = f"{n_outer} outer folds" if settings.nested else "training part of one outer fold"
        protocol = self.plan.config.split.protocol
        return f"{protocol} ({PROTOCOLS[protocol]}); {outer} × {settings.inner} inner folds"

    @property
    def method(self) -> str:
        """How it was searched, as a sentence."""
        settings = self.plan.settings
        better = "higher" if self.plan.higher_is_better else "lower"
        text = (
            f"Every model had the same budget, {settings.trials} trials on each outer fold (a grid may be smaller), by "
            f"{_SEARCHES[settings.search]}. A trial is worth the mean of {self.metric} over the same {settings.inner} "
            f"inner folds ({better} is better). Groups that must stay together were kept together in inner folds, too."
        )
        pruner = _PRUNERS[settings.prune]
        return text + (f" Trials that were behind were stopped by {pruner}." if pruner else "")

    @property
    def summary(self) -> str:
        """What was found, in a few sentences."""
        found = []
        for model in self.plan.settings.models:
            rows = self.tuning.studies[self.tuning.studies["model"] == model]
            text = f"{self.styles[model].label}: inner {self.metric} {number(rows['inner_best'].mean(), 3)}"
            if rows["inner_default"].notna().all():
                text += f" (defaults {number(rows['inner_default'].mean(), 3)})"
            if self.plan.settings.nested:
                best, default = (number(rows[f"outer_{kind}"].mean(), 3) for kind in ("best", "default"))
                text += f", outer {best} (defaults {default})"
            found.append(text)
        return "; ".join(found) + "."

    @property
    def studies(self) -> list[dict[str, Any]]:
        """Rows of the table of studies, with the model's marker and label."""
        rows: list[dict[str, Any]] = self.tuning.studies.to_dict("records")  # type: ignore[assignment]
        return [row | {"style": self.styles[row["model"]], "best": json.loads(row["params"])} for row in rows]

    @property
    def costs(self) -> list[dict[str, Any]]:
        """One row a model: trials, CPU, and means over outer folds."""
        columns = ["inner_default", "inner_best", "outer_default", "outer_best", "gap_default", "gap_best", "optimism"]
        out = []
        for model, rows in self.tuning.studies.groupby("model", sort=False):
            counts = rows[["n_trials", "n_complete", "n_pruned", "n_failed", "n_interrupted", "cpu_s"]].sum()
            row: dict[str, Any] = {"style": self.styles[str(model)]}
            row |= {str(name): value for part in (counts, rows[columns].mean()) for name, value in part.items()}
            out.append(row)
        return out

    @cached_property
    def growth(self) -> Markup:
        """Plot of the best value so far."""
        curves = []
        for model in self.plan.settings.models:
            mine = self.tuning.trials[self.tuning.trials["model"] == model]
            curve = plots.best_so_far(mine, higher_is_better=self.plan.higher_is_better)
            curves.append((self.styles[model], curve))
        return Markup(plots.growth("growth", curves, self.metric))

    def parallel(self, model: str) -> Markup:
        """Plot of a model's complete trials over its parameters; empty where there are none."""
        mine = self.tuning.trials.query("state == 'complete' and model == @model")
        if mine.empty:
            return Markup("")
        better = self.plan.higher_is_better
        space = self.plan.spaces[model]
        return Markup(plots.parallel(f"lines-{model}", mine, space, self.metric, higher_is_better=better))

    def importance(self, model: str) -> Markup:
        """Plot of which parameters matter; empty where too few trials say."""
        mine = self.tuning.importance.query("model == @model")
        if mine.empty:
            return Markup("")
        shares = {str(key): list(part) for key, part in mine.groupby("parameter", sort=False)["importance"]}
        return Markup(plots.importance(f"importance-{model}", shares))

    @property
    def failures(self) -> pd.DataFrame:
        """Trials that failed: model, fold, trial, reason."""
        failed = self.tuning.trials[self.tuning.trials["state"] == "failed"]
        return failed[["model", "fold", "trial", "reason"]].replace({np.nan: ""})

    @property
    def toml(self) -> str:
        """The best configuration, or of a nested search the configuration that was searched around."""
        content = self.tuning.best_config() if not self.plan.settings.nested else None
        return to_toml(content or self.plan.config.model_dump(mode="json", exclude_none=True))
