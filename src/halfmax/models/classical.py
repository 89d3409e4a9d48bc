"""Random forest on pairs and elastic net a drug, fitted by scikit-learn and kept as plain arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import ModelFileError
from halfmax.features.blocks import FloatArray, PairFeatures, rows_of
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
from halfmax.models.boosting import PairTrees

_NO_VALUE = -1e6
#: Training residuals that each leaf keeps for quantiles.
_KEPT = 16


class RandomForest(PairTrees):
    """Bagged regression trees (Breiman 2001); the mean of 0/1 labels for classification.

    Parameters
    ----------
    n_trees, min_leaf, max_leaves
        Number of trees, pairs a leaf and leaves a tree.
    feature_share, row_share
        Random share of features a split and of pairs a tree.
    task
        ``regression``, or ``classification`` of 0/1 labels.
    n_threads
        0 = all cores.
    quantiles
        Levels of quantiles to predict beside the mean, such as ``[0.05, 0.5, 0.95]`` (regression only): those of the
        training residuals that share a leaf with the pair, all trees alike (Meinshausen 2006, Journal of Machine
        Learning Research 7, 983-999); of a large leaf `_KEPT` drawn at random stand for all.
    """

    def __init__(
        self,
        n_trees: int = 60,
        min_leaf: int = 4,
        max_leaves: int = 4000,
        feature_share: float = 0.3,
        row_share: float = 0.08,
        task: str = "regression",
        n_threads: int = 0,
        seed: int = 0,
        quantiles: Sequence[float] = (),
    ) -> None:
        self.n_trees = n_trees
        self.min_leaf = min_leaf
        self.max_leaves = max_leaves
        self.feature_share = feature_share
        self.row_share = row_share
        self.task = task
        self.n_threads = n_threads
        self.seed = seed
        self.quantiles = quantiles

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return the ranges worth searching."""
        return {
            "min_leaf": {"low": 1, "high": 50, "log": True},
            "feature_share": {"low": 0.05, "high": 1.0, "log": False},
            "row_share": {"low": 0.05, "high": 0.9, "log": False},
        }

    def _grow(self, x: FloatArray, y: npt.NDArray[np.float64], weight: npt.NDArray[np.float64] | None) -> None:
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(
            n_estimators=self.n_trees,
            min_samples_leaf=self.min_leaf,
            max_leaf_nodes=self.max_leaves,
            max_features=self.feature_share,
            max_samples=max(1, round(self.row_share * len(y))),
            n_jobs=self.n_threads or -1,
            random_state=self.seed,
        ).fit(np.nan_to_num(x, nan=_NO_VALUE), y, sample_weight=weight)
        trees = [t.tree_ for t in forest.estimators_]
        self.root_ = np.cumsum([0] + [t.node_count for t in trees[:-1]])
        shift = [np.where(t.children_left < 0, 0, start) for t, start in zip(trees, self.root_, strict=True)]
        self.left_ = np.concatenate([t.children_left + s for t, s in zip(trees, shift, strict=True)]).astype(np.int32)
        self.right_ = np.concatenate([t.children_right + s for t, s in zip(trees, shift, strict=True)]).astype(np.int32)
        self.feature_ = np.concatenate([t.feature for t in trees]).astype(np.int32)
        self.limit_ = np.concatenate([t.threshold for t in trees]).astype(np.float64)
        self.value_ = np.concatenate([t.value[:, 0, 0] for t in trees]).astype(np.float64)
        if self.quantiles:
            self._keep(np.nan_to_num(x, nan=_NO_VALUE), y)

    def _keep(self, x: FloatArray, y: npt.NDArray[np.float64]) -> None:
        """Keep residuals of each leaf, drawn from all training rows that fall into it, most of them out of bag."""
        rng = np.random.default_rng(self.seed)
        leaf = self.left_ < 0
        self.slot_ = np.where(leaf, np.cumsum(leaf) - 1, -1).astype(np.int32)
        self.kept_ = np.tile(self.value_[leaf].astype(np.float32)[:, None], (1, _KEPT))
        for node in self._leaves(x):
            order = np.argsort(self.slot_[node], kind="stable")
            slots, first, n = np.unique(self.slot_[node][order], return_index=True, return_counts=True)
            drawn = first[:, None] + (rng.random((len(slots), _KEPT)) * n[:, None]).astype(np.int64)
            self.kept_[slots] = y[order[drawn]]

    def _apply_levels(self, x: FloatArray, levels: Sequence[float]) -> npt.NDArray[np.float64]:
        if not hasattr(self, "kept_"):
            raise ModelFileError("this forest was fitted without quantiles: fit it again with them.")
        x = np.nan_to_num(x, nan=_NO_VALUE)
        out = np.empty((len(levels), len(x)))
        for start in range(0, len(x), 2048):
            leaves = self._leaves(x[start : start + 2048])
            residuals = np.hstack([self.kept_[self.slot_[node]] for node in leaves])
            out[:, start : start + 2048] = np.quantile(residuals, levels, axis=1)
        return out

    def _apply(self, x: FloatArray) -> npt.NDArray[np.float64]:
        x = np.nan_to_num(x, nan=_NO_VALUE)
        total = np.zeros(len(x))
        for start in range(0, len(x), 8192):  # a part that stays in cache
            total[start : start + 8192] = self._walk(x[start : start + 8192])
        return total / len(self.root_)

    def _walk(self, x: FloatArray) -> npt.NDArray[np.float64]:
        total = np.zeros(len(x))
        for node in self._leaves(x):
            total += self.value_[node]
        return total

    def _leaves(self, x: FloatArray) -> Iterator[npt.NDArray[np.int64]]:
        """Yield, of each tree, the leaf that every row of `x` falls into."""
        for root in self.root_:
            node, walking = np.full(len(x), root), np.arange(len(x))
            while len(walking):
                here = node[walking]
                inner = self.left_[here] >= 0
                walking, here = walking[inner], here[inner]
                goes_left = x[walking, self.feature_[here]] <= self.limit_[here]
                node[walking] = np.where(goes_left, self.left_[here], self.right_[here])
            yield node

    def _trees_state(self) -> State:
        names = ("root_", "left_", "right_", "feature_", "limit_", "value_", "slot_", "kept_")
        return State({name: getattr(self, name) for name in names if hasattr(self, name)})

    def _set_trees(self, state: State) -> None:
        for name, value in state.arrays.items():
            if not name.startswith("encoder."):
                setattr(self, name, value)


class ElasticNet(BaseModel):
    """One elastic net a drug on the genes that correlate most with its training responses (Zou and Hastie 2005).

    Parameters
    ----------
    alpha
        Strength of the penalty, in units of standardised responses.
    l1_ratio
        Share of the absolute penalty; 0 = ridge, 1 = lasso.
    n_genes
        Genes kept a drug, by absolute correlation on its training rows.
    """

    def __init__(self, alpha: float = 0.1, l1_ratio: float = 0.2, n_genes: int = 300) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.n_genes = n_genes

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return the ranges worth searching."""
        return {
            "alpha": {"low": 0.01, "high": 1.0, "log": True},
            "l1_ratio": {"low": 0.0, "high": 1.0, "log": False},
            "n_genes": {"low": 50, "high": 2000, "log": True},
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
        """Fit every drug on its own samples; a drug with fewer than ten keeps its mean."""
        targets = check_targets(x, y)
        genes = x.sample(*x.modalities)
        grid = response_matrix(x, targets)
        self.mean_ = float(targets.mean())
        self.drug_ids_ = x.drug_ids
        self.weight_ = np.zeros((genes.shape[1], len(x.drug_ids)), dtype=np.float32)
        self.offset_ = np.full(len(x.drug_ids), self.mean_)
        for column in range(len(x.drug_ids)):
            rows = np.flatnonzero(np.isfinite(grid[:, column]))
            if len(rows):
                self._fit_drug(column, genes[rows].astype(np.float64), grid[rows, column])
        return self

    def predict(self, x: PairFeatures) -> Prediction:
        """Return each drug's linear prediction; the overall mean for an unseen drug."""
        self._check_fitted()
        rows = rows_of(x.drug_ids, self.drug_ids_)
        grid = self.offset_[rows] + x.sample(*x.modalities) @ self.weight_[:, rows]
        return Prediction(gather(np.where(rows >= 0, grid, self.mean_), x))

    def _fit_drug(self, column: int, genes: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> None:
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import ElasticNet as SkElasticNet

        mean, spread = float(y.mean()), float(y.std())
        self.offset_[column] = mean
        if len(y) < 10 or spread < 1e-12:
            return
        centre, scale = genes.mean(axis=0), genes.std(axis=0)
        z = (genes - centre) / np.where(scale > 1e-8, scale, np.inf)
        target = (y - mean) / spread
        chosen = np.argsort(-np.abs(target @ z), kind="stable")[: self.n_genes]
        net = SkElasticNet(alpha=self.alpha, l1_ratio=self.l1_ratio, max_iter=300, tol=1e-3, fit_intercept=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            net.fit(np.asfortranarray(z[:, chosen]), target)
        weight = net.coef_ * spread / np.where(scale[chosen] > 1e-8, scale[chosen], np.inf)
        self.weight_[chosen, column] = weight
        self.offset_[column] = mean - centre[chosen] @ weight
