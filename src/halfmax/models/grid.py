"""GridModel: a grid of predictions for the training drugs, and an answer for drugs that were never measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from halfmax.errors import ModelFileError
from halfmax.features.blocks import FloatArray, PairFeatures, rows_of
from halfmax.models.base import BaseModel, Prediction, gather
from halfmax.models.drug_side import POTENCY_WEIGHTS, PROFILE_WEIGHTS, DrugTable, choose_drug_ridge
from halfmax.models.profile import Profile

Array = npt.NDArray[np.float64]


class GridModel(BaseModel):
    """What models share that predict all training drugs at once; sample blocks are weighted, drugs are known by id."""

    blocks: Mapping[str, float] | None
    drug_ridge: float | None
    drug_ids_: npt.NDArray[np.str_]

    def _profile(self, x: PairFeatures) -> Profile:
        return Profile.of(x, self.blocks)

    def _grid(self, x: PairFeatures) -> FloatArray:
        """Return predictions for every sample of `x` and every training drug."""
        raise NotImplementedError

    def _variance(self, x: PairFeatures, rows: npt.NDArray[np.int64]) -> FloatArray | None:
        """Return variances for every sample and drug of `x` (`rows` of the training drugs, -1 = unseen), or None."""
        return None

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the drug's prediction for each sample; an unseen drug borrows from the drugs it is like."""
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

    def _learn_drugs(self, x: PairFeatures, grid: Array, known: npt.NDArray[np.bool_]) -> None:
        """Learn how the potency of drugs and their profiles over samples follow what is known of the drugs.

        Parameters
        ----------
        x
            Samples and drugs of training, after everything that `_grid` needs has been learned.
        grid
            Measured responses, shape (n_samples, n_drugs), NaN where there is none.
        known
            The drugs with a response, shape (n_drugs,).

        Notes
        -----
        What was not measured is completed by the model's own predictions. Potency, a drug's mean of the completed
        column, is a kernel regression with a mean; what is left after the potency and the samples' general
        sensitivity is another, whose λ is shared by all samples. Both λ are chosen by exact leave-one-drug-out.
        """
        table = DrugTable.of(x)
        self.drug_blocks_, self.drug_sizes_ = list(table.names), list(table.sizes)
        self.drug_x_, self.drug_known_ = table.values[known], table.known[known]
        train = self._drug_table()
        measured = np.isfinite(grid).any(axis=1)
        grid = grid[np.ix_(measured, known)]
        completed = np.where(np.isfinite(grid), grid, self._grid(x)[measured])
        potency = completed.mean(axis=0)
        self.potency_mean_, self.potency_dual_, self.potency_error_ = _regress_potency(train, potency, self.drug_ridge)
        residual = completed - potency
        self.known_ids_ = x.sample_ids[measured]
        general = residual.mean(axis=1)
        self.known_general_ = general.astype(np.float32)
        rest = residual - general[:, None]
        gram = train.kernel(train, PROFILE_WEIGHTS)
        ridge = self.drug_ridge if self.drug_ridge is not None else choose_drug_ridge(gram, rest.T, mean=False)[0]
        inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
        self.profile_inverse_ = inverse.astype(np.float32)
        self.known_dual_ = (rest @ inverse).astype(np.float32)
        self.potency_ = potency.astype(np.float32)

    def _drug_table(self) -> DrugTable:
        return DrugTable(self.drug_x_, self.drug_known_, tuple(self.drug_blocks_), tuple(self.drug_sizes_))

    def _unseen(self, x: PairFeatures, grid: FloatArray, new: npt.NDArray[np.bool_]) -> FloatArray:
        """Return predictions for unseen drugs: potency + general sensitivity of the sample + what like drugs add."""
        if not hasattr(self, "potency_dual_"):
            raise ModelFileError("this model was saved before unseen drugs were read by target; fit it again.")
        train, asked = self._drug_table(), DrugTable.of(x, self.drug_blocks_)
        asked = DrugTable(asked.values[new], asked.known[new], asked.names, asked.sizes)
        potency = self.potency_mean_ + asked.kernel(train, POTENCY_WEIGHTS) @ self.potency_dual_
        residual = grid - self.potency_
        general = residual.mean(axis=1)
        dual = (residual - general[:, None]) @ self.profile_inverse_
        rows = rows_of(x.sample_ids, self.known_ids_)
        seen = rows >= 0
        general[seen], dual[seen] = self.known_general_[rows[seen]], self.known_dual_[rows[seen]]
        like = asked.kernel(train, PROFILE_WEIGHTS).astype(np.float32)
        return np.asarray(potency + general[:, None] + dual @ like.T, dtype=np.float32)


def _regress_potency(train: DrugTable, potency: Array, ridge: float | None) -> tuple[float, FloatArray, float]:
    """Return the mean, the dual weights, and the mean squared error of a drug left out."""
    gram = train.kernel(train, POTENCY_WEIGHTS)
    chosen, error = choose_drug_ridge(gram, potency[:, None], mean=True)
    inverse = np.linalg.inv(gram + (chosen if ridge is None else ridge) * np.eye(len(gram)))
    mean = float((inverse @ potency).sum() / inverse.sum())
    return mean, (inverse @ (potency - mean)).astype(np.float32), error
