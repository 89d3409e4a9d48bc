"""Imputers fill what scikit-learn fills, recover planted structure, and remember what was missing."""

import numpy as np
import pytest
from sklearn.impute import KNNImputer

from halfmax.errors import DataError
from halfmax.features.blocks import Block
from halfmax.features.impute import Impute, IterativeImpute, KnnImpute
from halfmax.features.omics import STEPS
from tests.features.tables import NAMES, N, filled, gappy


def test_neighbours_equal_scikit_learn_on_new_rows():
    train, new = gappy(), gappy(seed=1)
    found = KnnImpute(n_neighbours=4).fit(train).transform(new).values
    assert found == pytest.approx(KNNImputer(n_neighbors=4).fit(train.values).transform(new.values), abs=1e-5)


def test_regressions_recover_what_means_cannot():
    rng = np.random.default_rng(0)
    loading = rng.normal(size=(3, 40))
    whole = (rng.normal(size=(200, 3)) @ loading + 0.1 * rng.normal(size=(200, 40))).astype(np.float32)
    missing = rng.random(whole.shape) < 0.2
    names = tuple(f"G{i}" for i in range(40))
    block = Block(np.where(missing, np.float32(np.nan), whole), names)
    train, test = block.take(np.arange(120)), block.take(np.arange(120, 200))

    def error(step):
        return float(np.sqrt(((step.fit(train).transform(test).values - whole[120:])[missing[120:]] ** 2).mean()))

    mean, chained = error(Impute()), error(IterativeImpute())
    assert chained < 0.35 * mean
    assert error(KnnImpute()) < mean


def test_known_values_stay_and_what_was_filled_is_masked_and_counted():
    block = gappy()
    missing = ~np.isfinite(block.values)
    for name in ("impute", "knn_impute", "iterative_impute"):
        step = STEPS.get(name)().fit(block)
        out = step.transform(block)
        assert np.array_equal(out.mask, missing)
        assert np.array_equal(out.values[~missing], block.values[~missing])
        assert np.array_equal(step.n_missing_, missing.sum(axis=0))
        whole = filled()
        assert step.transform(whole) is whole


def test_indicators_follow_the_columns_that_had_gaps_in_training():
    values = filled().values.copy()
    values[2:5, 3] = np.nan
    step = Impute(indicators=True).fit(Block(values, NAMES))
    other = filled(seed=1).values.copy()
    other[7, 3] = other[8, 0] = np.nan
    out = step.transform(Block(other, NAMES))
    assert out.names == (*NAMES, "G3 missing")
    assert np.array_equal(np.flatnonzero(out.values[:, -1]), [7])
    assert out.mask.sum() == 2
    assert step.transform(filled()).values.shape == (N, len(NAMES) + 1)


def test_filled_values_stay_within_the_training_range():
    train = filled()
    new = np.full((1, len(NAMES)), 1e4, dtype=np.float32)
    new[0, 2] = np.nan
    out = IterativeImpute().fit(train).transform(Block(new, NAMES)).values[0, 2]
    assert train.values[:, 2].min() - 1e-4 <= out <= train.values[:, 2].max() + 1e-4


@pytest.mark.parametrize(
    "step",
    [Impute("mode"), KnnImpute(0), KnnImpute(weights="odd"), IterativeImpute(ridge=0), IterativeImpute(rounds=0)],
)
def test_impossible_parameters_are_told(step):
    with pytest.raises(DataError, match=r"is|are"):
        step.fit(gappy())
