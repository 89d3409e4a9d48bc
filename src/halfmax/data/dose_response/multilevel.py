"""Curves that borrow strength: slope and midpoint of a sample shared by its curves, each curve's midpoint about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from halfmax.data.dose_response.packing import Packed
from halfmax.data.dose_response.sigmoid import LN_HILL, MIDPOINT, Array, viability_and_slopes
from halfmax.data.dose_response.solve import Rows, normal_matrix

_FREE = (MIDPOINT, LN_HILL)
_STEPS_A_ROUND = 2
_LARGEST_LN_HILL, _LARGEST_SHIFT = 3.0, 40.0


@dataclass(frozen=True)
class Multilevel:
    """Fitted curves and what was learned of how samples and curves vary.

    Parameters
    ----------
    params
        ``(n_curves, 4)``; columns as `sigmoid.PARAMETERS`, top 1 and bottom 0.
    sd_midpoint
        Posterior standard deviation of each midpoint [ln µM].
    converged
        Whether the variances settled.
    spread
        ``noise`` (standard deviation of a well about its curve), ``sample_midpoint``, ``curve_midpoint`` [ln units],
        ``sample_ln_hill``, ``mean_midpoint`` [ln of the highest dose], ``mean_ln_hill``, ``n_rounds``.
    """

    params: Array
    sd_midpoint: Array
    converged: bool
    spread: Mapping[str, float]


@dataclass
class _State:
    """Estimates of a round."""

    line: Array  # (n_samples, 2): midpoint over the highest dose, ln Hill slope
    shift: Array  # (n_curves,): a curve's midpoint about its sample's
    mean: Array  # (2,)
    between: Array  # (2, 2)
    within: float
    noise: float


def fit_multilevel(
    packed: Packed,
    sample: Rows,
    start: Array,
    *,
    max_rounds: int = 200,
    tolerance: float = 5e-4,
) -> Multilevel:
    """Return curves shrunk towards their sample's and the screen's, as the GDSC screens are fitted.

    The model is that of Vis et al. (2016, doi:10.2217/pgs.16.15): viability is a two-parameter sigmoid of the
    logarithm of the dose over the curve's highest dose; slope and midpoint of a sample are drawn from a common
    two-dimensional normal distribution, the midpoint of each drug in that sample from a normal distribution about
    the sample's. Here the slope is drawn on the scale of the logarithm, so that it stays positive. Means and
    variances are learned from all curves together by expectation and maximisation about the modes (Lindstrom and
    Bates 1990, doi:10.2307/2532087, for the linearisation; Dempster et al. 1977 for the steps).

    Parameters
    ----------
    packed
        Points, at least one a curve.
    sample
        Number of each curve's sample, 0 to n_samples - 1.
    start
        Parameters to start from, ``(n_curves, 4)``, such as the plain fit.
    max_rounds
        Most rounds.
    tolerance
        Change of every standard deviation, relative to its scale, at which the fit is settled.
    """
    x = packed.x - packed.high[:, None]
    state = _first(packed, sample, start)
    damping = np.full(len(state.line), 1e-3)
    settled, n_rounds, posterior = False, 0, _posterior(x, packed, sample, state)
    while not settled and n_rounds < max_rounds:
        n_rounds += 1
        for _ in range(_STEPS_A_ROUND):
            damping = _descend(x, packed, sample, state, damping)
        posterior = _posterior(x, packed, sample, state)
        old = _deviations(state)
        _learn(state, posterior, int(packed.n_wells.sum()))
        settled = bool(np.all(np.abs(_deviations(state) - old) <= tolerance * _scales(state)))
    params = np.tile([0.0, 0.0, 1.0, 0.0], (len(packed), 1))
    params[:, MIDPOINT] = state.line[sample, 0] + state.shift + packed.high
    params[:, LN_HILL] = state.line[sample, 1]
    return Multilevel(params, np.sqrt(posterior.covariance[:, 0, 0]), settled, _spread(state, n_rounds))


def _deviations(state: _State) -> Array:
    return np.sqrt([*np.diag(state.between), state.within, state.noise])


def _scales(state: _State) -> Array:
    """Return what changes of the deviations are small against: all midpoints' spread, 1 for slopes, the noise."""
    midpoint = np.sqrt(state.between[0, 0] + state.within)
    return np.array([midpoint, 1.0, midpoint, np.sqrt(state.noise)])


def _spread(state: _State, n_rounds: int) -> dict[str, float]:
    found = {
        "noise": state.noise**0.5,
        "sample_midpoint": state.between[0, 0] ** 0.5,
        "curve_midpoint": state.within**0.5,
        "sample_ln_hill": state.between[1, 1] ** 0.5,
        "mean_midpoint": state.mean[0],
        "mean_ln_hill": state.mean[1],
    }
    return {name: float(value) for name, value in found.items()} | {"n_rounds": float(n_rounds)}


def _first(packed: Packed, sample: Rows, start: Array) -> _State:
    """Return a first state from plain fits, those that lie far outside the doses pulled to a bound."""
    n = int(sample.max(initial=-1)) + 1
    counts = np.maximum(np.bincount(sample, minlength=n), 1)
    midpoint = np.clip(start[:, MIDPOINT] - packed.high, -12.0, 5.0)
    ln_hill = np.clip(start[:, LN_HILL], -1.0, 1.0)
    line = np.stack([np.bincount(sample, v, minlength=n) / counts for v in (midpoint, ln_hill)], axis=1)
    shift = midpoint - line[sample, 0]
    return _State(line, shift, line.mean(axis=0), np.diag([1.0, 0.2]), max(float(np.mean(shift**2)), 0.1), 0.01)


def _loss(x: Array, packed: Packed, sample: Rows, state: _State, line: Array, shift: Array) -> Array:
    """Return minus twice the logarithm of the joint density of each sample, up to a constant, ``(n_samples,)``."""
    values, _ = viability_and_slopes(_params(line[sample], shift), x, ())
    misfit = np.einsum("np,np,np->n", packed.weight, packed.y - values, packed.y - values) / state.noise
    away = line - state.mean
    own = np.einsum("si,ij,sj->s", away, np.linalg.inv(state.between), away)
    return np.asarray(own + np.bincount(sample, misfit + shift**2 / state.within, minlength=len(line)))


def _params(line: Array, shift: Array) -> Array:
    params = np.tile([0.0, 0.0, 1.0, 0.0], (len(line), 1))
    params[:, MIDPOINT] = line[:, 0] + shift
    params[:, LN_HILL] = line[:, 1]
    return params


def _blocks(x: Array, packed: Packed, line: Array, shift: Array) -> tuple[Array, Array, Array]:
    """Return each curve's products of slopes (two by two), of slopes and residuals, and its squared residuals."""
    values, slopes = viability_and_slopes(_params(line, shift), x, _FREE)
    weighted = [packed.weight * slope for slope in slopes]
    rest = packed.y - values
    gradient = np.stack([np.einsum("np,np->n", s, rest) for s in weighted], axis=1)
    return normal_matrix(weighted, slopes), gradient, np.einsum("np,np,np->n", packed.weight, rest, rest)


def _descend(x: Array, packed: Packed, sample: Rows, state: _State, damping: Array) -> Array:
    """Move samples and curves one damped Gauss–Newton step towards their modes; return the new damping.

    The curves of a sample meet only in the sample's own parameters, so each curve is eliminated and a system of two
    equations a sample is left.
    """
    n = len(state.line)
    products, gradient, _ = _blocks(x, packed, state.line[sample], state.shift)
    products, gradient = products / state.noise, gradient / state.noise
    precision = np.linalg.inv(state.between)
    grow = 1 + damping
    own = (products[:, 0, 0] + 1 / state.within) * grow[sample]
    pull = gradient[:, 0] - state.shift / state.within
    cross = products[:, 0, :]
    reduced = products - cross[:, :, None] * cross[:, None, :] / own[:, None, None]
    left = _by_sample(reduced, sample, n) + precision
    left[:, [0, 1], [0, 1]] *= grow[:, None]
    right = np.stack(
        [np.bincount(sample, gradient[:, i] - cross[:, i] * pull / own, minlength=n) for i in (0, 1)], axis=1
    )
    right -= (state.line - state.mean) @ precision
    step = np.linalg.solve(left, right[:, :, None])[:, :, 0]
    line = state.line + step
    line[:, 1] = np.clip(line[:, 1], -_LARGEST_LN_HILL, _LARGEST_LN_HILL)
    shift = state.shift + (pull - np.einsum("ni,ni->n", cross, step[sample])) / own
    shift = np.clip(shift, -_LARGEST_SHIFT, _LARGEST_SHIFT)
    before = _loss(x, packed, sample, state, state.line, state.shift)
    better = _loss(x, packed, sample, state, line, shift) <= before
    state.line = np.where(better[:, None], line, state.line)
    state.shift = np.where(better[sample], shift, state.shift)
    return np.clip(np.where(better, damping / 5, damping * 4), 1e-9, 1e9)


@dataclass(frozen=True)
class _Posterior:
    """Covariances about the modes."""

    line: Array  # (n_samples, 2, 2)
    shift: Array  # (n_curves,)
    covariance: Array  # (n_curves, 2, 2): midpoint and ln Hill slope of the curve
    squares: float  # sum over all wells of the expected squared distance from their curve


def _posterior(x: Array, packed: Packed, sample: Rows, state: _State) -> _Posterior:
    n = len(state.line)
    products, _, misfit = _blocks(x, packed, state.line[sample], state.shift)
    own = products[:, 0, 0] / state.noise + 1 / state.within
    cross = products[:, 0, :] / state.noise
    ratio = cross / own[:, None]
    reduced = products / state.noise - ratio[:, :, None] * cross[:, None, :]
    line = np.linalg.inv(_by_sample(reduced, sample, n) + np.linalg.inv(state.between))
    mine = line[sample]
    across = -np.einsum("ni,nij->nj", ratio, mine)  # covariance of a curve's shift with its sample
    shift = 1 / own - np.einsum("ni,ni->n", across, ratio)
    covariance = mine.copy()
    covariance[:, 0, 0] += shift + 2 * across[:, 0]
    covariance[:, 0, 1] += across[:, 1]
    covariance[:, 1, 0] += across[:, 1]
    squares = float(misfit.sum() + packed.within.sum() + np.einsum("nij,nij->", products, covariance))
    return _Posterior(line, shift, covariance, squares)


def _learn(state: _State, posterior: _Posterior, n_wells: int) -> None:
    """Set means and variances to what makes modes and covariances most probable."""
    state.mean = state.line.mean(axis=0)
    away = state.line - state.mean
    between = (away[:, :, None] * away[:, None, :] + posterior.line).mean(axis=0)
    state.between = between + 1e-6 * np.eye(2)
    state.within = max(float((state.shift**2 + posterior.shift).mean()), 1e-6)
    state.noise = max(posterior.squares / n_wells, 1e-8)


def _by_sample(matrices: Array, sample: Rows, n: int) -> Array:
    """Return the sums of two by two matrices over the curves of each sample, ``(n_samples, 2, 2)``."""
    cells = [np.bincount(sample, matrices[:, i, j], minlength=n) for i in (0, 1) for j in (0, 1)]
    return np.stack(cells, axis=1).astype(np.float64).reshape(n, 2, 2)
