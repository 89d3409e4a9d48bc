"""Selection by response: mutual information, lasso, stability selection, RFE and RFECV on training rows only.

Each sees the training responses as a few numbers a sample: the leading principal components of the samples × drugs
matrix of responses less each drug's mean, gaps as 0. The first is close to a sample's general sensitivity, the others
are what groups of drugs share. Their sizes are kept, so what explains more of the responses counts for more.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import Block
from halfmax.features.omics import Select, Targets, require_finite

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge

log = logging.getLogger(__name__)
Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
_COLUMNS_AT_ONCE = 2048


class SupervisedSelect(Select):
    """Keep columns chosen by what they say about the training responses."""

    supervised: ClassVar[bool] = True
    n_targets: int

    def fit(self, block: Block, targets: Targets | None = None) -> Self:
        """Choose columns.

        Parameters
        ----------
        targets
            Shape ``(n, m)``; see `halfmax.features.omics.SupervisedStep`.

        Raises
        ------
        DataError
            Without targets, with fewer than three rows that have any, or if values are missing.
        """
        what = type(self).__name__
        if targets is None or len(targets) != len(block.values):
            n = "none" if targets is None else str(len(targets))
            raise DataError(f"{what} needs the responses of its {len(block.values)} training rows; it was given {n}.")
        require_finite(block, what)
        rows, y = summarise(targets, self.n_targets)
        if len(rows) < 3:
            raise DataError(f"{what} needs at least 3 training rows with responses; there are {len(rows)}.")
        x = block.values[rows].astype(np.float64)
        spread = x.std(axis=0)
        x = (x - x.mean(axis=0)) / np.where(spread > 1e-8, spread, np.inf)
        self._keep(block, np.sort(self._pick(x, y)))
        return self

    def _pick(self, x: Array, y: Array) -> Index:
        """Return columns of `x` (standardised, (n, d)) chosen by `y` (n, n_targets)."""
        raise NotImplementedError


def summarise(targets: Targets, n_targets: int) -> tuple[Index, Array]:
    """Return the rows that have any response, and their leading components, the first with variance 1.

    Parameters
    ----------
    targets
        Shape ``(n, m)``, centred by column, NaN where not measured.
    n_targets
        Components kept at most; those without variance are left out.
    """
    if n_targets < 1:
        raise DataError(f"n_targets is {n_targets}; it is at least 1.")
    known = np.isfinite(targets)
    rows = np.flatnonzero(known.any(axis=1))
    centred = np.where(known, targets, 0.0)[rows]
    if not len(rows):
        return rows, np.zeros((0, 0))
    centred = centred - centred.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    keep = size[:n_targets] > max(float(size[0]) * 1e-9, 1e-12)
    if not keep.any():
        raise DataError("the training responses do not differ between samples: there is nothing to select by.")
    return rows, left[:, :n_targets][:, keep] * (size[:n_targets][keep] / size[0]) * np.sqrt(len(rows))


class MutualInformation(SupervisedSelect):
    """Keep the columns with the most mutual information with any component of the response.

    Parameters
    ----------
    n
        Columns kept.
    method
        ``binned``: of ranks in `n_bins` equal bins, all columns in a few matrix products. ``neighbours``:
        scikit-learn's estimate from nearest neighbours (Kraskov et al. 2004, Physical Review E 69), exact on fine
        structure and some hundred times slower.
    n_bins
        Bins of a column and of a component.
    n_targets
        Components of the response.
    seed
        Of the small noise that ``neighbours`` adds to ties.
    """

    def __init__(
        self, n: int = 1000, method: str = "binned", n_bins: int = 6, n_targets: int = 8, seed: int = 0
    ) -> None:
        self.n = n
        self.method = method
        self.n_bins = n_bins
        self.n_targets = n_targets
        self.seed = seed

    def _pick(self, x: Array, y: Array) -> Index:
        if self.method not in ("binned", "neighbours") or self.n < 1 or self.n_bins < 2:
            raise DataError(
                f"method is {self.method!r} (binned or neighbours), n {self.n} (at least 1), n_bins {self.n_bins} "
                "(at least 2)."
            )
        if self.method == "binned":
            self.information_ = binned_information(x, y, self.n_bins).max(axis=1)
        else:
            from sklearn.feature_selection import mutual_info_regression

            k = min(3, len(x) - 1)
            columns = [mutual_info_regression(x, t, n_neighbors=k, random_state=self.seed) for t in y.T]
            self.information_ = np.max(columns, axis=0)
        return np.argsort(-self.information_, kind="stable")[: self.n]


def binned_information(x: Array, y: Array, n_bins: int) -> Array:
    """Return the mutual information [nats] of every column of `x` with every column of `y`, shape ``(d, t)``.

    Values are put into `n_bins` bins of equal number by average rank (a constant column falls into one bin and has 0).
    The bias of empty cells, about (n_bins − 1)² / 2n, is the same for all columns without ties and left in.
    """
    other = _one_hot_bins(y, n_bins)
    n, d, t = len(x), x.shape[1], y.shape[1]
    out = np.empty((d, t))
    for start in range(0, d, _COLUMNS_AT_ONCE):
        part = x[:, start : start + _COLUMNS_AT_ONCE]
        joint = (_one_hot_bins(part, n_bins).T @ other).astype(np.float64) / n
        joint = joint.reshape(part.shape[1], n_bins, t, n_bins)
        both = joint.sum(axis=3, keepdims=True) * joint.sum(axis=1, keepdims=True)
        safe = np.where(joint > 0, joint, 1.0)
        out[start : start + _COLUMNS_AT_ONCE] = (joint * np.log(safe / np.where(joint > 0, both, 1.0))).sum(axis=(1, 3))
    return out


def _one_hot_bins(values: Array, n_bins: int) -> npt.NDArray[np.float32]:
    from scipy.stats import rankdata

    n = len(values)
    bins = np.minimum(((rankdata(values, axis=0) - 0.5) * n_bins / n).astype(np.int64), n_bins - 1)
    return np.asarray(bins[:, :, None] == np.arange(n_bins), dtype=np.float32).reshape(n, -1)


class L1(SupervisedSelect):
    """Keep the columns to which a multi-task lasso on all components gives a weight.

    Parameters
    ----------
    alpha
        Penalty, as a share of the least one that removes every column; above 0, below 1. Smaller keeps more.
    n_targets
        Components of the response.

    References
    ----------
    Obozinski, Taskar and Jordan (2010), Statistics and Computing 20, for the joint penalty.
    """

    def __init__(self, alpha: float = 0.2, n_targets: int = 8) -> None:
        self.alpha = alpha
        self.n_targets = n_targets

    def _pick(self, x: Array, y: Array) -> Index:
        if not 0 < self.alpha < 1:
            raise DataError(f"alpha is {self.alpha:g}; it is a share between 0 and 1.")
        from sklearn.linear_model import MultiTaskLasso

        most = float(np.linalg.norm(x.T @ y, axis=1).max()) / len(x)
        if most <= 0:
            raise DataError("no feature varies among the training rows.")
        net = MultiTaskLasso(alpha=self.alpha * most, fit_intercept=False, max_iter=1000, tol=1e-4)
        with _converging("L1"):
            net.fit(np.asfortranarray(x), y)
        return np.flatnonzero(np.abs(net.coef_).max(axis=0) > 0)


class StabilitySelection(SupervisedSelect):
    """Keep the columns that the lasso enters early in most halves of the training rows.

    For each component and each of `n_subsamples` random halves the lasso path is followed until q columns have entered,
    with q = √((2 · threshold − 1) · d · false_positives), so that at most about `false_positives` of d columns are
    chosen by chance for each component. A column's frequency is the largest over components.

    Parameters
    ----------
    threshold
        Share of the halves in which a column must enter, above 0.5. If none does, the most frequent are kept, and
        that is logged as a warning.
    n_subsamples
        Halves drawn.
    false_positives
        Columns expected by chance for each component, at most.
    n_targets
        Components of the response.
    seed
        Of the draws.

    References
    ----------
    Meinshausen and Bühlmann (2010), Journal of the Royal Statistical Society B 72.
    """

    def __init__(
        self,
        threshold: float = 0.6,
        n_subsamples: int = 50,
        false_positives: float = 1.0,
        n_targets: int = 4,
        seed: int = 0,
    ) -> None:
        self.threshold = threshold
        self.n_subsamples = n_subsamples
        self.false_positives = false_positives
        self.n_targets = n_targets
        self.seed = seed

    def _pick(self, x: Array, y: Array) -> Index:
        if not 0.5 < self.threshold <= 1 or self.n_subsamples < 1 or self.false_positives <= 0:
            raise DataError("threshold is above 0.5 and at most 1, n_subsamples at least 1, false_positives above 0.")
        from sklearn.linear_model import lars_path

        rng, (n, d) = np.random.default_rng(self.seed), x.shape
        half = max(n // 2, 2)
        q = int(np.clip(np.sqrt((2 * self.threshold - 1) * d * self.false_positives), 1, min(d, half - 1)))
        entered = np.zeros((y.shape[1], d))
        for _ in range(self.n_subsamples):
            rows = rng.choice(n, half, replace=False)
            part = x[rows] - x[rows].mean(axis=0)
            for component, target in enumerate(y[rows].T):
                with _converging("stability selection"):
                    _, active, _ = lars_path(part, target - target.mean(), method="lasso", max_iter=q)
                entered[component, active[:q]] += 1
        self.frequency_ = (entered / self.n_subsamples).max(axis=0)
        chosen = np.flatnonzero(self.frequency_ >= self.threshold)
        if not len(chosen):
            chosen = np.flatnonzero(self.frequency_ == self.frequency_.max())
            log.warning(
                "no feature entered in %.0f %% of the halves; kept %d that entered in %.0f %%",
                *(100 * self.threshold, len(chosen), 100 * self.frequency_.max()),
            )
        return chosen


class RFE(SupervisedSelect):
    """Recursive feature elimination: fit a ridge regression, drop the weakest columns, fit again.

    Scikit-learn's RFE (Guyon et al. 2002, Machine Learning 46). A column's weight is the sum over components of its
    squared coefficients.

    Parameters
    ----------
    n
        Columns kept.
    drop
        Share of all columns dropped in each step.
    ridge
        Penalty, in units of the number of training rows.
    n_targets
        Components of the response.
    """

    def __init__(self, n: int = 200, drop: float = 0.1, ridge: float = 1.0, n_targets: int = 8) -> None:
        self.n = n
        self.drop = drop
        self.ridge = ridge
        self.n_targets = n_targets

    def _pick(self, x: Array, y: Array) -> Index:
        _check_elimination(self.n, self.drop, self.ridge)
        from sklearn.feature_selection import RFE as SkRFE

        keep = min(self.n, x.shape[1])
        selector = SkRFE(_ridge(self.ridge, len(x)), n_features_to_select=keep, step=self.drop)
        return np.flatnonzero(selector.fit(x, y).support_)


class RFECV(SupervisedSelect):
    """Recursive feature elimination down to the number of columns that predicts best in inner folds.

    Scikit-learn's RFECV with the ridge regression of `RFE`; the inner folds are dealt from the training rows and scored
    by mean squared error over components. ``n_tried_`` and ``error_`` keep what was tried and its error.

    Parameters
    ----------
    least
        Fewest columns kept.
    n_folds
        Inner folds.
    drop, ridge, n_targets
        As in `RFE`.
    seed
        Of the inner folds.
    """

    def __init__(
        self,
        least: int = 10,
        n_folds: int = 5,
        drop: float = 0.1,
        ridge: float = 1.0,
        n_targets: int = 8,
        seed: int = 0,
    ) -> None:
        self.least = least
        self.n_folds = n_folds
        self.drop = drop
        self.ridge = ridge
        self.n_targets = n_targets
        self.seed = seed

    def _pick(self, x: Array, y: Array) -> Index:
        _check_elimination(self.least, self.drop, self.ridge)
        from sklearn.feature_selection import RFECV as SkRFECV
        from sklearn.model_selection import KFold

        folds = KFold(min(self.n_folds, len(x)), shuffle=True, random_state=self.seed)
        selector = SkRFECV(
            _ridge(self.ridge, len(x)),
            step=self.drop,
            min_features_to_select=min(self.least, x.shape[1]),
            cv=folds,
            scoring="neg_mean_squared_error",
        ).fit(x, y)
        self.n_tried_ = np.asarray(selector.cv_results_["n_features"], dtype=np.int64)
        self.error_ = -np.asarray(selector.cv_results_["mean_test_score"], dtype=np.float64)
        return np.flatnonzero(selector.support_)


def _check_elimination(n: int, drop: float, ridge: float) -> None:
    if n < 1 or not 0 < drop < 1 or ridge <= 0:
        raise DataError(f"columns to keep {n} (at least 1), drop {drop:g} (a share between 0 and 1), ridge above 0.")


def _ridge(ridge: float, n_rows: int) -> Ridge:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=ridge * n_rows, fit_intercept=True)


@contextmanager
def _converging(what: str) -> Iterator[None]:
    """Log scikit-learn's warning that a path or descent stopped early instead of showing it for every fit."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        yield
    if caught:
        log.info("%s: %s", what, str(caught[0].message).splitlines()[0])
