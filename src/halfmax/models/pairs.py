"""PairEncoder: one row a pair for models that know no samples and drugs, with offsets learned from training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import FloatArray, PairFeatures, rows_of
from halfmax.models.base import State, response_matrix

Array = npt.NDArray[np.float64]


class PairEncoder:
    """Principal components of samples and drugs, tissue, the drug's mean and the drug's response profile.

    The response profile of a drug is its row in the leading right singular vectors of the training residuals: drugs
    that act on the same samples lie close together. It is missing (NaN) for a drug without training responses, and so
    is its mean; trees send missing values their own way.

    Parameters
    ----------
    n_sample_pcs, n_drug_pcs, n_profile
        Numbers of components.
    """

    def __init__(self, n_sample_pcs: int = 60, n_drug_pcs: int = 15, n_profile: int = 12) -> None:
        self.n_sample_pcs = n_sample_pcs
        self.n_drug_pcs = n_drug_pcs
        self.n_profile = n_profile

    def fit(self, x: PairFeatures, y: Array) -> Self:
        """Learn components, drug means and profiles from training pairs."""
        seen = np.unique(x.sample_index)
        sample = _profile(x)[seen]
        drug = _drug_blocks(x)
        self.arrays: dict[str, npt.NDArray[np.generic]] = {}
        for side, values, n in (("sample", sample, self.n_sample_pcs), ("drug", drug, self.n_drug_pcs)):
            self.arrays[f"{side}_mean"], self.arrays[f"{side}_components"] = _components(values, n)
        grid = response_matrix(x, y)
        count = np.isfinite(grid).sum(axis=0)
        overall = float(np.mean(y))
        mean = np.where(count > 0, np.nansum(grid, axis=0) / np.maximum(count, 1), overall)
        residual = np.where(np.isfinite(grid), grid - mean, 0)
        _, size, right = np.linalg.svd(residual, full_matrices=False)
        k = min(self.n_profile, len(size))
        profile = np.zeros((len(count), self.n_profile))
        profile[:, :k] = right[:k].T * size[:k] / np.sqrt(max(len(seen), 1))
        known = count > 0
        self.drug_ids = x.drug_ids[known]
        self.arrays |= {"drug_effect": mean[known], "profile": profile[known], "overall": np.array([overall])}
        return self

    def offset(self, x: PairFeatures) -> Array:
        """Return each pair's drug mean; the overall mean for an unseen drug."""
        rows = rows_of(x.drug_ids, self.drug_ids)
        mean = np.where(rows >= 0, self.arrays["drug_effect"][rows], self.arrays["overall"][0])
        return np.asarray(mean[x.drug_index], dtype=np.float64)

    def encode(self, x: PairFeatures) -> FloatArray:
        """Return the pair matrix, shape ``(n_pairs, d)``, NaN where a drug has no training responses."""
        rows = rows_of(x.drug_ids, self.drug_ids)
        known = (rows >= 0)[:, None]
        history = np.column_stack([self.arrays["drug_effect"], self.arrays["profile"]]).astype(np.float32)
        drug = [_project(_drug_blocks(x), self.arrays, "drug"), np.where(known, history[rows], np.float32(np.nan))]
        return np.hstack([self.samples(x)[x.sample_index], np.hstack(drug)[x.drug_index]]).astype(
            np.float32, copy=False
        )

    def samples(self, x: PairFeatures) -> FloatArray:
        """Return the sample side alone, shape ``(n_samples, d)``."""
        own = [_project(_profile(x), self.arrays, "sample")]
        if "tissue" in x.sample_x:
            own.append(x.sample("tissue"))
        return np.hstack(own).astype(np.float32, copy=False)

    def get_state(self) -> State:
        """Return what was learned."""
        return State(self.arrays, {"encoder_drug_ids": self.drug_ids.tolist()})

    def set_state(self, arrays: Mapping[str, npt.NDArray[np.generic]], drug_ids: Sequence[str]) -> Self:
        """Take over what another encoder learned."""
        self.arrays = dict(arrays)
        self.drug_ids = np.array(drug_ids, dtype=str)
        return self


def _profile(x: PairFeatures) -> FloatArray:
    return x.sample(*(name for name in x.modalities if name in x.sample_x))


def _drug_blocks(x: PairFeatures) -> FloatArray:
    return x.drug(*x.drug_x) if x.drug_x else np.zeros((len(x.drug_ids), 0), np.float32)


def _components(values: FloatArray, n: int) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1], np.float32)
    if not values.shape[1]:
        return mean, np.zeros((0, 0), np.float32)
    if not np.isfinite(mean).all():
        raise DataError("the features hold NaN or infinite values.")
    centred = (values - mean).astype(np.float64)
    # the small Gram matrix has the same spectrum as the covariance
    size, left = np.linalg.eigh(centred @ centred.T)
    keep = np.argsort(-size)[:n]
    keep = keep[size[keep] > max(size.max(), 0) * 1e-9]
    right = centred.T @ left[:, keep] / np.sqrt(size[keep])
    return mean, right.astype(np.float32)


def _project(values: FloatArray, arrays: Mapping[str, npt.NDArray[np.generic]], side: str) -> FloatArray:
    components = arrays[f"{side}_components"]
    if not components.shape[0]:
        return np.zeros((len(values), 0), np.float32)
    # In double precision, so that the single precision handed on does not depend on the order of rows: a boosted
    # tree's limits lie on training values, and the last bit would decide which way such a row goes.
    mean = arrays[f"{side}_mean"].astype(np.float64)
    centred = values.astype(np.float64) - mean
    return np.asarray(centred @ components.astype(np.float64), dtype=np.float32)
