"""The page of a report: which sentences, tables and plots it shows, and what each says of itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from halfmax.config import to_toml
from halfmax.report import canvas, plots
from halfmax.report.controls import SUFFIX, control_differences, controlled
from halfmax.report.labels import confusion, label_curves
from halfmax.report.numbers import BASELINE, Numbers
from halfmax.report.words import (
    AGREEMENT_METRICS,
    CLASSIFICATION,
    FIT_CAPTIONS,
    HIGHER_IS_BETTER,
    METRICS,
    facts,
    interval,
    joined,
    number,
)

if TYPE_CHECKING:
    from halfmax.report.report import Report

#: Most models that get learning curves.
MOST_CURVES = 4
AGREEMENT_STYLE = canvas.Style("two measurements", "ink", "D", hollow=True)


def render(report: Report) -> str:
    """Return the report as HTML; every name in it is escaped, and only its own script may run."""
    from halfmax import RESEARCH_USE

    environment = Environment(loader=PackageLoader("halfmax"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"num": number, "facts": facts}
    page = Page(report)
    loader = environment.loader
    script = loader.get_source(environment, "sort.js")[0].strip() if loader else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        page=page,
        report=report,
        notice=RESEARCH_USE,
        script=Markup(script),
        script_hash=digest,
        toml=to_toml(report.config),
    )


class Page(Numbers):
    """Everything the template asks for."""

    words = METRICS
    agreement_metrics = AGREEMENT_METRICS
    agreement_key = Markup(AGREEMENT_STYLE.key)

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
                ("confusion", "Right and wrong calls", bool(self.confusion_rows)),
                ("selected", "Selected features", len(self.report.selected) > 0),
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
            parts.append(
                f"n = {number(len(self.pairs))} test pairs ({number(samples)} samples × {number(drugs)} drugs)"
            )
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
        rmse = self.value(self.best, "rmse")[0]
        error = f"RMSE {number(rmse, 2)} {self.unit}".strip() if np.isfinite(rmse) else ""
        and_ranked = ", and"
        if not np.isfinite(gain):
            first = f"{where}, {name} did best" + (f" ({error})" if error else "")
        elif canvas.is_naive(self.best) or gain <= 0 or low <= 0:
            first = f"{where}, no model was clearly better than the naive mean-effects baseline"
            first, and_ranked = first + (f" ({error})" if error else ""), f"; {name}"
        else:
            span = f", 95 % interval {number(low, 3)} to {number(high, 3)}" if np.isfinite(low) else ""
            first = (
                f"{where}, {name} removed {number(100 * gain, 1)} % of the squared error that the naive mean-effects "
                f"baseline leaves (normalised R² {number(gain, 3)}{span}; {error}{self._naive('rmse', ' against ')})"
            )
        rank, low, high = self.value(self.best, "within_drug_pearson")
        if not np.isfinite(rank):
            return first + "."
        span = f"{number(low, 2)} to {number(high, 2)}" if np.isfinite(low) else ""
        span = "; ".join(filter(None, (span, self._naive("within_drug_pearson", "mean effects "))))
        end = f" ({span})." if span else "."
        return f"{first}{and_ranked} ranked samples within a drug with r = {number(rank, 2)}{end}"

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
    def control_rows(self) -> list[dict[str, Any]]:
        """One row a model with a shuffled control: what it gains over it, in the columns of the ladder."""
        rows = []
        for model in controlled(self.models):
            control, paired = f"{model}{SUFFIX}", {}
            if not self.is_classification:
                paired = control_differences(self.report.predictions, model, by_drug=self.protocol.clusters == "drugs")
            plain = {m: self.value(model, m)[0] - self.value(control, m)[0] for m in self.metrics}
            cells = [paired.get(m, (plain[m], float("nan"), float("nan"))) for m in self.metrics]
            rows.append({"model": self.styles[model].label, "control": self.styles[control].label, "cells": cells})
        return rows

    @cached_property
    def agreement_rows(self) -> list[dict[str, Any]]:
        """One row a comparison of two measurements, in the columns of the ladder."""
        rows = []
        for row in self.report.agreement.to_dict("records"):
            cells = [float(row[k]) if k in AGREEMENT_METRICS else float("nan") for k in self.metrics]
            rows.append(
                {"name": row["comparison"], "n_pairs": row["n_pairs"], "n_drugs": row["n_drugs"], "cells": cells}
            )
        return rows

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

    def ladder_plots(self) -> list[tuple[str, Markup]]:
        """Return (metric, SVG) for each headline metric: every model, then the agreement of two measurements."""
        out, several = [], len(self.agreement_rows) > 1
        for metric in self.headlines:
            rows = [
                plots.Row(self.styles[m].label, self.styles[m], *self.value(m, metric), self.fold_values(m, metric))
                for m in self.models
            ]
            rows += [
                plots.Row(
                    r["name"] if several else AGREEMENT_STYLE.label,
                    AGREEMENT_STYLE,
                    r["cells"][self.metrics.index(metric)],
                )
                for r in self.agreement_rows
            ]
            anchor = self.value(BASELINE, metric)[0] if self.baseline else None
            title = METRICS[metric].name if metric in METRICS else metric
            title += f" [{self.unit}]" if metric in ("rmse", "mae") and self.unit else ""
            higher = HIGHER_IS_BETTER.get(metric, True)
            out.append(
                (metric, Markup(plots.ladder(f"ladder-{metric}", rows, title, higher_is_better=higher, anchor=anchor)))
            )
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
        title = f"RMSE [{self.unit}]\u2003← better" if self.unit else "RMSE\u2003← better"
        before, after = table["baseline_rmse"].to_numpy(float), table["rmse"].to_numpy(float)
        return Markup(
            plots.dumbbells("tissues", [canvas.words(label) for label in labels], before, after, styles, title)
        )

    def fit_plots(self) -> list[tuple[str, Markup]]:
        """Return (what to read, SVG): predicted against measured, the same within drugs, residuals."""
        if len(self.pairs) < 3 or self.is_classification:
            return []
        y, p = (self.pairs[c].to_numpy(np.float64) for c in ("y_true", "y_pred"))
        inner = self.pairs[["y_true", "y_pred"]].astype(np.float64)
        inner = inner - inner.groupby(self.pairs["drug_id"].to_numpy()).transform("mean")
        style = self.styles[self.best]
        name, colour = style.label, style.colour
        axes = (f"measured {self.label}", "predicted")
        full, most = plots.density("fit", y, p, colour, axes, line="diagonal")
        axes = ("measured, less the drug's mean", "predicted, less the drug's mean")
        yy, pp = inner.to_numpy(np.float64).T
        centred, _ = plots.density("within", yy, pp, colour, axes, line="diagonal")
        axes = (f"predicted {self.label}", "predicted − measured")
        residual, _ = plots.density("residuals", p, p - y, colour, axes, line="zero")
        errors = []
        for model in dict.fromkeys((self.baseline or self.best, self.best)):
            pairs = self.pairs_of(model)
            if len(pairs):
                errors.append((self.styles[model], (pairs["y_pred"] - pairs["y_true"]).to_numpy(np.float64)))
        spread = plots.histograms("errors", errors, f"predicted − measured {self.label}")
        captions = [text.format(model=name, most=number(most)) for text in FIT_CAPTIONS]
        return list(zip(captions, map(Markup, (full, centred, residual, spread)), strict=True))

    def label_plots(self) -> list[tuple[str, Markup]]:
        """Return (what to read, SVG) of ROC and precision–recall curves, for labels."""
        return label_curves(self) if self.is_classification else []

    @cached_property
    def confusion_rows(self) -> list[dict[str, Any]]:
        """One row a model: how its calls meet the labels, all folds together."""
        return confusion(self) if self.is_classification else []

    def curve_plots(self) -> list[tuple[str, Markup]]:
        """Return (model, SVG) of learning curves."""
        table = self.report.curves
        out: list[tuple[str, Markup]] = []
        for model in [m for m in self.models if len(table) and (table["model"] == m).any()][:MOST_CURVES]:
            lines = [
                plots.Curve(*(part[c].to_numpy(float) for c in ("epoch", "train_loss", "valid_loss")))
                for _, part in table[(table["model"] == model).to_numpy()].groupby(["fold", "member"], sort=False)
            ]
            svg = plots.learning(f"curves-{len(out)}", lines, self.styles[model])
            out.append((self.styles[model].label, Markup(svg)))
        return out
