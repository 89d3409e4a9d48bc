"""Figures of the pages: plain plotly descriptions, in one visual language for value, uncertainty and absence."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

#: Okabe and Ito's palette, which colour-blind readers can tell apart.
SENSITIVE, RESISTANT, MINE, REST = "#0072B2", "#D55E00", "#CC79A7", "#9AA5B1"
_FONT = {"family": "system-ui, sans-serif", "size": 13}
Figure = dict[str, Any]


def _layout(**more: Any) -> dict[str, Any]:
    base = {
        "font": _FONT,
        "margin": {"l": 60, "r": 16, "t": 12, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "showlegend": False,
        "height": 340,
    }
    return base | more


def lines_of_drug(value: pd.Series, tissue: pd.Series, prediction: float, low: float, high: float, unit: str) -> Figure:
    """Every measured line by tissue, most sensitive tissue on top, with the sample's prediction and interval across."""
    table = pd.DataFrame({"value": value, "tissue": tissue.reindex(value.index).fillna("unknown")})
    order = table.groupby("tissue")["value"].median().sort_values().index[::-1]
    table = table.set_index("tissue").loc[order].reset_index()
    shapes: list[dict[str, Any]] = [
        {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": prediction, "x1": prediction, "line": {"color": MINE}}
    ]
    if np.isfinite([low, high]).all():
        shapes.append(
            {
                "type": "rect",
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "x0": low,
                "x1": high,
                "fillcolor": MINE,
                "opacity": 0.15,
                "line": {"width": 0},
            }
        )
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": _numbers(table["value"]),
        "y": table["tissue"].tolist(),
        "hovertemplate": "%{y}: %{x:.2f}<extra></extra>",
        "marker": {"size": 6, "color": REST, "opacity": 0.45},
    }
    tissues = {"automargin": True, "categoryorder": "array", "categoryarray": order.tolist()}
    axes = {"xaxis": {"title": {"text": unit}, "zeroline": False}, "yaxis": tissues}
    return {"data": [trace], "layout": _layout(**axes, shapes=shapes, height=120 + 22 * len(order))}


def waterfall(value: pd.Series, tissue: pd.Series, prediction: float, name: str, unit: str) -> Figure:
    """Every measured line in order of response, this sample among them."""
    ordered = value.sort_values()
    place = int(np.searchsorted(ordered.to_numpy(), prediction))
    about = [f"{i} · {t}" for i, t in zip(ordered.index, tissue.reindex(ordered.index).fillna("unknown"), strict=True)]
    bars = {
        "type": "scatter",
        "mode": "lines",
        "x": list(range(len(ordered))),
        "y": _numbers(ordered),
        "text": about,
        "hovertemplate": "%{text}<br>%{y:.2f}<extra></extra>",
        "line": {"color": REST, "width": 3},
    }
    mine = {
        "type": "scatter",
        "mode": "markers+text",
        "x": [place],
        "y": [prediction],
        "text": [name],
        "textposition": "top center",
        "marker": {"size": 12, "color": MINE, "symbol": "diamond"},
        "hovertemplate": f"{name}: %{{y:.2f}} (predicted)<extra></extra>",
    }
    layout = _layout(xaxis={"title": {"text": "lines, most sensitive first"}}, yaxis={"title": {"text": unit}})
    return {"data": [bars, mine], "layout": layout}


def contributions(table: pd.DataFrame, base: float, prediction: float, unit: str) -> Figure:
    """What each gene adds, from the mean prediction over background lines to the sample's: it closes exactly."""
    start = base + table["attribution"].cumsum() - table["attribution"]
    rows = table.assign(start=start).iloc[::-1]
    labels = [f"{f}{' (filled in)' if i else ''}" for f, i in zip(rows["feature"], rows["imputed"], strict=True)]
    values = _numbers(rows["attribution"])
    trace: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "y": labels,
        "x": values,
        "base": _numbers(rows["start"]),
        "customdata": values,
        "marker": {"color": [SENSITIVE if (v or 0) < 0 else RESISTANT for v in values]},
        "hovertemplate": "%{y}: %{customdata:+.3f}<extra></extra>",
    }
    if "sd" in rows:
        trace["error_x"] = {"type": "data", "array": _numbers(rows["sd"]), "color": "#5B6770", "thickness": 1}
    title = f"{unit}, from {base:.2f} (mean over background lines) to {prediction:.2f}"
    axes = {"xaxis": {"title": {"text": title}, "zeroline": False}, "yaxis": {"automargin": True}}
    shapes = [
        {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": x, "x1": x, "line": {"color": colour, "dash": dash}}
        for x, colour, dash in ((base, REST, "dot"), (prediction, MINE, "solid"))
    ]
    return {"data": [trace], "layout": _layout(**axes, shapes=shapes, height=110 + 24 * len(rows))}


def near_lines(
    points: npt.NDArray[np.floating],
    ids: list[str],
    tissue: list[str],
    mine: npt.NDArray[np.floating],
    names: list[str],
) -> Figure:
    """The plane of the training lines' first two principal components, with the uploaded samples in it."""
    lines = {
        "type": "scatter",
        "mode": "markers",
        "x": _numbers(pd.Series(points[:, 0])),
        "y": _numbers(pd.Series(points[:, 1])),
        "text": [f"{i} · {t}" for i, t in zip(ids, tissue, strict=True)],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": 5, "color": REST, "opacity": 0.6},
    }
    own = {
        "type": "scatter",
        "mode": "markers",
        "x": _numbers(pd.Series(mine[:, 0])),
        "y": _numbers(pd.Series(mine[:, 1])),
        "text": names,
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": 13, "color": MINE, "symbol": "diamond", "line": {"width": 1, "color": "#fff"}},
    }
    layout = _layout(xaxis={"title": {"text": "component 1"}}, yaxis={"title": {"text": "component 2"}})
    return {"data": [lines, own], "layout": layout}


def gene_volcano(table: pd.DataFrame, gene: str) -> Figure:
    """A gene against every drug: correlation of its expression with response, and how sure it is."""
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": _numbers(table["rho"]),
        "y": _numbers(table["log_q"]),
        "text": table["drug_id"].tolist(),
        "hovertemplate": "%{text}<br>ρ %{x:.2f}<br>−log₁₀ q %{y:.1f}<extra></extra>",
        "marker": {"size": 7, "color": [SENSITIVE if r < 0 else RESISTANT for r in table["rho"]]},
    }
    layout = _layout(
        xaxis={"title": {"text": f"Spearman ρ of {gene} with response (left: higher gene, more sensitive)"}},
        yaxis={"title": {"text": "−log₁₀ q"}},
    )
    return {"data": [trace], "layout": layout}


def gene_scatter(x: pd.Series, y: pd.Series, tissue: pd.Series, gene: str, unit: str) -> Figure:
    """A gene's expression against a drug's measured response, a point a line."""
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": _numbers(x),
        "y": _numbers(y),
        "text": [f"{i} · {t}" for i, t in zip(x.index, tissue.reindex(x.index).fillna("unknown"), strict=True)],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": 5, "color": SENSITIVE, "opacity": 0.6},
    }
    layout = _layout(xaxis={"title": {"text": f"{gene} expression"}}, yaxis={"title": {"text": unit}})
    return {"data": [trace], "layout": layout}


def comparison(table: pd.DataFrame, unit: str) -> Figure:
    """Samples × drugs: the difference to each drug's mean."""
    largest = float(np.nanmax(np.abs(table.to_numpy()))) or 1.0
    trace = {
        "type": "heatmap",
        "z": [[None if not np.isfinite(v) else round(float(v), 3) for v in row] for row in table.to_numpy()],
        "x": table.columns.tolist(),
        "y": table.index.tolist(),
        "zmin": -largest,
        "zmax": largest,
        "colorscale": [[0, SENSITIVE], [0.5, "#F4F4F2"], [1, RESISTANT]],
        "colorbar": {"title": {"text": f"difference<br>[{unit}]"}},
        "hovertemplate": "%{y} · %{x}: %{z:+.2f}<extra></extra>",
    }
    axes = {"xaxis": {"tickangle": -60, "automargin": True}, "yaxis": {"automargin": True}}
    return {"data": [trace], "layout": _layout(**axes, height=220 + 22 * len(table))}


def curve(table: pd.DataFrame, now: float, feature: str, unit: str) -> Figure:
    """What the model says as one gene is moved within its training range."""
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": _numbers(table["value"]),
        "y": _numbers(table["prediction"]),
        "line": {"color": SENSITIVE},
    }
    shapes = [
        {
            "type": "line",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": now,
            "x1": now,
            "line": {"color": MINE, "dash": "dot"},
        }
    ]
    axes = {
        "xaxis": {"title": {"text": f"{feature} [unit of the upload]"}},
        "yaxis": {"title": {"text": f"predicted {unit}"}},
    }
    return {"data": [trace], "layout": _layout(**axes, shapes=shapes)}


def _numbers(values: pd.Series) -> list[float | None]:
    return [None if not np.isfinite(v) else round(float(v), 5) for v in values.to_numpy(dtype=np.float64)]
