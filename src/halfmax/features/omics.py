"""Steps: each learns from training rows in `fit` and maps a block to a block in `transform`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, examples
from halfmax.features.blocks import Block, FloatArray
from halfmax.registry import Registry
from halfmax.state import JSON, State, Stateful

log = logging.getLogger(__name__)


@runtime_checkable
class Step(Protocol):
    """One column-wise or row-wise operation; values may hold NaN until a step fills them."""

    def fit(self, block: Block) -> Self:
        """Learn from training rows, each sample once."""
        ...

    def transform(self, block: Block) -> Block:
        """Return the block with the operation applied; never writes to its input."""
        ...

    def get_params(self) -> dict[str, JSON]:
        """Return the arguments of ``__init__``."""
        ...

    def get_state(self) -> State:
        """Return what was learned."""
        ...

    def set_state(self, state: State) -> Self:
        """Take over what another instance learned."""
        ...


class Stateless(Stateful):
    """A step that learns nothing."""

    def fit(self, block: Block) -> Self:
        """Learn nothing."""
        return self

    def get_state(self) -> State:
        """Return an empty state."""
        return State()


class Log1p(Stateless):
    """log2(x + 1), for counts, TPM and the like; negative values are an error."""

    def transform(self, block: Block) -> Block:
        """Return log2(values + 1)."""
        if np.nanmin(block.values, initial=0) < 0:
            raise DataError("log1p met negative values: the table is in logarithms or centred already.")
        return replace(block, values=np.log2(block.values + 1))


class SampleZscore(Stateless):
    """Centre and scale every sample over its own known genes: removes a platform's offset and gain."""

    def transform(self, block: Block) -> Block:
        """Return each row with mean 0 and standard deviation 1 over its known values; a constant row becomes 0."""
        with np.errstate(invalid="ignore"):
            n = np.maximum(np.isfinite(block.values).sum(axis=1, keepdims=True), 1)
            mean = np.nansum(block.values, axis=1, keepdims=True, dtype=np.float64) / n
            centred = block.values - mean.astype(np.float32)
            scale = np.sqrt(np.nansum(centred**2, axis=1, keepdims=True, dtype=np.float64) / n)
        return replace(block, values=centred / np.where(scale > 1e-8, scale, 1).astype(np.float32))


class Rank(Stateless):
    """Replace every sample's values by their normal scores: keeps only the order of its genes."""

    def transform(self, block: Block) -> Block:
        """Return normal scores of average ranks within each row; NaN stays NaN."""
        from scipy.special import ndtri
        from scipy.stats import rankdata

        known = np.isfinite(block.values)
        ranks = rankdata(block.values, axis=1, nan_policy="omit")
        n = known.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return replace(block, values=ndtri((ranks - 0.5) / np.maximum(n, 1)).astype(np.float32))


class ColumnScale(Stateful):
    """(x − centre) / scale a column; a column that is constant in training becomes 0."""

    def __init__(self, clip: float | None = None) -> None:
        self.clip = clip

    def fit(self, block: Block) -> Self:
        """Learn centre and scale from known values."""
        known = _known_columns(block.values)
        centre, scale = self._centre_scale(np.where(known, block.values, 0))
        self.centre_ = np.where(known, centre, 0).astype(np.float32)
        usable = known & np.isfinite(scale) & (scale > 1e-8)
        self.gain_ = np.where(usable, 1 / np.where(usable, scale, 1), 0).astype(np.float32)
        return self

    def transform(self, block: Block) -> Block:
        """Return scaled values, clipped to ±`clip` where that is set."""
        self._check_fitted()
        values = (block.values - self.centre_) * self.gain_
        if self.clip is not None:
            if n := int((np.abs(values) > self.clip).sum()):
                log.info("%d values beyond %g were clipped", n, self.clip)
            values = np.clip(values, -self.clip, self.clip)
        return replace(block, values=values)

    def _centre_scale(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        raise NotImplementedError


class Standard(ColumnScale):
    """Mean 0, standard deviation 1."""

    def _centre_scale(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        wide = values.astype(np.float64)
        return np.nanmean(wide, axis=0), np.nanstd(wide, axis=0)


class MinMax(ColumnScale):
    """Training minimum to 0, training maximum to 1; values outside go outside unless `clip` is set."""

    def _centre_scale(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        low = np.nanmin(values, axis=0)
        return low, np.nanmax(values, axis=0) - low


class Robust(ColumnScale):
    """Median 0, interquartile range 1."""

    def _centre_scale(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=0)
        return middle, high - low


class Impute(Stateful):
    """Fill missing values with the column's training mean, median or a constant; the mask remembers which."""

    def __init__(self, strategy: str = "mean", value: float = 0.0) -> None:
        self.strategy = strategy
        self.value = value

    def fit(self, block: Block) -> Self:
        """Learn the fill values; a column without any known value is filled with `value`."""
        if self.strategy not in ("mean", "median", "constant"):
            raise DataError(f"impute strategy is {self.strategy!r}; it is mean, median or constant.")
        fill = np.full(block.values.shape[1], self.value, dtype=np.float32)
        if self.strategy != "constant":
            known = _known_columns(block.values)
            average = np.nanmean if self.strategy == "mean" else np.nanmedian
            fill[known] = average(block.values[:, known].astype(np.float64), axis=0)
        self.fill_ = fill
        return self

    def transform(self, block: Block) -> Block:
        """Return filled values and the mask of what was filled."""
        self._check_fitted()
        missing = ~np.isfinite(block.values)
        if not missing.any():
            return block
        mask = missing if block.mask is None else missing | block.mask
        return replace(block, values=np.where(missing, self.fill_, block.values), mask=mask)


class _Select(Stateful):
    """Keep some columns, chosen in `fit` and remembered by name."""

    def transform(self, block: Block) -> Block:
        """Return the chosen columns, found by name."""
        self._check_fitted()
        return select_columns(block, tuple(self.names_.tolist()))

    def fit(self, block: Block) -> Self:
        """Choose columns."""
        self.names_ = np.array([block.names[i] for i in self._choose(block)], dtype=str)
        return self

    def _choose(self, block: Block) -> npt.NDArray[np.int64]:
        raise NotImplementedError


class TopVariance(_Select):
    """Keep the `n` columns that vary most among training rows."""

    def __init__(self, n: int = 1000) -> None:
        self.n = n

    def _choose(self, block: Block) -> npt.NDArray[np.int64]:
        known = _known_columns(block.values)
        variance = np.nanvar(np.where(known, block.values, 0).astype(np.float64), axis=0)
        return np.sort(np.argsort(-variance, kind="stable")[: self.n])


class GeneList(_Select):
    """Keep the named columns; names that the data lack are counted and logged, none at all is an error."""

    def __init__(self, genes: Sequence[str] = ()) -> None:
        self.genes = genes

    def _choose(self, block: Block) -> npt.NDArray[np.int64]:
        place = {name: i for i, name in enumerate(block.names)}
        wanted = list(dict.fromkeys(self.genes))
        lacking = [g for g in wanted if g not in place]
        if len(lacking) == len(wanted):
            raise DataError(f"none of the {len(wanted)} listed genes is in the data, e.g. {examples(lacking)}.")
        if lacking:
            log.warning(
                "%d of %d listed genes are not in the data, e.g. %s", len(lacking), len(wanted), examples(lacking)
            )
        return np.array([place[g] for g in wanted if g in place], dtype=np.int64)


class PCA(Stateful):
    """Project onto the leading principal components of the training rows, each row once."""

    def __init__(self, n_components: int = 100, whiten: bool = False) -> None:
        self.n_components = n_components
        self.whiten = whiten

    def fit(self, block: Block) -> Self:
        """Learn the components by a full SVD; the sign of each is fixed by its largest loading."""
        wide = block.values.astype(np.float64)
        self.mean_ = wide.mean(axis=0).astype(np.float32)
        left, size, right = np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)
        n = min(self.n_components, int((size > size[:1] * 1e-10).sum()))
        if n == 0:
            raise DataError("PCA needs at least two different rows.")
        right = right[:n] * np.sign(right[np.arange(n), np.abs(right[:n]).argmax(axis=1)])[:, None]
        if self.whiten:
            right = right / (size[:n, None] / np.sqrt(max(len(left) - 1, 1)))
        self.components_ = right.astype(np.float32)
        return self

    def transform(self, block: Block) -> Block:
        """Return scores, shape ``(n, n_components)``."""
        self._check_fitted()
        values = (block.values - self.mean_) @ self.components_.T
        return Block(values, tuple(f"pc{i + 1}" for i in range(values.shape[1])))


def select_columns(block: Block, names: Sequence[str]) -> Block:
    """Return the named columns in that order; columns that the block lacks become NaN."""
    if block.names == tuple(names):
        return block
    place = {name: i for i, name in enumerate(block.names)}
    index = np.array([place.get(name, -1) for name in names], dtype=np.int64)
    known = index >= 0
    values = np.full((len(block.values), len(names)), np.nan, dtype=np.float32)
    values[:, known] = block.values[:, index[known]]
    mask = None
    if block.mask is not None:
        mask = np.zeros(values.shape, dtype=bool)
        mask[:, known] = block.mask[:, index[known]]
    return Block(values, tuple(names), mask)


def _known_columns(values: FloatArray) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).any(axis=0))


STEPS: Registry[type[Step]] = Registry(
    "step",
    {
        name: f"halfmax.features.omics:{cls}"
        for name, cls in {
            "log1p": "Log1p",
            "sample_zscore": "SampleZscore",
            "rank": "Rank",
            "standard": "Standard",
            "minmax": "MinMax",
            "robust": "Robust",
            "impute": "Impute",
            "top_variance": "TopVariance",
            "genes": "GeneList",
            "pca": "PCA",
        }.items()
    },
)
