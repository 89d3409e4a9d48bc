"""The numbers that a report shows: best model, figures over folds, tables by drug and by tissue, costs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from halfmax.report import canvas
from halfmax.report.words import (
    CLASSIFICATION,
    HEADLINES,
    HIGHER_IS_BETTER,
    REGRESSION,
    measure_words,
    protocol_of,
)

if TYPE_CHECKING:
    from halfmax.report.report import Report

Array = npt.NDArray[np.float64]
BASELINE = "mean_effects"


class Numbers:
    """What can be read off the tables of one report."""

    def __init__(self, report: Report) -> None:
        self.report = report
        present = set(report.metrics["model"])
        order = [m for m in report.ladder if m in present]
        self.models: list[str] = order + [m for m in dict.fromkeys(report.metrics["model"]) if m not in order]
        self.styles = canvas.styles_of(self.models)
        self.folds = sorted(set(report.metrics["fold"].astype(str)) - {"all"}, key=lambda f: (len(f), f))
        self.measure, self.unit = (w.replace(" ", "\u00a0") for w in measure_words(report.dataset.get("measure")))
        self.label = f"{self.measure} [{self.unit}]" if self.unit else self.measure
        self.protocol = protocol_of(report.config)
        self._grouped: dict[tuple[str, str], pd.DataFrame] = {}

    @cached_property
    def overall(self) -> dict[tuple[str, str], tuple[float, float, float]]:
        """(model, metric) to value, low, high: the row of all folds, or the mean over folds where there is none."""
        table = self.report.metrics[self.report.metrics["group_by"] == "all"]
        whole = table[table["fold"].astype(str) == "all"]
        parts = table[table["fold"].astype(str) != "all"]
        out = {
            (str(m), str(k)): (float(v.mean()), float("nan"), float("nan"))
            for (m, k), v in parts.groupby(["model", "metric"], sort=False)["value"]
        }
        if len(self.folds) == 1:
            whole = pd.concat([parts, whole])
        for row in whole.to_dict("records"):
            out[(str(row["model"]), str(row["metric"]))] = (float(row["value"]), float(row["low"]), float(row["high"]))
        return out

    def value(self, model: str, metric: str) -> tuple[float, float, float]:
        """Return value, low and high; NaN where a model has no such figure."""
        nan = float("nan")
        return self.overall.get((model, metric), (nan, nan, nan))

    def fold_values(self, model: str, metric: str) -> tuple[float, ...]:
        """Return the metric of each fold."""
        t = self.report.metrics
        chosen = (t["model"] == model) & (t["metric"] == metric) & (t["group_by"] == "all")
        values = t.loc[chosen & (t["fold"].astype(str) != "all"), "value"].astype(float)
        return tuple(v for v in values if np.isfinite(v)) if len(values) > 1 else ()

    @cached_property
    def metrics(self) -> list[str]:
        """Names of the overall metrics that some model has, best known first."""
        have = {metric for (_, metric), (value, _, _) in self.overall.items() if np.isfinite(value)}
        known = [m for m in (*REGRESSION, *CLASSIFICATION) if m in have]
        return known + sorted(have - set(known))

    @property
    def is_classification(self) -> bool:
        """Whether labels were predicted."""
        return "rmse" not in self.metrics and bool(set(CLASSIFICATION) & set(self.metrics))

    @cached_property
    def headlines(self) -> list[str]:
        """The two to three metrics that get a plot."""
        return [m for m in HEADLINES if m in self.metrics][:3] or self.metrics[:3]

    @cached_property
    def best(self) -> str:
        """The model that is best by the first headline metric."""
        metric = self.headlines[0] if self.headlines else ""
        sign = 1 if HIGHER_IS_BETTER.get(metric, True) else -1
        values = {m: sign * self.value(m, metric)[0] for m in self.models}
        finite = {m: v for m, v in values.items() if np.isfinite(v)}
        return max(finite, key=lambda m: finite[m]) if finite else self.models[-1]

    @property
    def baseline(self) -> str | None:
        """The naive model that others are read against, if it was run."""
        return BASELINE if BASELINE in self.models else None

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Test pairs of the best model, with finite values."""
        return self.pairs_of(self.best)

    def pairs_of(self, model: str) -> pd.DataFrame:
        """Return the test pairs of a model, with finite values."""
        table = self.report.predictions
        if table.empty:
            return pd.DataFrame(columns=["sample_id", "drug_id", "fold", "y_true", "y_pred"])
        chosen = table[(table["model"] == model).to_numpy()]
        finite = np.isfinite(chosen[["y_true", "y_pred"]].to_numpy(np.float64)).all(axis=1)
        found: pd.DataFrame = chosen.loc[finite]
        return found

    @cached_property
    def between_drugs(self) -> float:
        """Share of the variance of measured values that lies between drugs."""
        y = self.pairs["y_true"].astype(float)
        if len(y) < 3 or not float(y.var()) > 0:
            return float("nan")
        within = y - y.groupby(self.pairs["drug_id"].to_numpy()).transform("mean")
        return 1 - float((within**2).sum() / ((y - y.mean()) ** 2).sum())

    @cached_property
    def winners(self) -> dict[str, set[str]]:
        """Metric to the models that are best by it, as printed."""
        out: dict[str, set[str]] = {}
        for metric in self.metrics:
            sign = 1 if HIGHER_IS_BETTER.get(metric, True) else -1
            shown = {m: sign * round(self.value(m, metric)[0], 3) for m in self.models}
            most = max((v for v in shown.values() if np.isfinite(v)), default=float("nan"))
            out[metric] = {m for m, v in shown.items() if v == most}
        return out

    def grouped(self, by: str, model: str) -> pd.DataFrame:
        """Return one row a group, one column a metric (mean over folds), and ``n``; empty if nothing was grouped so."""
        if (by, model) not in self._grouped:
            self._grouped[by, model] = self._group(by, model)
        return self._grouped[by, model]

    def _group(self, by: str, model: str) -> pd.DataFrame:
        t = self.report.metrics
        t = t[((t["group_by"] == by) & (t["model"] == model)).to_numpy()]
        whole = t[(t["fold"].astype(str) == "all").to_numpy()]
        t = whole if len(whole) else t
        if t.empty:
            return pd.DataFrame()
        values = t.pivot_table(index="group", columns="metric", values="value", aggfunc="mean", dropna=False)
        first = t[(t["metric"] == t["metric"].iloc[0]).to_numpy()]
        return values.assign(n=first.groupby("group")["n"].sum())

    @cached_property
    def drug_table(self) -> pd.DataFrame:
        """One row a drug, best predicted first: what is known of it, spread, and the best model's figures."""
        found = self.grouped("drug", self.best)
        if found.empty:
            return found
        known, spread = self.report.drugs, self.pairs.groupby("drug_id")["y_true"].std()
        table = found.assign(spread=spread.reindex(found.index).astype(float))
        for column in self.drug_about:
            table[column] = [_text(v) for v in known[column].reindex(found.index)]
        if self.baseline is not None and "rmse" in found and self.best != self.baseline:
            table["baseline_rmse"] = self.grouped("drug", BASELINE)["rmse"].reindex(found.index)
        return self._sorted(table)

    @property
    def drug_about(self) -> list[str]:
        """Columns of the drug table that say what a drug does."""
        return [c for c in ("targets", "target", "pathway", "target_pathway") if c in self.report.drugs.columns]

    @cached_property
    def tissue_table(self) -> pd.DataFrame:
        """One row a tissue, the best model beside the baseline; empty where tissues are unknown."""
        found = self.grouped("tissue", self.best)
        if found.empty or "tissue" not in self.report.samples.columns:
            return pd.DataFrame()
        tested = self.report.samples["tissue"].reindex(pd.Index(self.pairs["sample_id"].unique()))
        table = found.assign(n_samples=tested.fillna("unknown").astype(str).value_counts().reindex(found.index))
        if self.baseline is not None and "rmse" in found and self.best != self.baseline:
            table["baseline_rmse"] = self.grouped("tissue", BASELINE)["rmse"].reindex(found.index)
        return table.sort_values("n", ascending=False, kind="stable")

    @staticmethod
    def _sorted(table: pd.DataFrame) -> pd.DataFrame:
        by = next((c for c in ("pearson", "roc_auc", "accuracy", "normalized_r2") if c in table.columns), "n")
        return table.sort_values(by, ascending=False, kind="stable", na_position="last")

    def drug_name(self, drug_id: str) -> str:
        """Return the drug's name, or its id where it has none."""
        names = self.report.drugs["name"] if "name" in self.report.drugs.columns else None
        name = names.get(drug_id) if names is not None else None
        return name if isinstance(name, str) and name.strip() else drug_id

    @cached_property
    def costs(self) -> list[dict[str, Any]]:
        """One row a model: seconds to fit a fold, CPU seconds over all folds, pairs scored a second, memory [MB]."""
        t = self.report.timings
        rows = []
        for model in [m for m in self.models if len(t) and (t["model"] == m).any()]:
            part = t[(t["model"] == model).to_numpy()]
            predict = float(part["predict_s"].sum())
            rows.append({
                "style": self.styles[model],
                "key": Markup(self.styles[model].key),
                "fit": float(part["fit_s"].mean()),
                "fit_all": float(part["fit_s"].sum()),
                "cpu": float(part["cpu_s"].sum()),
                "n_train": float(part["n_train"].mean()),
                "peak": float(part["peak_mb"].max()) if "peak_mb" in part else float("nan"),
                "speed": float(part["n_test"].sum()) / predict if predict > 0 else float("nan"),
            })  # fmt: skip
        return rows

    @property
    def knows_memory(self) -> bool:
        """Whether some model ran in a process of its own."""
        return bool(self.report.timings.get("peak_mb", pd.Series(dtype=float)).notna().any())


def _text(value: object) -> str:
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else ""
