"""scikit-learn's own tools work on pairs: clones share the data, groups stay together, a grid finds what ours finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, NotFittedError, UnknownNameError
from halfmax.evaluate import ModelSpec, cross_validate
from halfmax.split import make_splits
from halfmax.tune.bridge import PairFolds, PairRegressor, pairs_of

DATASET = make_dataset(n_samples=36, n_drugs=4, n_genes=12)
X, Y = pairs_of(DATASET)
RIDGES = [0.1, 1.0, 10.0]
SCORING = "neg_root_mean_squared_error"


def test_a_clone_shares_the_data_and_the_parameters() -> None:
    whole = PairRegressor(DATASET, "kernel_ridge", ridge=0.5)
    copy = clone(whole)
    assert copy is not whole
    assert copy.data is DATASET
    assert copy.get_params()["ridge"] == 0.5
    copy.set_params(ridge=2.0, valid_fraction=0.2)
    assert (copy.params, copy.valid_fraction, whole.params) == ({"ridge": 2.0}, 0.2, {"ridge": 0.5})


def test_cross_val_score_gives_what_cross_validate_gives() -> None:
    splits = make_splits(DATASET, "LCO", n_folds=3, seed=4)
    ours = cross_validate(DATASET, splits, [ModelSpec("kernel_ridge", "kernel_ridge")], n_boot=0).metrics
    ours = ours.query("metric == 'rmse' and group_by == 'all' and fold != 'all'")["value"]
    folds = PairFolds(DATASET, "LCO", n_folds=3, seed=4)
    theirs = -cross_val_score(PairRegressor(DATASET), X, Y, cv=folds, scoring=SCORING)
    np.testing.assert_allclose(theirs, ours, rtol=1e-6)


def test_grid_search_finds_what_our_grid_finds(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    from halfmax.tune.search import tune
    from halfmax.tune.settings import plan_of

    settings = {"models": ["kernel_ridge"], "search": "grid", "inner": 2}
    space = {"space": {"kernel_ridge": {"ridge": {"choices": RIDGES}}}}
    plan = plan_of({"split": {"n_folds": 2}, "tune": settings | space}, dataset=DATASET)
    found = tune(plan, tmp_path)
    ours = {json.loads(p)["ridge"]: value for p, value in found.trials[["params", "value"]].to_numpy()}
    part = plan.prepared.dataset.take(plan.prepared.splits[0].fit_rows)
    folds = PairFolds(part, "LCO", n_folds=2, seed=plan.config.seed + 1)
    grid = GridSearchCV(PairRegressor(part), {"ridge": RIDGES}, cv=folds, scoring=SCORING).fit(*pairs_of(part))
    np.testing.assert_allclose(-grid.cv_results_["mean_test_score"], [ours[ridge] for ridge in RIDGES], rtol=1e-6)
    assert grid.best_params_ == found.best("kernel_ridge")
    assert np.isfinite(grid.predict(pairs_of(part)[0])).all()


def test_a_nested_search_by_scikit_learn_keeps_the_groups_apart() -> None:
    inner = PairFolds(DATASET, "LCO", n_folds=2)
    search = RandomizedSearchCV(
        PairRegressor(DATASET), {"ridge": RIDGES}, n_iter=2, cv=inner, scoring=SCORING, random_state=0
    )
    scores = cross_val_score(search, X, Y, cv=PairFolds(DATASET, "LCO", n_folds=2), scoring=SCORING)
    assert np.isfinite(scores).all()
    for train, test in PairFolds(DATASET, "LCO", n_folds=2).split(X):
        assert not set(X["sample_id"].iloc[train]) & set(X["sample_id"].iloc[test])
        for again, valid in inner.split(X.iloc[train]):
            assert not set(X["sample_id"].iloc[train[again]]) & set(X["sample_id"].iloc[train[valid]])


def test_a_network_holds_out_groups_to_choose_its_epoch() -> None:
    small = {"epochs": 2, "width": 4, "components": 4, "drug_width": 4, "members": 1}
    model = PairRegressor(DATASET, "mlp", **small).fit(X, Y)
    assert "valid_loss" in model.predictor_.model.history_[0]
    assert model.predict(X).shape == (len(X),)


def test_predictions_follow_the_order_of_the_pairs() -> None:
    model = PairRegressor(DATASET).fit(X, Y)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_allclose(model.predict(X.iloc[order]), model.predict(X)[order], rtol=1e-6)


def test_the_data_s_own_responses_are_not_looked_at() -> None:
    spoiled = DATASET.response.assign(value=99.0)
    from dataclasses import replace

    model = PairRegressor(replace(DATASET, response=spoiled)).fit(X, Y)
    np.testing.assert_array_equal(model.predict(X), PairRegressor(DATASET).fit(X, Y).predict(X))


def test_what_cannot_be_used_is_refused_with_its_name() -> None:
    with pytest.raises(DataError, match=r"has no hyper-parameter 'rigde'\. Did you mean 'ridge'"):
        PairRegressor(DATASET).set_params(rigde=1)
    with pytest.raises(NotFittedError):
        PairRegressor(DATASET).predict(X)
    with pytest.raises(DataError, match="columns sample_id and drug_id"):
        PairRegressor(DATASET).fit(X[["sample_id"]], Y)
    with pytest.raises(DataError, match="columns sample_id and drug_id; found 'ndarray'"):
        PairRegressor(DATASET).fit(X.to_numpy(), Y)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="y has shape"):
        PairRegressor(DATASET).fit(X, Y[:-1])
    strange = pd.concat([X, pd.DataFrame({"sample_id": ["nobody"], "drug_id": ["D00"]})])
    with pytest.raises(UnknownNameError, match=r"1 values of sample_id are not in synthetic, .* 'nobody'"):
        PairRegressor(DATASET).fit(strange, np.append(Y, 0.0))
