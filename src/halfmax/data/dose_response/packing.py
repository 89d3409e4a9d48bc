"""Wells in long form packed into one row a curve, so that all curves are fitted by the same array operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dose_response.sigmoid import Array


@dataclass(frozen=True)
class Packed:
    """Points of curves, padded to the same number of columns.

    Parameters
    ----------
    keys
        One row a curve: the columns that name it.
    x, y, weight
        Dose [ln µM], viability and number of wells, each ``(n_curves, n_points)``; the weight of padding is 0.
    within
        Sum of squares of the wells about the mean of their dose, ``(n_curves,)``; 0 where wells are not put together.
    n_wells, n_doses
        Wells and distinct doses with a viability, ``(n_curves,)``.
    """

    keys: pd.DataFrame
    x: Array
    y: Array
    weight: Array
    within: Array
    n_wells: npt.NDArray[np.int64]
    n_doses: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of curves."""
        return len(self.keys)

    @property
    def low(self) -> Array:
        """Lowest dose of each curve [ln µM]; NaN without wells."""
        return _or_nan(np.where(self.weight > 0, self.x, np.inf).min(axis=1, initial=np.inf))

    @property
    def high(self) -> Array:
        """Highest dose of each curve [ln µM]; NaN without wells."""
        return _or_nan(np.where(self.weight > 0, self.x, -np.inf).max(axis=1, initial=-np.inf))

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Packed:
        """Return these curves, with no more columns than they need."""
        n = int((self.weight[rows] > 0).sum(axis=1).max(initial=1))
        cut = (self.x[rows, :n], self.y[rows, :n], self.weight[rows, :n])
        return Packed(self.keys.iloc[rows], *cut, self.within[rows], self.n_wells[rows], self.n_doses[rows])


def pack(wells: pd.DataFrame, by: Sequence[str], *, together: bool) -> Packed:
    """Return the curves of a table of wells, in the order in which their keys sort.

    Parameters
    ----------
    wells
        Columns `by`, ``dose`` [µM, positive] and ``viability``; wells without viability count for nothing, but their
        curve keeps its row.
    by
        Columns that name a curve.
    together
        Whether wells of the same dose become one point, their mean, with their number as its weight. A least-squares
        fit to the means is the fit to the wells.
    """
    groups = wells.groupby(list(by), sort=True, observed=True)
    code = groups.ngroup().to_numpy()
    keys = groups.size().index.to_frame(index=False)
    x, y = np.log(wells["dose"].to_numpy(np.float64)), wells["viability"].to_numpy(np.float64)
    have = np.isfinite(y)
    order = np.lexsort((y, x, code))  # y: the same points in the same order, whatever the order of the wells
    order = order[have[order]]
    code, x, y = code[order], x[order], y[order]
    n_wells = np.bincount(code, minlength=len(keys)).astype(np.int64)
    new = np.ones(len(code), dtype=bool)
    new[1:] = (code[1:] != code[:-1]) | ~np.isclose(x[1:], x[:-1], rtol=0, atol=1e-6)
    n_doses = np.bincount(code[new], minlength=len(keys)).astype(np.int64)
    within: Array = np.zeros(len(keys))
    weight: Array = np.ones(len(code))
    if together and len(code):
        dose = np.cumsum(new) - 1
        weight = np.bincount(dose).astype(np.float64)
        mean = np.bincount(dose, y) / weight
        within = np.bincount(code, (y - mean[dose]) ** 2, minlength=len(keys)).astype(np.float64)
        code, x, y = code[new], x[new], mean
    return Packed(keys, *_padded(code, len(keys), x, y, weight), within, n_wells, n_doses)


def _padded(code: npt.NDArray[np.int64], n: int, *columns: Array) -> tuple[Array, Array, Array]:
    """Return the columns, sorted by curve, as arrays with one row a curve; zeros fill the rest."""
    counts = np.bincount(code, minlength=n)
    place = np.arange(len(code)) - (np.cumsum(counts) - counts)[code]
    width = max(int(counts.max(initial=0)), 1)
    padded = []
    for column in columns:
        array = np.zeros((n, width))
        array[code, place] = column
        padded.append(array)
    return padded[0], padded[1], padded[2]


def _or_nan(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)
