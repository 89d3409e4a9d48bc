"""Canvas: the looks that models keep, and matplotlib figures that come out as inline SVG in the page's own colours."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: CSS variable of the page to the colour that matplotlib draws in its place. A variable follows light, dark and print.
STAND_IN: Mapping[str, str] = {
    name: f"#0a0b{i:02x}"
    for i, name in enumerate(("ink", "muted", "grid", "card", "base", "m1", "m2", "m3", "m4", "m5", "m6"), start=1)
}
_VARIABLE = {stand_in: name for name, stand_in in STAND_IN.items()}
_COLOURS = ("m1", "m2", "m3", "m4", "m5", "m6")
_MARKERS = "osD^vPXp"
#: Marker to its outline in a box of 12 × 12, for keys beside text.
_OUTLINE: Mapping[str, str] = {
    "o": "M6 1.5a4.5 4.5 0 1 0 .01 0z",
    "s": "M2 2h8v8h-8z",
    "D": "M6 .8l5.2 5.2-5.2 5.2-5.2-5.2z",
    "^": "M6 1l5 9.5h-10z",
    "v": "M6 11l5-9.5h-10z",
    "P": "M4.2 1h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z",
    "X": "M3 .8l3 3 3-3 2.2 2.2-3 3 3 3-2.2 2.2-3-3-3 3-2.2-2.2 3-3-3-3z",
    "p": "M6 1l5 3.8-1.9 5.9h-6.2l-1.9-5.9z",
}
_CAPITALS = {
    "mlp": "MLP",
    "cnn": "CNN",
    "cnn1d": "CNN 1D",
    "cnn2d": "CNN 2D",
    "lightgbm": "LightGBM",
    "xgboost": "XGBoost",
    "pca": "PCA",
}
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 11.5,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "axes.titlesize": 11,
    "axes.labelsize": 11.5,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11.5,
}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Style:
    """How a model looks in every plot and table: a colour of the page, and a marker so that colour is never alone."""

    label: str
    colour: str
    marker: str
    hollow: bool

    @property
    def key(self) -> str:
        """The marker as SVG, to stand beside the name."""
        fill = "none" if self.hollow else f"var(--{self.colour})"
        shape = f'<path d="{_OUTLINE[self.marker]}" style="fill:{fill};stroke:var(--{self.colour});stroke-width:1.4"/>'
        return f'<svg class="key" viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">{shape}</svg>'


def styles_of(models: Sequence[str]) -> dict[str, Style]:
    """Give every model one look: naive ones grey and hollow, the others a colour-blind-safe colour each."""
    out, n_naive, n_other = {}, 0, 0
    for model in models:
        if is_naive(model):
            out[model] = Style(words(model), "base", _MARKERS[n_naive % len(_MARKERS)], hollow=True)
            n_naive += 1
        else:
            marker = _MARKERS[(n_other + n_other // len(_COLOURS)) % len(_MARKERS)]
            out[model] = Style(words(model), _COLOURS[n_other % len(_COLOURS)], marker, hollow=False)
            n_other += 1
    return out


def is_naive(model: str) -> bool:
    """Whether a model sees no profile and no structure: means, mean effects, and identity-only factors."""
    return model.endswith(("mean", "mean_effects")) or "identity" in model or "factori" in model


def words(name: str) -> str:
    """Return a registered name as words, with the capitals that are usual."""
    return " ".join(_CAPITALS.get(word, word) for word in name.split("_"))


@contextmanager
def figure_of(width: int, height: int) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure of `width` × `height` CSS pixels and its axes; settings hold inside only, one thread at a time."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with _LOCK, mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        figure.patch.set_visible(False)
        ax = figure.add_subplot()
        ax.patch.set_visible(False)
        ax.set_axisbelow(True)
        for side, spine in ax.spines.items():
            spine.set_visible(side in ("bottom", "left"))
            spine.set_color(STAND_IN["grid"])
        ax.tick_params(color=STAND_IN["grid"], labelcolor=STAND_IN["ink"])
        for axis in (ax.xaxis, ax.yaxis):
            axis.label.set_color(STAND_IN["muted"])
        yield figure, ax


def svg_of(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element whose ids start with `name` and whose colours are CSS variables."""
    import matplotlib as mpl

    mpl.rcParams["svg.hashsalt"] = name
    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<(metadata|style).*?</\1>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r"<[^>]+>", lambda tag: _retag(tag[0], name), text).strip()


def _retag(tag: str, name: str) -> str:
    """Rewrite ids, colours, sizes and decimals inside one tag; the text between tags is nobody's to change."""
    tag = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    tag = re.sub(r"#0a0b[0-9a-f]{2}", lambda m: f"var(--{_VARIABLE[m[0]]})", tag)
    tag = re.sub(r"(\d\.\d{2})\d+", r"\1", tag)
    return re.sub(r'((?:width|height)="[\d.]+)pt"', r'\1"', tag) if tag.startswith("<svg") else tag
