"""A handful of measurements: planted factors are recovered, and a designed pilot beats a random one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halfmax.errors import DataError
from halfmax.models.few import AssayLink, ResponsePrior
from halfmax.models.few_learn import learn_prior

RNG = np.random.default_rng(0)
FACTORS = RNG.normal(size=(40, 3))
NOISE = np.where(np.arange(40) < 20, 0.2, 1.5)
GRID = FACTORS @ RNG.normal(size=(3, 160)) + 3 * RNG.normal(size=160) + NOISE[:, None] * RNG.normal(size=(40, 160))
PREDICTED = np.broadcast_to(RNG.normal(size=(40, 1)), GRID.shape)
TRAIN, NEW = GRID[:, :100], GRID[:, 100:]
HOLES = np.where(RNG.random(TRAIN.shape) < 0.1, np.nan, TRAIN)
PRIOR = learn_prior(HOLES, PREDICTED[:, :100], HOLES + PREDICTED[:, :100])
MEAN = PREDICTED[:, 0]


def squares(rows: np.ndarray, prior: ResponsePrior = PRIOR) -> np.ndarray:
    """Return squared errors and stated variances of the rows that were not measured, over new columns."""
    rest = np.setdiff1d(np.arange(40), rows)
    found = [prior.condition(rows, MEAN[rows] + y[rows], mean=MEAN) for y in NEW.T]
    return np.array([((m - MEAN - y)[rest] ** 2, v[rest]) for (m, v), y in zip(found, NEW.T, strict=True)]).transpose(
        1, 0, 2
    )


def test_a_designed_pilot_beats_random_ones_of_the_same_size() -> None:
    random = [squares(np.random.default_rng(k).choice(40, 5, replace=False))[0].mean() for k in range(20)]
    nothing = squares(np.empty(0, dtype=np.int64))[0].mean()
    assert squares(PRIOR.design(5).rows)[0].mean() < np.quantile(random, 0.2) < 0.2 * nothing


def test_the_rows_own_noise_and_the_stated_variance_are_right() -> None:
    assert PRIOR.noise[:20].max() < PRIOR.noise[20:].min()
    error, variance = squares(np.arange(10, 15))
    assert 0.7 < error.mean() / variance.mean() < 1.4
    assert (PRIOR.design(5).rows < 20).all(), "quiet rows are measured first"


def test_conditioning_is_the_textbook_formula() -> None:
    factors = np.linalg.cholesky(np.array([[1.0, 0.5], [0.5, 1.0]]))
    prior = ResponsePrior(np.zeros(2), factors, np.ones(2), np.ones(2))
    mean, variance = prior.condition(np.array([0]), np.array([2.0]), mean=np.zeros(2))
    np.testing.assert_allclose(mean, [1.0, 0.5])
    np.testing.assert_allclose(variance, [1.5, 1.875])
    # amplitude is one more factor, along the predicted profile
    wide, _ = replace(prior, amplitude=1.0).condition(np.array([0]), np.array([3.0]), mean=np.array([1.0, -1.0]))
    np.testing.assert_allclose(wide, np.array([1, -1]) + np.array([2.0, -0.5]) * 2 / 3)


def test_variance_of_a_design_is_that_of_conditioning() -> None:
    rows, variance = PRIOR.design(6)
    plain = replace(PRIOR, amplitude=0.0)
    for n in (0, 3, 6):
        stated = plain.condition(rows[:n], MEAN[rows[:n]], mean=MEAN)[1] - PRIOR.noise
        assert variance[n] == pytest.approx(stated.mean())
    assert (np.diff(variance) < 0).all()


def test_a_noisy_assay_moves_less_and_an_exact_one_is_the_training_assay() -> None:
    rows, values = np.array([0, 1, 2]), MEAN[:3] + NEW[:3, 0]
    plain = replace(PRIOR, noise=np.full(40, 0.3))
    own, _ = plain.condition(rows, values, mean=MEAN)
    same, _ = plain.condition(rows, values, mean=MEAN, link=AssayLink(1.0, 0.0, 1.0))
    np.testing.assert_allclose(own, same)
    other, variance = plain.condition(rows, values, mean=MEAN, link=AssayLink())
    assert np.abs(other - MEAN).mean() < np.abs(own - MEAN).mean()
    assert (variance > plain.condition(rows, values, mean=MEAN)[1]).all()


def test_rows_that_are_alike_help_where_few_columns_teach() -> None:
    like = FACTORS @ FACTORS.T
    like *= 40 / np.trace(like)
    few = TRAIN[:, :6]
    plain, told = (learn_prior(few, 0 * few, few, like=k) for k in (None, like))
    rows = np.arange(5)
    assert squares(rows, told)[0].mean() < squares(rows, plain)[0].mean()


def test_nothing_measured_is_chosen_again_and_only_candidates_are() -> None:
    chosen = PRIOR.design(5, measured=np.array([1, 2, 3]), candidates=np.arange(12)).rows
    assert not set(chosen) & {1, 2, 3}
    assert chosen.max() < 12


def test_permuted_rows_permute_everything() -> None:
    order = np.random.default_rng(1).permutation(40)
    shuffled = learn_prior(HOLES[order], PREDICTED[order, :100], (HOLES + PREDICTED[:, :100])[order])
    np.testing.assert_allclose(shuffled.centre, PRIOR.centre[order])
    np.testing.assert_array_equal(shuffled.coverage, PRIOR.coverage[order])


def test_mistakes_are_named() -> None:
    with pytest.raises(DataError, match="distinct"):
        PRIOR.condition(np.array([99]), np.array([0.0]), mean=MEAN)
    with pytest.raises(DataError, match="not finite"):
        PRIOR.condition(np.array([1]), np.array([np.nan]), mean=MEAN)
    with pytest.raises(DataError, match="one value a row"):
        PRIOR.condition(np.array([1, 2]), np.array([1.0]), mean=MEAN)
    with pytest.raises(DataError, match="can be measured"):
        PRIOR.design(41)
    with pytest.raises(DataError, match="three columns"):
        learn_prior(GRID[:, :2], GRID[:, :2], GRID[:, :2])
    with pytest.raises(DataError, match="do not vary"):
        learn_prior(np.ones((4, 5)), np.ones((4, 5)), np.ones((4, 5)))
