"""Imputation: fill missing values from training rows; mask, counts and optional indicator columns remember which."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import Block, FloatArray
from halfmax.features.omics import known_columns
from halfmax.state import Stateful

log = logging.getLogger(__name__)
Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
#: Columns whose regressions are solved together, to bound memory.
_COLUMNS_AT_ONCE = 512


class Imputer(Stateful):
    """What imputers share: counts, the mask, and a 0/1 column for each feature that had gaps in training.

    After `fit`, ``n_missing_`` holds the missing training values of each column, shape ``(d,)``.
    """

    indicators: bool

    def fit(self, block: Block) -> Self:
        """Learn how to fill, and count what is missing."""
        missing = ~np.isfinite(block.values)
        self.n_missing_ = missing.sum(axis=0).astype(np.int64)
        self._learn(block.values, missing)
        return self

    def transform(self, block: Block) -> Block:
        """Return filled values, the mask of what was filled and, if wanted, the indicator columns."""
        self._check_fitted()
        missing = ~np.isfinite(block.values)
        if missing.any():
            log.info("%s filled %d of %d values", type(self).__name__, missing.sum(), missing.size)
            mask = missing if block.mask is None else missing | block.mask
            filled = np.where(missing, self._fill(block.values, missing), block.values).astype(np.float32)
            block = replace(block, values=filled, mask=mask)
        return self._with_indicators(block, missing) if self.indicators else block

    def _with_indicators(self, block: Block, missing: Mask) -> Block:
        columns = np.flatnonzero(self.n_missing_)
        names = (*block.names, *(f"{block.names[i]} missing" for i in columns))
        mask = block.mask
        if mask is not None:
            mask = np.hstack([mask, np.zeros((len(missing), len(columns)), dtype=bool)])
        return Block(np.hstack([block.values, missing[:, columns].astype(np.float32)]), names, mask)

    def _learn(self, values: FloatArray, missing: Mask) -> None:
        raise NotImplementedError

    def _fill(self, values: FloatArray, missing: Mask) -> npt.NDArray[np.floating]:
        """Return values for every cell; only those of missing cells are used."""
        raise NotImplementedError


class Impute(Imputer):
    """Fill missing values with the column's training mean, median or a constant.

    Parameters
    ----------
    strategy
        ``mean``, ``median`` or ``constant``.
    value
        The constant, which also fills a column without any training value.
    indicators
        Append a 0/1 column for each feature that had gaps in training.
    """

    def __init__(self, strategy: str = "mean", value: float = 0.0, indicators: bool = False) -> None:
        self.strategy = strategy
        self.value = value
        self.indicators = indicators

    def _learn(self, values: FloatArray, missing: Mask) -> None:
        if self.strategy not in ("mean", "median", "constant"):
            raise DataError(f"impute strategy is {self.strategy!r}; it is mean, median or constant.")
        fill = np.full(values.shape[1], self.value, dtype=np.float32)
        if self.strategy != "constant":
            known = known_columns(values)
            average = np.nanmean if self.strategy == "mean" else np.nanmedian
            fill[known] = average(values[:, known].astype(np.float64), axis=0)
        self.fill_ = fill

    def _fill(self, values: FloatArray, missing: Mask) -> npt.NDArray[np.floating]:
        return np.broadcast_to(self.fill_, values.shape)


class KnnImpute(Imputer):
    """Fill missing values from the training samples that are nearest over the features known in both.

    Scikit-learn's KNNImputer (Troyanskaya et al. 2001, Bioinformatics 17). Distances mix the columns as they are: scale
    them before. A column without any training value is filled with 0.

    Parameters
    ----------
    n_neighbours
        Training samples averaged.
    weights
        ``uniform`` or ``distance``.
    indicators
        As in `Impute`.

    Notes
    -----
    The state is the whole training matrix: a saved predictor carries it, gaps included.
    """

    def __init__(self, n_neighbours: int = 10, weights: str = "uniform", indicators: bool = False) -> None:
        self.n_neighbours = n_neighbours
        self.weights = weights
        self.indicators = indicators

    def _learn(self, values: FloatArray, missing: Mask) -> None:
        if self.n_neighbours < 1 or self.weights not in ("uniform", "distance"):
            raise DataError(
                f"n_neighbours is {self.n_neighbours} (at least 1), weights {self.weights!r} (uniform or distance)."
            )
        self.train_ = np.where(missing, 0, values).astype(np.float32)  # saved arrays hold no NaN
        self.missing_ = missing

    def _fill(self, values: FloatArray, missing: Mask) -> npt.NDArray[np.floating]:
        from sklearn.impute import KNNImputer

        imputer = KNNImputer(n_neighbors=self.n_neighbours, weights=self.weights, keep_empty_features=True)
        imputer.fit(np.where(self.missing_, np.float32(np.nan), self.train_))
        return np.asarray(imputer.transform(np.where(missing, np.float32(np.nan), values)))


class IterativeImpute(Imputer):
    """Fill missing values by regressing each column on the columns that it correlates with, again and again.

    Starting from column means, every column with gaps is predicted from its `n_nearest` most correlated columns as they
    are filled so far; all columns at once, `rounds` times. What a regression says is held within the column's range in
    training. The regressions of the last round serve new rows.

    Parameters
    ----------
    n_nearest
        Columns that predict a column.
    rounds
        How often the gaps are filled anew.
    ridge
        Penalty of the regressions, in units of a column's variance.
    indicators
        As in `Impute`.

    References
    ----------
    van Buuren and Groothuis-Oudshoorn (2011), mice, Journal of Statistical Software 45, for chained regressions.
    """

    def __init__(self, n_nearest: int = 20, rounds: int = 5, ridge: float = 0.05, indicators: bool = False) -> None:
        self.n_nearest = n_nearest
        self.rounds = rounds
        self.ridge = ridge
        self.indicators = indicators

    def _learn(self, values: FloatArray, missing: Mask) -> None:
        if self.n_nearest < 1 or self.rounds < 1 or self.ridge <= 0:
            raise DataError("n_nearest and rounds are at least 1, and ridge is above 0.")
        known = known_columns(values)
        wide = np.where(known, values, 0).astype(np.float64)
        spread = np.nanstd(wide, axis=0)
        self.centre_, self.spread_ = np.nanmean(wide, axis=0), np.where(spread > 1e-8, spread, 1.0)
        limits = (np.stack([np.nanmin(wide, axis=0), np.nanmax(wide, axis=0)]) - self.centre_) / self.spread_
        self.limits_ = limits
        z = np.where(missing, 0.0, (wide - self.centre_) / self.spread_)
        self.nearest_ = _nearest_columns(z, min(self.n_nearest, z.shape[1] - 1))
        for _ in range(self.rounds if missing.any() else 1):
            self.weight_ = _regressions(z, missing, self.nearest_, self.ridge)
            z = self._again(z, missing)

    def _fill(self, values: FloatArray, missing: Mask) -> npt.NDArray[np.floating]:
        z = np.where(missing, 0.0, (values - self.centre_) / self.spread_)
        for _ in range(self.rounds):
            z = self._again(z, missing)
        return np.asarray(z * self.spread_ + self.centre_)

    def _again(self, z: Array, missing: Mask) -> Array:
        """Return `z` with its gaps predicted from the other columns."""
        out = z.copy()
        gaps = np.flatnonzero(missing.any(axis=0))
        for part in np.split(gaps, range(_COLUMNS_AT_ONCE, len(gaps), _COLUMNS_AT_ONCE)):
            told = np.einsum("nck,ck->nc", z[:, self.nearest_[part]], self.weight_[part])
            told = np.clip(told, self.limits_[0, part], self.limits_[1, part])
            out[:, part] = np.where(missing[:, part], told, z[:, part])
        return out


def _nearest_columns(z: Array, k: int) -> npt.NDArray[np.int64]:
    """Return for each column the k others of largest absolute correlation, shape ``(d, k)``."""
    d = z.shape[1]
    scaled = (z / np.maximum(np.linalg.norm(z, axis=0), 1e-12)).astype(np.float32)
    out = np.empty((d, max(k, 0)), dtype=np.int64)
    for start in range(0, d if k > 0 else 0, _COLUMNS_AT_ONCE):
        rows = np.arange(start, min(start + _COLUMNS_AT_ONCE, d))
        like = np.abs(scaled[:, rows].T @ scaled)
        like[np.arange(len(rows)), rows] = -1
        out[rows] = np.argsort(-like, axis=1, kind="stable")[:, :k]
    return out


def _regressions(z: Array, missing: Mask, nearest: npt.NDArray[np.int64], ridge: float) -> Array:
    """Return each column's ridge coefficients on its nearest columns, from the rows that know it, shape ``(d, k)``."""
    d, k = nearest.shape
    out = np.zeros((d, k))
    for start in range(0, d if k else 0, _COLUMNS_AT_ONCE):
        part = np.arange(start, min(start + _COLUMNS_AT_ONCE, d))
        others = z[:, nearest[part]].transpose(1, 0, 2)  # (c, n, k)
        known = ~missing[:, part].T[:, :, None]
        left = (others * known).transpose(0, 2, 1)
        gram = left @ others + ridge * np.maximum(known.sum(axis=1), 1)[:, :, None] * np.eye(k)
        out[part] = np.linalg.solve(gram, left @ z[:, part].T[:, :, None])[:, :, 0]
    return out
