"""Plots of a search: how its best grew, its trials as lines over the parameters, and which parameters matter."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.report.canvas import STAND_IN, Style, figure_of, svg_of
from halfmax.tune.space import Choices, Range, Space

Array = npt.NDArray[np.float64]
#: Share of the complete trials that are drawn as good ones.
GOOD = 0.2


def growth(name: str, curves: Sequence[tuple[Style, Array]], metric: str) -> str:
    """Best value so far after each trial, one line a model, mean over outer folds; NaN before the first."""
    with figure_of(430, 250) as (figure, ax):
        for style, values in curves:
            places = np.arange(1, len(values) + 1)
            ax.step(places, values, where="post", color=STAND_IN[style.colour], lw=2, label=style.label)
            known = np.flatnonzero(np.isfinite(values))
            if len(known):
                spot = (places[known[-1]], values[known[-1]])
                ax.scatter(*spot, s=36, marker=style.marker, color=STAND_IN[style.colour], zorder=3)
        ax.set_xlabel("trials begun")
        ax.set_ylabel(f"best {metric} so far")
        ax.grid(color=STAND_IN["grid"], lw=0.8)
        handles, labels = ax.get_legend_handles_labels()
        legend = figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=10.5)
        for text in legend.get_texts():
            text.set_color(STAND_IN["ink"])
        return svg_of(figure, name)


def parallel(name: str, trials: pd.DataFrame, space: Space, metric: str, *, higher_is_better: bool) -> str:
    """One line a complete trial over an axis for each parameter and one for the metric; the best fifth in colour.

    Parameters
    ----------
    trials
        Columns params (JSON) and value of complete trials.
    """
    values = trials["value"].to_numpy(dtype=np.float64)
    params = [json.loads(text) for text in trials["params"]]
    heights = np.column_stack(
        [np.array([_height(part, p[key]) for p in params]) for key, part in space.items()] + [_scaled(values)]
    )
    order = np.argsort(-values if higher_is_better else values, kind="stable")
    n_good = max(1, math.ceil(GOOD * len(values)))
    n_axes = heights.shape[1]
    with figure_of(120 + 92 * n_axes, 290) as (figure, ax):
        x = np.arange(n_axes)
        for rank, i in reversed(list(enumerate(order))):
            good = rank < n_good
            ax.plot(
                x, heights[i], color=STAND_IN["m2" if rank == 0 else "m1" if good else "base"],
                lw=2.4 if rank == 0 else 1.5 if good else 0.8, alpha=1 if good else 0.45,
            )  # fmt: skip
        for k, part in enumerate([*space.values(), None]):
            ax.axvline(k, color=STAND_IN["grid"], lw=1, zorder=0)
            for height, text in _marks(part, values):
                ax.text(k + 0.05, height, text, fontsize=9.5, va="center", color=STAND_IN["muted"])
        ax.set_xticks(x, [_broken(label) for label in (*space, metric)])
        ax.set_yticks([])
        ax.set_xlim(-0.2, n_axes - 0.45)
        ax.set_ylim(-0.08, 1.08)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="x", length=0)
        return svg_of(figure, name)


def importance(name: str, shares: Mapping[str, Sequence[float]]) -> str:
    """One bar a parameter, the mean over outer folds, longest first; small dots are folds."""
    order = sorted(shares, key=lambda key: -float(np.mean(shares[key])))
    with figure_of(400, 60 + 24 * len(order)) as (figure, ax):
        for y, key in enumerate(order):
            mean = float(np.mean(shares[key]))
            ax.barh(y, mean, height=0.6, color=STAND_IN["m1"], alpha=0.75)
            ax.scatter(shares[key], [y] * len(shares[key]), s=10, color=STAND_IN["ink"], zorder=3, linewidths=0)
            ax.text(1.01, y, f"{mean:.2f}", transform=ax.get_yaxis_transform(), va="center", color=STAND_IN["ink"])
        ax.set_yticks(range(len(order)), order)
        ax.set_ylim(len(order) - 0.4, -0.6)
        ax.set_xlim(0, 1)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel("importance (1 in sum)")
        ax.grid(axis="x", color=STAND_IN["grid"], lw=0.8)
        return svg_of(figure, name)


def best_so_far(trials: pd.DataFrame, *, higher_is_better: bool) -> Array:
    """Return the best complete value after each place of the budget, mean over folds; shape ``(n_places,)``."""
    begun = trials[trials["place"] >= 0]
    n_places = int(begun["place"].max()) + 1 if len(begun) else 0
    folds = []
    for _, fold in begun.groupby("fold", sort=False):
        values = np.full(n_places, np.nan)
        complete = fold[fold["state"] == "complete"]
        values[complete["place"].to_numpy(dtype=np.int64)] = complete["value"].to_numpy(dtype=np.float64)
        folds.append((np.fmax if higher_is_better else np.fmin).accumulate(values))
    return np.asarray(np.mean(folds, axis=0), dtype=np.float64) if folds else np.empty(0)


def _height(part: Range | Choices, value: object) -> float:
    """Return where a value lies on its axis, 0 to 1."""
    if isinstance(part, Choices):
        place = next(k for k, v in enumerate(part.values) if type(v) is type(value) and v == value)
        return place / max(len(part.values) - 1, 1)
    low, high, here = part.low, part.high, float(value)  # type: ignore[arg-type]
    if part.log:
        low, high, here = math.log(low), math.log(high), math.log(here)
    return (here - low) / (high - low) if high > low else 0.5


def _scaled(values: Array) -> Array:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)


def _marks(part: Range | Choices | None, values: Array) -> list[tuple[float, str]]:
    if isinstance(part, Choices):
        return [(k / max(len(part.values) - 1, 1), str(v)) for k, v in enumerate(part.values)]
    if part is None:
        return [(0.0, f"{values.min():.4g}"), (1.0, f"{values.max():.4g}")]
    return [(0.0, f"{part.low:g}"), (1.0, f"{part.high:g}")]


def _broken(label: str) -> str:
    return label.replace("_", "\n")
