"""Baselines: means equal pandas, effects equal numpy's least squares, factors find a planted rank."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from halfmax.features.blocks import PairFeatures
from halfmax.models.baselines import (
    DrugMean,
    IdentityFactorisation,
    MeanEffects,
    OverallMean,
    SampleMean,
    TissueDrugMean,
    TissueMean,
    least_squares_effects,
    soft_impute,
)
from tests.models.planted import features, linear_response, relabelled, renamed, restored

ALL = [OverallMean, DrugMean, SampleMean, TissueMean, TissueDrugMean, MeanEffects, IdentityFactorisation]


def table(x: PairFeatures, y: np.ndarray) -> pd.DataFrame:
    tissue = x.sample("tissue").argmax(axis=1)[x.sample_index]
    return pd.DataFrame({"sample": x.sample_index, "drug": x.drug_index, "tissue": tissue, "y": y})


@pytest.mark.parametrize(("cls", "by"), [(DrugMean, "drug"), (SampleMean, "sample"), (TissueMean, "tissue")])
def test_means_equal_pandas(cls, by):
    x = features()
    y = linear_response(x)
    expected = table(x, y).groupby(by)["y"].transform("mean")
    np.testing.assert_allclose(cls().fit(x, y).predict(x).mean, expected, rtol=1e-5, atol=1e-5)


def test_tissue_drug_mean_without_prior_is_the_cells_mean_and_with_a_large_one_the_drugs():
    x = features()
    y = linear_response(x)
    t = table(x, y)
    cell = t.groupby(["tissue", "drug"])["y"].transform("mean")
    np.testing.assert_allclose(TissueDrugMean(prior=0.0).fit(x, y).predict(x).mean, cell, rtol=1e-5, atol=1e-5)
    drug = t.groupby("drug")["y"].transform("mean")
    np.testing.assert_allclose(TissueDrugMean(prior=1e9).fit(x, y).predict(x).mean, drug, rtol=1e-5, atol=1e-5)


def test_mean_effects_equal_numpys_least_squares():
    x = features(n=25, m=7, share=0.4, seed=3)
    y = linear_response(x, noise=1.0)
    design = np.zeros((x.n_pairs, 1 + 25 + 7))
    design[:, 0] = 1
    rows = np.arange(x.n_pairs)
    design[rows, 1 + x.sample_index] = 1
    design[rows, 26 + x.drug_index] = 1
    expected = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(MeanEffects().fit(x, y).predict(x).mean, expected, atol=1e-5)


def test_planted_effects_are_found_exactly():
    rng = np.random.default_rng(0)
    x = features(n=30, m=9, share=0.6)
    sample, drug = rng.normal(size=30), rng.normal(size=9)
    y = 5 + sample[x.sample_index] + drug[x.drug_index]
    every = MeanEffects().fit(x, y).predict(x.grid()).mean.reshape(30, 9)
    np.testing.assert_allclose(every, 5 + sample[:, None] + drug, atol=1e-4)


def test_effects_of_groups_without_a_common_drug_are_finite_and_fit():
    x = features(n=20, m=6, share=1.1)
    apart = (x.sample_index < 10) == (x.drug_index < 3)
    x = x.take_pairs(apart)
    y = np.random.default_rng(0).normal(size=x.n_pairs)
    sample, drug = least_squares_effects(x, y - y.mean())
    assert np.isfinite(sample).all()
    assert np.isfinite(drug).all()
    residual = y - y.mean() - sample[x.sample_index] - drug[x.drug_index]
    np.testing.assert_allclose(np.bincount(x.drug_index, residual), 0, atol=1e-6)
    np.testing.assert_allclose(np.bincount(x.sample_index, residual), 0, atol=1e-6)


def test_mean_effects_fit_a_whole_screen_in_a_tenth_of_a_second():
    x = features(n=900, m=228, d=1, share=0.7)
    y = np.random.default_rng(0).normal(size=x.n_pairs)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        MeanEffects().fit(x, y)
        seconds.append(time.process_time() - start)
    assert x.n_pairs > 140_000
    assert min(seconds) < 0.1


def test_factorisation_completes_a_planted_rank_that_mean_effects_cannot():
    rng = np.random.default_rng(0)
    x = features(n=120, m=60)
    grid = rng.normal(size=(120, 2)) @ rng.normal(size=(2, 60))
    y = grid[x.sample_index, x.drug_index] + rng.normal(0, 0.1, x.n_pairs)
    held_out = rng.random(x.n_pairs) < 0.2
    known, asked = x.take_pairs(~held_out), x.take_pairs(held_out)

    def error(model):
        return np.mean((model.fit(known, y[~held_out]).predict(asked).mean - y[held_out]) ** 2)

    assert error(IdentityFactorisation(threshold=0.05)) < 0.1 * error(MeanEffects())


def test_soft_impute_shrinks_singular_values_of_a_complete_matrix_by_the_threshold():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(12, 7))
    left, right = soft_impute(matrix, 0.3, 7, 5)
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    np.testing.assert_allclose(left @ right.T, (u * np.maximum(s - 0.3 * s[0], 0)) @ v, atol=1e-8)


@pytest.mark.parametrize("cls", ALL)
def test_state_restores_bit_equal_predictions(cls):
    x = features()
    model = cls().fit(x, linear_response(x))
    for asked in (x, x.grid(), renamed(x, samples=True), renamed(x, drugs=True)):
        np.testing.assert_array_equal(restored(model).predict(asked).mean, model.predict(asked).mean)


@pytest.mark.parametrize("cls", ALL)
def test_order_of_tables_and_pairs_means_nothing(cls):
    x = features()
    y = linear_response(x)
    other, targets, _ = relabelled(x, y)
    np.testing.assert_allclose(cls().fit(other, targets).predict(x).mean, cls().fit(x, y).predict(x).mean, atol=1e-4)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("case", ["constant", "one sample", "one drug", "one pair", "silent drug", "no tissue"])
def test_odd_data_gives_finite_predictions(cls, case):
    x = features()
    keep = {
        "one sample": x.sample_index == 0,
        "one drug": x.drug_index == 0,
        "one pair": np.arange(x.n_pairs) == 0,
        "silent drug": x.drug_index != 2,
    }
    x = x.take_pairs(keep[case]) if case in keep else x
    if case == "no tissue":
        blank = replace(x.sample_x["tissue"], values=np.zeros_like(x.sample("tissue")))
        x = replace(x, sample_x=dict(x.sample_x) | {"tissue": blank})
    y = np.full(x.n_pairs, -2.0) if case == "constant" else linear_response(x)
    for asked in (x.grid(), renamed(x.grid(), samples=True, drugs=True)):
        mean = cls().fit(x, y).predict(asked).mean
        assert np.isfinite(mean).all()
        if case == "constant":
            np.testing.assert_allclose(mean, -2.0, atol=1e-6)


def test_unseen_ids_have_no_effect():
    x = features()
    y = linear_response(x)
    unseen = renamed(x, samples=True, drugs=True)
    for cls in (OverallMean, DrugMean, SampleMean, MeanEffects, IdentityFactorisation):
        np.testing.assert_allclose(cls().fit(x, y).predict(unseen).mean, y.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        DrugMean().fit(x, y).predict(renamed(x, samples=True)).mean, DrugMean().fit(x, y).predict(x).mean
    )
