"""The scale of the training samples: each gene's mean, spread and quantiles, and on request the profiles themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, ModelFileError
from halfmax.features.blocks import Block, FloatArray
from halfmax.state import Stateful


class ScaleReference(Stateful):
    """What harmonisation knows of the training samples; no response is among it.

    Parameters
    ----------
    n_quantiles
        Quantiles kept of each gene, at (i + ½) / n_quantiles.
    profiles
        Whether the profiles are kept too, which `celligner` needs: four bytes for each sample and gene.

    Attributes
    ----------
    names_ : shape ``(n_genes,)``, the genes.
    n_ : shape ``(n_genes,)``, how many training samples have a value.
    mean_, sd_ : shape ``(n_genes,)``, float32, sd with divisor n; 0 for a gene without any value.
    quantiles_ : shape ``(n_quantiles, n_genes)``, float32, rising.
    profiles_ : shape ``(n_samples, n_genes)``, float32, missing values filled with the gene's mean; only on request.
    """

    def __init__(self, n_quantiles: int = 11, profiles: bool = False) -> None:
        self.n_quantiles = n_quantiles
        self.profiles = profiles

    def fit(self, block: Block) -> Self:
        """Learn from training samples, each once; samples without any value count for nothing."""
        values = block.values[np.isfinite(block.values).any(axis=1)]
        if len(values) < 2:
            raise DataError(f"{len(values)} training samples have values; a scale needs at least two.")
        self.names_ = np.array(block.names, dtype=str)
        self.n_ = np.isfinite(values).sum(axis=0).astype(np.int64)
        mean, sd = moments(values)
        self.mean_, self.sd_ = np.nan_to_num(mean).astype(np.float32), np.nan_to_num(sd).astype(np.float32)
        self.quantiles_ = column_quantiles(values, self.n_quantiles)
        if self.profiles:
            self.profiles_ = np.where(np.isfinite(values), values, self.mean_).astype(np.float32)
        return self

    def get_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what was learned, without the names."""
        self._check_fitted()
        return {name: value for name, value in self._learned().items() if name != "names_"}

    @classmethod
    def of(cls, names: tuple[str, ...], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Return the reference with these genes and arrays; raise ModelFileError where they do not fit together."""
        known = {"n_", "mean_", "sd_", "quantiles_", "profiles_"}
        if not known - {"profiles_"} <= set(arrays) <= known:
            raise ModelFileError(f"the training scale holds {sorted(arrays)}, not {sorted(known)}.")
        if {array.shape[-1] for array in arrays.values()} != {len(names)} or arrays["quantiles_"].ndim != 2:
            raise ModelFileError(f"the training scale is not that of {len(names)} genes.")
        found = cls(len(arrays["quantiles_"]), "profiles_" in arrays)
        found.names_ = np.array(names, dtype=str)
        for name, array in arrays.items():
            setattr(found, name, array)
        return found


def moments(values: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return each column's mean and standard deviation (divisor n) over known values; NaN for a column without any."""
    wide = values.astype(np.float64)
    known = np.isfinite(wide)
    n = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, wide, 0).sum(axis=0) / n
        return mean, np.sqrt((np.where(known, wide - mean, 0) ** 2).sum(axis=0) / n)


def column_quantiles(values: FloatArray, n: int) -> FloatArray:
    """Return each column's quantiles at (i + ½) / n over known values, shape ``(n, n_columns)``; 0 without any."""
    ordered = np.sort(values, axis=0)  # NaN last
    count = np.isfinite(values).sum(axis=0)
    place = (np.arange(n)[:, None] + 0.5) / n * np.maximum(count, 1) - 0.5
    place = np.clip(place, 0, np.maximum(count - 1, 0))
    below = place.astype(np.int64)
    low = np.take_along_axis(ordered, below, axis=0)
    high = np.take_along_axis(ordered, np.minimum(below + 1, np.maximum(count - 1, 0)), axis=0)
    found = low + (high - low) * (place - below).astype(np.float32)
    return np.where(count > 0, found, 0).astype(np.float32)
