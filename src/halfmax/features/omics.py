"""Steps: each learns from training rows in `fit` and maps a block to a block in `transform`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, examples
from halfmax.features.blocks import Block, FloatArray
from halfmax.registry import Registry
from halfmax.state import JSON, State, Stateful

log = logging.getLogger(__name__)
#: Responses of training rows, shape ``(n, m)``, NaN where not measured; see `SupervisedStep`.
Targets: TypeAlias = npt.NDArray[np.float64]


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


class SupervisedStep(Protocol):
    """A step that also learns from the responses of the training rows, such as a selection of genes.

    A pipeline hands it what the training responses say of each row of the block and nothing else. The class says so
    with ``supervised = True``.
    """

    supervised: ClassVar[bool]

    def fit(self, block: Block, targets: Targets) -> Self:
        """Learn from training rows and their responses.

        Parameters
        ----------
        targets
            Shape ``(n, m)``, a row for each row of `block`: for samples the response to each of the m training drugs
            less that drug's mean, in the measure's unit; for drugs the response of each training sample less that
            sample's mean. NaN where a pair was not measured.
        """
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
        known = known_columns(block.values)
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


class Select(Stateful):
    """Keep some columns, chosen in `fit` and remembered by name."""

    def transform(self, block: Block) -> Block:
        """Return the chosen columns, found by name."""
        self._check_fitted()
        return select_columns(block, tuple(self.names_.tolist()))

    def fit(self, block: Block) -> Self:
        """Choose columns."""
        self._keep(block, self._choose(block))
        return self

    def _keep(self, block: Block, columns: npt.NDArray[np.int64]) -> None:
        self.names_ = np.array([block.names[i] for i in columns], dtype=str)
        self.n_offered_ = len(block.names)

    def _choose(self, block: Block) -> npt.NDArray[np.int64]:
        raise NotImplementedError


class TopVariance(Select):
    """Keep the `n` columns that vary most among training rows."""

    def __init__(self, n: int = 1000) -> None:
        self.n = n

    def _choose(self, block: Block) -> npt.NDArray[np.int64]:
        known = known_columns(block.values)
        variance = np.nanvar(np.where(known, block.values, 0).astype(np.float64), axis=0)
        return np.sort(np.argsort(-variance, kind="stable")[: self.n])


class GeneList(Select):
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


def known_columns(values: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which columns have any value at all."""
    return np.asarray(np.isfinite(values).any(axis=0))


def require_finite(block: Block, what: str) -> None:
    """Raise DataError, naming columns, where a step needs values without gaps."""
    complete = np.isfinite(block.values).all(axis=0)
    if not complete.all():
        lacking = np.array(block.names)[~complete]
        raise DataError(
            f"{what} met missing values in {len(lacking)} features, e.g. {examples(lacking)}; impute first."
        )


_BUILTIN = {
    "omics": {
        "log1p": "Log1p",
        "sample_zscore": "SampleZscore",
        "rank": "Rank",
        "standard": "Standard",
        "minmax": "MinMax",
        "robust": "Robust",
        "top_variance": "TopVariance",
        "genes": "GeneList",
    },
    "scale": {"quantile": "Quantile"},
    "impute": {"impute": "Impute", "knn_impute": "KnnImpute", "iterative_impute": "IterativeImpute"},
    "select": {"drop_missing": "DropMissing", "variance": "Variance", "correlation": "Correlation"},
    "supervised": {
        "mutual_information": "MutualInformation",
        "l1": "L1",
        "stability_selection": "StabilitySelection",
        "rfe": "RFE",
        "rfecv": "RFECV",
    },
    "decompose": {"pca": "PCA", "sparse_pca": "SparsePCA"},
    "pathways": {"pathways": "Pathways"},
    "mutations": {"burden": "Burden", "gene_level": "GeneLevel", "recurrent": "Recurrent"},
}
STEPS: Registry[type[Step]] = Registry(
    "step",
    {name: f"halfmax.features.{file}:{cls}" for file, names in _BUILTIN.items() for name, cls in names.items()},
)
