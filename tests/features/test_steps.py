"""Every step: only training rows teach, saved state gives the same bits, odd tables pass or are refused in words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from halfmax.errors import DataError
from halfmax.features.blocks import Block
from halfmax.features.omics import STEPS
from halfmax.features.pipeline import FeaturePipeline
from halfmax.state import State
from tests.features.tables import SETS, filled, gappy, multiomics, targets_of

#: Step to parameters that suit a table of 24 × 12.
STEPS_AND_PARAMETERS = {
    "log1p": {},
    "sample_zscore": {},
    "rank": {},
    "standard": {},
    "minmax": {},
    "robust": {},
    "top_variance": {"n": 4},
    "genes": {"genes": ["G1", "G5"]},
    "quantile": {"n_quantiles": 10},
    "impute": {"indicators": True},
    "knn_impute": {"n_neighbours": 3, "indicators": True},
    "iterative_impute": {"n_nearest": 4, "indicators": True},
    "drop_missing": {"max_missing": 0.2},
    "variance": {"threshold": 0.1},
    "correlation": {"threshold": 0.3},
    "mutual_information": {"n": 4, "n_bins": 3, "n_targets": 2},
    "l1": {"alpha": 0.3, "n_targets": 2},
    "stability_selection": {"n_subsamples": 8, "n_targets": 2},
    "rfe": {"n": 4, "n_targets": 2},
    "rfecv": {"least": 2, "n_folds": 3, "n_targets": 2},
    "pca": {"n_components": 3},
    "sparse_pca": {"n_components": 3, "alpha": 0.5},
    "pathways": {"sets": SETS, "min_genes": 2},
    "burden": {},
    "gene_level": {"separator": "1"},
    "recurrent": {"min_samples": 2},
}
ALLOWS_GAPS = {
    *("log1p", "sample_zscore", "rank", "standard", "minmax", "robust", "top_variance", "genes", "quantile", "impute"),
    *("knn_impute", "iterative_impute", "drop_missing", "variance", "correlation", "pathways", "burden", "gene_level"),
    "recurrent",
}
#: Steps that need several samples, and say so.
NEEDS_SAMPLES = {
    *("mutual_information", "l1", "stability_selection", "rfe", "rfecv", "pca", "sparse_pca"),
    *("variance", "recurrent"),
}


def made(name):
    return STEPS.get(name)(**STEPS_AND_PARAMETERS[name])


def fitted(name, block):
    step = made(name)
    return step.fit(block, targets_of(block)) if getattr(step, "supervised", False) else step.fit(block)


def restored(name, step):
    state = step.get_state()
    arrays = {k: np.array(v, copy=True) for k, v in state.arrays.items()}
    return made(name).set_state(State(arrays, json.loads(json.dumps(dict(state.meta)))))


def table(name, **options):
    return gappy(**options) if name in ALLOWS_GAPS else filled(**options)


def test_every_built_in_step_is_tried_here():
    assert set(STEPS_AND_PARAMETERS) == set(STEPS._paths)


@pytest.mark.parametrize("name", STEPS_AND_PARAMETERS)
def test_permuted_samples_give_permuted_values(name):
    step, block = fitted(name, table(name)), table(name, seed=1)
    order = np.random.default_rng(2).permutation(len(block.values))
    whole, moved = step.transform(block), step.transform(block.take(order))
    assert whole.names == moved.names
    np.testing.assert_allclose(whole.values[order], moved.values, rtol=1e-5, atol=1e-6)
    alone = step.transform(block.take(order[:1])).values
    np.testing.assert_allclose(alone, moved.values[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STEPS_AND_PARAMETERS)
def test_saved_state_gives_the_same_bits(name):
    step, block = fitted(name, table(name)), table(name, seed=1)
    again = restored(name, step)
    assert np.array_equal(step.transform(block).values, again.transform(block).values, equal_nan=True)
    assert all(not v.dtype.hasobject and np.isfinite(v).all() for v in step.get_state().arrays.values())


@pytest.mark.parametrize("name", STEPS_AND_PARAMETERS)
def test_nothing_is_written_to(name):
    block = table(name)
    before = block.values.copy()
    fitted(name, block).transform(block)
    assert np.array_equal(block.values, before, equal_nan=True)


@pytest.mark.parametrize("name", STEPS_AND_PARAMETERS)
def test_constant_and_empty_columns_pass(name):
    values = table(name).values.copy()
    values[:, 3] = 2.0
    if name in ALLOWS_GAPS:
        values[:, 7] = np.nan
    block = Block(values, table(name).names)
    out = fitted(name, block).transform(block)
    assert len(out.values) == len(values)
    assert not np.isinf(out.values).any()
    if name not in ALLOWS_GAPS or name.endswith("impute"):
        assert np.isfinite(out.values).all()


@pytest.mark.parametrize("name", STEPS_AND_PARAMETERS)
def test_one_training_sample_passes_or_is_refused_in_words(name):
    block = table(name).take(np.array([0]))
    if name in NEEDS_SAMPLES:
        with pytest.raises(DataError, match=r"least|rows|sample"):
            fitted(name, block)
    else:
        out = fitted(name, block).transform(block)
        assert not np.isinf(out.values).any()


@pytest.mark.parametrize("name", sorted(set(STEPS_AND_PARAMETERS) - ALLOWS_GAPS))
def test_steps_that_need_whole_tables_refuse_gaps(name):
    with pytest.raises(DataError, match="impute first"):
        fitted(name, gappy())


@pytest.mark.parametrize("name", STEPS_AND_PARAMETERS)
def test_held_out_rows_and_responses_cannot_change_the_state(name):
    """Two datasets that agree on the training pairs only, whatever else they hold, teach a pipeline the same."""
    dataset = multiomics()
    train_ids = dataset.samples.index[np.random.default_rng(6).permutation(len(dataset.samples))[:24]]
    rows = dataset.response["sample_id"].isin(train_ids).to_numpy()
    other = multiomics(poison=~dataset.samples.index.isin(train_ids), poisoned_rows=~rows)
    steps = {"expression": ["impute", (name, STEPS_AND_PARAMETERS[name])]}
    if name in ("burden", "log1p"):
        steps["expression"].insert(1, "minmax")

    def learned(data):
        state = FeaturePipeline(drug_blocks=(), steps=steps).fit(data.take(rows)).get_state()
        return state.arrays, state.meta["blocks"]

    (arrays, meta), (others, other_meta) = learned(dataset), learned(other)
    assert meta == other_meta
    assert all(np.array_equal(arrays[key], others[key]) for key in arrays)
