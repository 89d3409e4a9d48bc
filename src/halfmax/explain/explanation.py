"""Explanation: what features add to the predictions of some pairs, in the measure's unit, with its sum kept exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import Measure
from halfmax.data.findings import Finding
from halfmax.errors import UnknownNameError, did_you_mean
from halfmax.explain.groups import Groups

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Explanation:
    """Why the predictions of n samples with m drugs differ from each drug's mean.

    Parameters
    ----------
    sample_ids, drug_ids
        Shapes ``(n,)`` and ``(m,)``.
    modality, feature
        Block and name of each of the d features that the model reads, shape ``(d,)``.
    values
        What each feature adds [measure.unit], shape ``(n, m, d)``; over features they sum to `difference`.
    spread
        Standard deviation of the values over an ensemble's members, same shape; None where there is one member.
    parts
        Path through the model (``linear``, ``network``) to its share of `values`, where there are several.
    inputs, imputed
        Values that the model was given (scaled), and whether they were filled in, shape ``(n, d)``.
    prediction, base
        Prediction of each pair as of a new sample, shape ``(n, m)``, and mean prediction of each drug over the
        background, shape ``(m,)`` [measure.unit].
    drug_mean
        Mean measured response of each drug in training, shape ``(m,)``; what the ranked table compares with.
    measure, method, background
        Unit; how it was attributed; ids, tissues and hash of the background.
    findings
        What a reader should know.
    """

    sample_ids: npt.NDArray[np.str_]
    drug_ids: npt.NDArray[np.str_]
    modality: npt.NDArray[np.str_]
    feature: npt.NDArray[np.str_]
    values: Array
    inputs: Array
    imputed: npt.NDArray[np.bool_]
    prediction: Array
    base: Array
    drug_mean: Array
    measure: Measure
    method: str
    background: Mapping[str, Any]
    spread: Array | None = None
    parts: Mapping[str, Array] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def difference(self) -> Array:
        """Prediction less the drug's mean prediction over the background, shape ``(n, m)``."""
        return np.asarray(self.prediction - self.base)

    @property
    def gap(self) -> Array:
        """Distance of Σ values from the difference of each pair, shape ``(n, m)`` [measure.unit]; 0 if exact."""
        return np.asarray(np.abs(self.values.sum(axis=-1, dtype=np.float64) - self.difference))

    def at(self, sample: str, drug: str) -> tuple[int, int]:
        """Return row and column of a pair.

        Raises
        ------
        UnknownNameError
            If it was not explained.
        """
        out = []
        for kind, name, ids in (("sample", sample, self.sample_ids), ("drug", drug, self.drug_ids)):
            rows = [i for i, known in enumerate(ids.tolist()) if known.lower() == name.lower()]
            if not rows:
                known = list(map(str, ids))
                raise UnknownNameError(f"{kind} {name!r} is not explained here.{did_you_mean(name, known)}")
            out.append(rows[0])
        return out[0], out[1]

    def genes(self, sample: str, drug: str, top: int | None = 20) -> pd.DataFrame:
        """Return the features that add most to a pair, and what all others add.

        Returns
        -------
        Columns modality, feature, input (scaled), imputed, attribution and sd [measure.unit] and one for each of
        `parts`, largest first; the last row, ``other 6,143 features``, keeps the sum exact.
        """
        i, j = self.at(sample, drug)
        order = np.argsort(-np.abs(self.values[i, j]), kind="stable")
        shown, rest = (order, order[:0]) if top is None else (order[:top], order[top:])
        table = pd.DataFrame(
            {
                "modality": self.modality[shown],
                "feature": self.feature[shown],
                "input": self.inputs[i, shown],
                "imputed": self.imputed[i, shown],
                "attribution": self.values[i, j, shown],
            }
        )
        if self.spread is not None:
            table["sd"] = self.spread[i, j, shown]
        for name, values in self.parts.items():
            table[name] = values[i, j, shown]
        if len(rest):
            other: dict[str, Any] = {"modality": "", "feature": f"other {len(rest):,} features", "imputed": False}
            other["attribution"] = self.values[i, j, rest].sum(dtype=np.float64)
            other |= {name: values[i, j, rest].sum(dtype=np.float64) for name, values in self.parts.items()}
            table = pd.concat([table, pd.DataFrame([other])], ignore_index=True)
        return table

    def modalities(self, sample: str, drug: str) -> pd.DataFrame:
        """Return what each modality adds to a pair: modality, n_features, attribution [measure.unit]."""
        i, j = self.at(sample, drug)
        names, code = np.unique(self.modality, return_inverse=True)
        added = np.bincount(code, weights=self.values[i, j])
        table = pd.DataFrame({"modality": names, "n_features": np.bincount(code), "attribution": added})
        return table.sort_values("attribution", key=np.abs, ascending=False, ignore_index=True)

    def pathways(self, sample: str, drug: str, groups: Groups, top: int | None = 10) -> pd.DataFrame:
        """Return what gene sets add to a pair; the sum is kept exact, see `Groups`.

        Returns
        -------
        Columns set, n_features, n_shared (features that other sets claim, too) and attribution [measure.unit].
        """
        i, j = self.at(sample, drug)
        return groups.table(self.feature, self.values[i, j], top)

    def summary(self) -> pd.DataFrame:
        """Return one row a pair: prediction, base, drug_mean, difference [measure.unit], gap and the first gene."""
        n, m = self.prediction.shape
        first = np.abs(self.values).argmax(axis=-1)
        return pd.DataFrame(
            {
                "sample_id": np.repeat(self.sample_ids, m),
                "drug_id": np.tile(self.drug_ids, n),
                "prediction": self.prediction.ravel(),
                "base": np.tile(self.base, n),
                "drug_mean": np.tile(self.drug_mean, n),
                "difference": self.difference.ravel(),
                "gap": self.gap.ravel(),
                "first_feature": self.feature[first].ravel(),
            }
        )

    def frame(self, top: int | None = 20) -> pd.DataFrame:
        """Return `genes` of every pair, one below the other, with sample_id and drug_id."""
        parts = []
        for sample in self.sample_ids.tolist():
            for drug in self.drug_ids.tolist():
                table = self.genes(sample, drug, top)
                table.insert(0, "drug_id", drug)
                table.insert(0, "sample_id", sample)
                parts.append(table)
        return pd.concat(parts, ignore_index=True)
