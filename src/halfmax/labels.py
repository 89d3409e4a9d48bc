"""Labels: sensitive or not, by thresholds learned from training rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import Measure, ResponseDataset
from halfmax.errors import DataError

SENSITIVE = Measure("sensitive", "", higher_is_sensitive=True)


@dataclass(frozen=True)
class Threshold:
    """How to call a response sensitive.

    Parameters
    ----------
    by
        ``drug``: the most sensitive `quantile` of each drug's training responses; ``global``: of all of them;
        ``value``: beyond `value` [measure.unit].
    quantile
        Share called sensitive, 0 to 1.
    value
        The fixed threshold for ``by="value"``.
    """

    by: Literal["drug", "global", "value"] = "drug"
    quantile: float = 0.2
    value: float | None = None

    def __post_init__(self) -> None:
        if self.by == "value" and self.value is None:
            raise DataError("a threshold by value needs the value.")
        if self.by not in ("drug", "global", "value"):
            raise DataError(f"threshold by {self.by!r}: it is drug, global or value.")
        if not 0 < self.quantile < 1:
            raise DataError(f"threshold quantile is {self.quantile}; it lies between 0 and 1.")


@dataclass(frozen=True)
class Labels:
    """Learned thresholds: one a drug, and one for drugs without training responses.

    Parameters
    ----------
    per_drug
        Threshold of each drug [measure.unit], index drug_id.
    overall
        Threshold for any other drug.
    cutoff
        Training share of positives: a predicted score above it is called sensitive.
    """

    per_drug: pd.Series
    overall: float
    higher_is_sensitive: bool
    cutoff: float

    @classmethod
    def learn(cls, threshold: Threshold, train: ResponseDataset) -> Labels:
        """Learn thresholds from the responses of `train`."""
        higher = train.measure.higher_is_sensitive
        q = 1 - threshold.quantile if higher else threshold.quantile
        values = train.response["value"]
        overall = float(threshold.value) if threshold.value is not None else float(values.quantile(q))
        per_drug = pd.Series(dtype=float)
        if threshold.by == "drug":
            per_drug = values.groupby(train.response["drug_id"]).quantile(q)
        labels = cls(per_drug, overall, higher, 0.5)
        positive = labels.of(train)
        if positive.all() or not positive.any():
            raise DataError(
                f"the threshold calls {int(positive.sum())} of {len(positive)} training responses sensitive; "
                "choose one that leaves both classes."
            )
        return replace(labels, cutoff=float(positive.mean()))

    def of(self, dataset: ResponseDataset) -> npt.NDArray[np.bool_]:
        """Return True where a response is sensitive, shape ``(n_pairs,)``."""
        limit = dataset.response["drug_id"].map(self.per_drug).astype(float).fillna(self.overall).to_numpy()
        value = dataset.response["value"].to_numpy(dtype=float)
        return np.asarray(value > limit if self.higher_is_sensitive else value < limit)

    def apply(self, dataset: ResponseDataset) -> ResponseDataset:
        """Return the dataset with 1 for sensitive and 0 for not."""
        response = dataset.response.assign(value=self.of(dataset).astype(np.float64))
        return replace(dataset, measure=SENSITIVE, response=response)
