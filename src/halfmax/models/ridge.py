"""Closed-form solvers of the kernel models: a ridge system a drug, exact leave-one-out, weights of features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import FloatArray

Array = npt.NDArray[np.float64]
#: Drugs with fewer training samples than this keep their mean.
LEAST_SAMPLES = 5
#: A feature's weight is its largest role for any drug: this power mean of the coefficients is close to the maximum.
_ROLE_POWER = 8.0
#: Shares of the kernel's diagonal that are tried for a further block.
_SHARES = (0.05, 0.15, 0.3, 0.5)
#: Share by which a further block must lower the error to be taken.
_LEAST_GAIN = 0.005


def solve_by_drug(gram: FloatArray, residual: Array, ridge: float) -> FloatArray:
    """Return dual weights, shape of `residual` (n, m), each drug solved on its own observed rows; 0 elsewhere.

    Drugs that were measured on the same samples share one factorisation.
    """
    known = np.isfinite(residual)
    dual = np.zeros(residual.shape, dtype=np.float32)
    patterns: dict[bytes, list[int]] = {}
    for column in range(residual.shape[1]):
        patterns.setdefault(known[:, column].tobytes(), []).append(column)
    for alike in patterns.values():
        columns = np.array(alike, dtype=np.int64)
        rows = np.flatnonzero(known[:, alike[0]])
        if len(rows) >= LEAST_SAMPLES:
            dual[np.ix_(rows, columns)] = solve(gram[np.ix_(rows, rows)], residual[np.ix_(rows, columns)], ridge)
    return dual


def solve_jointly(gram: FloatArray, residual: Array, ridge: float) -> FloatArray:
    """Return dual weights from one factorisation, missing residuals taken as 0."""
    return solve(gram, np.nan_to_num(residual), ridge)


def solve(gram: npt.NDArray[np.floating], y: Array, ridge: float) -> FloatArray:
    """Return (gram + ridge · I)⁻¹ y by Cholesky factorisation in single precision."""
    from scipy.linalg import lapack

    factor = _factor(gram, ridge)
    dual, _ = lapack.spotrs(factor, np.asarray(y, dtype=np.float32), lower=1)
    return np.asarray(dual)


def leave_one_out(gram: npt.NDArray[np.floating], y: Array, ridge: float) -> FloatArray:
    """Return the residual of each row when it alone is left out, exactly and without refitting.

    With α = (K + λI)⁻¹ y the residual is α_i / (K + λI)⁻¹_ii (Rifkin and Lippert 2007, Notes on regularized least
    squares).
    """
    from scipy.linalg import lapack

    factor = _factor(gram, ridge)
    dual, _ = lapack.spotrs(factor, np.asarray(y, dtype=np.float32), lower=1)
    inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
    return np.asarray(dual / np.diag(inverse))


def choose_ridge(gram: FloatArray, residual: Array, *, n_drugs: int = 16) -> float:
    """Return the λ with the least leave-one-out squared error over a sample of the drugs.

    Powers of two are tried downhill from 1 between 1/32 and 32, then a parabola refines the best; 1 if no drug has
    enough samples to tell.
    """
    return best_ridge(gram, residual, n_drugs)[0]


def choose_weights(
    gram_of: Callable[[Array], FloatArray], n_blocks: int, residual: Array, *, n_drugs: int = 8
) -> npt.NDArray[np.float64]:
    """Return the weights of kernels, summing to 1, with the least leave-one-out squared error on training rows.

    The best single kernel comes first; then each other one, best first, is added with the share that lowers the error
    most, or not at all if that is by less than half a per cent.

    Parameters
    ----------
    gram_of
        Weights, shape ``(n_blocks,)``, to the weighted kernel.
    """
    single = np.eye(n_blocks)
    errors = np.array([best_ridge(gram_of(w), residual, n_drugs)[1] for w in single])
    order = np.argsort(errors, kind="stable")
    weights, least = single[order[0]], float(errors[order[0]])
    for block in order[1:]:
        tried = [(1 - share) * weights + share * single[block] for share in _SHARES]
        found = [best_ridge(gram_of(w), residual, n_drugs)[1] for w in tried]
        if min(found) < (1 - _LEAST_GAIN) * least:
            weights, least = tried[int(np.argmin(found))], min(found)
    return np.asarray(weights, dtype=np.float64)


def best_ridge(gram: FloatArray, residual: Array, n_drugs: int) -> tuple[float, float]:
    """Return λ as `choose_ridge` does, and the mean relative squared error there; infinity where none can be told."""
    count = np.isfinite(residual).sum(axis=0)
    usable = np.flatnonzero(count >= 2 * LEAST_SAMPLES)
    usable = usable[[float(np.nanstd(residual[:, j])) > 1e-9 for j in usable]]
    if not len(usable):
        return 1.0, float("inf")
    usable = usable[np.argsort(-count[usable], kind="stable")]
    chosen = usable[np.linspace(0, len(usable) - 1, min(n_drugs, len(usable))).astype(int)]
    found: dict[int, float] = {}

    def error(exponent: int) -> float:
        if exponent not in found:
            found[exponent] = sum(_relative_error(gram, residual[:, j], 2.0**exponent) for j in chosen)
        return found[exponent]

    best = min((-1, 0, 1), key=error)
    while -5 < best < 5 and (step := min((best - 1, best + 1), key=error)) and error(step) < error(best):
        best = step
    least = error(best) / len(chosen)
    if not -5 < best < 5:
        return float(2.0**best), least
    left, middle, right = error(best - 1), error(best), error(best + 1)
    bend = left - 2 * middle + right
    return float(2.0 ** (best + (0.5 * (left - right) / bend if bend > 0 else 0.0))), least


def feature_gains(coefficients: npt.NDArray[np.floating], focus: float) -> FloatArray:
    """Return what to multiply each feature by, from a first fit's coefficients, shape (d, m): root mean square 1.

    A feature that no drug leans on shrinks, one that some drug leans on grows: the squared gain is the power mean of
    the absolute coefficients over drugs, to the power 2 · `focus`. One step of the recursive feature machine
    (Radhakrishnan et al. 2024, Science 383), with a near-maximum over drugs in place of the mean.
    """
    size = np.abs(coefficients).astype(np.float64)
    largest = float(size.max(initial=0.0))
    if largest <= 0 or not np.isfinite(largest):
        return np.ones(len(size), dtype=np.float32)
    role = ((size / largest) ** _ROLE_POWER).mean(axis=1) ** (1 / _ROLE_POWER)
    gain = role**focus
    return np.asarray(gain / np.sqrt((gain**2).mean()), dtype=np.float32)


def _relative_error(gram: FloatArray, column: Array, ridge: float) -> float:
    rows = np.flatnonzero(np.isfinite(column))
    value = column[rows] - column[rows].mean()
    left_out = leave_one_out(gram[np.ix_(rows, rows)], value, ridge)
    return float((left_out.astype(np.float64) ** 2).sum() / (value @ value))


def _factor(gram: npt.NDArray[np.floating], ridge: float) -> FloatArray:
    from scipy.linalg import lapack

    system = np.array(gram, dtype=np.float32, order="F")
    system[np.diag_indices(len(system))] += np.float32(ridge)
    factor, info = lapack.spotrf(system, lower=1, overwrite_a=1)
    if info:
        raise DataError(f"the kernel is not positive definite with ridge {ridge:g}; use a larger one.")
    return np.asarray(factor)
