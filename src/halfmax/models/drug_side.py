"""DrugSide: what an unseen drug borrows from drugs with responses, by structure, targets, mechanism and stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from halfmax.features.blocks import FloatArray, PairFeatures
from halfmax.features.drugs import tanimoto

Array = npt.NDArray[np.float64]
#: Weight of each drug block in the kernel for a drug's mean response, and in that for its profile over samples.
POTENCY_WEIGHTS: Mapping[str, float] = {
    "fingerprint": 0.5,
    "atom_pair": 1.0,
    "descriptors": 1.0,
    "mechanism": 2.0,
    "process": 1.0,
    "stage": 1.0,
}
PROFILE_WEIGHTS: Mapping[str, float] = {"fingerprint": 1.0, "targets": 1.0, "mechanism": 1.0, "pathway": 1.0}
#: λ that leave-one-out chooses from, in units of the kernel's largest diagonal.
RIDGES = (0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 4.0, 10.0)
#: Blocks compared by distance; all others are counts, compared by the share that two drugs have in common.
_BY_DISTANCE = frozenset({"descriptors"})


@dataclass(frozen=True)
class DrugTable:
    """Drug blocks side by side, as a fitted model keeps those of its training drugs.

    Parameters
    ----------
    values
        Shape ``(n, d)``.
    known
        Shape ``(n, n_blocks)``, whether anything is known of the drug in the block.
    names, sizes
        Name and number of columns of each block.
    """

    values: FloatArray
    known: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, x: PairFeatures, names: Sequence[str] | None = None) -> DrugTable:
        """Return the blocks that the kernels use, or those that are named."""
        weighted = dict.fromkeys((*POTENCY_WEIGHTS, *PROFILE_WEIGHTS))
        names = tuple(name for name in weighted if name in x.drug_x) if names is None else tuple(names)
        blocks = [x.drug(name) for name in names]
        n = len(x.drug_ids)
        known = [~x.drug_x[name].absent for name in names]
        return cls(
            np.hstack([np.zeros((n, 0), dtype=np.float32), *blocks]),
            np.stack(known, axis=1) if known else np.zeros((n, 0), dtype=bool),
            names,
            tuple(block.shape[1] for block in blocks),
        )

    def kernel(self, other: DrugTable, weights: Mapping[str, float]) -> Array:
        """Return the weighted mean of the blocks' similarities, shape ``(n, m)``, at most 1.

        A block of which one of the two drugs knows nothing adds nothing.
        """
        ends = np.cumsum((0, *self.sizes))
        total, out = 0.0, np.zeros((len(self.values), len(other.values)))
        for i, name in enumerate(self.names):
            if (weight := weights.get(name, 0.0)) <= 0:
                continue
            a, b = (table.values[:, ends[i] : ends[i + 1]].astype(np.float64) for table in (self, other))
            like = _by_distance(a, b) if name in _BY_DISTANCE else tanimoto(a, b)
            out += weight * like * np.outer(self.known[:, i], other.known[:, i])
            total += weight
        return out / total if total else out


def leave_one_out_errors(gram: Array, y: Array, ridge: float, *, mean: bool) -> Array:
    """Return the residuals of rows left out one at a time, shape of `y` (n, k), exactly and without refitting.

    Parameters
    ----------
    mean
        Whether the fit has an unpenalised mean, which is then fitted without the row as well.

    References
    ----------
    Dubrule (1983), Mathematical Geology 15, for the form with a mean.
    """
    inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    if mean:
        ones = inverse.sum(axis=1)
        inverse = inverse - np.outer(ones, ones) / ones.sum()
    return np.asarray((inverse @ y) / np.maximum(np.diag(inverse), 1e-12)[:, None])


def choose_drug_ridge(gram: Array, y: Array, *, mean: bool) -> tuple[float, float]:
    """Return the λ of `RIDGES` with the least squared leave-one-out error, and the mean of that squared error."""
    if len(gram) < 3:
        return RIDGES[-1], float(np.var(y))
    errors = [float((leave_one_out_errors(gram, y, ridge, mean=mean) ** 2).mean()) for ridge in RIDGES]
    best = int(np.argmin(errors))
    return RIDGES[best], errors[best]


def _by_distance(a: Array, b: Array) -> Array:
    """Return exp(−distance² / 2d) of standardised columns, limited to ±3, with d their number: half the mean square."""
    a, b = np.clip(a, -3, 3), np.clip(b, -3, 3)
    distance = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.exp(-np.maximum(distance, 0) / (4 * max(a.shape[1], 1))))
