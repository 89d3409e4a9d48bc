"""Overlap of selections between folds: planted genes stay, and the report says how much of a choice is chance."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from halfmax.data.synthetic import make_dataset
from halfmax.evaluate import ModelSpec, cross_validate
from halfmax.features.pipeline import FeaturePipeline
from halfmax.features.stability import STABILITY_COLUMNS, jaccard_stability, selected_features
from halfmax.split import make_splits

DATASET = make_dataset(90, 4, 40)
STEPS = {"expression": ["impute", "standard", ("genes", {"genes": [f"G{i}" for i in range(30)]}), ("rfe", {"n": 4})]}


def chosen(sets, offered=100):
    rows = [(fold, "expression", "1. rfe", name, offered) for fold, names in sets.items() for name in names]
    return pd.DataFrame(rows, columns=["fold", "block", "step", "feature", "n_offered"])


def test_indices_are_those_of_the_sets():
    row = jaccard_stability(chosen({"0": "abcd", "1": "abce", "2": "abxy"})).iloc[0]
    assert row["jaccard"] == pytest.approx(np.mean([3 / 5, 2 / 6, 2 / 6]))
    assert (row["least"], row["n_in_all"], row["n_selected"], row["n_folds"]) == (pytest.approx(1 / 3), 2, 4, 3)
    assert row["chance"] == pytest.approx(0.16 / (8 - 0.16))
    assert np.isnan(jaccard_stability(chosen({"0": "ab"})).iloc[0]["jaccard"])
    assert jaccard_stability(selected_features({})).columns.tolist() == list(STABILITY_COLUMNS)


def test_chance_is_what_random_choices_give():
    rng = np.random.default_rng(0)
    names = [f"g{i}" for i in range(50)]
    row = jaccard_stability(chosen({str(k): rng.choice(names, 20, replace=False) for k in range(30)}, 50)).iloc[0]
    assert row["jaccard"] == pytest.approx(row["chance"], abs=0.02)


def test_folds_of_a_cross_validation_choose_the_planted_genes():
    splits = make_splits(DATASET, "LCO", n_folds=3)
    results = cross_validate(
        DATASET, splits, [ModelSpec("m", "kernel_ridge")], features=lambda: FeaturePipeline(steps=STEPS), n_boot=0
    )
    assert set(results.selected["fold"]) == {"0", "1", "2"}
    assert set(results.selected["step"]) == {"4. rfe"}
    assert (results.selected["n_offered"] == 30).all()
    row = jaccard_stability(results.selected).iloc[0]
    assert row["jaccard"] > 0.9 > 3 * row["chance"]
    kept = set(results.selected.query("fold == '0'")["feature"])
    assert kept == {"G0", "G1", "G2", "G3"}


def test_selection_sees_only_training_responses():
    split = make_splits(DATASET, "LCO", n_folds=3)[0]
    response = DATASET.response.copy()
    response.loc[split.test, "value"] = 1e6 * np.random.default_rng(0).normal(size=len(split.test))
    for data in (DATASET, replace(DATASET, response=response)):
        found = cross_validate(
            data, [split], [ModelSpec("m", "drug_mean")], features=lambda: FeaturePipeline(steps=STEPS), n_boot=0
        )
        assert set(found.selected["feature"]) == {"G0", "G1", "G2", "G3"}


def test_default_steps_select_nothing():
    assert selected_features({"0": FeaturePipeline().fit(DATASET)}).empty
