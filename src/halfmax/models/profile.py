"""Profile: the sample blocks that a kernel model sees, side by side, and which of them each sample lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from halfmax.features.blocks import FloatArray, PairFeatures

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """Blocks of samples side by side.

    Parameters
    ----------
    values
        Shape ``(n, d)``; zeros where a sample lacks a block.
    sizes, weights
        Columns of each block, and the share of the kernel's diagonal that it is given.
    absent
        Shape ``(n, n_blocks)``, True where a sample lacks the block; None if none does.

    Notes
    -----
    A kernel over several blocks is K(i, j) = Σ p_im p_jm K_m(i, j) / √(c_i c_j): the sum over the blocks m that both
    samples have (p = 1), with c the share of the kernel's diagonal that a sample's own blocks carry. So a sample that
    lacks a block stands on the average of those it has, nothing is filled in for it, and K stays positive definite,
    because it is the inner product of features.
    """

    values: FloatArray
    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    absent: npt.NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, x: PairFeatures, blocks: Mapping[str, float] | None) -> Profile:
        """Return the blocks named in `blocks`, or all modalities with equal weight."""
        weights = dict(blocks or dict.fromkeys(x.modalities, 1.0))
        values = x.sample(*weights)
        chosen = [x.sample_x[name] for name in weights]
        absent = np.stack([block.absent for block in chosen], axis=1)
        sizes = tuple(len(block.names) for block in chosen)
        return cls(values, sizes, tuple(weights.values()), absent if absent.any() else None)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Profile:
        """Return these samples."""
        return replace(self, values=self.values[rows], absent=None if self.absent is None else self.absent[rows])

    def scale(self) -> tuple[FloatArray, FloatArray]:
        """Return each feature's mean, and the factor that gives its block the wanted share of the kernel's diagonal.

        Both are learned from the samples that have the block.
        """
        centre = np.zeros(self.values.shape[1], dtype=np.float32)
        for m, part in enumerate(self._parts()):
            values = self.values[:, part] if self.absent is None else self.values[~self.absent[:, m], part]
            if values.size:
                centre[part] = values.mean(axis=0)
        return centre, self.with_power(centre, np.ones_like(centre))

    def with_power(self, centre: FloatArray, gain: FloatArray) -> FloatArray:
        """Return the gains of each block times the factor that gives it the wanted share of the kernel's diagonal."""
        power = self.power(self.centred(centre, gain))
        factor = np.sqrt(np.array(self.weights) / np.maximum(power, 1e-12)) * (power > 1e-12)
        return np.asarray(gain * np.repeat(factor, self.sizes).astype(np.float32))

    def centred(self, centre: FloatArray, gain: FloatArray | None = None) -> FloatArray:
        """Return (values − centre) · gain, shape ``(n, d)``, zeros where a sample lacks a block."""
        features = self.values - centre
        if gain is not None:
            features *= gain
        if self.absent is not None:
            for m, part in enumerate(self._parts()):
                features[self.absent[:, m], part] = 0
        return features

    def balanced(self, features: FloatArray, share: Array) -> FloatArray:
        """Return features whose inner product is the kernel: those of a sample that lacks a block are stretched.

        Parameters
        ----------
        features
            As `centred` gives them.
        share
            The diagonal that each block carries, shape ``(n_blocks,)``, as `power` gives it.
        """
        stretch = self._stretch(share)
        return features if stretch is None else np.asarray(features * stretch[:, None])

    def weighted_gram(self) -> Callable[[Array], FloatArray]:
        """Return the function from weights of the blocks to their kernel, shape ``(n, n)``, with mean diagonal 1."""
        centre, gain = replace(self, weights=(1.0,) * len(self.sizes)).scale()
        features = self.centred(centre, gain)
        grams = [features[:, part] @ features[:, part].T for part in self._parts()]

        def gram(weights: Array) -> FloatArray:
            total = sum((np.float32(w) * g for w, g in zip(weights, grams, strict=True) if w > 0), np.float32(0))
            stretch = self._stretch(weights)
            return np.asarray(total if stretch is None else total * stretch[:, None] * stretch)

        return gram

    def _stretch(self, share: Array) -> FloatArray | None:
        if self.absent is None:
            return None
        carried = ~self.absent @ (share / max(float(share.sum()), 1e-12))
        return np.where(carried > 1e-6, 1 / np.sqrt(np.maximum(carried, 1e-6)), 0).astype(np.float32)

    def power(self, features: FloatArray) -> Array:
        """Return each block's part of the squared length of centred features, over the samples that have it."""
        squares = np.stack([(features[:, p] ** 2).sum(axis=1, dtype=np.float64) for p in self._parts()], axis=1)
        if self.absent is None:
            return np.asarray(squares.mean(axis=0))
        return np.asarray(squares.sum(axis=0) / np.maximum((~self.absent).sum(axis=0), 1))

    def _parts(self) -> list[slice]:
        ends = np.cumsum(self.sizes)
        return [slice(int(end - size), int(end)) for end, size in zip(ends, self.sizes, strict=True)]
