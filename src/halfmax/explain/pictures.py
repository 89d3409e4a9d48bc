"""Pictures of explanations as SVG: waterfall of a pair, beeswarm of a drug, volcano of a gene; never colour alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax import RESEARCH_USE
from halfmax.explain.explanation import Explanation

#: Page variable and the colour where there is no page: lower response, higher response, text, lines.
_LOWER, _HIGHER = "var(--m1,#0072b2)", "var(--m2,#d55e00)"
_INK, _MUTED, _GRID = "var(--ink,#1b1b1b)", "var(--muted,#666)", "var(--grid,#ccc)"
_ROW, _LEFT, _WIDTH = 24, 190, 720


def waterfall(found: Explanation, sample: str, drug: str, top: int = 15) -> str:
    """Return the way from the background's mean to a pair's prediction, feature by feature; filled-in ones hatched."""
    i, j = found.at(sample, drug)
    table = found.genes(sample, drug, top)
    start, end = float(found.base[j]), float(found.prediction[i, j])
    steps = table["attribution"].to_numpy(dtype=np.float64)
    edges = start + np.concatenate([[0.0], np.cumsum(steps)])
    place = _scale(float(min(edges.min(), start, end)), float(max(edges.max(), start, end)))
    unit = found.measure.label
    parts = [
        _text(8, 20, f"{found.sample_ids[i]} × {found.drug_ids[j]}: {end:.2f}, mean {start:.2f} ({unit})", size=14)
    ]
    y = 40
    parts.append(_line(place(start), 30, place(start), y + _ROW * len(table)))
    for k, told in enumerate(table.to_dict("records")):
        row = {str(name): value for name, value in told.items()}
        low, high = sorted((place(edges[k]), place(edges[k + 1])))
        colour = _HIGHER if steps[k] > 0 else _LOWER
        fill = "url(#filled-in)" if row["imputed"] else colour
        parts.append(_text(_LEFT - 8, y + 15, _label(row), anchor="end"))
        parts.append(
            f'<rect x="{low:.1f}" y="{y + 4}" width="{max(high - low, 0.6):.1f}" height="{_ROW - 8}" '
            f'fill="{fill}" stroke="{colour}"/>'
        )
        sd = row.get("sd")
        if sd is not None and np.isfinite(sd) and sd > 0:
            a, b = place(edges[k + 1] - sd), place(edges[k + 1] + sd)
            parts.append(_line(a, y + _ROW / 2, b, y + _ROW / 2, _INK))
        parts.append(_text(_WIDTH - 8, y + 15, f"{'▲' if steps[k] > 0 else '▼'} {steps[k]:+.3f}", anchor="end"))
        y += _ROW
    gap = f"attributions sum to the difference within {float(found.gap[i, j]):.1e}"
    parts += [
        _text(8, y + 18, f"▲ raises, ▼ lowers the predicted response; whisker: ±1 SD over members; {gap}", size=11)
    ]
    return _svg(y + 44, parts, f"Why {found.sample_ids[i]} is predicted {end:.2f} {unit} with {found.drug_ids[j]}")


def beeswarm(table: pd.DataFrame, title: str, unit: str) -> str:
    """Return a row a feature and a point a sample.

    Parameters
    ----------
    table
        Columns feature, attribution and input, as `halfmax.explain.overview.swarm` gives them; features in order.
    """
    names = list(dict.fromkeys(table["feature"]))
    size = float(table["attribution"].abs().max() or 1)
    place = _scale(-size, size)
    parts = [_text(8, 20, title, size=14), _line(place(0), 32, place(0), 40 + _ROW * len(names))]
    for k, name in enumerate(names):
        own = table[table["feature"] == name]
        parts.append(_text(_LEFT - 8, 40 + _ROW * k + 16, str(name), anchor="end"))
        value = own["input"].to_numpy(dtype=np.float64)
        middle = np.median(value)
        x = np.array([place(v) for v in own["attribution"]])
        for at, lift, high in zip(x, _lifts(x), value > middle, strict=True):
            colour = _HIGHER if high else _LOWER
            face = colour if high else "none"
            parts.append(
                f'<circle cx="{at:.1f}" cy="{40 + _ROW * k + 12 + lift:.1f}" r="2.4" fill="{face}" stroke="{colour}"/>'
            )
    bottom = 40 + _ROW * len(names)
    parts.append(
        _text(8, bottom + 18, f"attribution [{unit}]; filled: above the median of the feature, hollow: below", size=11)
    )
    return _svg(bottom + 44, parts, title)


def volcano(table: pd.DataFrame, title: str, unit: str, label: str = "drug_id") -> str:
    """Return effect against evidence, a point a row; columns effect, q and the one called `label`."""
    effect = table["effect"].to_numpy(dtype=np.float64)
    height = -np.log10(np.maximum(table["q"].to_numpy(dtype=np.float64), 1e-300))
    size = float(np.abs(effect).max(initial=1e-12))
    place, top = _scale(-size, size), float(max(height.max(initial=0), 2))
    parts = [_text(8, 20, title, size=14), _line(place(0), 32, place(0), 352)]
    chosen = set(np.argsort(-height * np.abs(effect), kind="stable")[:8].tolist())
    for k, (x, y) in enumerate(zip(effect, height, strict=True)):
        cx, cy = place(float(x)), 352 - 310 * y / top
        sure = y > -np.log10(0.05)
        colour = (_HIGHER if x > 0 else _LOWER) if sure else _MUTED
        parts.append(
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3" fill="{colour if sure else "none"}" stroke="{colour}"/>'
        )
        if k in chosen and sure:
            parts.append(_text(cx + 5, cy + 4, str(table[label].iloc[k]), size=11))
    parts.append(_text(8, 378, f"effect in the model [{unit}] against −log10 q in the data, tissue-adjusted", size=11))
    return _svg(404, parts, title)


def _scale(low: float, high: float):  # type: ignore[no-untyped-def]
    width = _WIDTH - _LEFT - 90
    span = max(high - low, 1e-12)
    return lambda value: _LEFT + width * (value - low) / span


def _lifts(x: npt.NDArray[np.float64]) -> Sequence[float]:
    """Return how far each point moves up or down so that near ones stand apart."""
    cell = np.rint(x / 4).astype(np.int64)
    order = np.argsort(cell, kind="stable")
    first = np.searchsorted(cell[order], cell[order])
    nth = np.empty(len(x), dtype=np.int64)
    nth[order] = np.arange(len(x)) - first
    return [float(lift) for lift in np.clip(np.where(nth % 2, -1, 1) * ((nth + 1) // 2) * 1.6, -10, 10)]


def _label(row: dict[str, object]) -> str:
    modality = row["modality"]
    return str(row["feature"]) if modality in ("", "expression") else f"{row['feature']} ({modality})"


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{_INK}">{escape(words)}</text>'
    )


def _line(x: float, y: float, to_x: float, to_y: float, colour: str = _GRID) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"/>'


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    hatch = (
        '<defs><pattern id="filled-in" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<path d="M0 6L6 0" stroke="{_MUTED}"/></pattern></defs>'
    )
    foot = _text(8, height - 8, RESEARCH_USE, size=11)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'height="{height:.0f}" role="img" font-family="system-ui, sans-serif">'
        f"<title>{escape(title)}</title>{hatch}{''.join(parts)}{foot}</svg>"
    )
