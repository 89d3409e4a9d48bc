"""Trees on pairs: the library's own TreeSHAP on both the sample and the background, with the drug held fixed."""

from __future__ import annotations

import numpy as np

from halfmax.errors import DataError
from halfmax.explain.attribution import Array, Attribution, Feature, drug_rows
from halfmax.features.blocks import FloatArray, PairFeatures
from halfmax.models.boosting import LightGBM, PairTrees, XGBoost


class TreePath:
    """φ(sample, drug) less the mean of φ(background, drug): what is the same for every sample of a drug cancels.

    The features are those that the trees read: principal components of the profile, tissue, and what is known of the
    drug (which acts through interactions only). TreeSHAP is path-dependent, the trees' own training rows being its
    reference; by the difference it closes against the background's mean prediction all the same.

    References
    ----------
    Lundberg et al. 2020, From local explanations to global understanding with explainable AI for trees.
    """

    label = "trees"
    method = "TreeSHAP (path-dependent) less its mean over the background; features are principal components"

    def __init__(self, model: PairTrees) -> None:
        if not isinstance(model, LightGBM | XGBoost):
            raise DataError(f"{type(model).__name__} keeps no node counts, which TreeSHAP needs; take a boosted one.")
        self.model = model

    def attribute(self, x: PairFeatures, background: PairFeatures) -> Attribution:
        """Return what each of the trees' features adds."""
        drug_rows(x, self.model.encoder_.drug_ids)
        found, base = (self._contributions(side) for side in (x, background))
        return Attribution(self._features(x, found.shape[-1]), found - base.mean(axis=0))

    def _contributions(self, x: PairFeatures) -> Array:
        pairs = self.model.encoder_.encode(x.grid())
        told = self._told(pairs)[:, :-1]  # the last column is the expected value
        return told.reshape(len(x.sample_ids), len(x.drug_ids), -1)

    def _told(self, pairs: FloatArray) -> Array:
        if isinstance(self.model, LightGBM):
            return np.asarray(self.model._boosters["lightgbm.txt"].predict(pairs, pred_contrib=True), dtype=np.float64)
        import xgboost

        booster = self.model._boosters["xgboost.json"]
        return np.asarray(booster.predict(xgboost.DMatrix(pairs), pred_contribs=True), dtype=np.float64)

    def _features(self, x: PairFeatures, n: int) -> tuple[Feature, ...]:
        arrays = self.model.encoder_.arrays
        profile = "+".join(x.modalities)
        names = [(profile, f"component {i + 1}") for i in range(arrays["sample_components"].shape[1])]
        if "tissue" in x.sample_x:
            names += [("tissue", name) for name in x.sample_x["tissue"].names]
        names += [("drug", f"structure component {i + 1}") for i in range(arrays["drug_components"].shape[1])]
        return (*names, *(("drug", f"response profile {i}") for i in range(n - len(names))))
