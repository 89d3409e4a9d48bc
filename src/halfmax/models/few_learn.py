"""Learn the prior for a handful of measured values from the errors of a predictor on rows it had not seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from halfmax.errors import DataError
from halfmax.models.baselines import soft_impute
from halfmax.models.few import Array, ResponsePrior, Rows, about_mean

#: What is tried, in units of the mean square of the errors about their column's mean: noise, and the given likeness.
_NOISES, _LIKES = (0.1, 0.2, 0.4, 0.8, 1.6), (0.0, 0.25)
_AMPLITUDES = (0.0, 0.1, 0.2)
#: Rows measured in a trial, for the choice and for each row's own noise; columns that are tried at most.
_FEW, _MANY, _TRIALS = 20, 50, 200
_MOST_FACTORS = 256
_OWN_NOISE_PRIOR = 10.0


class _Choice(NamedTuple):
    noise: float
    like: float
    amplitude: float


def learn_prior(error: Array, predicted: Array, response: Array, *, like: Array | None = None) -> ResponsePrior:
    """Learn how errors go together over rows, and how much of them is noise.

    Parameters
    ----------
    error
        Response less prediction of training columns that the predictor had not seen, shape ``(n, m)``, NaN where not
        measured. Lines × drugs serves a new drug, drugs × samples a new sample.
    predicted, response
        The predictions themselves and the responses, same shape.
    like
        A kernel over rows with mean diagonal 1, shape ``(n, n)``, which is taken where it helps: rows that are like
        each other (in expression) have like errors.

    Returns
    -------
    The prior. Its covariance is the second moment of the completed errors (a column with large errors counts for less)
    plus a share of `like`; noise, that share and the amplitude are those that predict the other rows of a left-out
    column best from twenty of its own. A row's noise is the geometric mean of the common one and its own. Factors
    beyond the largest 256 become noise.

    Raises
    ------
    DataError
        If there are fewer than three columns, or a row or column has no value.
    """
    known = np.isfinite(error)
    if error.shape[1] < 3 or not (known.any(axis=0).all() and known.any(axis=1).all()):
        raise DataError(f"errors of {error.shape}: three columns are needed, and a value in each row and column.")
    completed = _completed(error)
    about = completed - completed.mean(axis=0)
    unit = float((about[known] ** 2).mean())
    if unit <= 1e-12:
        raise DataError("the predictor's errors do not vary within columns; there is nothing to learn from.")
    square = (about**2).mean(axis=0)
    weight = 1 / (1 + square / unit)
    weight *= square.sum() / (weight * square).sum()
    basis = completed.mean(axis=0) + about * np.sqrt(weight)
    shared = np.zeros((len(error), len(error))) if like is None else like * unit
    profile = about_mean(predicted)
    trials = np.random.default_rng(0).permutation(error.shape[1])[:_TRIALS]
    choice = _choose(error, basis, profile, shared, unit, trials, with_like=like is not None)
    square, ratio = _by_row(error, basis, profile, shared, choice, trials)
    noise = choice.noise * np.sqrt(square / square.mean())
    covariance = basis @ basis.T / error.shape[1] + choice.like * shared
    values, vectors = np.linalg.eigh(covariance)
    factors = vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0))
    rest = (factors[:, _MOST_FACTORS:] ** 2).sum(axis=1)
    kept = (factors[:, :_MOST_FACTORS] * np.sqrt(ratio)).astype(np.float32)  # as it is saved
    return ResponsePrior(
        np.nanmean(response, axis=1),
        kept.astype(np.float64),
        (noise + rest) * ratio,
        known.mean(axis=1),
        choice.amplitude * ratio,
    )


def _completed(error: Array) -> Array:
    """Fill in what was not measured, by level of the column, effect of the row and soft-thresholded SVD."""
    level = np.nanmean(error, axis=0)
    effect = np.nanmean(error - level, axis=1)[:, None]
    rest = error - level - effect
    left, right = soft_impute(rest, 0.1, 60, 50)
    return np.where(np.isfinite(error), error, left @ right.T + level + effect)


def _choose(
    error: Array, basis: Array, profile: Array, shared: Array, unit: float, trials: Rows, *, with_like: bool
) -> _Choice:
    """Return what predicts the other rows of left-out columns best from a few of theirs."""
    best, least = _Choice(0.4 * unit, 0.0, 0.0), float("inf")
    for like in _LIKES if with_like else (0.0,):
        covariance = basis @ basis.T / error.shape[1] + like * shared
        for amplitude in _AMPLITUDES:
            total = np.zeros(len(_NOISES))
            for column in trials:
                rows, rest = _deal(error[:, column], _FEW, int(column))
                if not len(rest):
                    continue
                across = _across(covariance, basis, profile[:, column], int(column), amplitude, rows)
                for i, noise in enumerate(_NOISES):
                    total[i] += _left(error[:, column], across, rows, rest, noise * unit)[1]
            if total.min() < least:
                least = float(total.min())
                best = _Choice(_NOISES[int(np.argmin(total))] * unit, like, amplitude)
    return best


def _by_row(
    error: Array, basis: Array, profile: Array, shared: Array, choice: _Choice, trials: Rows
) -> tuple[Array, float]:
    """Return each row's mean squared error from many measured rows, and how much larger errors are than expected."""
    covariance = basis @ basis.T / error.shape[1] + choice.like * shared
    total, count = np.zeros(len(error)), np.zeros(len(error))
    found, expected = 0.0, 0.0
    for column in trials:
        rows, rest = _deal(error[:, column], _MANY, int(column))
        if not len(rest):
            continue
        across = _across(covariance, basis, profile[:, column], int(column), choice.amplitude, rows)
        left, squares = _left(error[:, column], across, rows, rest, choice.noise)
        own = covariance[rest, rest] - basis[rest, column] ** 2 / error.shape[1]
        own = own + choice.amplitude * profile[rest, column] ** 2
        system = across[rows] + choice.noise * np.eye(len(rows))
        own -= np.einsum("ij,ij->i", across[rest], np.linalg.solve(system, across[rest].T).T)
        found, expected = found + squares, expected + float((np.maximum(own, 0) + choice.noise).sum())
        total[rest] += left**2
        count[rest] += 1
    if not count.any():
        return np.ones(len(error)), 1.0
    overall = total.sum() / count.sum()
    return (total + _OWN_NOISE_PRIOR * overall) / (count + _OWN_NOISE_PRIOR), found / expected


def _deal(column: Array, most: int, seed: int) -> tuple[Rows, Rows]:
    """Deal the measured rows of a column into those seen (at most half) and the rest."""
    known = np.random.default_rng(seed).permutation(np.flatnonzero(np.isfinite(column)))
    n = min(most, len(known) // 2)
    return known[:n], known[n:]


def _across(covariance: Array, basis: Array, profile: Array, column: int, amplitude: float, rows: Rows) -> Array:
    """Return the covariance of all rows with those seen, without what the column itself added to it."""
    own = basis[:, column]
    without = covariance[:, rows] - np.outer(own, own[rows]) / basis.shape[1]
    return np.asarray(without + amplitude * np.outer(profile, profile[rows]))


def _left(column: Array, across: Array, rows: Rows, rest: Rows, noise: float) -> tuple[Array, float]:
    dual = np.linalg.solve(across[rows] + noise * np.eye(len(rows)), column[rows])
    left = column[rest] - across[rest] @ dual
    return left, float(left @ left)
