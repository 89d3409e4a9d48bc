"""WideDeep: its paths are what they say, nothing is seen of hidden pairs, and each kind of pair has its blend."""

from __future__ import annotations

import numpy as np
import pytest

from halfmax.errors import DataError
from halfmax.models.kernel import ResponseGP
from halfmax.models.networks.wide_deep import WideDeep
from tests.models.planted import features, linear_response, renamed

X = features(80, 10, 30)
Y = linear_response(X)
SMALL = {"width": 32, "epochs": 20, "context_epochs": 10, "batch_size": 16, "factors": 8, "members": 1}


@pytest.fixture(scope="module")
def model():
    return WideDeep(**SMALL).fit(X, Y)


def test_without_its_networks_it_is_the_wide_path():
    alone = WideDeep(**SMALL, share=0.0, context_share=0.0).fit(X, Y)
    for asked in (X, renamed(X, samples=True), renamed(X, drugs=True)):
        assert np.array_equal(alone.predict(asked).mean, ResponseGP().fit(X, Y).predict(asked).mean)


def test_new_samples_are_given_half_of_each_path(model):
    wide, profile, _ = model.models_
    new = renamed(X, samples=True)
    expected = (wide.predict(new).mean + profile.predict(new).mean) / 2
    np.testing.assert_allclose(model.predict(new).mean, expected, atol=1e-5)


def test_new_drugs_are_left_to_the_wide_path(model):
    new = renamed(X, drugs=True)
    assert np.array_equal(model.predict(new).mean, model.models_[0].predict(new).mean)


def test_measured_samples_are_corrected(model):
    assert not np.allclose(model.predict(X).mean, model.models_[0].predict(X).mean)


def test_the_context_of_a_part_has_not_seen_its_responses():
    model = WideDeep(**SMALL).fit(X, Y)
    part = np.random.default_rng(0).permutation(X.n_pairs) % model.folds
    other = Y.copy()
    other[part == 0] += 50.0
    one, error = model._hidden_parts(X, Y)
    two, changed = model._hidden_parts(X, other)
    n = len(X.sample_ids)
    inputs = [p.sample_x["context"].values for p in (one, two)]
    assert np.array_equal(inputs[0][:n], inputs[1][:n])
    assert not np.allclose(inputs[0][n:], inputs[1][n:])
    np.testing.assert_allclose(changed[part == 0], error[part == 0] + 50.0, rtol=1e-4)


def test_a_prediction_does_not_depend_on_what_is_asked_with_it(model):
    rows = np.arange(0, X.n_pairs, 7)
    np.testing.assert_allclose(model.predict(X.take_pairs(rows)).mean, model.predict(X).mean[rows], atol=1e-5)


def test_impossible_settings_are_told():
    with pytest.raises(DataError, match="share is 2"):
        WideDeep(share=2).fit(X, Y)
    with pytest.raises(DataError, match="folds is 1"):
        WideDeep(folds=1).fit(X, Y)
