"""TrainingSamples: the samples that a predictor learned from, where their dataset is on this machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import pandas as pd

from halfmax.data.dataset import ResponseDataset
from halfmax.data.readers import embedded
from halfmax.errors import DataError, HalfmaxError, UnknownNameError, did_you_mean
from halfmax.predictor import Predictor

log = logging.getLogger(__name__)


class TrainingSamples:
    """The training samples of a predictor, read when they are first asked for.

    Parameters
    ----------
    predictor
        A fitted predictor.
    dataset
        Its samples; looked for among the converted embedded datasets if None. Nothing is fetched.
    """

    def __init__(self, predictor: Predictor, dataset: ResponseDataset | None) -> None:
        self._predictor, self._dataset = predictor, dataset
        self._looked = dataset is not None
        self._lock = threading.Lock()

    @property
    def dataset(self) -> ResponseDataset | None:
        """The dataset, or None where it is not on this machine."""
        with self._lock:
            if not self._looked:
                self._dataset, self._looked = _find(self._predictor), True
            return self._dataset

    def need(self) -> ResponseDataset:
        """Return the dataset; raise DataError where it is not on this machine."""
        if (dataset := self.dataset) is None:
            name = self._predictor.about_.get("data", {}).get("name", "unknown")
            raise DataError(
                f"the training data {name!r} is not on this machine; start the service with --data FOLDER, or fetch it "
                "with: halfmax data fetch."
            )
        return dataset

    @property
    def ids(self) -> tuple[str, ...]:
        """Samples that have a profile."""
        dataset, modality = self.dataset, self._predictor.features_.modalities[0]
        if dataset is None or modality not in dataset.omics:
            return ()
        return tuple(map(str, dataset.omics[modality].index))

    def take(self, ids: Sequence[str]) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
        """Return profiles and table of some samples; raise UnknownNameError if one is not among them."""
        dataset, known = self.need(), set(self.ids)
        if unknown := [i for i in ids if i not in known]:
            hint = did_you_mean(unknown[0], known)
            raise UnknownNameError(
                f"{len(unknown)} samples are not among the {len(known)} known ones: {unknown[0]!r}.{hint}"
            )
        wanted = list(dict.fromkeys(ids))
        modalities = [m for m in self._predictor.features_.modalities if m in dataset.omics]
        return {m: dataset.omics[m].reindex(wanted) for m in modalities}, dataset.samples.loc[wanted]

    def statistics(self) -> dict[str, Any]:
        """Return counts and spread, as plain JSON."""
        dataset = self.need()
        value = dataset.response["value"].dropna()
        tissue = dataset.samples["tissue"] if "tissue" in dataset.samples else pd.Series(dtype=object)
        return {
            "name": dataset.name,
            "measure": dataset.measure.label,
            "n_samples": len(dataset.samples),
            "n_drugs": len(dataset.drugs),
            "n_pairs": int(dataset.n_pairs),
            "share_measured": len(value) / max(len(dataset.samples) * len(dataset.drugs), 1),
            "modalities": {
                m: {"n_samples": len(frame), "n_features": frame.shape[1]} for m, frame in dataset.omics.items()
            },
            "tissues": {str(k): int(n) for k, n in tissue.dropna().value_counts().items()},
            "quantiles": {str(q): float(value.quantile(q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)},
        }


def _find(predictor: Predictor) -> ResponseDataset | None:
    """Return the embedded dataset that a predictor was trained on, if it is converted already."""
    name = str(predictor.about_.get("data", {}).get("name", ""))
    for known in embedded.EMBEDDED:
        folder = embedded.describe(known)["folders"].get(predictor.measure_.name)
        if folder and name.lower().startswith(known.lower()):
            try:
                return ResponseDataset.load(folder)
            except HalfmaxError as error:
                log.warning("the dataset %s cannot be read: %s", known, error)
    return None
