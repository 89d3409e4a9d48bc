"""Decompositions: principal components, and sparse ones that each rest on a few columns."""

from __future__ import annotations

from typing import Self

import numpy as np

from halfmax.errors import DataError
from halfmax.features.blocks import Block
from halfmax.features.omics import require_finite
from halfmax.state import Stateful


class PCA(Stateful):
    """Project onto the leading principal components of the training rows, each row once."""

    def __init__(self, n_components: int = 100, whiten: bool = False) -> None:
        self.n_components = n_components
        self.whiten = whiten

    def fit(self, block: Block) -> Self:
        """Learn the components by a full SVD; the sign of each is fixed by its largest loading."""
        require_finite(block, "PCA")
        wide = block.values.astype(np.float64)
        self.mean_ = wide.mean(axis=0).astype(np.float32)
        left, size, right = np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)
        n = min(self.n_components, int((size > size[:1] * 1e-10).sum()))
        if n == 0:
            raise DataError("PCA needs at least two different rows.")
        right = right[:n] * np.sign(right[np.arange(n), np.abs(right[:n]).argmax(axis=1)])[:, None]
        if self.whiten:
            right = right / (size[:n, None] / np.sqrt(max(len(left) - 1, 1)))
        self.components_ = right.astype(np.float32)
        return self

    def transform(self, block: Block) -> Block:
        """Return scores, shape ``(n, n_components)``."""
        self._check_fitted()
        values = (block.values - self.mean_) @ self.components_.T
        return Block(values, tuple(f"pc{i + 1}" for i in range(values.shape[1])))


class SparsePCA(Stateful):
    """Project onto components with few non-zero loadings.

    Scikit-learn's mini-batch sparse PCA (Zou, Hastie and Tibshirani 2006; Mairal et al. 2009) finds the components; a
    row's scores are its ridge regression on them.

    Parameters
    ----------
    n_components
        Components, no more than rows or columns.
    alpha
        Sparsity of the loadings; larger leaves fewer.
    ridge
        Penalty of the regression that gives the scores.
    max_iter
        Passes over the training rows.
    seed
        Of the start.
    """

    def __init__(
        self, n_components: int = 20, alpha: float = 1.0, ridge: float = 0.01, max_iter: int = 50, seed: int = 0
    ) -> None:
        self.n_components = n_components
        self.alpha = alpha
        self.ridge = ridge
        self.max_iter = max_iter
        self.seed = seed

    def fit(self, block: Block) -> Self:
        """Learn the components; one whose loadings are all zero is left out."""
        from sklearn.decomposition import MiniBatchSparsePCA

        require_finite(block, "SparsePCA")
        n = min(self.n_components, *block.values.shape)
        if n < 1 or len(block.values) < 2:
            raise DataError("sparse PCA needs at least two rows, one column and one component.")
        wide = block.values.astype(np.float64)
        model = MiniBatchSparsePCA(
            n_components=n,
            alpha=self.alpha,
            ridge_alpha=self.ridge,
            max_iter=self.max_iter,
            random_state=self.seed,
        ).fit(wide)
        used = np.abs(model.components_).max(axis=1) > 0
        if not used.any():
            raise DataError(f"every loading of the sparse PCA is zero with alpha {self.alpha:g}; use a smaller one.")
        self.mean_, self.components_ = model.mean_, model.components_[used]
        return self

    def transform(self, block: Block) -> Block:
        """Return scores, shape ``(n, number of components with any loading)``."""
        self._check_fitted()
        gram = self.components_ @ self.components_.T
        solver = np.linalg.solve(gram + self.ridge * np.eye(len(gram)), self.components_)
        values = ((block.values - self.mean_) @ solver.T).astype(np.float32)
        return Block(values, tuple(f"sparse_pc{i + 1}" for i in range(values.shape[1])))
