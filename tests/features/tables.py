"""Small tables for the tests of steps: whole and with gaps, with responses, with several modalities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from halfmax.data.dataset import ResponseDataset
from halfmax.data.synthetic import make_dataset
from halfmax.features.blocks import Block

N, D = 24, 12
NAMES = tuple(f"G{i}" for i in range(D))
SETS = {"low": ["G0", "G1", "G2"], "high": ["G9", "G10", "G11", "not here"], "too small": ["G5"]}


def filled(*, seed: int = 0) -> Block:
    """Return positive values with three factors behind twelve columns, some zeros among them."""
    rng = np.random.default_rng(seed)
    loading = np.random.default_rng(99).normal(size=(3, D))
    values = np.maximum(3 + rng.normal(size=(N, 3)) @ loading + 0.3 * rng.normal(size=(N, D)), 0)
    return Block(values.astype(np.float32), NAMES)


def gappy(*, seed: int = 0, share: float = 0.15) -> Block:
    """Return `filled` with a share of the values missing, the first row excepted."""
    block = filled(seed=seed)
    missing = np.random.default_rng(seed + 7).random(block.values.shape) < share
    missing[0] = False
    return Block(np.where(missing, np.float32(np.nan), block.values), NAMES)


def targets_of(block: Block, *, noise: float = 0.1) -> np.ndarray:
    """Return responses of five drugs that follow G1 and G4, centred by drug, a few not measured."""
    rng = np.random.default_rng(3)
    n = len(block.values)
    known = np.nan_to_num(block.values.astype(float), nan=3.0)
    y = known[:, [1]] * rng.normal(size=5) + known[:, [4]] * rng.normal(size=5) + noise * rng.normal(size=(n, 5))
    y[rng.random(y.shape) < 0.1] = np.nan
    return y - np.nanmean(np.vstack([y, np.zeros(5)]), axis=0)


def multiomics(
    *, poison: np.ndarray | None = None, poisoned_rows: np.ndarray | None = None, n_proteins: int = 5
) -> ResponseDataset:
    """Return responses with expression of all and proteomics of two in three samples; `poison` spoils samples."""
    base = make_dataset(40, 5, D, seed=4)
    ids = base.samples.index
    rng = np.random.default_rng(8)
    proteins = rng.normal(size=(len(ids), n_proteins))
    frame = pd.DataFrame(proteins.astype(np.float32), index=ids, columns=[f"P{i}" for i in range(n_proteins)])
    expression, response = base.omics["expression"].copy(), base.response.copy()
    if poison is not None:
        expression.loc[poison] = 1e6
        frame.loc[poison] = -1e6
    if poisoned_rows is not None:
        response.loc[poisoned_rows, "value"] = 1e6
    omics = {"expression": expression, "proteomics": frame[np.arange(len(ids)) % 3 > 0]}
    return replace(base, response=response, omics=omics)
