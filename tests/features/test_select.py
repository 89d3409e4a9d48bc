"""Filters and supervised selection keep what they promise, and find planted genes."""

import numpy as np
import pytest
from sklearn.feature_selection import VarianceThreshold, mutual_info_regression
from sklearn.preprocessing import QuantileTransformer

from halfmax.errors import DataError
from halfmax.features.blocks import Block
from halfmax.features.omics import STEPS
from halfmax.features.scale import Quantile
from halfmax.features.select import Correlation, DropMissing, Variance
from halfmax.features.supervised import MutualInformation, StabilitySelection, binned_information, summarise
from tests.features.tables import NAMES, filled, gappy

PLANTED = ["G4", "G20", "G33"]


def planted(n=120, d=60, *, seed=0, noise=0.3):
    """Return independent columns, three of which the responses of six drugs follow."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, d)).astype(np.float32)
    names = tuple(f"G{i}" for i in range(d))
    columns = [names.index(name) for name in PLANTED]
    effect = np.zeros((3, 6))
    effect[[0, 0, 1, 1, 2, 2], range(6)] = [1.0, 0.9, -1.1, 0.9, 1.0, -0.9]
    y = values[:, columns] @ effect + noise * rng.normal(size=(n, 6))
    y[rng.random(y.shape) < 0.15] = np.nan
    return Block(values, names), y - np.nanmean(y, axis=0)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("mutual_information", {"n": 3}),
        ("mutual_information", {"n": 3, "method": "neighbours", "n_targets": 3}),
        ("l1", {"alpha": 0.5}),
        ("stability_selection", {"n_subsamples": 20}),
        ("rfe", {"n": 3}),
        ("rfecv", {"least": 3, "drop": 0.2}),
    ],
)
def test_planted_genes_are_found_whatever_their_order(name, parameters):
    block, y = planted()
    order = np.random.default_rng(1).permutation(60)
    moved = Block(block.values[:, order], tuple(block.names[i] for i in order))
    for table in (block, moved):
        kept = STEPS.get(name)(**parameters).fit(table, y).names_.tolist()
        assert set(PLANTED) <= set(kept)
        assert len(kept) <= 12


def test_shuffled_responses_give_no_stable_gene(caplog):
    block, y = planted()
    shuffled = y[np.random.default_rng(5).permutation(len(y))]
    step = StabilitySelection(n_subsamples=20).fit(block, shuffled)
    assert not set(PLANTED) <= set(step.names_)
    assert len(step.names_) <= 8


def test_binned_information_follows_the_closed_form_and_the_nearest_neighbours():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(4000, 1))
    rho = np.array([0.0, 0.4, 0.7, 0.9])
    x = y * rho + rng.normal(size=(4000, 4)) * np.sqrt(1 - rho**2)
    found = binned_information(x, y, 10)[:, 0]
    truth = -0.5 * np.log(1 - rho**2)
    assert found[:3] == pytest.approx(truth[:3], abs=0.04)
    assert truth[3] * 0.8 < found[3] < truth[3]
    assert found == pytest.approx(mutual_info_regression(x, y[:, 0], random_state=0), abs=0.15)
    assert binned_information(np.zeros((50, 1)), y[:50], 5) == pytest.approx(0, abs=1e-12)


def test_information_sees_what_correlation_does_not():
    block, _ = planted(n=300)
    y = (block.values[:, [10]].astype(float) ** 2) @ np.ones((1, 3))
    assert MutualInformation(n=1).fit(block, y - y.mean(axis=0)).names_.tolist() == ["G10"]


def test_components_are_those_of_the_responses():
    _, y = planted(noise=0.01)
    rows, scores = summarise(y, 10)
    assert len(rows) == len(y)
    size = (scores**2).sum(axis=0)
    assert (np.diff(size) <= 1e-9).all()
    assert scores[:, 0].std() == pytest.approx(1)
    empty = y.copy()
    empty[:5] = np.nan
    assert summarise(empty, 2)[0].min() == 5
    with pytest.raises(DataError, match="do not differ"):
        summarise(np.zeros((9, 3)), 2)


def test_supervised_steps_say_what_they_lack():
    block, y = planted()
    with pytest.raises(DataError, match="was given none"):
        MutualInformation().fit(block)
    with pytest.raises(DataError, match="was given 3"):
        MutualInformation().fit(block, y[:3])
    with pytest.raises(DataError, match="at least 3 training rows"):
        MutualInformation().fit(block, np.full_like(y, np.nan))
    for name, parameters in (
        *(("l1", {"alpha": 1.5}), ("rfe", {"drop": 1.0}), ("stability_selection", {"threshold": 0.4})),
        ("mutual_information", {"method": "guess"}),
    ):
        with pytest.raises(DataError, match=r"share|at least|above"):
            STEPS.get(name)(**parameters).fit(block, y)


def test_variance_filter_equals_scikit_learn():
    block = filled()
    kept = VarianceThreshold(0.5).fit(block.values).get_support()
    assert Variance(0.5).fit(block).names_.tolist() == np.array(NAMES)[kept].tolist()
    with pytest.raises(DataError, match="none of 12 features"):
        Variance(1e9).fit(block)


def test_columns_with_gaps_are_dropped_by_their_share():
    values = filled().values.copy()
    values[:5, 1], values[:6, 2], values[:, 3] = np.nan, np.nan, np.nan
    kept = DropMissing(5 / 24).fit(Block(values, NAMES)).names_
    assert set(NAMES) - set(kept) == {"G2", "G3"}


def test_of_correlated_columns_the_most_variable_stays():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(50, 3))
    values = np.column_stack([base, 2 * base[:, 0] + 0.01, -3 * base[:, 0], base[:, 1] + rng.normal(size=50)])
    names = ("a", "b", "c", "twice a", "minus three a", "b and noise")
    kept = Correlation(0.9).fit(Block(values.astype(np.float32), names)).names_.tolist()
    assert kept == ["b", "c", "minus three a", "b and noise"]


def test_no_two_kept_columns_correlate_beyond_the_threshold():
    block = filled()
    kept = Correlation(0.5).fit(block).transform(block).values
    off = np.abs(np.corrcoef(kept.T) - np.eye(kept.shape[1]))
    assert off.max() <= 0.5 + 1e-6
    assert 1 < kept.shape[1] < len(NAMES)


def test_quantiles_equal_scikit_learn():
    train, new = filled(), filled(seed=1)
    reference = QuantileTransformer(n_quantiles=24, output_distribution="uniform").fit(train.values)
    found = Quantile(24, "uniform").fit(train).transform(new).values
    # at a column's least and largest value itself scikit-learn gives 0 and 1, and not the middle of ties
    inside = (new.values > train.values.min(axis=0)) & (new.values < train.values.max(axis=0))
    assert found[inside] == pytest.approx(reference.transform(new.values)[inside], abs=2e-3)
    assert set(Quantile(24, "uniform").fit(train).transform(Block(new.values + 99, NAMES)).values.ravel()) == {1.0}
    normal = Quantile(24).fit(train).transform(gappy(seed=1))
    assert np.array_equal(np.isfinite(normal.values), np.isfinite(gappy(seed=1).values))
    assert np.nanmax(np.abs(normal.values)) < 2.1
    for step in (Quantile(1), Quantile(output="log")):
        with pytest.raises(DataError):
            step.fit(train)
