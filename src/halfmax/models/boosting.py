"""Gradient-boosted trees on pairs: LightGBM and XGBoost, kept as their own text."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import NotFittedError
from halfmax.features.blocks import FloatArray, PairFeatures
from halfmax.models.base import JSON, BaseModel, OnEpoch, Prediction, State, Valid, check_targets
from halfmax.models.pairs import PairEncoder


class PairTrees(BaseModel):
    """What tree models on pairs share: residuals against the drug's mean, or labels with balanced weights.

    Subclasses grow trees in `_grow` and apply them in `_apply`.
    """

    task: str = "regression"

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Grow trees on all pairs."""
        targets = check_targets(x, y)
        self.encoder_ = PairEncoder().fit(x, targets)
        if self.task == "classification":
            positive = targets > 0.5
            share = np.clip(positive.mean(), 1e-6, 1 - 1e-6)
            weight = np.where(positive, 0.5 / share, 0.5 / (1 - share))
            self._grow(self.encoder_.encode(x), positive.astype(np.float64), weight)
        else:
            self._grow(self.encoder_.encode(x), targets - self.encoder_.offset(x), None)
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return the drug's mean plus the trees' residual, or the probability of the positive class."""
        if not hasattr(self, "encoder_"):
            raise NotFittedError(f"{type(self).__name__} has not been fitted; call fit first.")
        value = self._apply(self.encoder_.encode(x))
        if self.task == "classification":
            return Prediction(value.astype(np.float32), probability=value.astype(np.float32))
        return Prediction((value + self.encoder_.offset(x)).astype(np.float32))

    def get_state(self) -> State:
        """Return the encoder and the trees."""
        if not hasattr(self, "encoder_"):
            raise NotFittedError(f"{type(self).__name__} has not been fitted; call fit first.")
        encoder, trees = self.encoder_.get_state(), self._trees_state()
        arrays = {f"encoder.{k}": v for k, v in encoder.arrays.items()} | dict(trees.arrays)
        return State(arrays, dict(encoder.meta) | dict(trees.meta), trees.files)

    def set_state(self, state: State) -> Self:
        """Take over an encoder and trees."""
        arrays = {k.removeprefix("encoder."): v for k, v in state.arrays.items() if k.startswith("encoder.")}
        ids: Any = state.meta["encoder_drug_ids"]
        self.encoder_ = PairEncoder().set_state(arrays, ids)
        self._set_trees(state)
        return self

    def _grow(self, x: FloatArray, y: npt.NDArray[np.float64], weight: npt.NDArray[np.float64] | None) -> None:
        raise NotImplementedError

    def _apply(self, x: FloatArray) -> npt.NDArray[np.float64]:
        raise NotImplementedError

    def _trees_state(self) -> State:
        raise NotImplementedError

    def _set_trees(self, state: State) -> None:
        raise NotImplementedError


class LightGBM(PairTrees):
    """Leaf-wise boosted trees (Ke et al. 2017).

    Parameters
    ----------
    n_trees, learning_rate, n_leaves, min_leaf
        Number of trees, shrinkage, leaves a tree and pairs a leaf.
    feature_share, row_share
        Random share of features a tree and of pairs a tree.
    l2
        Penalty on leaf values.
    task
        ``regression``, or ``classification`` of 0/1 labels.
    n_threads
        0 = all cores.
    """

    def __init__(
        self,
        n_trees: int = 500,
        learning_rate: float = 0.08,
        n_leaves: int = 15,
        min_leaf: int = 200,
        feature_share: float = 0.3,
        row_share: float = 0.4,
        l2: float = 10.0,
        task: str = "regression",
        n_threads: int = 0,
        seed: int = 0,
    ) -> None:
        self.n_trees = n_trees
        self.learning_rate = learning_rate
        self.n_leaves = n_leaves
        self.min_leaf = min_leaf
        self.feature_share = feature_share
        self.row_share = row_share
        self.l2 = l2
        self.task = task
        self.n_threads = n_threads
        self.seed = seed

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return the ranges worth searching."""
        return {
            "n_trees": {"low": 100, "high": 1000, "log": True},
            "learning_rate": {"low": 0.02, "high": 0.2, "log": True},
            "n_leaves": {"low": 15, "high": 255, "log": True},
            "min_leaf": {"low": 10, "high": 300, "log": True},
            "l2": {"low": 0.1, "high": 100.0, "log": True},
        }

    def _grow(self, x: FloatArray, y: npt.NDArray[np.float64], weight: npt.NDArray[np.float64] | None) -> None:
        import lightgbm

        parameters = {
            "objective": "binary" if self.task == "classification" else "regression",
            "learning_rate": self.learning_rate,
            "num_leaves": self.n_leaves,
            "min_data_in_leaf": min(self.min_leaf, max(1, len(y) // 10)),
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            "lambda_l2": self.l2,
            "max_bin": 63,
            "num_threads": self.n_threads,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        data = lightgbm.Dataset(x, y, weight=weight, free_raw_data=True)
        self.text_ = lightgbm.train(parameters, data, num_boost_round=self.n_trees).model_to_string()
        self._booster = lightgbm.Booster(model_str=self.text_)

    def _apply(self, x: FloatArray) -> npt.NDArray[np.float64]:
        return np.asarray(self._booster.predict(x, num_threads=self.n_threads), dtype=np.float64)

    def _trees_state(self) -> State:
        return State(files={"lightgbm.txt": self.text_})

    def _set_trees(self, state: State) -> None:
        import lightgbm

        self.text_ = state.files["lightgbm.txt"]
        self._booster = lightgbm.Booster(model_str=self.text_)


class XGBoost(PairTrees):
    """Depth-wise boosted trees on histograms (Chen and Guestrin 2016).

    Parameters
    ----------
    n_trees, learning_rate, depth, min_leaf_weight
        Number of trees, shrinkage, depth and least weight of a leaf.
    feature_share, row_share
        Random share of features a tree and of pairs a tree.
    l2
        Penalty on leaf values.
    task
        ``regression``, or ``classification`` of 0/1 labels.
    n_threads
        0 = all cores.
    """

    def __init__(
        self,
        n_trees: int = 300,
        learning_rate: float = 0.08,
        depth: int = 6,
        min_leaf_weight: float = 40.0,
        feature_share: float = 0.3,
        row_share: float = 0.7,
        l2: float = 10.0,
        task: str = "regression",
        n_threads: int = 0,
        seed: int = 0,
    ) -> None:
        self.n_trees = n_trees
        self.learning_rate = learning_rate
        self.depth = depth
        self.min_leaf_weight = min_leaf_weight
        self.feature_share = feature_share
        self.row_share = row_share
        self.l2 = l2
        self.task = task
        self.n_threads = n_threads
        self.seed = seed

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return the ranges worth searching."""
        return {
            "n_trees": {"low": 100, "high": 1000, "log": True},
            "learning_rate": {"low": 0.02, "high": 0.2, "log": True},
            "depth": {"low": 3, "high": 10, "log": False},
            "l2": {"low": 0.1, "high": 100.0, "log": True},
        }

    def _grow(self, x: FloatArray, y: npt.NDArray[np.float64], weight: npt.NDArray[np.float64] | None) -> None:
        import xgboost

        parameters = {
            "objective": "binary:logistic" if self.task == "classification" else "reg:squarederror",
            "eta": self.learning_rate,
            "max_depth": self.depth,
            "min_child_weight": min(self.min_leaf_weight, max(1.0, len(y) / 10)),
            "colsample_bytree": self.feature_share,
            "subsample": self.row_share,
            "lambda": self.l2,
            "tree_method": "hist",
            "max_bin": 64,
            "nthread": self.n_threads,
            "seed": self.seed,
            "verbosity": 0,
        }
        data = xgboost.QuantileDMatrix(x, y, weight=weight, max_bin=64, nthread=self.n_threads)
        grown = xgboost.train(parameters, data, num_boost_round=self.n_trees)
        self._take(bytes(grown.save_raw("json")).decode())

    def _apply(self, x: FloatArray) -> npt.NDArray[np.float64]:
        return np.asarray(self._booster.inplace_predict(x), dtype=np.float64)

    def _trees_state(self) -> State:
        return State(files={"xgboost.json": self.text_})

    def _set_trees(self, state: State) -> None:
        self._take(state.files["xgboost.json"])

    def _take(self, text: str) -> None:
        import xgboost

        self.text_ = text
        self._booster = xgboost.Booster({"nthread": self.n_threads}, model_file=bytearray(text.encode()))
