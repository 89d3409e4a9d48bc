"""ServedPipeline: a fitted feature pipeline that encodes the drugs it knows once, not with every request."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
import pandas as pd

from halfmax.data.dataset import Measure, ResponseDataset
from halfmax.features.blocks import PairFeatures, rows_of
from halfmax.features.pipeline import FeaturePipeline


class ServedPipeline(FeaturePipeline):
    """A fitted pipeline that remembers what it made of the training drugs.

    Fingerprints and descriptors of 228 drugs cost far more than a prediction. Drugs that are not the remembered ones,
    or that differ from them in any column, are encoded as ever.
    """

    drugs_: pd.DataFrame
    encoded_: PairFeatures

    @classmethod
    def of(cls, fitted: FeaturePipeline, drugs: pd.DataFrame) -> Self:
        """Return the same pipeline with `drugs` (index = drug_id) encoded."""
        served = cls(fitted.modalities, fitted.categories, fitted.drug_blocks, fitted.steps, fitted.unknown)
        served.levels_, served.blocks_ = fitted.levels_, fitted.blocks_
        served.drugs_ = drugs
        served.encoded_ = fitted.transform(_without_samples(drugs))
        return served

    def transform(self, dataset: ResponseDataset) -> PairFeatures:
        """Encode the samples of `dataset` and every pair; drugs are taken from memory where they are the same."""
        known = self.encoded_
        drug_ids = dataset.drugs.index.to_numpy(dtype=str)
        rows = rows_of(drug_ids, known.drug_ids)
        if dataset.drug_features or (rows < 0).any() or not dataset.drugs.equals(self.drugs_.iloc[rows]):
            return super().transform(dataset)
        response = dataset.response
        return replace(
            known,
            sample_ids=dataset.samples.index.to_numpy(dtype=str),
            sample_x=self.transform_samples(dataset),
            drug_ids=drug_ids,
            drug_x={name: block.take(rows) for name, block in known.drug_x.items()},
            drug_text={name: text[rows] for name, text in known.drug_text.items()},
            sample_index=_places(response["sample_id"], dataset.samples.index),
            drug_index=_places(response["drug_id"], dataset.drugs.index),
        )


def _places(ids: pd.Series, index: pd.Index) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.asarray(index.get_indexer(pd.Index(ids)), dtype=np.int64)


def _without_samples(drugs: pd.DataFrame) -> ResponseDataset:
    """Return a dataset of these drugs and one sample without a profile."""
    samples = pd.DataFrame(index=pd.Index(["none"], name="sample_id"))
    pairs = pd.DataFrame({"sample_id": ["none"], "drug_id": [drugs.index[0]], "value": [np.nan]})
    return ResponseDataset("drugs", Measure("none", "", higher_is_sensitive=False), pairs, samples, drugs, {})
