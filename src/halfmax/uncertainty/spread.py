"""Spread: each training drug's own distribution of measured values, which a prediction is held against."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.features.blocks import PairFeatures, rows_of

#: Levels of the quantiles that are kept.
QUANTILES = np.linspace(0, 1, 101)


def drug_spread(x: PairFeatures, y: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[Any]]:
    """Return each training drug's mean, count and 101 quantiles of measured values."""
    order = np.lexsort((y, x.drug_index))
    n = np.bincount(x.drug_index, minlength=len(x.drug_ids))
    known = n > 0
    start, n = (np.cumsum(n) - n)[known], n[known]
    place = QUANTILES * (n[:, None] - 1)
    below = place.astype(np.int64)
    values = y[order]
    low, high = values[start[:, None] + below], values[start[:, None] + np.minimum(below + 1, n[:, None] - 1)]
    return {
        "drug_id": x.drug_ids[known],
        "mean": np.add.reduceat(values, start) / n,
        "n": n,
        "quantiles": low + (high - low) * (place - below),
    }


def compared(table: pd.DataFrame, reference: dict[str, npt.NDArray[Any]]) -> pd.DataFrame:
    """Return the table with each prediction beside the drug's own distribution in training.

    Parameters
    ----------
    table
        Columns drug_id and prediction.
    reference
        From `drug_spread`.
    """
    value = table["prediction"].to_numpy(dtype=np.float64)
    rows = rows_of(table["drug_id"].to_numpy(dtype=str), reference["drug_id"])
    known = rows >= 0
    mean, quantiles = reference["mean"][rows], reference["quantiles"][rows]
    drug_mean = np.where(known, mean, np.nan)
    below = (quantiles < value[:, None]).mean(axis=1) * 100
    return table.assign(drug_mean=drug_mean, difference=value - drug_mean, percentile=np.where(known, below, np.nan))
