"""Metrics equal those of SciPy and scikit-learn, and intervals cover."""

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn import metrics as sk

from halfmax.errors import DataError
from halfmax.label_metrics import classification_metrics
from halfmax.metrics import (
    Fold,
    group_metrics,
    interval,
    mean_absolute_error,
    pinball_loss,
    ranks_within,
    regression_metrics,
)


@pytest.fixture
def fold() -> tuple[Fold, np.ndarray]:
    rng = np.random.default_rng(1)
    sample, drug = (a.ravel() for a in np.meshgrid(np.arange(40), np.arange(12), indexing="ij"))
    y = rng.normal(size=len(sample)) + drug
    baseline = drug + 0.1
    return Fold(y, baseline.astype(float), sample, drug, sample), y + rng.normal(size=len(y))


def test_pooled_metrics_equal_references(fold):
    f, p = fold
    found = {k: v for k, (v, _) in regression_metrics(f, p, n_boot=0).items()}
    assert found["rmse"] == pytest.approx(np.sqrt(sk.mean_squared_error(f.y, p)))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(f.y, p))
    assert found["r2"] == pytest.approx(sk.r2_score(f.y, p))
    assert found["pearson"] == pytest.approx(pearsonr(f.y, p)[0])
    assert found["spearman"] == pytest.approx(spearmanr(f.y, p)[0])
    assert found["normalized_r2"] == pytest.approx(1 - ((f.y - p) ** 2).sum() / ((f.y - f.baseline) ** 2).sum())
    by_drug = [pearsonr(f.y[f.drug == d], p[f.drug == d])[0] for d in range(12)]
    assert found["within_drug_pearson"] == pytest.approx(np.mean(by_drug))
    by_rank = [spearmanr(f.y[f.drug == d], p[f.drug == d])[0] for d in range(12)]
    assert found["within_drug_spearman"] == pytest.approx(np.mean(by_rank))


def test_group_metrics_equal_references(fold):
    f, p = fold
    found = group_metrics(f, p, f.drug, 12)
    assert found["pearson"] == pytest.approx([pearsonr(f.y[f.drug == d], p[f.drug == d])[0] for d in range(12)])
    assert found["n"].tolist() == [40] * 12


def test_ranks_within_groups_average_ties():
    values = np.array([3.0, 1.0, 1.0, 2.0, 5.0, 5.0])
    codes = np.array([0, 0, 0, 1, 1, 1])
    assert ranks_within(values, codes).tolist() == [3, 1.5, 1.5, *rankdata([2, 5, 5])]


def test_a_constant_prediction_scores_zero_and_constant_truth_is_undefined(fold):
    f, p = fold
    assert regression_metrics(f, f.drug.astype(float), n_boot=0)["within_drug_pearson"][0] == 0
    flat = Fold(np.ones_like(f.y), f.baseline, f.sample, f.drug, f.cluster)
    assert np.isnan(regression_metrics(flat, p, n_boot=0)["pearson"][0])


def test_nan_predictions_are_refused(fold):
    f, p = fold
    with pytest.raises(DataError, match="1 of 480 predictions"):
        regression_metrics(f, np.where(np.arange(len(p)) == 3, np.nan, p))


def test_bootstrap_interval_is_that_of_resampled_clusters(fold):
    f, p = fold
    low, high = interval(regression_metrics(f, p, n_boot=400)["rmse"][1])
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(f.sample == s) for s in rng.integers(0, 40, 40)])
        draws.append(np.sqrt(np.mean((f.y - p)[rows] ** 2)))
    assert (low, high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.02)


def test_classification_metrics_equal_references():
    rng = np.random.default_rng(2)
    label = rng.random(300) < 0.3
    score = np.round(label + rng.normal(size=300), 1)
    found = classification_metrics(label, score, score > 0.5)
    decided = score > 0.5
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(label, score))
    assert found["pr_auc"] == pytest.approx(sk.average_precision_score(label, score))
    for name, reference in (
        ("accuracy", sk.accuracy_score),
        ("balanced_accuracy", sk.balanced_accuracy_score),
        ("precision", sk.precision_score),
        ("recall", sk.recall_score),
        ("f1", sk.f1_score),
    ):
        assert found[name] == pytest.approx(reference(label, decided)), name


def test_pinball_loss_is_least_at_the_quantile_and_half_the_absolute_error_at_the_median():
    y = np.random.default_rng(0).exponential(size=4000)
    tried = {q: pinball_loss(y, np.full_like(y, np.quantile(y, q)), 0.9) for q in (0.8, 0.88, 0.9, 0.92, 0.97)}
    assert min(tried, key=tried.get) == 0.9
    p = y + 1.0
    assert pinball_loss(y, p, 0.5) == pytest.approx(0.5 * mean_absolute_error(y, p))
