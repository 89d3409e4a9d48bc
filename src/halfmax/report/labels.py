"""What a report shows of labels: ROC and precision–recall curves with bands, and how calls meet labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from halfmax.label_metrics import curve_bands
from halfmax.report import plots
from halfmax.report.numbers import Array, Numbers
from halfmax.report.words import number

if TYPE_CHECKING:
    from halfmax.report.canvas import Style

_ROC = (
    "ROC curve, all folds together: the nearer the upper left corner, the better. The band holds 95 % of the curves of "
    "{best} when {clusters} are drawn anew."
)
_PR = (
    "Precision and recall, all folds together: guessing stays at the share of sensitive pairs, {share}. The band is "
    "that of {best}."
)


def label_curves(numbers: Numbers) -> list[tuple[str, Markup]]:
    """Return (what to read, SVG) of both curves of every model; empty where only one class was tested."""
    roc: list[tuple[Style, Array, Array]] = []
    recall: list[tuple[Style, Array, Array]] = []
    share, bands = 0.5, None
    for model in numbers.models:
        pairs = numbers.pairs_of(model)
        label, score = pairs["y_true"].to_numpy(float) > 0.5, pairs["y_pred"].to_numpy(float)
        if label.all() or not label.any():
            continue
        hit, alarm = _ranked(label, score)
        share = float(label.mean())
        roc.append((numbers.styles[model], alarm / (~label).sum(), hit / label.sum()))
        recall.append((numbers.styles[model], hit[1:] / label.sum(), hit[1:] / (hit + alarm)[1:]))
        if model == numbers.best:
            drawn = "drug_id" if numbers.protocol.clusters == "drugs" else "sample_id"
            bands = curve_bands(label, score, pd.factorize(pairs[drawn])[0].astype(np.int64))
    if not roc:
        return []
    axes, best = ("false alarms among resistant pairs", "found among sensitive pairs"), numbers.styles[numbers.best]
    shown = {k: None if bands is None else (best, bands[k].x, bands[k].low, bands[k].high) for k in ("roc", "pr")}
    words = {"best": best.label, "clusters": numbers.protocol.clusters, "share": number(share, 2)}
    first = plots.steps("roc", roc, axes, chance=(0, 1), band=shown["roc"])
    second = plots.steps("pr", recall, ("recall", "precision"), chance=(share, share), band=shown["pr"])
    return [(_ROC.format(**words), Markup(first)), (_PR.format(**words), Markup(second))]


def confusion(numbers: Numbers) -> list[dict[str, Any]]:
    """Return one row a model: hits, misses, alarms and rejections of its calls, and the range of its cutoffs."""
    timings, rows = numbers.report.timings, []
    for model in numbers.models:
        pairs = numbers.pairs_of(model)
        if pairs.empty:
            continue
        label, called = (pairs[c].to_numpy(float) > 0.5 for c in ("y_true", "y_pred"))
        cutoff = timings.loc[(timings["model"] == model).to_numpy(), "cutoff"] if "cutoff" in timings else pd.Series([])
        rows.append(
            {
                "style": numbers.styles[model],
                "key": Markup(numbers.styles[model].key),
                "hits": int((label & called).sum()),
                "misses": int((label & ~called).sum()),
                "alarms": int((~label & called).sum()),
                "rejections": int((~label & ~called).sum()),
                "cutoff": (float(cutoff.min()), float(cutoff.max())) if len(cutoff) else None,
            }
        )
    return rows


def _ranked(label: npt.NDArray[np.bool_], score: Array, most: int = 400) -> tuple[Array, Array]:
    """Return hits and false alarms as the threshold falls, ties together, at no more than `most` thresholds."""
    order = np.argsort(-score, kind="stable")
    s, hit = score[order], np.cumsum(label[order])
    last = np.flatnonzero(np.r_[s[1:] != s[:-1], True])
    if len(last) > most:
        last = last[np.unique(np.linspace(0, len(last) - 1, most).astype(int))]
    hits = hit[last].astype(np.float64)
    return np.r_[0.0, hits], np.r_[0.0, last + 1 - hits]
