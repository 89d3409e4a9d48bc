"""Calibrate: the domain of a training set, and a cross-validation of one recipe where none has been done."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import ResponseDataset
from halfmax.features.blocks import PairFeatures
from halfmax.models.base import response_matrix
from halfmax.split import make_splits
from halfmax.uncertainty.domain import Domain

Array = npt.NDArray[np.float64]
_LEAST_SAMPLES = 4


def learn_domain(x: PairFeatures, y: Array, *, block: str = "expression") -> Domain | None:
    """Return the domain of the training samples `x`; None where they have no such block, or are too few.

    Parameters
    ----------
    y
        Responses of the pairs of `x`, shape ``(n_pairs,)``.
    """
    if block not in x.modalities:
        return None
    values = x.sample_x[block]
    rows = np.flatnonzero(~values.absent)
    if len(rows) < _LEAST_SAMPLES:
        return None
    grid = response_matrix(x, y)[rows]
    known = np.isfinite(grid)
    mean = np.where(known, grid, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return Domain().fit(
        values.values[rows],
        values.names,
        grid - mean,
        sample_ids=x.sample_ids[rows].tolist(),
        tissues=_tissues(x, rows),
    )


def out_of_fold(
    predict: Callable[[ResponseDataset, ResponseDataset], Array],
    dataset: ResponseDataset,
    n_folds: int,
    *,
    protocol: str = "LCO",
    seed: int = 0,
) -> pd.DataFrame:
    """Return sample_id, drug_id, y_true and y_pred of every pair, predicted while its samples (or drugs) were left out.

    Parameters
    ----------
    predict
        Fits a recipe on the first dataset and predicts the pairs of the second.
    """
    parts = []
    for split in make_splits(dataset, protocol, n_folds=n_folds, seed=seed, valid_fraction=0.0):
        test = dataset.take(split.test)
        pairs = test.response[["sample_id", "drug_id"]]
        predicted = predict(dataset.take(split.fit_rows), test)
        parts.append(pairs.assign(y_true=test.response["value"], y_pred=predicted))
    return pd.concat(parts, ignore_index=True)


def _tissues(x: PairFeatures, rows: npt.NDArray[np.int64]) -> list[str] | None:
    """Return the tissue of these samples, empty where it is not known; None where tissues are no block."""
    if "tissue" not in x.sample_x:
        return None
    block = x.sample_x["tissue"]
    levels = np.array([*(name.partition("=")[2] for name in block.names), ""], dtype=str)
    hot = block.values[rows]
    return levels[np.where(hot.any(axis=1), hot.argmax(axis=1), len(levels) - 1)].tolist() if hot.shape[1] else None
