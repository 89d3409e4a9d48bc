"""A handful of measured values: condition a Gaussian over rows on them, and choose which rows to measure next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, examples

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class AssayLink:
    """How values of another assay follow those of training: scale · (value − row mean) + one shift a column + noise.

    Parameters
    ----------
    scale
        Slope on the training assay's value, about the row's mean.
    shift
        Variance of what all values of one column have in common, in units of the mean noise of the training assay.
    noise
        Variance of one value, in the same unit.

    Notes
    -----
    The defaults were chosen on GDSC1 values of samples whose GDSC2 values were predicted (``benchmarks/few.py``).
    """

    scale: float = 0.4
    shift: float = 2.0
    noise: float = 12.0


class Design(NamedTuple):
    """Rows to measure next, best first, and the mean variance over all rows before any and after each."""

    rows: Rows
    variance: Array


@dataclass(frozen=True)
class ResponsePrior:
    """What the errors of a predictor on training columns say of its errors on a new column.

    A new column (a drug over lines, or a sample over drugs) is the prediction plus factors · z plus noise, with z
    standard normal.

    Parameters
    ----------
    centre
        Mean training response of each row, shape ``(n,)``, in the measure's unit.
    factors
        Shape ``(n, k)``; their products are the covariance of the predictor's error that rows share.
    noise
        Variance of one measurement that no other row shares, shape ``(n,)``, unit squared.
    coverage
        Share of the training columns that were measured in each row, shape ``(n,)``.
    amplitude
        Variance of the factor by which the predicted profile (about its mean) is too strong or too weak.
    """

    centre: Array
    factors: Array
    noise: Array
    coverage: Array
    amplitude: float = 0.0

    def condition(
        self, rows: Rows, values: Array, *, mean: Array, link: AssayLink | None = None
    ) -> tuple[Array, Array]:
        """Return mean and variance of each row's next measurement, given `values` measured at `rows`.

        Parameters
        ----------
        rows, values
            Distinct row numbers, and one finite value each.
        mean
            The predictor's, shape ``(n,)``; NaN where it says nothing (such a row gets NaN and cannot be measured).
        link
            Where the values come from another assay, with its mean difference in each row already taken off.

        Raises
        ------
        DataError
            If rows and values differ in number, a row does not exist, or a value is not finite.

        References
        ----------
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, equations 2.25 and 2.26.
        """
        rows, values = self._checked(rows), np.asarray(values, dtype=np.float64)
        mean = np.asarray(mean, dtype=np.float64)
        if values.shape != rows.shape or mean.shape != self.centre.shape:
            raise DataError(f"{len(rows)} rows, {len(values)} values, mean of {mean.shape}: one value a row is needed.")
        bad = ~np.isfinite(values) | ~np.isfinite(mean[rows])
        if bad.any():
            raise DataError(
                f"{int(bad.sum())} measured values or their predictions are not finite, e.g. rows "
                f"{examples(rows[bad])}; leave them out."
            )
        if not len(rows):
            return mean.copy(), np.where(np.isfinite(mean), self._variances(mean), np.nan)
        scale = 1.0 if link is None else link.scale
        factors = self._with_profile(mean)
        seen = factors[rows] * scale
        system = seen @ seen.T
        if link is None:
            system[np.diag_indices(len(rows))] += self.noise[rows]
        else:
            unit = float(self.noise.mean())
            system += link.shift * unit
            system[np.diag_indices(len(rows))] += link.noise * unit
        across = factors @ seen.T
        weight = np.linalg.solve(system, across.T).T
        error = values - self.centre[rows] - scale * (mean[rows] - self.centre[rows])
        variance = np.maximum((factors**2).sum(axis=1) - np.einsum("ij,ij->i", weight, across), 0) + self.noise
        return mean + weight @ error, np.where(np.isfinite(mean), variance, np.nan)

    def design(self, n: int, *, measured: Rows | None = None, candidates: Rows | None = None) -> Design:
        """Choose `n` rows to measure next, best first: each lowers the summed variance of all rows most (A-optimal).

        Raises
        ------
        DataError
            If fewer than `n` candidates are left.

        References
        ----------
        Krause, Singh and Guestrin (2008), Journal of Machine Learning Research 9, for greedy choice under a Gaussian
        process.
        """
        done = self._checked(np.empty(0, dtype=np.int64) if measured is None else measured)
        pool = self._checked(np.arange(len(self.centre)) if candidates is None else candidates)
        pool = np.setdiff1d(pool, done)
        if not 0 < n <= len(pool):
            raise DataError(f"{n} rows are asked for and {len(pool)} can be measured; ask for 1 to {len(pool)}.")
        left = self.factors.astype(np.float64)
        for row in done:
            left = self._measured(left, int(row))
        chosen: list[int] = []
        variance = [float((left**2).sum(axis=1).mean())]
        for _ in range(n):
            free = np.setdiff1d(pool, chosen)
            seen = left[free]
            gain = np.einsum("ij,jk,ik->i", seen, left.T @ left, seen) / ((seen**2).sum(axis=1) + self.noise[free])
            chosen.append(int(free[np.argmax(gain)]))
            left = self._measured(left, chosen[-1])
            variance.append(float((left**2).sum(axis=1).mean()))
        return Design(np.array(chosen, dtype=np.int64), np.array(variance))

    def _measured(self, factors: Array, row: int) -> Array:
        """Return factors whose products are the covariance after one more measurement of `row`."""
        seen = factors[row]
        power = float(seen @ seen)
        if power <= 0:
            return factors
        kept = np.sqrt(self.noise[row] / (power + self.noise[row]))
        return np.asarray(factors - np.outer(factors @ seen, seen) * ((1 - kept) / power))

    def _with_profile(self, mean: Array) -> Array:
        if self.amplitude <= 0:
            return self.factors
        return np.column_stack([self.factors, np.sqrt(self.amplitude) * about_mean(mean[:, None])[:, 0]])

    def _variances(self, mean: Array) -> Array:
        return np.asarray((self._with_profile(mean) ** 2).sum(axis=1) + self.noise)

    def _checked(self, rows: Rows) -> Rows:
        rows = np.asarray(rows, dtype=np.int64)
        n = len(self.centre)
        bad = rows[(rows < 0) | (rows >= n)]
        if len(bad) or len(np.unique(rows)) < len(rows):
            raise DataError(f"rows are distinct numbers below {n}; found {examples(bad if len(bad) else rows)}.")
        return rows


def about_mean(predicted: Array) -> Array:
    """Return columns about their means; 0 where there is no prediction."""
    known = np.isfinite(predicted)
    mean = np.where(known, predicted, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, predicted - mean, 0.0)
