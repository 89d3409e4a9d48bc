"""Cross-validation scores planted truth, sees no test value in training, and reports every model alike."""

from dataclasses import replace

import numpy as np
import pytest

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError
from halfmax.evaluate import ModelSpec, assay_agreement, cross_validate
from halfmax.labels import Labels, Threshold
from halfmax.split import make_splits

DATASET = make_dataset(90, 6, 40)
SPECS = [ModelSpec(n, n) for n in ("drug_mean", "mean_effects", "kernel_ridge")]


def overall(results, model, metric):
    rows = results.metrics.query("model == @model and metric == @metric and fold == 'all' and group_by == 'all'")
    return rows.iloc[0]


def test_planted_effects_are_found_on_unseen_samples():
    results = cross_validate(DATASET, make_splits(DATASET, "LCO", n_folds=3), SPECS)
    assert overall(results, "kernel_ridge", "normalized_r2").value > 0.5
    assert overall(results, "kernel_ridge", "within_drug_pearson").value > 0.7
    assert overall(results, "drug_mean", "within_drug_pearson").value == 0
    assert abs(overall(results, "mean_effects", "normalized_r2").value) < 1e-6
    row = overall(results, "kernel_ridge", "rmse")
    assert row.low < row.value < row.high
    assert row.n == DATASET.n_pairs
    assert len(results.predictions) == 3 * DATASET.n_pairs
    assert set(results.metrics["group_by"]) == {"all", "drug", "tissue"}


def test_test_values_cannot_reach_the_fit():
    split = make_splits(DATASET, "LCO", n_folds=3)[0]
    response = DATASET.response.copy()
    response.loc[split.test, "value"] = 1e6
    poisoned = replace(DATASET, response=response)
    clean, dirty = (cross_validate(d, [split], SPECS).predictions for d in (DATASET, poisoned))
    assert np.array_equal(clean["y_pred"], dirty["y_pred"])


def test_the_same_seed_gives_the_same_numbers():
    splits = make_splits(DATASET, "LCO", n_folds=2)
    one, two = (cross_validate(DATASET, splits, SPECS).metrics for _ in range(2))
    assert one["value"].equals(two["value"])


def test_labels_are_learned_from_training_rows():
    labels = Labels.learn(Threshold("drug", 0.25), DATASET)
    share = labels.of(DATASET).mean()
    assert share == pytest.approx(0.25, abs=0.02)
    for drug, rows in DATASET.response.groupby("drug_id"):
        assert labels.per_drug[drug] == pytest.approx(rows["value"].quantile(0.25))
    with pytest.raises(DataError, match="both classes"):
        Labels.learn(Threshold("value", value=-1e9), DATASET)


@pytest.mark.parametrize("by", ["drug", "global"])
def test_classification_reports_its_own_metrics(by):
    results = cross_validate(DATASET, make_splits(DATASET, "LCO", n_folds=2), SPECS, threshold=Threshold(by, 0.3))
    assert overall(results, "kernel_ridge", "roc_auc").value > 0.75
    assert {"accuracy", "precision", "recall", "f1", "pr_auc"} <= set(results.metrics["metric"])


def test_agreement_of_two_screens():
    other = DATASET.response.assign(value=DATASET.response["value"] + 1.0)
    found = assay_agreement(DATASET.response, other, "twice")
    assert found["rmse"] == pytest.approx(1)
    assert found["within_drug_pearson"] == pytest.approx(1)
    with pytest.raises(DataError, match="only 0 pairs"):
        assay_agreement(DATASET.response, other.assign(sample_id="x").head(0), "none")


def test_the_curve_of_a_network_without_validation_is_kept():
    dataset = make_dataset(30, 4, 10)
    splits = make_splits(dataset, "LCO", n_folds=3, valid_fraction=0.0)[:1]
    found = cross_validate(dataset, splits, [ModelSpec("m", "mlp", {"epochs": 2, "width": 8})], n_boot=0)
    assert found.curves["train_loss"].notna().all()
    assert found.curves["valid_loss"].isna().all()
