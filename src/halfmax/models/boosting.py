"""Gradient-boosted trees on pairs: LightGBM and XGBoost, kept as their own text, with quantiles where asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, ModelFileError, NotFittedError
from halfmax.features.blocks import FloatArray, PairFeatures
from halfmax.models.base import JSON, BaseModel, OnEpoch, Prediction, State, Valid, check_targets
from halfmax.models.pairs import PairEncoder


class PairTrees(BaseModel):
    """What tree models on pairs share: residuals against the drug's mean, or labels with balanced weights.

    Subclasses grow trees in `_grow`, apply them in `_apply` and, for their levels in `quantiles`, in `_apply_levels`.
    """

    task: str = "regression"
    quantiles: Sequence[float] = ()

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
        self._check_levels()
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
        encoded = self.encoder_.encode(x)
        value = self._apply(encoded)
        if self.task == "classification":
            return Prediction(value.astype(np.float32), probability=value.astype(np.float32))
        offset = self.encoder_.offset(x)
        levels = self._levels(encoded)
        quantiles = {level: (v + offset).astype(np.float32) for level, v in levels.items()} if levels else None
        return Prediction((value + offset).astype(np.float32), quantiles=quantiles)

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

    def _check_levels(self) -> None:
        if odd := [q for q in self.quantiles if not 0 < q < 1]:
            raise DataError(f"quantiles are levels between 0 and 1; got {odd}.")
        if self.quantiles and self.task == "classification":
            raise DataError("labels have no quantiles: leave out quantiles, or use task='regression'.")

    def _levels(self, x: FloatArray) -> Mapping[float, npt.NDArray[np.float64]]:
        """Return quantiles of the residual by level; levels that cross are put in order (Chernozhukov et al. 2010)."""
        if not self.quantiles:
            return {}
        ordered = sorted(float(q) for q in self.quantiles)
        values = np.sort(self._apply_levels(x, ordered), axis=0)
        return dict(zip(ordered, values, strict=True))

    def _apply_levels(self, x: FloatArray, levels: Sequence[float]) -> npt.NDArray[np.float64]:
        """Return quantiles of the residual, shape ``(n_levels, n)``."""
        raise NotImplementedError

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
    quantiles
        Levels of quantiles to predict beside the mean, such as ``[0.05, 0.5, 0.95]`` (regression only): each level has
        trees of its own, grown under the pinball loss.
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
        quantiles: Sequence[float] = (),
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
        self.quantiles = quantiles

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
        data = lightgbm.Dataset(x, y, weight=weight, free_raw_data=False)
        texts = {"": lightgbm.train(parameters, data, num_boost_round=self.n_trees).model_to_string()}
        for level in self.quantiles:
            own = parameters | {"objective": "quantile", "alpha": float(level)}
            texts[f"_{float(level)!r}"] = lightgbm.train(own, data, num_boost_round=self.n_trees).model_to_string()
        self._take({f"lightgbm{key}.txt": text for key, text in texts.items()})

    def _apply(self, x: FloatArray) -> npt.NDArray[np.float64]:
        return self._apply_one(x, "lightgbm.txt")

    def _apply_levels(self, x: FloatArray, levels: Sequence[float]) -> npt.NDArray[np.float64]:
        return np.stack([self._apply_one(x, f"lightgbm_{level!r}.txt") for level in levels])

    def _apply_one(self, x: FloatArray, name: str) -> npt.NDArray[np.float64]:
        if name not in self._boosters:
            raise ModelFileError(f"this LightGBM was fitted without {name}: fit it again with these quantiles.")
        return np.asarray(self._boosters[name].predict(x, num_threads=self.n_threads), dtype=np.float64)

    def _trees_state(self) -> State:
        return State(files=self._texts)

    def _set_trees(self, state: State) -> None:
        self._take(state.files)

    def _take(self, texts: Mapping[str, str]) -> None:
        import lightgbm

        self._texts = dict(texts)
        self._boosters = {name: lightgbm.Booster(model_str=text) for name, text in texts.items()}


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
    quantiles
        Levels of quantiles to predict beside the mean, such as ``[0.05, 0.5, 0.95]`` (regression only): each level has
        trees of its own, grown under the pinball loss.
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
        quantiles: Sequence[float] = (),
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
        self.quantiles = quantiles

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
        grown = {"xgboost.json": xgboost.train(parameters, data, num_boost_round=self.n_trees)}
        if self.quantiles:
            # one set of trees a level, in the order of the sorted levels
            levels = sorted(float(q) for q in self.quantiles)
            own = parameters | {"objective": "reg:quantileerror", "quantile_alpha": np.array(levels)}
            grown["xgboost_quantiles.json"] = xgboost.train(own, data, num_boost_round=self.n_trees)
        self._take({name: bytes(booster.save_raw("json")).decode() for name, booster in grown.items()})

    def _apply(self, x: FloatArray) -> npt.NDArray[np.float64]:
        return np.asarray(self._boosters["xgboost.json"].inplace_predict(x), dtype=np.float64)

    def _apply_levels(self, x: FloatArray, levels: Sequence[float]) -> npt.NDArray[np.float64]:
        if "xgboost_quantiles.json" not in self._boosters:
            raise ModelFileError("this XGBoost was fitted without quantiles: fit it again with them.")
        found = np.asarray(self._boosters["xgboost_quantiles.json"].inplace_predict(x), dtype=np.float64)
        return found.reshape(len(x), len(levels)).T

    def _trees_state(self) -> State:
        return State(files=self._texts)

    def _set_trees(self, state: State) -> None:
        self._take(state.files)

    def _take(self, texts: Mapping[str, str]) -> None:
        import xgboost

        self._texts = dict(texts)
        options = {"nthread": self.n_threads}
        self._boosters = {
            name: xgboost.Booster(options, model_file=bytearray(text.encode())) for name, text in texts.items()
        }
