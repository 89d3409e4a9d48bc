"""Exact Shapley values of models linear in a sample's features, and gradients of a Gaussian kernel's ridge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from halfmax.explain.attribution import Attribution, Feature, drug_rows, features_of
from halfmax.features.blocks import FloatArray, PairFeatures
from halfmax.models.classical import ElasticNet
from halfmax.models.kernel import KernelRidge, ResponseGP

Numbers = npt.NDArray[np.float64]

#: Points and weights of the Gauss–Legendre rule between a background sample and the one that is explained.
NODES = 16


class LinearPath:
    """φ = w ⊙ (x − x̄): Shapley values under independent features, whichever the background's distribution.

    A sample that lacks a block is explained in the features that the model makes of it: those it has, stretched.

    References
    ----------
    Lundberg and Lee 2017, corollary 1 (linear SHAP).
    """

    label = "linear"
    method = "exact Shapley values (linear)"

    def __init__(self, model: KernelRidge | ResponseGP | ElasticNet) -> None:
        self.model = model

    def attribute(self, x: PairFeatures, background: PairFeatures) -> Attribution:
        """Return each feature's weight times its difference to the background's mean."""
        rows = drug_rows(x, self.model.drug_ids_)
        weight = self.model.weight_[:, rows].T.astype(np.float64)
        mean = self._inputs(background).mean(axis=0, dtype=np.float64)
        difference = self._inputs(x).astype(np.float64) - mean
        return Attribution(self._features(x), difference[:, None, :] * weight)

    def _features(self, x: PairFeatures) -> tuple[Feature, ...]:
        blocks = getattr(self.model, "blocks", None) or x.modalities
        return features_of(x, tuple(blocks))

    def _inputs(self, x: PairFeatures) -> FloatArray:
        if isinstance(self.model, ElasticNet):
            return x.sample(*x.modalities)
        profile = self.model._profile(x)
        return profile.balanced(profile.centred(self.model.centre_), self.model.share_)


class GaussianKernelPath:
    """Expected gradients of a Gaussian kernel ridge, integrated in the space of the kernel.

    With z(t) = b + t (x − b), the gradient of Σ αᵢ k(z, zᵢ) is Σ αᵢ kᵢ(t) (zᵢ − z(t)) / width; so only ∫ kᵢ and ∫ t kᵢ
    are integrated, and no gradient is ever formed.

    References
    ----------
    Erion et al. 2021, Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients.
    """

    label = "kernel"
    method = "expected gradients (Aumann–Shapley), Gauss–Legendre"

    def __init__(self, model: KernelRidge, nodes: int = NODES) -> None:
        self.model = model
        self.nodes = nodes

    def attribute(self, x: PairFeatures, background: PairFeatures) -> Attribution:
        """Return the mean over the background of difference times integrated gradient."""
        model = self.model
        dual = model.dual_[:, drug_rows(x, model.drug_ids_)].astype(np.float64)
        train = model.train_x_.astype(np.float64)
        inputs = model._embed(model._profile(x)).astype(np.float64)
        lines = model._embed(model._profile(background)).astype(np.float64)
        values = np.zeros((len(inputs), dual.shape[1], train.shape[1]))
        for i, z in enumerate(inputs):
            for b in lines:
                values[i] += (z - b) * self._gradient(z, b, train, dual)
        blocks = tuple(model.blocks or x.modalities)
        return Attribution(features_of(x, blocks), values / len(lines))

    def _gradient(self, z: Numbers, b: Numbers, train: Numbers, dual: Numbers) -> Numbers:
        """Return the gradient's integral along the line from `b` to `z`, shape (n_drugs, d)."""
        width, (t, weight) = max(self.model.width_, 1e-12), unit_rule(self.nodes)
        step = z - b
        # |b + t·step − zᵢ|² is a parabola in t
        offset = ((b - train) ** 2).sum(axis=1)
        slope, square = 2 * (b - train) @ step, step @ step
        distance = offset[:, None] + slope[:, None] * t + square * t**2
        kernel = np.exp(-0.5 * np.maximum(distance, 0) / width)
        whole, moment = kernel @ weight, kernel @ (weight * t)
        pulled = (dual * whole[:, None]).T
        pull = pulled @ train - pulled.sum(axis=1)[:, None] * b - (dual.T @ moment)[:, None] * step
        return np.asarray(pull / width)


def unit_rule(nodes: int):  # type: ignore[no-untyped-def]
    """Return points and weights of the Gauss–Legendre rule from 0 to 1."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    return (points + 1) / 2, weights / 2
