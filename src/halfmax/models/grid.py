"""GridModel: a grid of predictions for the training drugs, and an answer for drugs that were never measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from halfmax.features.blocks import FloatArray, PairFeatures, rows_of
from halfmax.models.base import BaseModel, Prediction, gather
from halfmax.models.profile import Profile

Array = npt.NDArray[np.float64]


class GridModel(BaseModel):
    """What models share that predict all training drugs at once; sample blocks are weighted, drugs are known by id."""

    blocks: Mapping[str, float] | None
    drug_ridge: float

    def _profile(self, x: PairFeatures) -> Profile:
        return Profile.of(x, self.blocks)

    def _grid(self, x: PairFeatures) -> FloatArray:
        """Return predictions for every sample of `x` and every training drug."""
        raise NotImplementedError

    def _variance(self, x: PairFeatures, rows: npt.NDArray[np.int64]) -> FloatArray | None:
        """Return variances for every sample and drug of `x` (`rows` of the training drugs, -1 = unseen), or None."""
        return None

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the drug's prediction for each sample; an unseen drug borrows from drugs of like structure."""
        self._check_fitted()
        grid = self._grid(x)
        rows = rows_of(x.drug_ids, self.drug_ids_)
        out = grid
        if not np.array_equal(rows, np.arange(grid.shape[1])):
            out = np.empty((len(x.sample_ids), len(rows)), dtype=np.float32)
            out[:, rows >= 0] = grid[:, rows[rows >= 0]]
        if (rows < 0).any():
            out[:, rows < 0] = self._unseen(x, grid, rows < 0)
        variance = self._variance(x, rows)
        return Prediction(gather(out, x), None if variance is None else gather(variance, x))

    def _learn_drugs(self, x: PairFeatures, effect: Array, known: npt.NDArray[np.bool_]) -> None:
        """Keep the drugs with training responses, and how their potency and interactions follow structure."""
        self.drug_ids_ = x.drug_ids[known]
        self.drug_effect_ = effect[known].astype(np.float32)
        self.drug_x_ = _drug_features(x)[known]
        gram = _tanimoto(self.drug_x_, self.drug_x_)
        self.drug_inverse_ = np.linalg.inv(gram + self.drug_ridge * np.eye(len(gram))).astype(np.float32)

    def _unseen(self, x: PairFeatures, grid: FloatArray, new: npt.NDArray[np.bool_]) -> FloatArray:
        like = _tanimoto(_drug_features(x)[new], self.drug_x_) @ self.drug_inverse_
        mean = self.drug_effect_.mean()
        potency = mean + like @ (self.drug_effect_ - mean)
        residual = grid - self.drug_effect_
        general = residual.mean(axis=1, keepdims=True)
        return np.asarray(potency + general + (residual - general) @ like.T, dtype=np.float32)


def _drug_features(x: PairFeatures) -> FloatArray:
    name = "fingerprint"
    return x.drug(name) if name in x.drug_x else np.zeros((len(x.drug_ids), 1), dtype=np.float32)


def _tanimoto(a: FloatArray, b: FloatArray) -> FloatArray:
    """Tanimoto similarity of count fingerprints, shape (n, m); 0 against a drug without structure."""
    product = a @ b.T
    total = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - product
    return np.asarray(product / np.maximum(total, 1e-12), dtype=np.float32)
