"""The words and number formats of a report: what each metric means, how intervals and facts are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape


@dataclass(frozen=True)
class MetricWords:
    """A metric's short name and what it means, in one line."""

    name: str
    meaning: str


@dataclass(frozen=True)
class ProtocolWords:
    """A split protocol: its short name, where its score holds, what it leaves out, and what the bootstrap draws."""

    name: str
    where: str
    meaning: str
    clusters: str


METRICS: Mapping[str, MetricWords] = {
    "normalized_r2": MetricWords(
        "normalised\u00a0R²",
        "the share of the mean-effects baseline's squared error that the model removes: 0 is no better, 1 is perfect",
    ),
    "within_drug_pearson": MetricWords(
        "within-drug\u00a0r",
        "Pearson correlation of predicted and measured values inside one drug, averaged over drugs: can the model rank "
        "samples? A constant prediction counts as 0",
    ),
    "rmse": MetricWords("RMSE", "root mean squared error, in the unit of the measure: the size of a typical miss"),
    "pearson": MetricWords(
        "Pearson\u00a0r", "linear correlation of predicted and measured values over the pairs it is given for"
    ),
    "r2": MetricWords("R²", "the share of all variance that is explained, differences between drugs included"),
    "mae": MetricWords(
        "MAE", "mean absolute error, in the unit of the measure: less moved by a few large misses than RMSE"
    ),
    "spearman": MetricWords("Spearman\u00a0ρ", "correlation of ranks: order only, no matter how far apart"),
    "within_drug_spearman": MetricWords("within-drug\u00a0ρ", "the same as within-drug r, on ranks"),
    "within_sample_pearson": MetricWords(
        "within-sample\u00a0r",
        "Pearson correlation inside one sample, averaged over samples: can the model rank drugs? Knowing each drug's "
        "mean is nearly enough",
    ),
    "roc_auc": MetricWords(
        "ROC\u00a0AUC", "the chance that a sensitive pair is scored above a resistant one; 0.5 is guessing"
    ),
    "pr_auc": MetricWords(
        "average precision",
        "mean precision over all recalls (PR\u00a0AUC); guessing gives the share of sensitive pairs",
    ),
    "f1": MetricWords("F1", "harmonic mean of precision and recall"),
    "accuracy": MetricWords("accuracy", "share of pairs called right; high for anyone if one class is rare"),
    "balanced_accuracy": MetricWords(
        "balanced accuracy", "mean of the shares called right in each class; 0.5 is guessing"
    ),
    "precision": MetricWords("precision", "share of pairs called sensitive that are"),
    "recall": MetricWords("recall", "share of sensitive pairs that are called so"),
}
REGRESSION = (
    *("normalized_r2", "within_drug_pearson", "rmse", "mae", "pearson", "r2", "spearman"),
    *("within_drug_spearman", "within_sample_pearson"),
)
CLASSIFICATION = ("roc_auc", "pr_auc", "f1", "balanced_accuracy", "accuracy", "precision", "recall")
HEADLINES = ("normalized_r2", "within_drug_pearson", "rmse", "roc_auc", "pr_auc", "f1")
HIGHER_IS_BETTER: Mapping[str, bool] = {"rmse": False, "mae": False}
AGREEMENT_METRICS = ("pearson", "within_drug_pearson", "rmse")
FIT_CAPTIONS = (
    "Predicted against measured, {model}. On the dashed line a prediction is exact. Darker: more pairs, on a "
    "logarithmic scale up to {most} a hexagon.",
    "The same pairs after the mean of each drug is taken away: what is left is what a profile can tell. The closer to "
    "the dashed line, the better; a flat cloud would be a model that ignores the sample.",
    "Residuals against predictions, {model}. The thick line is the running median, the thin ones 10 % and 90 %: a "
    "median off zero is bias, a widening band is error that grows with the value.",
    "Distribution of residuals: the narrower, the better; zero is no error.",
)
_PROTOCOLS: Mapping[str, ProtocolWords] = {
    "LPO": ProtocolWords(
        "leave pairs out (LPO)",
        "On new pairs of known samples and known drugs",
        "test pairs are new, but their sample and their drug were both seen in training, in other pairs",
        "samples",
    ),
    "LCO": ProtocolWords(
        "leave cell lines out (LCO)",
        "On samples never seen in training",
        "no response of a test sample was seen in training; every drug was",
        "samples",
    ),
    "LDO": ProtocolWords(
        "leave drugs out (LDO)",
        "On drugs never seen in training",
        "no response to a test drug was seen in training; every sample was",
        "drugs",
    ),
    "LTO": ProtocolWords(
        "leave tissues out (LTO)",
        "On tissues never seen in training",
        "no sample of a test tissue was seen in training; every drug was",
        "samples",
    ),
}
_MEASURES: Mapping[str, str] = {"ln_ic50": "ln IC50", "auc": "AUC", "aac": "AAC", "pic50": "pIC50"}
_MOST_ITEMS = 12


def protocol_of(config: Mapping[str, Any]) -> ProtocolWords:
    """Return the words of the protocol that a configuration names, at its top or in its split section."""
    split = config.get("split")
    name = (split.get("protocol") if isinstance(split, Mapping) else None) or config.get("protocol") or ""
    unknown = ProtocolWords(str(name), "On held-out pairs", "", "the split's groups")
    return _PROTOCOLS.get(str(name).upper(), unknown)


def measure_words(measure: object) -> tuple[str, str]:
    """Return name and unit of a measure given as a mapping, a pair or a name."""
    if isinstance(measure, Mapping):
        name, unit = measure.get("name", "response"), measure.get("unit", "")
    elif isinstance(measure, list | tuple):
        name, unit = [*measure, "", ""][:2]
    else:
        name, unit = measure or "response", ""
    return _MEASURES.get(str(name), str(name).replace("_", " ")), str(unit or "")


def number(value: object, digits: int | None = None) -> str:
    """Return a number for reading: grouped from 10,000 on, a true minus sign, a dash for what is not known."""
    if value is None or isinstance(value, str | bool):
        return "–" if value is None else str(value)
    x = float(value)  # type: ignore[arg-type]
    if not np.isfinite(x):
        return "–"
    if digits is None:
        digits = 0 if x == int(x) else 3
    text = f"{x:,.{digits}f}" if abs(x) >= 10_000 else f"{x:.{digits}f}"
    return ("0" + text[2:] if text.startswith("-0") and not text.strip("-0.,") else text).replace("-", "−")


def interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """Return ``0.34 (0.33 to 0.35)``, or the value alone where there is no interval."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return number(value, digits)
    return f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def joined(parts: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def facts(value: object, depth: int = 0) -> Markup:
    """Return plain JSON as HTML: mappings as definition lists, what has parts of its own folded up, links clickable."""
    if isinstance(value, Mapping):
        if set(value) == {"columns", "rows"}:
            return _table(value["columns"], value["rows"])
        if set(value) == {"counts", "columns", "rows"}:
            return facts(value["counts"], depth) + _table(value["columns"], value["rows"])
        rows = [
            Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(str(k).replace("_", " "), _folded(v, depth))
            for k, v in value.items()
            if v is not None and v != "" and v != [] and v != {}
        ]
        return Markup('<dl class="facts">{}</dl>').format(Markup("").join(rows))
    if isinstance(value, list | tuple):
        shown = [facts(v, depth + 1) for v in value[:_MOST_ITEMS]]
        more = Markup("") if len(value) <= _MOST_ITEMS else Markup("… and {} more").format(len(value) - _MOST_ITEMS)
        if any(isinstance(v, Mapping) for v in value):
            return Markup("").join([*shown, more])
        return Markup(", ").join([*shown, more] if more else shown)
    if isinstance(value, bool):
        return Markup("yes" if value else "no")
    if isinstance(value, int | float):
        text = number(value)
        return escape(text.rstrip("0").rstrip(".") if "." in text else text)
    text = str(value)
    if text.startswith("https://") and not any(c.isspace() for c in text):
        return Markup('<a href="{0}" rel="noreferrer">{0}</a>').format(text)
    if len(text) >= 40 and all(c in "0123456789abcdef" for c in text):
        return Markup("<code>{}</code>").format(text)
    return escape(text)


def _folded(value: object, depth: int) -> Markup:
    """Return a value of the outermost mapping folded up where it has parts of its own."""
    inner = facts(value, depth + 1)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    if depth or not (isinstance(value, Mapping) or any(isinstance(v, Mapping | list | tuple) for v in parts)):
        return inner
    names = value if isinstance(value, Mapping) else [f"{len(parts)} entries"]
    summary = ", ".join(str(name).replace("_", " ") for name in names)
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, inner)


def _table(columns: object, rows: object) -> Markup:
    """Return names and rows as a table that scrolls."""
    if not isinstance(columns, list | tuple) or not isinstance(rows, list | tuple):
        return Markup("")
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(str(c).replace("_", " ")) for c in columns)
    cells = [Markup("").join(Markup("<td>{}</td>").format("" if v is None else v) for v in row) for row in rows]
    body = Markup("").join(Markup("<tr>{}</tr>").format(row) for row in cells)
    table = Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)
    label = f"{len(rows)} rows of {joined([str(c) for c in columns])}"
    return Markup('<div class="scroll tall" tabindex="0" role="region" aria-label="{}">{}</div>').format(label, table)
