"""What to distrust in a fitted curve: flat, rising, extrapolated, noisy, each a column of true and false."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dose_response.packing import Packed
from halfmax.data.dose_response.sigmoid import MIDPOINT, Array, viability
from halfmax.data.dose_response.solve import robust_spread

#: Flag to its meaning.
FLAGS: Final[Mapping[str, str]] = {
    "no_data": "no well has a viability",
    "too_few": "fewer distinct doses than the curve needs; not fitted",
    "not_converged": "the fit had not settled after its last step",
    "at_limit": "a parameter lies at its limit",
    "flat": "viability falls by less than a fifth over the tested doses",
    "rising": "viability rises with the dose",
    "no_ic50": "the curve does not cross one half within its limits, or hardly falls; ln_ic50 is missing",
    "extrapolated": "the IC50 lies above the highest dose",
    "below_range": "the IC50 lies below the lowest dose",
    "noisy": "the wells scatter widely about the curve",
    "outliers": "a well lies far from the curve that the others follow",
}


@dataclass(frozen=True)
class Rules:
    """Where flags begin.

    Parameters
    ----------
    visible
        Fall of the fitted viability over the tested doses below which a curve, fitted alone, says nothing of its IC50.
    flat
        Fall of the fitted viability over the tested doses below which a curve is flat.
    rising
        Rise of viability over the tested doses, by linear regression, above which a curve is rising, if it is also
        more than three times its standard error.
    noisy
        RMSE above which a curve is noisy; 0.3 is where the GDSC screens leave curves out.
    outlier
        Distance of a well from the curve, in robust standard deviations of its residuals, and in viability.
    """

    visible: float = 0.05
    flat: float = 0.2
    rising: float = 0.1
    noisy: float = 0.3
    outlier: tuple[float, float] = (3.0, 0.2)


def outliers(each: Packed, params: Array, n_free: int, rules: Rules) -> npt.NDArray[np.bool_]:
    """Return which wells are outliers, ``(n_curves, n_points)`` of `each`, where wells are not put together."""
    size = np.where(each.weight > 0, np.abs(each.y - viability(params, each.x)), np.nan)
    far = np.asarray(np.maximum(rules.outlier[0] * robust_spread(size, n_free), rules.outlier[1]))
    return np.asarray(size > far[:, None])


def fall_of(packed: Packed, params: Array) -> Array:
    """Return how far each curve falls from its lowest to its highest dose, ``(n_curves,)``."""
    return viability(params, packed.low[:, None])[:, 0] - viability(params, packed.high[:, None])[:, 0]


def make_flags(
    table: pd.DataFrame,
    packed: Packed,
    params: Array,
    fitted: npt.NDArray[np.bool_],
    converged: npt.NDArray[np.bool_],
    at_limit: npt.NDArray[np.bool_],
    rules: Rules,
) -> pd.DataFrame:
    """Return the flags of every curve, columns as `FLAGS`.

    Parameters
    ----------
    table
        ln_ic50, rmse and n_outliers of every curve.
    packed
        The points.
    params, converged, at_limit
        Of every curve; meaningless where not `fitted`.
    """
    low, high, fall = packed.low, packed.high, fall_of(packed, params)
    ic50 = table["ln_ic50"].to_numpy()
    flags = {
        "no_data": packed.n_wells == 0,
        "too_few": (packed.n_wells > 0) & ~fitted,
        "not_converged": fitted & ~converged,
        "at_limit": fitted & at_limit.any(axis=1),
        "flat": fitted & (fall < rules.flat),
        "rising": (packed.n_doses >= 3) & _rises(packed, rules.rising),
        "no_ic50": fitted & np.isnan(ic50),
        "extrapolated": fitted & ((ic50 > high) | (at_limit[:, MIDPOINT] & (params[:, MIDPOINT] > high))),
        "below_range": fitted & ((ic50 < low) | (at_limit[:, MIDPOINT] & (params[:, MIDPOINT] < low))),
        "noisy": fitted & (table["rmse"].to_numpy() > rules.noisy),
        "outliers": fitted & (table["n_outliers"].to_numpy() > 0),
    }
    return pd.DataFrame({name: flags[name] for name in FLAGS}, index=table.index)


def join_flags(flags: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return the names of the flags of every curve as text, joined by ``;``."""
    joined = np.full(len(flags), "", dtype=object)
    for name in flags.columns:
        joined[flags[name].to_numpy()] += f"{name};"
    return np.array([text.rstrip(";") for text in joined], dtype=object)


def _rises(packed: Packed, least: float) -> npt.NDArray[np.bool_]:
    """Return whether a line through the points rises by more than `least` and more than three standard errors."""
    w = packed.weight
    total = np.maximum(w.sum(axis=1), 1.0)
    dx = packed.x - (np.einsum("np,np->n", w, packed.x) / total)[:, None]
    dy = packed.y - (np.einsum("np,np->n", w, packed.y) / total)[:, None]
    spread = np.maximum(np.einsum("np,np,np->n", w, dx, dx), 1e-300)
    slope = np.einsum("np,np,np->n", w, dx, dy) / spread
    rest = dy - slope[:, None] * dx
    squares = np.einsum("np,np,np->n", w, rest, rest) + packed.within
    error = np.sqrt(squares / np.maximum(packed.n_wells - 2, 1) / spread)
    return np.asarray((slope * (packed.high - packed.low) > least) & (slope > 3 * error))
