"""The page of a report: which sentences, tables and plots it shows, and what each says of itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from halfmax import plots
from halfmax.config import to_toml
from halfmax.report_words import (
    AGREEMENT_METRICS,
    CLASSIFICATION,
    HEADLINES,
    HIGHER_IS_BETTER,
    METRICS,
    REGRESSION,
    facts,
    interval,
    joined,
    measure_words,
    number,
    protocol_of,
)

if TYPE_CHECKING:
    from halfmax.report import Report

Array = npt.NDArray[np.float64]
BASELINE = "mean_effects"
#: Most models that get learning curves and lines of their own, most drugs that get a dot.
MOST_CURVES = 4
AGREEMENT_STYLE = plots.Style("two measurements", "ink", "D", hollow=True)


def render(report: Report) -> str:
    """Return the report as HTML; every name in it is escaped, and only its own script may run."""
    environment = Environment(loader=PackageLoader("halfmax"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"num": number, "facts": facts}
    page = Page(report)
    loader = environment.loader
    script = loader.get_source(environment, "sort.js")[0].strip() if loader else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        page=page, report=report, script=Markup(script), script_hash=digest, toml=to_toml(report.config)
    )


class Page:
    """Everything the template asks for, from the tables of one report."""

    def __init__(self, report: Report) -> None:
        self.report = report
        present = set(report.metrics["model"])
        order = [m for m in report.ladder if m in present]
        self.models: list[str] = order + [m for m in dict.fromkeys(report.metrics["model"]) if m not in order]
        self.styles = plots.styles_of(self.models)
        self.folds = sorted(set(report.metrics["fold"].astype(str)) - {"all"}, key=lambda f: (len(f), f))
        self.measure, self.unit = (w.replace(" ", "\u00a0") for w in measure_words(report.dataset.get("measure")))
        self.label = f"{self.measure} [{self.unit}]" if self.unit else self.measure
        self.protocol = protocol_of(report.config)
        self._grouped: dict[tuple[str, str], pd.DataFrame] = {}
        self.words, self.agreement_metrics = METRICS, AGREEMENT_METRICS
        self.agreement_key = Markup(AGREEMENT_STYLE.key)

    # ---- numbers -------------------------------------------------------------------------------------------------

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
        for row in whole.itertuples():
            out[(str(row.model), str(row.metric))] = (float(row.value), float(row.low), float(row.high))
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
        return self._pairs_of(self.best)

    def _pairs_of(self, model: str) -> pd.DataFrame:
        table = self.report.predictions
        if table.empty:
            return pd.DataFrame(columns=["sample_id", "drug_id", "fold", "y_true", "y_pred"])
        chosen = table[(table["model"] == model).to_numpy()]
        finite = np.isfinite(chosen["y_true"].to_numpy(float)) & np.isfinite(chosen["y_pred"].to_numpy(float))
        return chosen[finite]

    @cached_property
    def between_drugs(self) -> float:
        """Share of the variance of measured values that lies between drugs."""
        y = self.pairs["y_true"].astype(float)
        if len(y) < 3 or not float(y.var()) > 0:
            return float("nan")
        within = y - y.groupby(self.pairs["drug_id"].to_numpy()).transform("mean")
        return 1 - float((within**2).sum() / ((y - y.mean()) ** 2).sum())

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Anchors and titles of the sections that there are."""
        return [
            (anchor, title)
            for anchor, title, there in (
                ("done", "What was done", True),
                ("lost", "Data lost", True),
                ("ladder", "From naive to model", True),
                ("drugs", "By drug", len(self.drug_table) > 0),
                ("tissues", "By tissue", len(self.tissue_table) > 0),
                ("fit", "Predicted against measured", len(self.pairs) >= 3),
                ("learning", "Learning curves", len(self.report.curves) > 0),
                ("cost", "Cost", bool(self.costs)),
                ("repeat", "How to repeat this", True),
            )
            if there
        ]

    @property
    def data_facts(self) -> dict[str, Any]:
        """What is known of the data, in the order to be read."""
        data = dict(self.report.dataset)
        notes = data.pop("notes", {})
        sizes = {k.removeprefix("n_").replace("_", " "): data.pop(k) for k in [k for k in data if k.startswith("n_")]}
        data.pop("measure", None)
        modalities = data.pop("modalities", {})
        profile = joined([f"{str(k).replace('_', ' ')} ({number(v)} features)" for k, v in modalities.items()])
        return {
            "data": data.pop("name", ""),
            "measure": self.label,
            "size": ", ".join(f"{number(v)} {k}" for k, v in sizes.items()),
            "profiles": profile,
            **(dict(notes) if isinstance(notes, Mapping) else {"notes": notes}),
            **data,
        }

    # ---- sentences -----------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What was predicted, on which data."""
        what = "sensitivity" if self.is_classification else self.measure
        return f"Predicting {what} on {self.report.dataset.get('name') or 'these data'}"

    @cached_property
    def counts(self) -> str:
        """Protocol, folds and n, as printed beside every figure."""
        parts = [self.protocol.name] if self.protocol.name else []
        parts.append(f"{len(self.folds) or 1} fold{'s' if len(self.folds) > 1 else ''}")
        if len(self.pairs):
            samples, drugs = self.pairs["sample_id"].nunique(), self.pairs["drug_id"].nunique()
            parts.append(f"n = {number(len(self.pairs))} test pairs ({number(samples)} samples × {number(drugs)} drugs)")
        return ", ".join(parts)

    @property
    def basis(self) -> str:
        """`counts` as the beginning of a sentence."""
        return self.counts[:1].upper() + self.counts[1:]

    @property
    def interval_method(self) -> str:
        """How the intervals were made; empty if there are none."""
        if not any(np.isfinite(low) for _, low, _ in self.overall.values()):
            return ""
        n = self.report.config.get("n_boot")
        draws = f", {number(n)} draws a fold" if isinstance(n, int) and n else ""
        return f"95 % intervals by cluster bootstrap over {self.protocol.clusters}{draws}"

    @property
    def summary(self) -> str:
        """What was found, in two or three plain sentences."""
        return " ".join(filter(None, (self._found(), self._against_assay())))

    def _found(self) -> str:
        name, where = self.styles[self.best].label, self.protocol.where
        if self.is_classification:
            told = [f"{METRICS[m].name} {interval(*self.value(self.best, m))}" for m in self.headlines if m in METRICS]
            return f"{where}, {name} did best at telling sensitive from resistant pairs: {joined(told)}."
        gain, low, high = self.value(self.best, "normalized_r2")
        told = number(gain, 3) + (f", 95 % interval {number(low, 3)} to {number(high, 3)}" if np.isfinite(low) else "")
        rmse = self.value(self.best, "rmse")[0]
        error = f"RMSE {number(rmse, 2)} {self.unit}".strip() if np.isfinite(rmse) else ""
        if not np.isfinite(gain):
            first = f"{where}, {name} did best" + (f" ({error})" if error else "")
        elif plots.is_naive(self.best) or gain <= 0 or low <= 0:
            first = f"{where}, no model was clearly better than the naive mean-effects baseline ({error})"
        else:
            first = (
                f"{where}, {name} removed {number(100 * gain, 1)} % of the squared error that the naive mean-effects "
                f"baseline leaves (normalised R² {told}; {error}{self._naive('rmse', ' against ')})"
            )
        rank = self.value(self.best, "within_drug_pearson")
        if not np.isfinite(rank[0]):
            return first + "."
        inner = [f"{number(rank[1], 2)} to {number(rank[2], 2)}"] if np.isfinite(rank[1]) else []
        inner += [text] if (text := self._naive("within_drug_pearson", "mean effects ")) else []
        return f"{first}, and ranked samples within a drug with r = {number(rank[0], 2)}" + (
            f" ({'; '.join(inner)})." if inner else "."
        )

    def _naive(self, metric: str, before: str) -> str:
        value = self.value(BASELINE, metric)[0]
        return before + number(value, 2) if self.best != self.baseline and np.isfinite(value) else ""

    def _against_assay(self) -> str:
        if self.is_classification:
            return ""
        table, skill = self.report.agreement, self.value(self.best, "within_drug_pearson")[0]
        known = [r for r in table.to_dict("records") if np.isfinite(float(r["within_drug_pearson"]))]
        if not known or not np.isfinite(skill):
            return "How well two measurements of the same pairs agree is not known for these data."
        told, gaps = [], []
        for row in known:
            gaps.append(round(skill, 2) - round(float(row["within_drug_pearson"]), 2))
            told.append(
                f"r = {number(row['within_drug_pearson'], 2)} ({row['comparison']}; the model stands "
                f"{number(abs(gaps[-1]), 2)} {'above' if gaps[-1] >= 0 else 'below'})"
            )
        text = f"Two measurements of the same pairs agree within a drug with {joined(told)}"
        if max(gaps) < 0:
            return text + "."
        return (
            f"{text}; standing above does not make a model better than the assay, because trained and tested in one "
            "screen it also learns that screen's own effects."
        )

    # ---- tables --------------------------------------------------------------------------------------------------

    @cached_property
    def winners(self) -> dict[str, set[str]]:
        """Metric to the models that are best by it, as printed."""
        out = {}
        for metric in self.metrics:
            sign = 1 if HIGHER_IS_BETTER.get(metric, True) else -1
            shown = {m: sign * round(self.value(m, metric)[0], 3) for m in self.models}
            most = max((v for v in shown.values() if np.isfinite(v)), default=float("nan"))
            out[metric] = {m for m, v in shown.items() if v == most}
        return out

    @cached_property
    def ladder_rows(self) -> list[dict[str, Any]]:
        """One row a model: its style and, for each metric, value and interval."""
        return [
            {
                "style": self.styles[m],
                "key": Markup(self.styles[m].key),
                "best": m == self.best,
                "cells": [(*self.value(m, k), m in self.winners[k]) for k in self.metrics],
            }
            for m in self.models
        ]

    @cached_property
    def agreement_rows(self) -> list[dict[str, Any]]:
        """One row a comparison of two measurements, in the columns of the ladder."""
        rows = []
        for row in self.report.agreement.to_dict("records"):
            cells = [float(row[k]) if k in AGREEMENT_METRICS else float("nan") for k in self.metrics]
            rows.append({"name": row["comparison"], "n_pairs": row["n_pairs"], "n_drugs": row["n_drugs"], "cells": cells})
        return rows

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

    def columns(self, table: pd.DataFrame) -> list[tuple[str, str, str, int]]:
        """Return (column, heading, explanation, decimals) of the columns of a drug or tissue table, in order."""
        spread = f"SD [{self.unit}]" if self.unit else "SD"
        rmse = f"RMSE [{self.unit}]" if self.unit else "RMSE"
        offered = [
            ("n_samples", "samples", "samples tested", 0),
            ("n", "test pairs", "test pairs", 0),
            ("spread", spread, "standard deviation of the measured values", 2),
            ("pearson", METRICS["pearson"].name, METRICS["pearson"].meaning, 2),
            ("spearman", METRICS["spearman"].name, METRICS["spearman"].meaning, 2),
            ("normalized_r2", METRICS["normalized_r2"].name, METRICS["normalized_r2"].meaning, 2),
            ("rmse", rmse, METRICS["rmse"].meaning, 2),
            ("baseline_rmse", "RMSE, mean\u00a0effects", "the naive baseline's error", 2),
            *((m, METRICS[m].name, METRICS[m].meaning, 2) for m in CLASSIFICATION),
        ]
        return [c for c in offered if c[0] in table.columns and table[c[0]].notna().any()]

    def drug_name(self, drug_id: str) -> str:
        """Return the drug's name, or its id where it has none."""
        names = self.report.drugs["name"] if "name" in self.report.drugs.columns else None
        name = names.get(drug_id) if names is not None else None
        return name if isinstance(name, str) and name.strip() else drug_id

    @cached_property
    def costs(self) -> list[dict[str, Any]]:
        """One row a model: seconds to fit a fold, CPU seconds over all folds, pairs scored a second."""
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
                "speed": float(part["n_test"].sum()) / predict if predict > 0 else float("nan"),
            })  # fmt: skip
        return rows

    # ---- plots ---------------------------------------------------------------------------------------------------

    def ladder_plots(self) -> list[tuple[str, Markup]]:
        """Return (metric, SVG) for each headline metric: every model, then the agreement of two measurements."""
        out, several = [], len(self.agreement_rows) > 1
        for metric in self.headlines:
            rows = [
                plots.Row(self.styles[m].label, self.styles[m], *self.value(m, metric), self.fold_values(m, metric))
                for m in self.models
            ]
            rows += [
                plots.Row(r["name"] if several else AGREEMENT_STYLE.label, AGREEMENT_STYLE, r["cells"][self.metrics.index(metric)])
                for r in self.agreement_rows
            ]
            anchor = self.value(BASELINE, metric)[0] if self.baseline else None
            title = METRICS[metric].name if metric in METRICS else metric
            title += f" [{self.unit}]" if metric in ("rmse", "mae") and self.unit else ""
            higher = HIGHER_IS_BETTER.get(metric, True)
            out.append((metric, Markup(plots.ladder(f"ladder-{metric}", rows, title, higher_is_better=higher, anchor=anchor))))
        return out

    def drug_strip(self) -> Markup | None:
        """Distribution over drugs of the correlation within a drug; models that cannot rank samples are left out."""
        groups = []
        for model in self.models:
            table = self.grouped("drug", model)
            values = table["pearson"].dropna().to_numpy(float) if "pearson" in table else np.empty(0)
            if len(values) >= 3 and float(np.ptp(values)) > 1e-6:
                groups.append((self.styles[model], values))
        return Markup(plots.strips("drugs", groups, "Pearson r within a drug")) if groups else None

    def drug_spread(self) -> Markup | None:
        """Each drug's correlation against the spread of its measured values."""
        table = self.drug_table
        if "pearson" not in table or self.is_classification:
            return None
        table = table[(table["pearson"].notna() & table["spread"].notna()).to_numpy()]
        if len(table) < 5:
            return None
        names = [self.drug_name(str(i)) for i in table.index]
        x, y = table["spread"].to_numpy(float), table["pearson"].to_numpy(float)
        axes = (f"SD of measured {self.label}", "Pearson r within the drug")
        return Markup(plots.scatter("spread", x, y, names, self.styles[self.best], axes))

    def tissue_plot(self) -> Markup | None:
        """RMSE of baseline and best model in each tissue."""
        table = self.tissue_table
        if "baseline_rmse" not in table:
            return None
        labels = [f"{i} ({number(n)})" for i, n in zip(table.index, table["n_samples"], strict=True)]
        styles = (self.styles[BASELINE], self.styles[self.best])
        title = f"RMSE [{self.unit}]   ← better" if self.unit else "RMSE   ← better"
        before, after = table["baseline_rmse"].to_numpy(float), table["rmse"].to_numpy(float)
        return Markup(plots.dumbbells("tissues", [plots.words(label) for label in labels], before, after, styles, title))

    def fit_plots(self) -> list[tuple[str, Markup]]:
        """Return (what to read, SVG): predicted against measured, the same within drugs, residuals."""
        if len(self.pairs) < 3 or self.is_classification:
            return []
        drug = self.pairs["drug_id"].to_numpy()
        y, p = self.pairs["y_true"].astype(float), self.pairs["y_pred"].astype(float)
        inner = [(v - v.groupby(drug).transform("mean")).to_numpy() for v in (y, p)]
        yy, pp, style = y.to_numpy(), p.to_numpy(), self.styles[self.best]
        name = style.label
        full, most = plots.density("fit", yy, pp, style.colour, (f"measured {self.label}", "predicted"), line="diagonal")
        axes = ("measured, less the drug's mean", "predicted, less the drug's mean")
        centred, _ = plots.density("within", inner[0], inner[1], style.colour, axes, line="diagonal")
        residual, _ = plots.density("residuals", pp, pp - yy, style.colour, (f"predicted {self.label}", "predicted − measured"), line="zero")
        shown = [m for m in dict.fromkeys((self.baseline, self.best)) if m is not None]
        errors = []
        for model in shown:
            pairs = self._pairs_of(model)
            errors.append((self.styles[model], (pairs["y_pred"] - pairs["y_true"]).to_numpy(float)))
        errors = [e for e in errors if len(e[1])]
        return [
            (f"Predicted against measured, {name}. On the dashed line a prediction is exact. "
             f"Darker: more pairs, on a logarithmic scale up to {number(most)} a hexagon.", Markup(full)),
            ("The same pairs after the mean of each drug is taken away: what is left is what a profile can tell. The "
             "closer to the dashed line, the better; a flat cloud would be a model that ignores the sample.", Markup(centred)),
            (f"Residuals against predictions, {name}. The thick line is the running median, the thin ones 10 % and 90 %: "
             "a median off zero is bias, a widening band is error that grows with the value.", Markup(residual)),
            ("Distribution of residuals: the narrower, the better; zero is no error.",
             Markup(plots.histograms("errors", errors, f"predicted − measured {self.label}"))),
        ]  # fmt: skip

    def label_plots(self) -> list[tuple[str, Markup]]:
        """Return (what to read, SVG) of ROC and precision–recall curves, for labels."""
        if not self.is_classification:
            return []
        roc, recall, positive = [], [], 0.5
        for model in self.models:
            pairs = self._pairs_of(model)
            label = pairs["y_true"].to_numpy(float) > 0.5
            if label.all() or not label.any():
                continue
            hit, alarm = _ranked(label, pairs["y_pred"].to_numpy(float))
            positive = float(label.mean())
            roc.append((self.styles[model], alarm / (~label).sum(), hit / label.sum()))
            recall.append((self.styles[model], hit[1:] / label.sum(), hit[1:] / (hit + alarm)[1:]))
        if not roc:
            return []
        axes = ("false alarms among resistant pairs", "found among sensitive pairs")
        return [
            ("ROC curve, all folds together: the nearer the upper left corner, the better.",
             Markup(plots.steps("roc", roc, axes, chance=(0, 1)))),
            ("Precision and recall, all folds together: guessing stays at the share of sensitive pairs, "
             f"{number(positive, 2)}.",
             Markup(plots.steps("pr", recall, ("recall", "precision"), chance=(positive, positive)))),
        ]  # fmt: skip

    def curve_plots(self) -> list[tuple[str, Markup]]:
        """Return (model, SVG) of learning curves."""
        table, out = self.report.curves, []
        for model in [m for m in self.models if len(table) and (table["model"] == m).any()][:MOST_CURVES]:
            lines = [
                plots.Curve(*(part[c].to_numpy(float) for c in ("epoch", "train_loss", "valid_loss")))
                for _, part in table[(table["model"] == model).to_numpy()].groupby(["fold", "member"], sort=False)
            ]
            svg = plots.learning(f"curves-{len(out)}", lines, self.styles[model])
            out.append((self.styles[model].label, Markup(svg)))
        return out


def _text(value: object) -> str:
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else ""


def _ranked(label: npt.NDArray[np.bool_], score: Array, most: int = 400) -> tuple[Array, Array]:
    """Return hits and false alarms as the threshold falls, ties together, at no more than `most` thresholds."""
    order = np.argsort(-score, kind="stable")
    s, hit = score[order], np.cumsum(label[order])
    last = np.flatnonzero(np.r_[s[1:] != s[:-1], True])
    if len(last) > most:
        last = last[np.unique(np.linspace(0, len(last) - 1, most).astype(int))]
    hits = hit[last].astype(np.float64)
    return np.r_[0.0, hits], np.r_[0.0, last + 1 - hits]
