"""Plots: plain arrays in, small inline SVG out, drawn in the colours of the page that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from halfmax.report.canvas import STAND_IN, Style, figure_of, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One line of a dot-and-interval plot; `points` are the folds."""

    label: str
    style: Style
    value: float
    low: float = float("nan")
    high: float = float("nan")
    points: tuple[float, ...] = ()


@dataclass(frozen=True)
class Curve:
    """One learning curve."""

    epoch: Array
    train: Array
    valid: Array = field(default_factory=lambda: np.empty(0))


def ladder(name: str, rows: Sequence[Row], title: str, *, higher_is_better: bool, anchor: float | None = None) -> str:
    """Dot and interval a row, top to bottom in the order given; small dots are folds.

    Rows far on the worse side of `anchor` (the naive baseline) are shown as an arrow at the edge, with their value.
    """
    with figure_of(340, 60 + 26 * len(rows)) as (figure, ax):
        low, high = _limits(rows, higher_is_better=higher_is_better, anchor=anchor)
        ax.set_xlim(low, high)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        if anchor is not None and np.isfinite(anchor):
            ax.axvline(anchor, color=STAND_IN["muted"], lw=1, ls=(0, (3, 3)), zorder=1)
        for y, row in enumerate(rows):
            _ladder_row(ax, y, row, low, high)
        ax.set_yticks(range(len(rows)), [_short(r.label, 22) for r in rows])
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(f"{title}\u2003{'better →' if higher_is_better else '← better'}")
        ax.grid(axis="x", color=STAND_IN["grid"], lw=0.8)
        return svg_of(figure, name)


def strips(name: str, groups: Sequence[tuple[Style, Array]], title: str) -> str:
    """One strip a model: every drug a dot, the bar from the lower to the upper quartile, the tick at the median."""
    rng = np.random.default_rng(0)
    with figure_of(440, 64 + 44 * len(groups)) as (figure, ax):
        for y, (style, values) in enumerate(groups):
            colour = STAND_IN[style.colour]
            jitter = rng.uniform(-0.3, 0.3, len(values))
            ax.scatter(values, y + jitter, s=9, color=colour, alpha=0.45, linewidths=0)
            q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
            ax.plot([q1, q3], [y, y], color=STAND_IN["card"], lw=8, solid_capstyle="butt", zorder=3)
            ax.plot([q1, q3], [y, y], color=colour, lw=5, solid_capstyle="butt", zorder=4)
            ax.plot([median, median], [y - 0.22, y + 0.22], color=STAND_IN["ink"], lw=2, zorder=5)
            ax.text(
                1.01, y, f"{_number(median)}", transform=ax.get_yaxis_transform(), va="center", color=STAND_IN["ink"]
            )
        ax.axvline(0, color=STAND_IN["muted"], lw=1, ls=(0, (3, 3)), zorder=1)
        ax.set_ylim(len(groups) - 0.5, -0.5)
        ax.set_yticks(range(len(groups)), [_short(s.label, 24) for s, _ in groups])
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(title)
        ax.grid(axis="x", color=STAND_IN["grid"], lw=0.8)
        return svg_of(figure, name)


def scatter(name: str, x: Array, y: Array, labels: Sequence[str], style: Style, axes: tuple[str, str]) -> str:
    """One dot a drug; the names of the highest and lowest are written beside theirs."""
    with figure_of(440, 330) as (figure, ax):
        ax.scatter(x, y, s=18, marker=style.marker, color=STAND_IN[style.colour], alpha=0.6, linewidths=0)
        ax.axhline(0, color=STAND_IN["muted"], lw=1, ls=(0, (3, 3)), zorder=1)
        order = np.argsort(y)
        taken: list[tuple[float, float]] = []
        span_x, span_y = max(float(np.ptp(x)), 1e-9), max(float(np.ptp(y)), 1e-9)
        for i in [*order[::-1][:6], *order[:5]]:
            spot = (float(x[i]) / span_x, float(y[i]) / span_y)
            if any(abs(spot[0] - a) < 0.34 and abs(spot[1] - b) < 0.05 for a, b in taken):
                continue
            taken.append(spot)
            right = x[i] > x.min() + 0.6 * span_x
            ax.annotate(
                _short(labels[i], 20), (x[i], y[i]), xytext=(-6 if right else 6, 0), textcoords="offset points",
                ha="right" if right else "left", va="center", fontsize=9.5, color=STAND_IN["ink"],
            )  # fmt: skip
        ax.margins(x=0.06, y=0.07)
        ax.set_xlabel(axes[0])
        ax.set_ylabel(axes[1])
        ax.grid(color=STAND_IN["grid"], lw=0.8)
        return svg_of(figure, name)


def dumbbells(
    name: str, labels: Sequence[str], before: Array, after: Array, styles: tuple[Style, Style], title: str
) -> str:
    """Two dots a row joined by a line: what the line spans is what the second model gains over the first."""
    with figure_of(440, 84 + 21 * len(labels)) as (figure, ax):
        rows = np.arange(len(labels))
        ax.hlines(rows, before, after, color=STAND_IN[styles[1].colour], lw=2, alpha=0.55, zorder=2)
        for values, style in zip((before, after), styles, strict=True):
            face = STAND_IN["card"] if style.hollow else STAND_IN[style.colour]
            ax.scatter(
                values, rows, s=40, marker=style.marker, facecolor=face, edgecolor=STAND_IN[style.colour],
                linewidths=1.5, zorder=3, label=style.label,
            )  # fmt: skip
        ax.set_ylim(len(labels) - 0.4, -0.6)
        ax.set_yticks(rows, [_short(label, 34) for label in labels])
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(title)
        ax.grid(axis="x", color=STAND_IN["grid"], lw=0.8)
        _legend(figure, ax)
        return svg_of(figure, name)


def density(name: str, x: Array, y: Array, colour: str, axes: tuple[str, str], *, line: str) -> tuple[str, int]:
    """Hexagons shaded by the logarithm of the pairs in them; return the most pairs in one as well.

    `line` is ``diagonal`` (1:1, equal axes) or ``zero`` (no error, with the running median and 10–90 % band).
    """
    with figure_of(430, 380) as (figure, ax):
        extent = _extent(x, y, equal=line == "diagonal")
        cells = ax.hexbin(x, y, gridsize=50, extent=extent, mincnt=1, linewidths=0)
        counts = np.asarray(cells.get_array(), dtype=np.float64)
        most = int(counts.max(initial=1))
        share = np.log(counts) / np.log(most) if most > 1 else np.ones(len(counts))
        shade = np.minimum(0.1 + 0.9 * share, 1)  # rounding goes past 1, which is no opacity
        red, green, blue = (int(STAND_IN[colour][k : k + 2], 16) / 255 for k in (1, 3, 5))
        cells.set_array(None)
        cells.set_facecolor([(red, green, blue, float(a)) for a in shade])
        cells.set_edgecolor("none")
        ink: dict[str, Any] = {"color": STAND_IN["ink"], "zorder": 4}
        if line == "diagonal":
            ax.plot(extent[:2], extent[2:], lw=1.1, ls=(0, (4, 3)), **ink)
        else:
            ax.axhline(0, lw=1.1, ls=(0, (4, 3)), **ink)
            _running(ax, x, y)
        ax.set_xlim(*extent[:2])
        ax.set_ylim(*extent[2:])
        ax.set_xlabel(axes[0])
        ax.set_ylabel(axes[1])
        return svg_of(figure, name), most


def histograms(name: str, groups: Sequence[tuple[Style, Array]], title: str) -> str:
    """Outlines of distributions over common bins; each ends in a marker at its peak."""
    with figure_of(430, 380) as (figure, ax):
        both = np.concatenate([v for _, v in groups])
        edges = np.linspace(np.quantile(both, 0.002), np.quantile(both, 0.998) + 1e-9, 61)
        middle = (edges[:-1] + edges[1:]) / 2
        for style, values in groups:
            share = 100 * np.histogram(values, edges)[0] / len(values)
            colour, peak = STAND_IN[style.colour], int(share.argmax())
            ax.stairs(share, edges, color=colour, lw=1.7, ls="--" if style.hollow else "-")
            ax.plot(
                middle[peak], share[peak], marker=style.marker, color=colour, ms=7, ls="none",
                mfc=STAND_IN["card"] if style.hollow else colour, label=style.label,
            )  # fmt: skip
        ax.axvline(0, color=STAND_IN["muted"], lw=1, ls=(0, (3, 3)), zorder=1)
        ax.set_ylim(bottom=0)
        ax.set_xlabel(title)
        ax.set_ylabel("share of test pairs [%]")
        _legend(figure, ax)
        return svg_of(figure, name)


def learning(name: str, curves: Sequence[Curve], style: Style) -> str:
    """Training (dashed) and validation loss (solid) of every fold and member; the dot is the least validation loss."""
    with figure_of(430, 330) as (figure, ax):
        thin = 1.4 if len(curves) <= 5 else 0.9
        for i, curve in enumerate(curves):
            ax.plot(
                curve.epoch,
                curve.train,
                color=STAND_IN["base"],
                lw=thin,
                ls=(0, (4, 2)),
                label="_" if i else "training",
            )
            if np.isfinite(curve.valid).any():
                colour, best = STAND_IN[style.colour], int(np.nanargmin(curve.valid))
                ax.plot(curve.epoch, curve.valid, color=colour, lw=thin, label="_" if i else "validation")
                ax.plot(curve.epoch[best], curve.valid[best], marker=style.marker, color=colour, ms=4.5)
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss")
        ax.grid(color=STAND_IN["grid"], lw=0.8)
        _legend(figure, ax)
        return svg_of(figure, name)


def steps(
    name: str,
    lines: Sequence[tuple[Style, Array, Array]],
    axes: tuple[str, str],
    *,
    chance: tuple[float, float],
    band: tuple[Style, Array, Array, Array] | None = None,
) -> str:
    """Curves in the unit square (ROC, precision–recall), with the line that guessing would give.

    `band` is the style of a curve, x, and the lower and upper end of its interval there.
    """
    with figure_of(430, 400) as (figure, ax):
        if band is not None:
            ax.fill_between(*band[1:], color=STAND_IN[band[0].colour], alpha=0.18, linewidth=0)
        ax.plot([0, 1], chance, color=STAND_IN["muted"], lw=1, ls=(0, (3, 3)), label="guessing")
        for style, x, y in lines:
            colour = STAND_IN[style.colour]
            middle = len(x) // 2
            ax.plot(
                x, y, color=colour, lw=1.7, ls="--" if style.hollow else "-", marker=style.marker, markevery=[middle],
                mfc=STAND_IN["card"] if style.hollow else colour, label=style.label,
            )  # fmt: skip
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.01)
        ax.set_xlabel(axes[0])
        ax.set_ylabel(axes[1])
        ax.grid(color=STAND_IN["grid"], lw=0.8)
        _legend(figure, ax)
        return svg_of(figure, name)


def _ladder_row(ax: Axes, y: int, row: Row, low: float, high: float) -> None:
    colour = STAND_IN[row.style.colour]
    face = STAND_IN["card"] if row.style.hollow else colour
    text = _number(row.value)
    ax.text(1.01, y, text, transform=ax.get_yaxis_transform(), va="center", color=STAND_IN["ink"], fontsize=10.5)
    if not np.isfinite(row.value):
        return
    if not low <= row.value <= high:
        left = row.value < low
        edge, inner = (low, low + 0.1 * (high - low)) if left else (high, high - 0.1 * (high - low))
        ax.annotate("", (edge, y), (inner, y), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.5})
        return
    ax.scatter(row.points, [y + 0.27] * len(row.points), s=7, color=colour, alpha=0.6, linewidths=0, zorder=2)
    if np.isfinite(row.low) and np.isfinite(row.high):
        ax.plot([row.low, row.high], [y, y], color=colour, lw=2.4, solid_capstyle="butt", zorder=3)
    ax.scatter(
        [row.value], [y], s=44, marker=row.style.marker, facecolor=face, edgecolor=colour, linewidths=1.5, zorder=4
    )


def _limits(rows: Sequence[Row], *, higher_is_better: bool, anchor: float | None) -> tuple[float, float]:
    """Axis limits that show what beats the baseline at full size; what is far worse leaves the axis."""
    values = np.array([v for r in rows for v in (r.value, r.low, r.high, *r.points) if np.isfinite(v)])
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if anchor is not None and np.isfinite(anchor):
        best = high if higher_is_better else low
        room = 0.75 * abs(best - anchor)
        if room > 0:
            low, high = (max(low, anchor - room), high) if higher_is_better else (low, min(high, anchor + room))
    pad = 0.06 * (high - low) or 0.05 * max(abs(high), 1)
    return low - pad, high + pad


def _extent(x: Array, y: Array, *, equal: bool) -> tuple[float, float, float, float]:
    if equal:
        x = y = np.concatenate([x, y])
    ends = [float(v) for values in (x, y) for v in (values.min(), values.max())]
    for k in (0, 2):
        pad = 0.03 * (ends[k + 1] - ends[k]) or 0.5
        ends[k], ends[k + 1] = ends[k] - pad, ends[k + 1] + pad
    return ends[0], ends[1], ends[2], ends[3]


def _running(ax: Axes, x: Array, y: Array) -> None:
    """Draw median, 10 % and 90 % of y over twenty equally filled ranges of x."""
    if len(x) < 200:
        return
    parts = np.array_split(np.argsort(x, kind="stable"), 20)
    middle = [float(np.median(x[p])) for p in parts]
    for quantile, width in ((0.1, 1.0), (0.5, 2.0), (0.9, 1.0)):
        ax.plot(middle, [float(np.quantile(y[p], quantile)) for p in parts], color=STAND_IN["ink"], lw=width, zorder=5)


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        labels = [_short(label, 24) for label in labels]
        columns = 2 if sum(map(len, labels)) > 30 else len(labels)
        legend = figure.legend(handles, labels, loc="outside upper left", ncols=columns, frameon=False, fontsize=10.5)
        for text in legend.get_texts():
            text.set_color(STAND_IN["ink"])


def _short(text: str, n: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= n else text[: n - 1] + "…"


def _number(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
