"""ComBat gives the numbers of an independent program, and refuses what it cannot solve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from halfmax.errors import DataError, UnknownNameError
from halfmax.features.harmonise.combat import batch_effect, combat
from tests.features.platforms import N_NEW, N_TRAIN, WORLD, block

GOLDEN = json.loads((Path(__file__).parent / "combat_golden.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("key", "reference", "covariate"),
    [("all_batches_with_covariate", None, True), ("reference_0", 0, False), ("reference_1_with_covariate", 1, True)],
)
def test_combat_gives_the_numbers_of_an_independent_program(key: str, reference: int | None, covariate: bool) -> None:
    design = np.array(GOLDEN["covariate"])[:, None] if covariate else None
    values = np.array(GOLDEN["values"])
    result = combat(values, GOLDEN["batch"], design=design, reference=reference)
    np.testing.assert_allclose(result, GOLDEN[key], rtol=0, atol=1e-9)
    if reference is not None:
        rows = np.array(GOLDEN["batch"]) == reference
        np.testing.assert_array_equal(result[rows], values[rows])


def test_combat_from_the_stored_scale_is_combat_with_the_training_samples_as_reference() -> None:
    together = np.vstack([WORLD.train, WORLD.new])
    batch = np.repeat(["train", "new"], [N_TRAIN, N_NEW])
    whole = combat(together, batch, reference="train")[N_TRAIN:]
    np.testing.assert_allclose(WORLD.step("combat").transform(block(WORLD.new)).values, whole, atol=2e-4)


def test_combat_shrinks_and_so_beats_standardising_in_a_small_cohort() -> None:
    shifted = WORLD.truth[:10] * 1.1 + 1.5  # one shift and factor for all genes
    error = {
        name: np.abs(WORLD.step(name).transform(block(shifted)).values - WORLD.truth[:10]).mean()
        for name in ("combat", "cohort")
    }
    assert error["combat"] < 0.9 * error["cohort"]


def test_mean_only_leaves_variances_and_follows_the_normal_posterior() -> None:
    z = np.random.default_rng(3).normal(np.linspace(-1, 1, 40), 1.0, (8, 40))
    effect = batch_effect(z, mean_only=True)
    mean, between = z.mean(axis=0), z.mean(axis=0).var(ddof=1)
    weight = between / (between + 1 / 8)
    np.testing.assert_allclose(effect.shift, weight * mean + (1 - weight) * mean.mean())
    assert (effect.variance == 1).all()


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({"values": np.array([[1.0, np.nan]] * 4)}, {}, DataError, "4 values are missing"),
        ({"batch": [0, 0, 0, 1]}, {}, DataError, "1 batches have one sample only"),
        ({"batch": [0, 1]}, {}, DataError, "there are 2 batches"),
        ({}, {"reference": 7}, UnknownNameError, "no batch 7"),
        ({}, {"design": np.array([[0.0], [0], [1], [1]])}, DataError, "1 covariates cannot be told from the 2 batches"),
    ],
)
def test_combat_refuses_what_it_cannot_solve(change: dict, options: dict, error: type, message: str) -> None:
    given = {"values": np.arange(8.0).reshape(4, 2) ** 2, "batch": [0, 0, 1, 1]} | change
    with pytest.raises(error, match=message):
        combat(given["values"], given["batch"], **options)
