"""Small tables with a planted truth, shared by the tests of the closed-form models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from halfmax.features.blocks import Block, PairFeatures
from halfmax.models.base import Model, State

Array = npt.NDArray[np.float64]


def features(
    n: int = 60, m: int = 8, d: int = 40, *, share: float = 0.8, seed: int = 0, n_tissues: int = 3
) -> PairFeatures:
    """Return random profiles, one-hot tissues, fingerprints and a random share of all pairs."""
    rng = np.random.default_rng(seed)
    tissue = np.eye(n_tissues, dtype=np.float32)[rng.integers(0, n_tissues, n)]
    pairs = np.flatnonzero(rng.random(n * m) < share)
    return PairFeatures(
        sample_ids=np.array([f"line{i}" for i in range(n)]),
        drug_ids=np.array([f"drug{j}" for j in range(m)]),
        sample_x={
            "expression": Block(rng.normal(size=(n, d)).astype(np.float32), tuple(f"G{k}" for k in range(d))),
            "tissue": Block(tissue, tuple(f"tissue={t}" for t in range(n_tissues))),
        },
        drug_x={
            "fingerprint": Block(rng.integers(0, 3, (m, 30)).astype(np.float32), tuple(f"bit{k}" for k in range(30)))
        },
        sample_index=pairs // m,
        drug_index=pairs % m,
        drug_text={
            "smiles": np.array(["C" * (j % 7 + 1) + ("O" if j % 2 else "N") for j in range(m)]),
            "description": np.array([f"Kinase{j} inhibitor; targets GENE{j % 3}." for j in range(m)]),
        },
    )


def linear_response(x: PairFeatures, *, noise: float = 0.1, seed: int = 1) -> Array:
    """Return drug means plus a drug's own linear function of five genes."""
    rng = np.random.default_rng(seed)
    weight = np.zeros((x.sample("expression").shape[1], len(x.drug_ids)))
    weight[:5] = rng.normal(size=(5, len(x.drug_ids)))
    grid = rng.normal(0, 2, len(x.drug_ids)) + x.sample("expression") @ weight
    return np.asarray(grid[x.sample_index, x.drug_index] + rng.normal(0, noise, x.n_pairs))


def relabelled(x: PairFeatures, y: Array, *, seed: int = 2) -> tuple[PairFeatures, Array, npt.NDArray[np.int64]]:
    """Return the same pairs with samples, drugs and pairs in another order, and the order of the pairs."""
    rng = np.random.default_rng(seed)
    s, d, p = rng.permutation(len(x.sample_ids)), rng.permutation(len(x.drug_ids)), rng.permutation(x.n_pairs)
    shuffled = PairFeatures(
        x.sample_ids[s],
        x.drug_ids[d],
        {k: b.take(s) for k, b in x.sample_x.items()},
        {k: b.take(d) for k, b in x.drug_x.items()},
        np.argsort(s)[x.sample_index[p]],
        np.argsort(d)[x.drug_index[p]],
        drug_text={k: text[d] for k, text in x.drug_text.items()},
    )
    return shuffled, y[p], p


def renamed(x: PairFeatures, *, samples: bool = False, drugs: bool = False) -> PairFeatures:
    """Return the tables with ids that no model has seen."""
    new_samples = np.char.add("new ", x.sample_ids) if samples else x.sample_ids
    return replace(x, sample_ids=new_samples, drug_ids=np.char.add("new ", x.drug_ids) if drugs else x.drug_ids)


def restored(model: Model) -> Model:
    """Return another instance made from parameters and state alone, arrays copied."""
    state = model.get_state()
    arrays = {k: np.array(v, copy=True) for k, v in state.arrays.items()}
    return type(model)(**model.get_params()).set_state(State(arrays, dict(state.meta), dict(state.files)))
