"""Quantile scaling: each column through its own training distribution, to normal scores or to 0…1."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np

from halfmax.errors import DataError
from halfmax.features.blocks import Block, FloatArray
from halfmax.features.omics import known_columns
from halfmax.state import Stateful


class Quantile(Stateful):
    """Replace a value by its place among the training values of its column.

    A value between two training quantiles is interpolated; one beyond them takes the outermost place. Missing values
    stay missing, a column that is constant in training becomes its middle (0, or 0.5).

    Parameters
    ----------
    n_quantiles
        Quantiles kept a column, at least 2.
    output
        ``normal`` (standard normal scores, never beyond those of 1 in 2 · `n_quantiles`) or ``uniform`` (0 to 1).
    """

    def __init__(self, n_quantiles: int = 100, output: str = "normal") -> None:
        self.n_quantiles = n_quantiles
        self.output = output

    def fit(self, block: Block) -> Self:
        """Learn each column's quantiles; a column without any value has them all at 0."""
        if self.output not in ("normal", "uniform"):
            raise DataError(f"quantile output is {self.output!r}; it is normal or uniform.")
        if self.n_quantiles < 2:
            raise DataError(f"n_quantiles is {self.n_quantiles}; it is at least 2.")
        known = known_columns(block.values)
        levels = np.linspace(0, 1, self.n_quantiles)
        self.quantiles_ = np.nanquantile(np.where(known, block.values, 0), levels, axis=0).astype(np.float32)
        return self

    def transform(self, block: Block) -> Block:
        """Return places among training values; tied training values share the middle of their places."""
        self._check_fitted()
        levels = np.linspace(0, 1, len(self.quantiles_))
        place = np.empty(block.values.shape, dtype=np.float32)
        for column, quantiles in enumerate(self.quantiles_.T):
            values = block.values[:, column]
            upper = np.interp(values, quantiles, levels)
            lower = 1 - np.interp(-values, -quantiles[::-1], levels)
            place[:, column] = (lower + upper) / 2
        constant = self.quantiles_[0] == self.quantiles_[-1]
        place = np.where(constant & np.isfinite(block.values), np.float32(0.5), place)
        return replace(block, values=place if self.output == "uniform" else self._normal(place))

    def _normal(self, place: FloatArray) -> FloatArray:
        from scipy.special import ndtri

        edge = 0.5 / len(self.quantiles_)
        return np.asarray(ndtri(np.clip(place, edge, 1 - edge)), dtype=np.float32)
