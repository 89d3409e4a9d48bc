"""Samples of planted kinds as the training's platform sees them, and as another one does."""

from __future__ import annotations

import numpy as np
import pandas as pd

from halfmax.features.blocks import Block
from halfmax.features.harmonise.base import HARMONISERS, Harmoniser
from halfmax.features.harmonise.reference import ScaleReference

N_TRAIN, N_NEW, N_GENES = 200, 60, 300
GENES = tuple(f"G{i}" for i in range(N_GENES))


def block(values: np.ndarray, names: tuple[str, ...] = GENES) -> Block:
    return Block(np.asarray(values, dtype=np.float32), names)


class World:
    """Samples of eight planted kinds, seen by the training's platform and, as `new`, by another."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        base, kinds = rng.normal(7, 2, N_GENES), rng.normal(0, 1, (8, N_GENES))
        self.kind, self.kind_new = np.arange(N_TRAIN) % 8, np.arange(N_NEW) % 8
        self.train = self.seen(base + kinds[self.kind], rng)
        self.truth = self.seen(base + kinds[self.kind_new], rng)
        self.gain, self.offset = rng.uniform(0.5, 2, N_GENES), rng.normal(0, 3, N_GENES)
        self.new = (self.truth * self.gain + self.offset).astype(np.float32)
        self.reference = ScaleReference(profiles=True).fit(block(self.train))

    @staticmethod
    def seen(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return (values + rng.normal(0, 0.3, values.shape)).astype(np.float32)

    def step(self, name: str) -> Harmoniser:
        return HARMONISERS.get(name)().fit_reference(self.reference)


WORLD = World()


def frame(values: np.ndarray, names: tuple[str, ...] = GENES) -> pd.DataFrame:
    return pd.DataFrame(values, [f"s{i}" for i in range(len(values))], list(names))


def nearest_kind(values: np.ndarray) -> float:
    """Return the share of new samples whose most correlated training sample is of their own kind."""
    mean, sd = WORLD.train.mean(axis=0), WORLD.train.std(axis=0)
    left, right = (values - mean) / sd, (WORLD.train - mean) / sd
    likeness = np.corrcoef(left, right)[: len(left), len(left) :]
    return float((WORLD.kind[likeness.argmax(axis=1)] == WORLD.kind_new[: len(left)]).mean())
