"""Labels: sensitive or not, by thresholds learned from training rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import Measure, ResponseDataset
from halfmax.errors import DataError, examples

SENSITIVE = Measure("sensitive", "", higher_is_sensitive=True)
#: Ways to set a threshold.
By = Literal["drug", "global", "value", "waterfall", "max_dose"]
#: How the score above which a pair is called sensitive is chosen: the best of a metric on validation rows, or the
#: training share of sensitive pairs.
Decide = Literal["f1", "balanced_accuracy", "share"]
WAYS: tuple[str, ...] = ("drug", "global", "value", "waterfall", "max_dose")
#: A waterfall straighter than this (Pearson r of sorted responses and ranks) has no elbow: its median is taken.
STRAIGHT = 0.95
#: Fewest training responses of a drug from which a waterfall is read.
LEAST_WATERFALL = 10


@dataclass(frozen=True)
class Threshold:
    """How to call a response sensitive.

    Parameters
    ----------
    by
        ``drug``: the most sensitive `quantile` of each drug's training responses; ``global``: of all of them;
        ``value``: beyond `value` [measure.unit]; ``waterfall``: beyond the elbow of each drug's sorted training
        responses (Barretina et al. 2012, see `waterfall_threshold`); ``max_dose``: an IC50 below the highest dose that
        the drug was screened at (Garnett et al. 2012: beyond it IC50 are extrapolated), the column ``max_dose`` [µM] of
        the drugs table, which is a fact of the screen and not of any response.
    quantile
        Share called sensitive, 0 to 1.
    value
        The fixed threshold for ``by="value"``.
    """

    by: By = "drug"
    quantile: float = 0.2
    value: float | None = None

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise DataError(f"threshold by {self.by!r}: it is one of {', '.join(WAYS)}.")
        if self.by == "value" and self.value is None:
            raise DataError("a threshold by value needs the value.")
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
        Threshold for any other drug; NaN where each drug's own is known beforehand.
    share
        Share of training responses that are sensitive.
    by_dose
        Whether a drug's threshold is its highest dose, read from the drugs table.
    """

    per_drug: pd.Series
    overall: float
    higher_is_sensitive: bool
    share: float
    by_dose: bool = False

    @classmethod
    def learn(cls, threshold: Threshold, train: ResponseDataset) -> Labels:
        """Learn thresholds from the responses of `train`.

        Raises
        ------
        DataError
            If only one class is left, or doses are needed and not known.
        """
        higher = train.measure.higher_is_sensitive
        q = 1 - threshold.quantile if higher else threshold.quantile
        values, drugs = train.response["value"].astype(float), train.response["drug_id"]
        overall, per_drug = float(values.quantile(q)), pd.Series(dtype=float)
        if threshold.by == "value":
            overall = float(threshold.value)  # type: ignore[arg-type]
        elif threshold.by == "drug":
            per_drug = values.groupby(drugs).quantile(q)
        elif threshold.by == "waterfall":
            enough = values[drugs.groupby(drugs).transform("size") >= LEAST_WATERFALL]
            if enough.empty:
                raise DataError(
                    f"a waterfall is read from {LEAST_WATERFALL} responses of a drug or more; none of "
                    f"{drugs.nunique()} drugs has so many. Set the threshold by drug or value."
                )
            per_drug = enough.groupby(drugs).agg(lambda v: waterfall_threshold(v.to_numpy(), higher=higher))
            overall = float(per_drug.median())
        elif threshold.by == "max_dose":
            overall = float("nan")
        labels = cls(per_drug, overall, higher, 0.5, threshold.by == "max_dose")
        positive = labels.of(train)
        if positive.all() or not positive.any():
            raise DataError(
                f"the threshold calls {int(positive.sum())} of {len(positive)} training responses sensitive; "
                "choose one that leaves both classes."
            )
        return replace(labels, share=float(positive.mean()))

    def of(self, dataset: ResponseDataset) -> npt.NDArray[np.bool_]:
        """Return True where a response is sensitive, shape ``(n_pairs,)``."""
        per_drug = _doses(dataset) if self.by_dose else self.per_drug
        limit = dataset.response["drug_id"].map(per_drug).astype(float).fillna(self.overall).to_numpy()
        value = dataset.response["value"].to_numpy(dtype=float)
        return np.asarray(value > limit if self.higher_is_sensitive else value < limit)

    def apply(self, dataset: ResponseDataset) -> ResponseDataset:
        """Return the dataset with 1 for sensitive and 0 for not."""
        response = dataset.response.assign(value=self.of(dataset).astype(np.float64))
        return replace(dataset, measure=SENSITIVE, response=response)


def waterfall_threshold(values: npt.NDArray[np.float64], *, higher: bool = False) -> float:
    """Return where the sorted responses of one drug bend: what lies beyond is sensitive.

    Responses are sorted from resistant to sensitive and drawn against their rank. Where they lie on a line (Pearson r
    with the rank of at least 0.95) the threshold is their median; otherwise it is the response farthest from the line
    between the first and the last (Barretina et al. 2012, Nature 483, 603, supplementary methods). The intermediate
    class that they set aside on either side of it is not: a label is sensitive or not.

    Parameters
    ----------
    values
        Responses, shape ``(n,)``; IC50 on a logarithmic scale.
    higher
        Whether higher means more sensitive.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if len(ordered) < 3 or ordered[0] == ordered[-1]:
        return float(np.median(ordered))
    ordered = ordered if higher else ordered[::-1]
    rank = np.linspace(0.0, 1.0, len(ordered))
    if abs(float(np.corrcoef(rank, ordered)[0, 1])) >= STRAIGHT:
        return float(np.median(ordered))
    line = ordered[0] + rank * (ordered[-1] - ordered[0])
    # all distances from a line are in the same proportion to the vertical ones
    return float(ordered[int(np.argmax(np.abs(ordered - line)))])


def _doses(dataset: ResponseDataset) -> pd.Series:
    """Return the highest dose of each drug on the scale of the measure."""
    scales = {"ln_ic50": lambda dose: np.log(dose), "pic50": lambda dose: 6.0 - np.log10(dose)}
    if dataset.measure.name not in scales:
        raise DataError(
            f"a threshold by max_dose compares doses with an IC50; the measure is {dataset.measure.name}. Use ln_ic50 "
            "or pic50, or another threshold."
        )
    doses = pd.to_numeric(dataset.drugs["max_dose"], errors="coerce") if "max_dose" in dataset.drugs else None
    used = pd.Index(dataset.response["drug_id"].unique())
    lacking = used if doses is None else used[~(doses.reindex(used) > 0)]
    if doses is None or len(lacking):
        raise DataError(
            f"{len(lacking)} of {len(used)} drugs have no highest dose, e.g. {examples(lacking)}; give it as a "
            "positive number in the column max_dose [µM] of the drugs table, or set the threshold by drug or waterfall."
        )
    return pd.Series(scales[dataset.measure.name](doses.to_numpy(dtype=float)), index=doses.index)
