"""Compare: differences are those of the metrics, pairing narrows them, and only like is compared with like."""

import numpy as np
import pandas as pd
import pytest

from halfmax.compare import paired_differences
from halfmax.errors import DataError, UnknownNameError


def predictions(n: int = 60, m: int = 12) -> pd.DataFrame:
    """Return two folds: a good model, the same with a little noise, a copy of the good one, and the baseline."""
    rng = np.random.default_rng(0)
    pairs = pd.MultiIndex.from_product([[f"S{i:02d}" for i in range(n)], [f"D{j}" for j in range(m)]])
    ids = pd.DataFrame({"sample_id": pairs.get_level_values(0), "drug_id": pairs.get_level_values(1)})
    ids["fold"] = np.where(ids["sample_id"] < "S30", "0", "1")
    # some lines are hard for every model
    hard = np.repeat(rng.uniform(0.2, 2.0, n), m)
    truth = rng.normal(size=n * m)
    good = truth + hard * rng.normal(size=n * m)
    guesses = {
        "mean_effects": np.zeros(n * m),
        "good": good,
        "copy": good,
        "worse": good + 0.5 * rng.normal(size=n * m),
    }
    return pd.concat([ids.assign(model=k, y_true=truth, y_pred=v) for k, v in guesses.items()], ignore_index=True)


def row(table, model, metric, fold="all"):
    return table.query("model == @model and metric == @metric and fold == @fold").iloc[0]


def test_differences_are_those_of_the_metric_and_a_copy_has_none():
    table = predictions()
    found = paired_differences(table, "good", n_boot=300)
    assert set(found["model"]) == {"copy", "worse"}
    squared = (table["y_pred"] - table["y_true"]) ** 2
    rmse = np.sqrt(squared.groupby([table["model"], table["fold"]]).mean()).groupby("model").mean()
    worse = row(found, "worse", "rmse")
    assert worse["value"] == pytest.approx(rmse["worse"] - rmse["good"])
    assert 0 < worse["low"] < worse["value"] < worse["high"]
    assert (worse["n_pairs"], worse["n_samples"], worse["n_drugs"]) == (720, 60, 12)
    same = row(found, "copy", "normalized_r2")
    assert same["value"] == same["low"] == same["high"] == 0


def test_pairing_is_sharper_than_two_intervals_and_wider_clusters_are_blunter():
    table = predictions()
    apart = paired_differences(table, "mean_effects", ["good"], n_boot=300)
    paired = paired_differences(table, "good", ["worse"], n_boot=300)
    width = {k: row(t, m, "rmse") for k, t, m in (("apart", apart, "good"), ("paired", paired, "worse"))}
    width = {k: r["high"] - r["low"] for k, r in width.items()}
    assert width["paired"] < 0.6 * width["apart"]
    tissue = {f"S{i:02d}": f"T{i % 3}" for i in range(60)}
    blocks = paired_differences(table, "good", ["worse"], clusters=tissue, n_boot=300)
    assert row(blocks, "worse", "rmse")["value"] == pytest.approx(row(paired, "worse", "rmse")["value"])
    assert row(blocks, "worse", "rmse")["low"] != row(paired, "worse", "rmse")["low"]


def test_unlike_pairs_unknown_models_and_samples_without_a_cluster_are_refused():
    table = predictions()
    with pytest.raises(DataError, match="worse was scored on other pairs than good"):
        paired_differences(table.drop(table.index[table["model"] == "worse"][:5]), "good")
    with pytest.raises(UnknownNameError, match="no predictions of 'goood'"):
        paired_differences(table, "goood")
    with pytest.raises(DataError, match="29 samples have no cluster"):
        paired_differences(table, "good", clusters={"S00": "T0"})
