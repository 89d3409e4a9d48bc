"""The log-logistic curve of many pairs at once: its values, derivatives, exact areas and where it crosses one half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Array = npt.NDArray[np.float64]

#: Columns of an array of parameters, shape ``(n_curves, 4)``.
PARAMETERS: Final = ("midpoint", "ln_hill", "top", "bottom")
MIDPOINT, LN_HILL, TOP, BOTTOM = range(4)


@dataclass(frozen=True)
class Limits:
    """Between what the parameters of a fitted curve must lie.

    Parameters
    ----------
    reach
        How far the midpoint may lie outside a curve's own doses, as a factor: 1000 allows a thousandth of the lowest
        to a thousand times the highest.
    hill, top, bottom
        Lowest and highest Hill slope, viability at no dose, and viability at an infinite dose.
    """

    reach: float = 1000.0
    hill: tuple[float, float] = (0.1, 10.0)
    top: tuple[float, float] = (0.8, 1.2)
    bottom: tuple[float, float] = (0.0, 1.0)

    def arrays(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Return the lower and upper limits, each ``(n_curves, 4)``, of curves with these doses [ln µM]."""
        reach = np.log(self.reach)
        columns = ((low - reach, high + reach), np.log(self.hill), self.top, self.bottom)
        lower, upper = (np.stack([np.broadcast_to(c[i], low.shape) for c in columns], axis=1) for i in (0, 1))
        return lower.astype(np.float64), upper.astype(np.float64)


def viability(params: Array, x: Array) -> Array:
    """Return the viability of each curve, ``(n_curves, n_points)``.

    The curve is ``bottom + (top - bottom) / (1 + (dose / ec50) ** hill)``. With top 1 and bottom 0 it is the
    two-parameter sigmoid of the GDSC screens (Vis et al. 2016, doi:10.2217/pgs.16.15), whose midpoint is the IC50.

    Parameters
    ----------
    params
        ``(n_curves, 4)``: midpoint [ln µM], ln of the Hill slope, top, bottom.
    x
        Doses [ln µM], ``(n_curves, n_points)``.
    """
    midpoint, ln_hill, top, bottom = (params[:, i, None] for i in range(4))
    return np.asarray(bottom + (top - bottom) * expit(-np.exp(ln_hill) * (x - midpoint)))


def viability_and_slopes(params: Array, x: Array, free: tuple[int, ...]) -> tuple[Array, list[Array]]:
    """Return the viability and its derivatives by the parameters in `free`, each ``(n_curves, n_points)``."""
    midpoint, ln_hill, top, bottom = (params[:, i, None] for i in range(4))
    hill = np.exp(ln_hill)
    z = hill * (x - midpoint)
    q = expit(-z)
    steep = (top - bottom) * q * (1 - q)
    by = {MIDPOINT: lambda: steep * hill, LN_HILL: lambda: -steep * z, TOP: lambda: q, BOTTOM: lambda: 1 - q}
    return bottom + (top - bottom) * q, [by[i]() for i in free]


def mean_viability(params: Array, low: Array, high: Array) -> Array:
    """Return the mean viability of each curve between two doses, over the logarithm of the dose: its AUC.

    The integral is exact. An AUC of 1 is no effect, of 0 all cells dead at every dose.

    Parameters
    ----------
    params
        ``(n_curves, 4)``.
    low, high
        Doses [ln µM], ``(n_curves,)``; NaN where low is not below high.
    """
    hill = np.exp(params[:, LN_HILL])
    with np.errstate(invalid="ignore"):  # logaddexp warns of NaN, which curves that were not fitted have
        softplus = [np.logaddexp(0.0, hill * (x - params[:, MIDPOINT])) for x in (low, high)]
    width = np.where(high > low, high - low, np.nan)
    alive = 1 - (softplus[1] - softplus[0]) / (hill * width)
    return np.asarray(params[:, BOTTOM] + (params[:, TOP] - params[:, BOTTOM]) * alive)


def ln_ic50(params: Array) -> tuple[Array, Array]:
    """Return the dose [ln µM] at which viability is one half, and its derivatives by the parameters, ``(n_curves, 4)``.

    Both are NaN where the curve's asymptotes lie on the same side of one half.
    """
    hill = np.exp(params[:, LN_HILL])
    above, below = params[:, TOP] - 0.5, 0.5 - params[:, BOTTOM]
    crosses = (above > 0) & (below > 0)
    above, below = np.where(crosses, above, np.nan), np.where(crosses, below, np.nan)
    shift = np.log(above / below) / hill
    slopes = np.stack([np.where(crosses, 1.0, np.nan), -shift, 1 / (hill * above), 1 / (hill * below)], axis=1)
    return params[:, MIDPOINT] + shift, slopes
