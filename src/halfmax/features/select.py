"""Filters: keep columns by their gaps, their variance or their correlation with each other, seen in training rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import Block
from halfmax.features.omics import Select, known_columns

#: Columns compared with the kept ones in one matrix product.
_COLUMNS_AT_ONCE = 512


class DropMissing(Select):
    """Drop columns of which more than a share of the training samples lack a value.

    Parameters
    ----------
    max_missing
        Largest share that may be missing, 0 to 1.
    """

    def __init__(self, max_missing: float = 0.5) -> None:
        self.max_missing = max_missing

    def _choose(self, block: Block) -> npt.NDArray[np.int64]:
        share = (~np.isfinite(block.values)).mean(axis=0) if len(block.values) else np.zeros(len(block.names))
        return _some(np.flatnonzero(share <= self.max_missing), block, f"have at most {self.max_missing:g} missing")


class Variance(Select):
    """Keep columns whose variance among training samples is above a threshold; 0 drops constant columns only.

    Parameters
    ----------
    threshold
        In the square of the column's unit: give it before any scaling to equal variance.
    """

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold

    def _choose(self, block: Block) -> npt.NDArray[np.int64]:
        known = known_columns(block.values)
        wide = np.where(known, block.values, 0).astype(np.float64)
        variance = np.where(np.nanmax(wide, axis=0) > np.nanmin(wide, axis=0), np.nanvar(wide, axis=0), 0.0)
        return _some(np.flatnonzero(variance > self.threshold), block, f"vary by more than {self.threshold:g}")


class Correlation(Select):
    """Of columns that say nearly the same, keep the one that varies most.

    Columns are visited by falling variance (and by name where it is equal, so that their order means nothing); one
    whose absolute Pearson correlation with an already kept one is above the threshold is dropped. Missing values count
    as the column's mean.

    Parameters
    ----------
    threshold
        Largest absolute correlation between kept columns.
    """

    def __init__(self, threshold: float = 0.95) -> None:
        self.threshold = threshold

    def _choose(self, block: Block) -> npt.NDArray[np.int64]:
        known = known_columns(block.values)
        wide = np.where(known, block.values, 0).astype(np.float64)
        centred = np.nan_to_num(wide - np.nanmean(wide, axis=0))
        size = np.linalg.norm(centred, axis=0)
        scaled = (centred / np.where(size > 1e-8, size, np.inf)).astype(np.float32)
        kept = np.empty((0, len(scaled)), dtype=np.float32)
        chosen: list[int] = []
        order = np.lexsort((np.array(block.names), -np.round(size, 6)))
        for start in range(0, len(order), _COLUMNS_AT_ONCE):
            part = order[start : start + _COLUMNS_AT_ONCE]
            free = (np.abs(kept @ scaled[:, part]) <= self.threshold).all(axis=0)
            like = np.abs(scaled[:, part].T @ scaled[:, part]) > self.threshold
            for i in range(len(part)):
                if free[i]:
                    free[i + 1 :] &= ~like[i, i + 1 :]
            chosen += part[free].tolist()
            kept = np.vstack([kept, scaled[:, part[free]].T])
        return np.sort(np.array(chosen, dtype=np.int64))


def _some(chosen: npt.NDArray[np.int64], block: Block, condition: str) -> npt.NDArray[np.int64]:
    if not len(chosen):
        raise DataError(f"none of {len(block.names)} features {condition} among {len(block.values)} training rows.")
    return chosen
