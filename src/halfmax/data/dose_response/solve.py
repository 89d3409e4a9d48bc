"""Least squares of thousands of small curves at once: a bounded Levenberg–Marquardt in arrays, from several starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from halfmax.data.dose_response.packing import Packed
from halfmax.data.dose_response.sigmoid import BOTTOM, MIDPOINT, TOP, Array, Limits, viability_and_slopes

Rows = npt.NDArray[np.int64]

#: Curves that are fitted together: few enough to stay in the processor's cache.
BATCH = 2048
_START_PLACES = (-0.2, 0.15, 0.4, 0.6, 0.85, 1.2)
_START_HILLS = (0.7, 2.0)
_FIRST_DAMPING, _LAST_DAMPING = 1e-3, 1e9
_SMALL_GAIN = 1e-6
_HUBER, _TUKEY = 1.345, 4.685
_ROBUST_ROUNDS = (_HUBER,) * 4 + (_TUKEY,) * 4


@dataclass(frozen=True)
class Solution:
    """Fitted parameters.

    Parameters
    ----------
    params
        ``(n_curves, 4)``; columns as `sigmoid.PARAMETERS`.
    weight
        What each point counted for in the end, ``(n_curves, n_points)``: less than 1 where a robust fit distrusts it.
    converged
        Whether no step made the fit better, ``(n_curves,)``.
    at_limit
        Whether a parameter lies at one of its limits, ``(n_curves, 4)``.
    """

    params: Array
    weight: Array
    converged: npt.NDArray[np.bool_]
    at_limit: npt.NDArray[np.bool_]


def solve(
    packed: Packed, free: tuple[int, ...], limits: Limits, *, robust: bool, n_starts: int = 2, max_iter: int = 150
) -> Solution:
    """Return the curves of least squares.

    Levenberg's and Marquardt's damping (Moré 1978, doi:10.1007/BFb0067700) is kept for each curve alone; a parameter
    at a limit that the gradient would push out stays there for the step. Starts are the best of a grid of midpoints
    and slopes, asymptotes by linear regression given both.

    Parameters
    ----------
    packed
        Points, at least one a curve.
    free
        Columns of the parameters that are fitted; top is 1 and bottom 0 otherwise.
    limits
        Between what they must lie.
    robust
        Whether points far from the curve count less: weights of Huber, then of Tukey's biweight, on residuals over
        their median absolute deviation (Holland and Welsch 1977, doi:10.1080/03610927708827533). Wells must not be
        put together.
    n_starts
        Starts that are followed to the end.
    max_iter
        Most steps from a start.
    """
    n, width = packed.x.shape
    params, weight = np.zeros((n, 4)), np.zeros((n, width))
    converged = np.zeros(n, dtype=bool)
    lower, upper = limits.arrays(packed.low, packed.high)
    order = np.argsort((packed.weight > 0).sum(axis=1), kind="stable")
    for start in range(0, n, BATCH):
        rows = order[start : start + BATCH]
        part = packed.take(rows)
        problem = _Problem(part.x, part.y, part.weight, lower[rows], upper[rows], free)
        found, done = problem.best_of(n_starts, max_iter)
        if robust:
            problem, found, done = _reweighted(problem, found, max_iter)
        params[rows], converged[rows] = found, done
        weight[rows, : part.x.shape[1]] = problem.w
    width_of = np.maximum(upper - lower, 1e-300)
    at_limit = np.minimum(params - lower, upper - params) <= 1e-6 * width_of
    at_limit[:, [i for i in range(4) if i not in free]] = False
    return Solution(params, weight, converged, at_limit)


@dataclass(frozen=True)
class _Problem:
    """Curves to be fitted together."""

    x: Array
    y: Array
    w: Array
    lower: Array
    upper: Array
    free: tuple[int, ...]

    def take(self, rows: Rows) -> _Problem:
        limits = (self.lower[rows], self.upper[rows])
        return _Problem(self.x[rows], self.y[rows], self.w[rows], *limits, self.free)

    def loss(self, values: Array) -> Array:
        return np.asarray(np.einsum("np,np,np->n", self.w, self.y - values, self.y - values))

    def best_of(self, n_starts: int, max_iter: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return the best parameters of several starts, and whether they converged."""
        starts = self.starts(n_starts)
        n, k = starts.shape[:2]
        many = self.take(np.repeat(np.arange(n), k))
        found, loss, done = many.descend(starts.reshape(n * k, 4), max_iter)
        best = np.arange(n) * k + np.argmin(loss.reshape(n, k), axis=1)
        return found[best], done[best]

    def starts(self, n_starts: int) -> Array:
        """Return the best of a grid of starts, ``(n_curves, n_starts, 4)``."""
        have = self.w > 0
        low = np.where(have, self.x, np.inf).min(axis=1)
        span = np.maximum(np.where(have, self.x, -np.inf).max(axis=1) - low, 1.0)
        grid, losses = [], []
        for place in _START_PLACES:
            for hill in _START_HILLS:
                start = np.tile([0.0, np.log(hill), 1.0, 0.0], (len(low), 1))
                start[:, MIDPOINT] = low + place * span
                q = expit(-hill * (self.x - start[:, MIDPOINT, None]))
                if TOP in self.free:
                    start[:, TOP], start[:, BOTTOM] = self._asymptotes(q)
                start = np.clip(start, self.lower, self.upper) if TOP in self.free else self._clipped(start)
                grid.append(start)
                losses.append(self.loss(start[:, BOTTOM, None] + (start[:, TOP] - start[:, BOTTOM])[:, None] * q))
        best = np.argsort(np.stack(losses, axis=1), axis=1, kind="stable")[:, :n_starts]
        return np.take_along_axis(np.stack(grid, axis=1), best[:, :, None], axis=1)

    def _clipped(self, params: Array) -> Array:
        clipped = params.copy()
        columns = list(self.free)
        clipped[:, columns] = np.clip(params[:, columns], self.lower[:, columns], self.upper[:, columns])
        return clipped

    def _asymptotes(self, q: Array) -> tuple[Array, Array]:
        """Return top and bottom by weighted linear regression of the viabilities on `q`."""
        total = np.maximum(self.w.sum(axis=1), 1e-300)
        mean_q, mean_y = (np.einsum("np,np->n", self.w, a) / total for a in (q, self.y))
        dq = q - mean_q[:, None]
        spread = np.einsum("np,np,np->n", self.w, dq, dq)
        slope = np.einsum("np,np,np->n", self.w, dq, self.y - mean_y[:, None]) / np.maximum(spread, 1e-12)
        bottom = np.clip(mean_y - slope * mean_q, self.lower[:, BOTTOM], self.upper[:, BOTTOM])
        return bottom + slope, bottom

    def descend(self, start: Array, max_iter: int) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
        """Return parameters, loss and whether they converged, by damped Gauss–Newton steps from `start`."""
        found, columns = start.copy(), list(self.free)
        values, slopes = viability_and_slopes(found, self.x, self.free)
        loss = self.loss(values)
        done = np.zeros(len(start), dtype=bool)
        damping = np.full(len(start), _FIRST_DAMPING)
        rows, part = np.arange(len(start)), self
        for _ in range(max_iter):
            here = found[rows]
            step = _step(part, here, values, slopes, damping[rows])
            trial = here.copy()
            trial[:, columns] += step
            trial = part._clipped(trial)
            new_values, new_slopes = viability_and_slopes(trial, part.x, part.free)
            new_loss = part.loss(new_values)
            better = new_loss <= loss[rows]
            gain = loss[rows] - new_loss
            damping[rows] = np.clip(np.where(better, damping[rows] / 5, damping[rows] * 4), 1e-12, None)
            still = (better & (gain <= _SMALL_GAIN * loss[rows] + 1e-16)) | (damping[rows] > _LAST_DAMPING)
            found[rows[better]], loss[rows[better]] = trial[better], new_loss[better]
            values[better] = new_values[better]
            for old, new in zip(slopes, new_slopes, strict=True):
                old[better] = new[better]
            done[rows[still]] = True
            if still.all():
                break
            if still.any():
                go = np.flatnonzero(~still)
                rows, part = rows[go], part.take(go)
                values, slopes = values[go], [slope[go] for slope in slopes]
        return found, loss, done


def _step(part: _Problem, params: Array, values: Array, slopes: list[Array], damping: Array) -> Array:
    """Return the damped Gauss–Newton step of the free parameters, ``(n_curves, n_free)``."""
    weighted = [part.w * slope for slope in slopes]
    rest = part.y - values
    gradient = np.stack([np.einsum("np,np->n", s, rest) for s in weighted], axis=1)
    columns = list(part.free)
    at, low, high = params[:, columns], part.lower[:, columns], part.upper[:, columns]
    held = ((at <= low) & (gradient < 0)) | ((at >= high) & (gradient > 0))
    matrix = normal_matrix(weighted, slopes)
    diagonal = np.einsum("nii->ni", matrix)
    diagonal += damping[:, None] * np.maximum(diagonal, 1e-8) + 1e-12
    matrix[held] = 0.0
    matrix.swapaxes(1, 2)[held] = 0.0
    np.einsum("nii->ni", matrix)[held] = 1.0
    return solve_small(matrix, np.where(held, 0.0, gradient))


def normal_matrix(weighted: list[Array], slopes: list[Array]) -> Array:
    """Return the products of the slopes, ``(n_curves, n_free, n_free)``."""
    k = len(slopes)
    matrix = np.empty((len(slopes[0]), k, k))
    for i in range(k):
        for j in range(i, k):
            matrix[:, i, j] = matrix[:, j, i] = np.einsum("np,np->n", weighted[i], slopes[j])
    return matrix


def solve_small(matrix: Array, right: Array) -> Array:
    """Return the solutions of many small positive systems, two by two ones in closed form."""
    if matrix.shape[1] != 2:
        return np.asarray(np.linalg.solve(matrix, right[:, :, None])[:, :, 0])
    a, b, d = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 1]
    determinant = np.maximum(a * d - b * b, 1e-300)
    first = (d * right[:, 0] - b * right[:, 1]) / determinant
    return np.stack([first, (a * right[:, 1] - b * right[:, 0]) / determinant], axis=1)


def _reweighted(problem: _Problem, found: Array, max_iter: int) -> tuple[_Problem, Array, npt.NDArray[np.bool_]]:
    """Return the problem with the weights of a robust fit, and that fit."""
    have, done = problem.w > 0, np.zeros(len(found), dtype=bool)
    robust = problem
    for tuning in _ROBUST_ROUNDS:
        values, _ = viability_and_slopes(found, problem.x, ())
        size = np.where(have, np.abs(problem.y - values), np.nan)
        far = size / (tuning * np.maximum(robust_spread(size, len(problem.free)), 1e-3)[:, None])
        trust = 1 / np.maximum(far, 1.0) if tuning == _HUBER else np.square(np.maximum(1 - np.square(far), 0.0))
        weight = problem.w * np.where(have, trust, 0.0)
        robust = _Problem(problem.x, problem.y, weight, problem.lower, problem.upper, problem.free)
        found, _, done = robust.descend(found, max_iter)
    return robust, found, done


def robust_spread(size: Array, n_free: int) -> Array:
    """Return the standard deviation that the median of absolute residuals speaks of, ``(n_curves,)``.

    Few points lie too near to a curve fitted to them: the correction is that of Rousseeuw and Leroy (1987), p. 202.

    Parameters
    ----------
    size
        Absolute residuals, ``(n_curves, n_points)``; NaN is left out, and a curve of NaN alone has 0.
    n_free
        Number of fitted parameters.
    """
    empty = np.asarray(np.isnan(size).all(axis=1))
    size = np.where(empty[:, None], 0.0, size)
    spare = np.maximum((~np.isnan(size)).sum(axis=1) - n_free, 1)
    return np.asarray(1.4826 * (1 + 5 / spare) * np.nanmedian(size, axis=1))
