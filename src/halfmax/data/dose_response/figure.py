"""A figure of one or more fitted curves with the wells they were fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from halfmax.data.dose_response.fits import CurveFits
from halfmax.errors import UnknownNameError, examples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito, for the colour-blind
_N_POINTS = 200


def plot_curve(
    fits: CurveFits | Sequence[CurveFits], sample_id: str, drug_id: str, *, ax: Axes | None = None
) -> Figure:
    """Return a matplotlib figure of the curves of one pair.

    Doses outside the tested ones are drawn thin and dashed; a dotted line marks one half, a tick the IC50.

    Parameters
    ----------
    fits
        Fitted curves; of several, each draws its curve, such as the plain and the multilevel fit.
    sample_id, drug_id
        The pair.
    ax
        Axes to draw on; a new figure if not given.

    Raises
    ------
    UnknownNameError
        If there is no curve of this pair.
    """
    many = [fits] if isinstance(fits, CurveFits) else list(fits)
    rows = [one.table.index[(one.table["sample_id"] == sample_id) & (one.table["drug_id"] == drug_id)] for one in many]
    if not sum(map(len, rows)):
        known = many[0].table
        raise UnknownNameError(
            f"there is no curve of {sample_id!r} with {drug_id!r}; there are those of samples "
            f"{examples(known['sample_id'].unique())} with drugs {examples(known['drug_id'].unique())}."
        )
    if ax is None:
        from matplotlib.figure import Figure as NewFigure

        ax = NewFigure(figsize=(6, 4), layout="constrained").add_subplot()
    _draw_wells(ax, many[0], sample_id, drug_id)
    colours = iter(_COLOURS * (sum(map(len, rows)) // len(_COLOURS) + 1))
    for one, found in zip(many, rows, strict=True):
        for row in found:
            _draw_curve(ax, one, int(row), next(colours))
    ax.axhline(0.5, color="0.6", lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.set_xlabel("dose [µM]")
    ax.set_ylabel("viability (1 = untreated)")
    ax.set_title(f"{sample_id} × {drug_id}")
    ax.legend(frameon=False, fontsize="small")
    return ax.figure.figure  # of a part of a figure, the whole


def _draw_wells(ax: Axes, fits: CurveFits, sample_id: str, drug_id: str) -> None:
    wells = fits.wells[(fits.wells["sample_id"] == sample_id) & (fits.wells["drug_id"] == drug_id)]
    ax.plot(wells["dose"], wells["viability"], ls="", marker="o", ms=4, alpha=0.6, color="0.3", label="wells")


def _draw_curve(ax: Axes, fits: CurveFits, row: int, colour: str) -> None:
    curve = fits.table.loc[row]
    extra = ", ".join(str(curve[c]) for c in fits.by if c not in ("sample_id", "drug_id"))
    label = fits.model + (f" ({extra})" if extra else "")
    if np.isnan(curve["hill"]):
        ax.plot([], [], color=colour, label=f"{label}: not fitted ({curve['flags']})")
        return
    low, high, ic50 = curve["min_dose"], curve["max_dose"], float(np.exp(curve["ln_ic50"]))
    label += f": IC50 {ic50:.3g} µM" if np.isfinite(ic50) else ": no IC50"
    label += f", {curve['flags'].replace(';', ', ')}" if curve["flags"] else ""
    wide = np.geomspace(low / 3, max(high * 3, min(ic50 * 2, high * 30) if np.isfinite(ic50) else 0), _N_POINTS)
    for dose, style in ((wide, {"lw": 0.9, "ls": "--"}), (np.geomspace(low, high, _N_POINTS), {"lw": 1.8})):
        value = fits.predict(dose)[row]
        ax.plot(dose, value, color=colour, label=label if style["lw"] == 1.8 else None, **style)
    if np.isfinite(ic50) and wide[0] <= ic50 <= wide[-1]:
        ax.plot([ic50], [0.5], marker="|", ms=14, color=colour)
