"""A handful of measured values: condition a Gaussian over rows on them, and choose which rows to measure next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, examples

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ResponsePrior:
    """What training columns say of a new column before anything of it is measured.

    Parameters
    ----------
    mean
        Shape ``(n,)``, in the measure's unit.
    covariance
        Shape ``(n, n)``, unit squared, without the noise.
    noise
        Variance of one measurement that no other row shares, unit squared.
    """

    mean: Array
    covariance: Array
    noise: float

    def condition(self, rows: Rows, values: Array, *, mean: Array | None = None) -> tuple[Array, Array]:
        """Return mean and variance of each row's next measurement, given `values` measured at `rows`.

        `mean` (a predictor's, shape ``(n,)``) takes the place of the prior's own. Rasmussen and Williams (2006),
        Gaussian Processes for Machine Learning, equations 2.25 and 2.26.

        Raises
        ------
        DataError
            If rows and values differ in number, a row does not exist, or a value is not finite.
        """
        rows, values = self._checked(rows), np.asarray(values, dtype=np.float64)
        before = self.mean if mean is None else np.asarray(mean, dtype=np.float64)
        if values.shape != rows.shape or before.shape != self.mean.shape:
            raise DataError(
                f"{len(rows)} rows, {len(values)} values, mean of {before.shape}: one value a row is needed."
            )
        if not np.isfinite(values).all():
            raise DataError(f"{int((~np.isfinite(values)).sum())} measured values are not finite; leave them out.")
        across = self.covariance[:, rows]
        weight = np.linalg.solve(across[rows] + self.noise * np.eye(len(rows)), across.T).T
        variance = np.diag(self.covariance) - np.einsum("ij,ij->i", weight, across)
        return before + weight @ (values - before[rows]), np.maximum(variance, 0) + self.noise

    def design(self, n: int, *, measured: Rows | None = None, candidates: Rows | None = None) -> Rows:
        """Return `n` rows to measure next, best first: each lowers the summed variance of all rows most (A-optimal).

        Raises
        ------
        DataError
            If fewer than `n` candidates are left.
        """
        done = self._checked(np.empty(0, dtype=np.int64) if measured is None else measured)
        pool = self._checked(np.arange(len(self.mean)) if candidates is None else candidates)
        pool = np.setdiff1d(pool, done)
        if not 0 < n <= len(pool):
            raise DataError(f"{n} rows are asked for and {len(pool)} can be measured; ask for 1 to {len(pool)}.")
        left = self.covariance.copy()
        for row in done:
            left = self._measured(left, int(row))
        chosen: list[int] = []
        for _ in range(n):
            free = np.setdiff1d(pool, chosen)
            gain = (left[:, free] ** 2).sum(axis=0) / (left[free, free] + self.noise)
            chosen.append(int(free[np.argmax(gain)]))
            left = self._measured(left, chosen[-1])
        return np.array(chosen, dtype=np.int64)

    def _measured(self, covariance: Array, row: int) -> Array:
        column = covariance[:, row]
        return np.asarray(covariance - np.outer(column, column) / (column[row] + self.noise))

    def _checked(self, rows: Rows) -> Rows:
        rows = np.asarray(rows, dtype=np.int64)
        bad = rows[(rows < 0) | (rows >= len(self.mean))]
        if len(bad) or len(np.unique(rows)) < len(rows):
            raise DataError(
                f"rows are distinct numbers below {len(self.mean)}; found {examples(bad if len(bad) else rows)}."
            )
        return rows


def learn_prior(grid: Array, *, shrink: float = 0.3) -> ResponsePrior:
    """Learn from a rows × columns matrix of training responses, NaN where not measured.

    Lines × drugs serves a new drug, its transpose a new sample. Column means become one shared variance (potency);
    centred residuals, zero where not measured, give the row covariance, and `shrink` of its mean diagonal is noise.

    Raises
    ------
    DataError
        If there are fewer than three columns, a row or column has no value, or `shrink` is not in (0, 1).
    """
    known = np.isfinite(grid)
    if grid.shape[1] < 3 or not (known.any(axis=0).all() and known.any(axis=1).all()) or not 0 < shrink < 1:
        raise DataError(
            f"a matrix of {grid.shape} with shrink {shrink}: three columns, no empty row or column, 0 to 1."
        )
    level = np.nanmean(grid, axis=0)
    effect = np.nanmean(grid - level, axis=1)
    residual = np.where(known, grid - level - effect[:, None], 0.0)
    sample = residual @ residual.T / max(int(known.sum(axis=1).min()) - 1, 1)
    covariance = (1 - shrink) * sample + float(level.var(ddof=1))
    return ResponsePrior(level.mean() + effect, covariance, max(shrink * float(np.diag(sample).mean()), 1e-9))
