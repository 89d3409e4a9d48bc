"""TreesPerDrug: a forest or boosted trees of its own for each drug, over samples alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, NotFittedError
from halfmax.features.blocks import PairFeatures, rows_of
from halfmax.models.base import (
    JSON,
    BaseModel,
    OnEpoch,
    Prediction,
    State,
    Valid,
    check_targets,
    gather,
    response_matrix,
)
from halfmax.models.boosting import LightGBM, PairTrees, XGBoost
from halfmax.models.classical import RandomForest
from halfmax.models.pairs import PairEncoder

#: Family to its class and what few hundred samples, in place of a hundred thousand pairs, ask for.
FAMILIES: Mapping[str, tuple[type[PairTrees], Mapping[str, Any]]] = {
    "random_forest": (RandomForest, {"min_leaf": 3, "row_share": 0.7, "feature_share": 0.3}),
    "xgboost": (XGBoost, {"depth": 3, "min_leaf_weight": 10.0, "l2": 5.0}),
    "lightgbm": (LightGBM, {"n_leaves": 6, "min_leaf": 15, "l2": 5.0, "row_share": 0.7}),
}


class TreesPerDrug(BaseModel):
    """One model a drug on principal components of the samples' modalities and their tissue.

    Pairs of a drug are learned from the drug's own responses only, so nothing is borrowed between drugs, and a drug's
    trees split on what matters for it. A drug with fewer than `least_samples` samples keeps its mean; a drug that
    was not in training is given the overall mean.

    Parameters
    ----------
    family
        ``random_forest`` (Breiman 2001), ``xgboost`` (Chen and Guestrin 2016) or ``lightgbm`` (Ke et al. 2017).
    n_trees
        Trees a drug.
    learning_rate
        Shrinkage of boosted trees.
    n_components
        Principal components of the samples, see `PairEncoder`.
    least_samples
        Fewest samples that a drug's trees are grown on.
    quantiles
        Levels to predict beside the mean, as in the family's own class.
    n_threads
        0 = all cores.
    """

    def __init__(
        self,
        family: str = "random_forest",
        n_trees: int = 60,
        learning_rate: float = 0.08,
        n_components: int = 60,
        least_samples: int = 20,
        quantiles: Sequence[float] = (),
        n_threads: int = 0,
        seed: int = 0,
    ) -> None:
        self.family = family
        self.n_trees = n_trees
        self.learning_rate = learning_rate
        self.n_components = n_components
        self.least_samples = least_samples
        self.quantiles = quantiles
        self.n_threads = n_threads
        self.seed = seed

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching."""
        return {
            "family": {"choices": list(FAMILIES)},
            "n_trees": {"low": 30, "high": 300, "log": True},
            "n_components": {"low": 10, "high": 200, "log": True},
        }

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Grow trees on each drug's samples."""
        targets = check_targets(x, y)
        self._new()._check_levels()
        self.encoder_ = PairEncoder(self.n_components, 0, 0).fit(x, targets)
        samples, grid = self.encoder_.samples(x), response_matrix(x, targets)
        known = np.isfinite(grid).any(axis=0)
        self.drug_ids_, grid = x.drug_ids[known], grid[:, known]
        self.mean_, self.effect_ = float(targets.mean()), np.nanmean(grid, axis=0)
        spread = grid - self.effect_
        left = spread[np.isfinite(spread)]
        self.levels_ = sorted(float(q) for q in self.quantiles)
        # what is said of a drug without trees: how all drugs' responses lie about their means
        self.plain_ = np.quantile(left, self.levels_) if self.levels_ else np.zeros(0)
        self._trees: dict[int, PairTrees] = {}
        for drug in range(grid.shape[1]):
            rows = np.flatnonzero(np.isfinite(spread[:, drug]))
            if len(rows) >= self.least_samples:
                self._trees[drug] = self._new()
                self._trees[drug]._grow(samples[rows], spread[rows, drug], None)
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return each drug's own prediction."""
        if not hasattr(self, "encoder_"):
            raise NotFittedError("TreesPerDrug has not been fitted; call fit first.")
        samples, rows = self.encoder_.samples(x), rows_of(x.drug_ids, self.drug_ids_)
        shape = (len(x.sample_ids), len(rows))
        effect = np.where(rows >= 0, self.effect_[rows], self.mean_)
        grid = np.tile(effect, (shape[0], 1))
        levels = np.repeat((effect + self.plain_[:, None])[:, None, :], shape[0], axis=1)
        for column, drug in enumerate(rows.tolist()):
            if drug in self._trees:
                trees = self._trees[drug]
                grid[:, column] += trees._apply(samples)
                for k, values in enumerate(trees._levels(samples).values()):
                    levels[k, :, column] = effect[column] + values
        told = {level: gather(values, x) for level, values in zip(self.levels_, levels, strict=True)}
        return Prediction(gather(grid, x), quantiles=told or None)

    def get_state(self) -> State:
        """Return the encoder and every drug's trees; texts of boosted trees are one JSON file, drug by drug."""
        if not hasattr(self, "encoder_"):
            raise NotFittedError("TreesPerDrug has not been fitted; call fit first.")
        encoder = self.encoder_.get_state()
        arrays: dict[str, npt.NDArray[np.generic]] = {f"encoder.{k}": v for k, v in encoder.arrays.items()}
        arrays |= {"effect": self.effect_, "plain": self.plain_}
        texts: dict[str, dict[str, str]] = {}
        states = {drug: trees._trees_state() for drug, trees in self._trees.items()}
        names = sorted({name for state in states.values() for name in state.arrays})
        for name in names:
            # side by side, as a file of a few long arrays reads faster than one of thousands of short ones
            parts = [np.asarray(state.arrays[name]) for state in states.values()]
            arrays[f"trees.{name}"] = np.concatenate(parts)
            arrays[f"length.{name}"] = np.array([len(part) for part in parts], dtype=np.int64)
        for drug, state in states.items():
            if state.files:
                texts[str(drug)] = dict(state.files)
        meta: dict[str, JSON] = dict(encoder.meta) | {
            "drug_ids": self.drug_ids_.tolist(),
            "mean": self.mean_,
            "levels": list(self.levels_),
            "grown": list(self._trees),
        }
        return State(arrays, meta, {"trees_per_drug.json": json.dumps(texts)} if texts else {})

    def set_state(self, state: State) -> Self:
        """Take over an encoder and trees."""
        meta: Any = state.meta
        own = {k.removeprefix("encoder."): v for k, v in state.arrays.items() if k.startswith("encoder.")}
        self.encoder_ = PairEncoder(self.n_components, 0, 0).set_state(own, meta["encoder_drug_ids"])
        self.drug_ids_ = np.array(meta["drug_ids"], dtype=str)
        self.mean_, self.levels_ = float(meta["mean"]), [float(level) for level in meta["levels"]]
        self.effect_ = np.asarray(state.arrays["effect"], dtype=np.float64)
        self.plain_ = np.asarray(state.arrays["plain"], dtype=np.float64)
        cut: dict[str, list[npt.NDArray[Any]]] = {}
        for key, values in state.arrays.items():
            if key.startswith("trees."):
                name = key.removeprefix("trees.")
                ends = np.cumsum(np.asarray(state.arrays[f"length.{name}"], dtype=np.int64))
                cut[name] = np.split(values, ends[:-1])
        texts: dict[str, dict[str, str]] = json.loads(state.files.get("trees_per_drug.json", "{}"))
        self._trees = {}
        for place, drug in enumerate(meta["grown"]):
            arrays = {name: parts[place] for name, parts in cut.items()}
            self._trees[int(drug)] = trees = self._new()
            trees._set_trees(State(arrays, {}, texts.get(str(drug), {})))
        return self

    def _new(self) -> PairTrees:
        if self.family not in FAMILIES:
            raise DataError(f"family is {self.family!r}; it is one of {', '.join(FAMILIES)}.")
        cls, settings = FAMILIES[self.family]
        given: dict[str, Any] = dict(settings) | {"n_trees": self.n_trees, "seed": self.seed}
        given |= {"n_threads": self.n_threads, "quantiles": self.quantiles}
        if self.family != "random_forest":
            given["learning_rate"] = self.learning_rate
        return cls(**given)
