"""A handful of measurements: planted factors are recovered, and a designed pilot beats a random one."""

from __future__ import annotations

import numpy as np
import pytest

from halfmax.errors import DataError
from halfmax.models.few import ResponsePrior, learn_prior

RNG = np.random.default_rng(0)
FACTORS = RNG.normal(size=(40, 3))
GRID = FACTORS @ RNG.normal(size=(3, 130)) + 3 * RNG.normal(size=130) + 0.3 * RNG.normal(size=(40, 130))
TRAIN, NEW = GRID[:, :100], GRID[:, 100:]
PRIOR = learn_prior(TRAIN)


def error(rows: np.ndarray) -> float:
    rest = np.setdiff1d(np.arange(40), rows)
    return float(np.mean([(PRIOR.condition(rows, y[rows])[0][rest] - y[rest]) ** 2 for y in NEW.T]))


def test_a_designed_pilot_beats_random_ones_of_the_same_size() -> None:
    random = [error(np.random.default_rng(k).choice(40, 5, replace=False)) for k in range(20)]
    assert error(PRIOR.design(5)) < np.mean(random) < error(np.array([0]))


def test_conditioning_is_the_textbook_formula() -> None:
    prior = ResponsePrior(np.zeros(2), np.array([[1.0, 0.5], [0.5, 1.0]]), 1.0)
    mean, variance = prior.condition(np.array([0]), np.array([2.0]))
    np.testing.assert_allclose(mean, [1.0, 0.5])
    np.testing.assert_allclose(variance, [1.5, 1.875])


def test_nothing_measured_is_not_chosen_again() -> None:
    assert not set(PRIOR.design(5, measured=np.array([1, 2, 3]))) & {1, 2, 3}


def test_mistakes_are_named() -> None:
    with pytest.raises(DataError, match="distinct"):
        PRIOR.condition(np.array([99]), np.array([0.0]))
    with pytest.raises(DataError, match="not finite"):
        PRIOR.condition(np.array([1]), np.array([np.nan]))
    with pytest.raises(DataError, match="can be measured"):
        PRIOR.design(41)
