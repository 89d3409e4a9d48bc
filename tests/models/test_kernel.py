"""Kernel ridge and the response process: closed forms equal refits and scikit-learn; truth is found; ids may be new."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halfmax.errors import DataError, NotFittedError
from halfmax.features.blocks import Block
from halfmax.models.base import response_matrix
from halfmax.models.kernel import KernelRidge, ResponseGP
from halfmax.models.ridge import choose_ridge, feature_gains, leave_one_out, solve, solve_by_drug
from tests.models.planted import features, linear_response, relabelled, renamed, restored

MODELS = [
    KernelRidge(),
    KernelRidge(kernel="rbf"),
    KernelRidge(focus=0.0, joint=True),
    KernelRidge(return_variance=True),
    KernelRidge(kernel="rbf", return_variance=True),
    KernelRidge(borrow=0.5, general=1.5),
    ResponseGP(),
]
IDS = ["linear", "rbf", "joint", "variance", "rbf-variance", "borrow", "gp"]


def fresh(model):
    return type(model)(**model.get_params())


def test_leave_one_out_equals_explicit_refits():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(25, 60)) / np.sqrt(60)
    gram, y = z @ z.T, rng.normal(size=25)
    refitted = []
    for i in range(25):
        rest = np.delete(np.arange(25), i)
        refitted.append(y[i] - gram[i, rest] @ np.linalg.solve(gram[np.ix_(rest, rest)] + 0.7 * np.eye(24), y[rest]))
    np.testing.assert_allclose(leave_one_out(gram, y, 0.7), refitted, rtol=2e-4, atol=1e-5)


def test_plain_linear_kernel_equals_scikit_learns_ridge_on_each_drugs_samples():
    from sklearn.linear_model import Ridge

    x = features(share=0.7)
    y = linear_response(x)
    found = KernelRidge(ridge=0.5, focus=0.0).fit(x, y).predict(x.grid()).mean.reshape(60, 8)
    z = x.sample("expression").astype(np.float64)
    centred = z - z.mean(axis=0)
    power = (centred**2).sum(axis=1).mean()
    grid = response_matrix(x, y)
    for drug in range(8):
        rows = np.isfinite(grid[:, drug])
        mean = grid[rows, drug].mean()
        ridge = Ridge(alpha=0.5 * power, fit_intercept=False).fit(centred[rows], grid[rows, drug] - mean)
        np.testing.assert_allclose(found[:, drug], mean + ridge.predict(centred), rtol=1e-3, atol=1e-3)


def test_plain_rbf_kernel_equals_scikit_learns_on_complete_data():
    from sklearn.kernel_ridge import KernelRidge as Reference

    x = features(share=1.1)
    y = linear_response(x)
    model = KernelRidge(kernel="rbf", ridge=0.3, focus=0.0).fit(x, y)
    z = x.sample("expression").astype(np.float64)
    centred = z - z.mean(axis=0)
    centred /= np.sqrt((centred**2).sum(axis=1).mean())
    grid = response_matrix(x, y)
    reference = Reference(alpha=0.3, kernel="rbf", gamma=1 / (2 * model.width_)).fit(centred, grid - grid.mean(axis=0))
    expected = grid.mean(axis=0) + reference.predict(centred)
    np.testing.assert_allclose(model.predict(x.grid()).mean.reshape(60, 8), expected, rtol=1e-3, atol=1e-3)


def test_missing_responses_are_left_out_of_a_drugs_system():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(20, 50)) / np.sqrt(50)
    gram, residual = (z @ z.T).astype(np.float32), rng.normal(size=(20, 3))
    residual[::3, 1] = np.nan
    residual[4:, 2] = np.nan  # too few samples to solve
    dual = solve_by_drug(gram, residual, 1.0)
    rows = np.isfinite(residual[:, 1])
    np.testing.assert_allclose(dual[rows, 1], solve(gram[np.ix_(rows, rows)], residual[rows, 1], 1.0), rtol=1e-4)
    assert not dual[~rows, 1].any()
    assert not dual[:, 2].any()


def test_ridge_grows_with_noise():
    chosen = []
    for noise in (0.05, 1.0, 20.0):
        x = features(n=120, m=6, d=30)
        y = linear_response(x, noise=noise)
        z = x.sample("expression") / np.float32(np.sqrt(30))
        grid = response_matrix(x, y)
        chosen.append(choose_ridge(z @ z.T, grid - np.nanmean(grid, axis=0)))
    assert chosen[0] < chosen[1] < chosen[2]


def test_focus_finds_the_genes_that_matter_and_helps_on_unseen_samples():
    x = features(n=200, m=10, d=300, share=0.9, seed=5)
    y = linear_response(x, noise=0.5)
    train, test = x.sample_index < 120, x.sample_index >= 120
    error = {}
    for focus in (0.0, 2.0):
        model = KernelRidge(focus=focus).fit(x.take_pairs(train), y[train])
        error[focus] = np.mean((model.predict(x.take_pairs(test)).mean - y[test]) ** 2)
    assert error[2.0] < 0.5 * error[0.0]
    gain = KernelRidge().fit(x, y).gain_
    assert gain[:5].min() > 10 * np.median(gain[5:])


def test_gains_are_one_where_a_first_fit_found_nothing():
    np.testing.assert_array_equal(feature_gains(np.zeros((4, 3)), 2.0), np.ones(4))


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_planted_truth_is_found_on_held_out_pairs(model):
    x = features(n=150, m=12, d=30, seed=7)
    y = linear_response(x, noise=0.2)
    held_out = np.random.default_rng(0).random(x.n_pairs) < 0.2
    model = fresh(model).fit(x.take_pairs(~held_out), y[~held_out])
    error = np.mean((model.predict(x.take_pairs(held_out)).mean - y[held_out]) ** 2)
    drug_mean = np.bincount(x.drug_index[~held_out], y[~held_out]) / np.bincount(x.drug_index[~held_out])
    assert error < 0.4 * np.mean((drug_mean[x.drug_index[held_out]] - y[held_out]) ** 2)


def test_responses_predict_what_profiles_do_not_hold():
    rng = np.random.default_rng(0)
    x = features(n=120, m=40, d=20)
    hidden = rng.normal(size=(120, 2)) @ rng.normal(size=(2, 40))
    y = hidden[x.sample_index, x.drug_index] + rng.normal(0, 0.2, x.n_pairs)
    held_out = rng.random(x.n_pairs) < 0.2
    known, asked = x.take_pairs(~held_out), x.take_pairs(held_out)
    gp = np.mean((ResponseGP().fit(known, y[~held_out]).predict(asked).mean - y[held_out]) ** 2)
    ridge = np.mean((KernelRidge().fit(known, y[~held_out]).predict(asked).mean - y[held_out]) ** 2)
    assert gp < 0.2 * ridge


def test_variance_tells_the_size_of_errors_on_unseen_samples():
    x = features(n=300, m=6, d=60, seed=11)
    y = linear_response(x, noise=0.0)
    sd = np.where(x.drug_index < 3, 0.5, 2.0)
    y = y + np.random.default_rng(1).normal(0, sd)
    train, test = x.sample_index < 200, x.sample_index >= 200
    prediction = KernelRidge(return_variance=True).fit(x.take_pairs(train), y[train]).predict(x.take_pairs(test))
    assert prediction.variance is not None
    z = (prediction.mean - y[test]) / np.sqrt(prediction.variance)
    for quiet in (True, False):
        assert 0.8 < z[(x.drug_index[test] < 3) == quiet].std() < 1.25
    far = replace(x, sample_x=dict(x.sample_x) | {"expression": Block(x.sample("expression") * 10, ("G",) * 60)})
    model = KernelRidge(return_variance=True).fit(x, y)
    assert np.mean(model.predict(far).variance) > 2 * np.mean(model.predict(x).variance)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_state_restores_bit_equal_predictions(model):
    x = features()
    model = fresh(model).fit(x, linear_response(x))
    again = restored(model)
    for asked in (x.grid(), renamed(x, samples=True), renamed(x, drugs=True)):
        one, two = model.predict(asked), again.predict(asked)
        assert one.mean.dtype == np.float32
        np.testing.assert_array_equal(one.mean, two.mean)
        assert (one.variance is None) == (two.variance is None)
        if one.variance is not None:
            np.testing.assert_array_equal(one.variance, two.variance)


@pytest.mark.parametrize("model", MODELS[:3] + MODELS[5:], ids=IDS[:3] + IDS[5:])
def test_order_of_tables_and_pairs_means_nothing(model):
    x = features()
    y = linear_response(x)
    other, targets, order = relabelled(x, y)
    one = fresh(model).fit(x, y)
    np.testing.assert_allclose(fresh(model).fit(other, targets).predict(x).mean, one.predict(x).mean, atol=2e-3)
    np.testing.assert_allclose(one.predict(other).mean, one.predict(x).mean[order], atol=1e-4)


def test_gp_predicts_unseen_samples_as_kernel_ridge_does():
    x = features()
    y = linear_response(x)
    asked = renamed(x, samples=True)
    np.testing.assert_allclose(
        ResponseGP().fit(x, y).predict(asked).mean, KernelRidge().fit(x, y).predict(asked).mean, atol=1e-5
    )


def test_unseen_drug_borrows_the_potency_of_a_drug_of_like_structure():
    x = features(n=80, m=12)
    y = linear_response(x)
    y = y + np.where(x.drug_index == 3, 20.0, 0.0)
    model = KernelRidge().fit(x, y)
    fingerprint = x.drug_x["fingerprint"]
    twin = Block(fingerprint.values[[3, 0]], fingerprint.names)
    asked = replace(x, drug_ids=np.array(["twin of 3", "twin of 0"]), drug_x={"fingerprint": twin}).take_pairs(
        x.drug_index < 2
    )
    mean = model.predict(asked).mean
    assert mean[asked.drug_index == 0].mean() > mean[asked.drug_index == 1].mean() + 3


@pytest.mark.parametrize("model", MODELS, ids=IDS)
@pytest.mark.parametrize("case", ["constant", "one sample", "one drug", "flat gene", "silent drug", "no signal block"])
def test_odd_data_gives_finite_predictions(model, case):
    x = features()
    if case == "one sample":
        x = x.take_pairs(x.sample_index == 0)
    elif case == "one drug":
        x = x.take_pairs(x.drug_index == 0)
    elif case == "silent drug":
        x = x.take_pairs(x.drug_index != 2)
    elif case in ("flat gene", "no signal block"):
        values = x.sample("expression").copy()
        values[:, slice(0, 1) if case == "flat gene" else slice(None)] = 4.0
        x = replace(x, sample_x=dict(x.sample_x) | {"expression": Block(values, x.sample_x["expression"].names)})
    y = np.full(x.n_pairs, 3.0) if case == "constant" else linear_response(x)
    prediction = fresh(model).fit(x, y).predict(x.grid())
    assert np.isfinite(prediction.mean).all()
    if case == "constant":
        np.testing.assert_allclose(prediction.mean, 3.0, atol=1e-5)
    if prediction.variance is not None:
        assert np.isfinite(prediction.variance).all()
        assert (prediction.variance >= 0).all()


def test_a_block_counts_by_its_weight_not_by_its_columns():
    x = features(n=100)
    y = linear_response(x)
    with_tissue = KernelRidge(blocks={"expression": 1.0, "tissue": 0.0}, focus=0.0, ridge=1.0).fit(x, y)
    alone = KernelRidge(focus=0.0, ridge=1.0).fit(x, y)
    np.testing.assert_allclose(with_tissue.predict(x).mean, alone.predict(x).mean, atol=1e-4)
    by_tissue = y + 3 * x.sample("tissue")[x.sample_index, 0]
    both = KernelRidge(blocks={"expression": 1.0, "tissue": 1.0}, focus=0.0).fit(x, by_tissue)
    assert np.mean((both.predict(x).mean - by_tissue) ** 2) < np.mean(
        (KernelRidge(focus=0.0).fit(x, by_tissue).predict(x).mean - by_tissue) ** 2
    )


def test_wrong_use_is_named():
    x = features()
    with pytest.raises(DataError, match="linear or rbf"):
        KernelRidge(kernel="cubic").fit(x, linear_response(x))
    with pytest.raises(NotFittedError):
        KernelRidge().predict(x)
    with pytest.raises(DataError, match="NaN"):
        ResponseGP().fit(x, np.full(x.n_pairs, np.nan))


def test_borrowing_from_other_drugs_takes_assay_noise_out_of_the_targets():
    rng = np.random.default_rng(3)
    x = features(120, 30, share=0.8)
    genes = x.sample("expression").astype(np.float64)[:, :2]
    truth = genes @ rng.normal(size=(2, 30))
    y = (truth + 3.0 * rng.normal(size=truth.shape))[x.sample_index, x.drug_index]
    errors = {}
    for borrow in (0.0, 1.0):
        found = KernelRidge(focus=0.0, borrow=borrow).fit(x, y).predict(x.grid()).mean.reshape(truth.shape)
        errors[borrow] = np.mean((found - truth) ** 2)
    assert errors[1.0] < 0.9 * errors[0.0]
    with pytest.raises(DataError, match=r"borrow is 1.5; it is a share"):
        KernelRidge(borrow=1.5).fit(x, y)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_the_factor_on_general_sensitivity_changes_nothing_else(kernel):
    x = features(share=0.7)
    y = linear_response(x)
    one, two = (
        KernelRidge(kernel=kernel, general=g).fit(x, y).predict(x.grid()).mean.reshape(60, 8) for g in (1.0, 1.5)
    )
    one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    general = one.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(two, one + 0.5 * general, atol=2e-3)
    assert np.abs(general).max() > 0.1
