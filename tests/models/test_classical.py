"""Trees on pairs and the elastic net: they learn, equal the libraries they come from, and are restored whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halfmax.errors import DataError, ModelFileError, NotFittedError
from halfmax.models.boosting import LightGBM, XGBoost
from halfmax.models.classical import ElasticNet, RandomForest
from halfmax.models.pairs import PairEncoder
from halfmax.models.per_drug import FAMILIES, TreesPerDrug
from tests.models.planted import features, linear_response, relabelled, renamed, restored

TREES = [
    LightGBM(n_trees=60, min_leaf=10, n_threads=1),
    XGBoost(n_trees=60, min_leaf_weight=5, n_threads=1),
    RandomForest(n_trees=20, min_leaf=3, row_share=0.7, n_threads=1),
]
LEVELS = (0.1, 0.5, 0.9)
PER_DRUG = [TreesPerDrug(family, n_trees=25, n_threads=1, quantiles=LEVELS) for family in FAMILIES]
ALL = [*TREES, ElasticNet(alpha=0.02), *PER_DRUG]


def fresh(model, **changes):
    return type(model)(**(model.get_params() | changes))


def name(model):
    return getattr(model, "family", "") + type(model).__name__


@pytest.mark.parametrize("model", ALL, ids=name)
def test_planted_truth_is_found_on_held_out_pairs(model):
    x = features(n=250, m=6, d=20, seed=7)
    y = linear_response(x, noise=0.2)
    held_out = np.random.default_rng(0).random(x.n_pairs) < 0.2
    fitted = fresh(model).fit(x.take_pairs(~held_out), y[~held_out])
    error = np.mean((fitted.predict(x.take_pairs(held_out)).mean - y[held_out]) ** 2)
    drug_mean = np.bincount(x.drug_index[~held_out], y[~held_out]) / np.bincount(x.drug_index[~held_out])
    assert error < 0.7 * np.mean((drug_mean[x.drug_index[held_out]] - y[held_out]) ** 2)


@pytest.mark.parametrize("model", ALL, ids=name)
def test_state_restores_bit_equal_predictions(model):
    x = features()
    fitted = fresh(model).fit(x, linear_response(x))
    for asked in (x.grid(), renamed(x, samples=True), renamed(x, drugs=True)):
        mean = fitted.predict(asked).mean
        assert mean.dtype == np.float32
        np.testing.assert_array_equal(restored(fitted).predict(asked).mean, mean)


@pytest.mark.parametrize("model", ALL, ids=name)
def test_the_same_seed_gives_the_same_bits(model):
    x = features()
    y = linear_response(x)
    np.testing.assert_array_equal(fresh(model).fit(x, y).predict(x).mean, fresh(model).fit(x, y).predict(x).mean)


@pytest.mark.parametrize("model", ALL, ids=name)
def test_order_of_asked_pairs_and_tables_means_nothing(model):
    x = features()
    y = linear_response(x)
    other, _, order = relabelled(x, y)
    fitted = fresh(model).fit(x, y)
    # a matrix product may round differently for rows in another order, and a tree's limit may lie just there
    apart = np.abs(fitted.predict(other).mean - fitted.predict(x).mean[order])
    assert np.mean(apart < 1e-4) > 0.98


def test_forest_kept_as_arrays_predicts_what_scikit_learns_does():
    from sklearn.ensemble import RandomForestRegressor

    rng = np.random.default_rng(0)
    values, y = rng.normal(size=(300, 6)).astype(np.float32), rng.normal(size=300)
    model = RandomForest(n_trees=7, min_leaf=2, max_leaves=50, feature_share=0.5, row_share=0.6, n_threads=1, seed=3)
    model._grow(values, y, None)
    reference = RandomForestRegressor(
        n_estimators=7, min_samples_leaf=2, max_leaf_nodes=50, max_features=0.5, max_samples=0.6, random_state=3
    ).fit(values, y)
    asked = rng.normal(size=(9000, 6)).astype(np.float32)
    np.testing.assert_allclose(model._apply(asked), reference.predict(asked), rtol=1e-12, atol=1e-12)


def test_elastic_net_equals_scikit_learns_on_one_drug():
    from sklearn.linear_model import ElasticNet as Reference

    x = features(n=80, m=1, d=15, share=1.1)
    y = linear_response(x)
    found = ElasticNet(alpha=0.05, l1_ratio=0.5, n_genes=15).fit(x, y).predict(x).mean
    z = x.sample("expression").astype(np.float64)
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    net = Reference(alpha=0.05, l1_ratio=0.5, tol=1e-8, max_iter=10_000).fit(z, (y - y.mean()) / y.std())
    np.testing.assert_allclose(found, y.mean() + y.std() * net.predict(z), atol=0.01)


@pytest.mark.parametrize("model", TREES, ids=name)
def test_classification_gives_probabilities_that_tell_the_classes_apart(model):
    x = features(n=250, m=6, d=20, seed=7)
    label = (linear_response(x, noise=0.2) > 2).astype(float)
    held_out = np.random.default_rng(0).random(x.n_pairs) < 0.2
    fitted = fresh(model, task="classification").fit(x.take_pairs(~held_out), label[~held_out])
    probability = fitted.predict(x.take_pairs(held_out)).probability
    assert probability is not None
    assert probability.min() >= 0
    assert probability.max() <= 1
    positive = label[held_out] > 0.5
    assert np.mean(probability[positive][:, None] > probability[~positive]) > 0.75


@pytest.mark.parametrize("model", ALL, ids=name)
@pytest.mark.parametrize("case", ["constant", "one sample", "one drug", "flat genes", "silent drug"])
def test_odd_data_gives_finite_predictions(model, case):
    x = features()
    keep = {
        "one sample": x.sample_index == 0,
        "one drug": x.drug_index == 0,
        "silent drug": x.drug_index != 2,
    }
    x = x.take_pairs(keep[case]) if case in keep else x
    if case == "flat genes":
        flat = replace(x.sample_x["expression"], values=np.full_like(x.sample("expression"), 2.0))
        x = replace(x, sample_x=dict(x.sample_x) | {"expression": flat})
    y = np.full(x.n_pairs, 1.5) if case == "constant" else linear_response(x)
    mean = fresh(model).fit(x, y).predict(x.grid()).mean
    assert np.isfinite(mean).all()
    if case == "constant":
        np.testing.assert_allclose(mean, 1.5, atol=1e-4)


@pytest.mark.parametrize("model", ALL, ids=name)
def test_unseen_drug_and_sample_are_answered(model):
    x = features()
    fitted = fresh(model).fit(x, linear_response(x))
    assert np.isfinite(fitted.predict(renamed(x.grid(), samples=True, drugs=True)).mean).all()


def test_pair_encoding_learns_only_from_pairs_in_training():
    x = features()
    y = linear_response(x)
    train = x.sample_index < 40
    encoder = PairEncoder().fit(x.take_pairs(train), y[train])
    changed = replace(x.sample_x["expression"], values=x.sample("expression").copy())
    changed.values[40:] += 100
    other = replace(x, sample_x=dict(x.sample_x) | {"expression": changed})
    again = PairEncoder().fit(other.take_pairs(train), y[train])
    for key, value in encoder.arrays.items():
        np.testing.assert_array_equal(value, again.arrays[key])


@pytest.mark.parametrize("model", ALL, ids=name)
def test_asking_before_fitting_is_named(model):
    with pytest.raises(NotFittedError):
        fresh(model).predict(features())


QUANTILES = [*(fresh(m, quantiles=LEVELS) for m in TREES), *PER_DRUG]


@pytest.mark.parametrize("model", QUANTILES, ids=name)
def test_quantiles_cover_what_they_say_and_are_restored_bit_equal(model):
    # noise that grows with a gene: a quantile that only shifts the mean would not cover both ends
    x = features(n=400, m=4, d=6, seed=11)
    rng = np.random.default_rng(1)
    gene = x.sample("expression")[x.sample_index, 0]
    y = 2.0 * x.drug_index + np.where(gene > 0, 2.0, 0.4) * rng.normal(size=x.n_pairs)
    held_out = x.sample_index % 4 == 0
    fitted = fresh(model).fit(x.take_pairs(~held_out), y[~held_out])
    asked, truth = x.take_pairs(held_out), y[held_out]
    found = fitted.predict(asked).quantiles
    assert list(found) == list(LEVELS)
    assert (found[0.1] <= found[0.5]).all()
    assert (found[0.5] <= found[0.9]).all()
    inside = (truth >= found[0.1]) & (truth <= found[0.9])
    assert 0.6 < inside.mean() < 0.92
    width = found[0.9] - found[0.1]
    wide = gene[held_out] > 0
    assert width[wide].mean() > 1.2 * width[~wide].mean()
    again = restored(fitted).predict(asked).quantiles
    assert all(np.array_equal(found[q], again[q]) for q in LEVELS)


def test_trees_of_a_drug_do_not_hear_of_other_drugs():
    x = features(n=120, m=3, d=10)
    y = linear_response(x)
    changed = np.where(x.drug_index == 2, 50 * y, y)
    one, two = (TreesPerDrug("random_forest", n_trees=10).fit(x, v).predict(x).mean for v in (y, changed))
    assert np.array_equal(one[x.drug_index < 2], two[x.drug_index < 2])
    assert not np.array_equal(one[x.drug_index == 2], two[x.drug_index == 2])


def test_a_drug_with_few_samples_keeps_its_mean_and_a_new_one_the_overall_mean():
    x = features(n=60, m=3, d=10)
    few = x.take_pairs((x.drug_index > 0) | (x.sample_index < 8))
    y = linear_response(few)
    fitted = TreesPerDrug("random_forest", n_trees=5, quantiles=(0.5,)).fit(few, y)
    found = fitted.predict(few)
    assert found.mean[few.drug_index == 0] == pytest.approx(y[few.drug_index == 0].mean(), abs=1e-5)
    assert fitted.predict(renamed(x, drugs=True)).mean == pytest.approx(y.mean(), abs=1e-5)


def test_what_quantiles_cannot_be_is_refused():
    x = features()
    y = linear_response(x)
    with pytest.raises(DataError, match=r"levels between 0 and 1; got \[1.5\]"):
        RandomForest(quantiles=[0.5, 1.5]).fit(x, y)
    with pytest.raises(DataError, match="labels have no quantiles"):
        LightGBM(quantiles=[0.5], task="classification").fit(x, (y > 0).astype(float))
    with pytest.raises(DataError, match="family is 'oak'"):
        TreesPerDrug("oak").fit(x, y)
    for model in TREES:
        fitted = fresh(model).fit(x, y)
        fitted.quantiles = (0.5,)
        with pytest.raises(ModelFileError, match="fitted without"):
            fitted.predict(x)
