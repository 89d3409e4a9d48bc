"""Labels come from training rows, by thresholds whose answers are known; the cutoff comes from validation rows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError
from halfmax.evaluate import ModelSpec, cross_validate
from halfmax.label_metrics import best_cutoff, classification_metrics, curve_bands, label_metrics
from halfmax.labels import Labels, Threshold, waterfall_threshold
from halfmax.split import make_splits

DATASET = make_dataset(60, 5, 20)
RNG = np.random.default_rng(3)
LABEL = RNG.random(400) < 0.3
SCORE = np.round(0.8 * LABEL + RNG.normal(size=400), 1)
CLUSTER = np.arange(400) % 40


def test_a_waterfall_breaks_at_its_elbow() -> None:
    flat, steep = np.linspace(4.0, 3.0, 80), np.linspace(2.9, -6.0, 20)
    values = np.random.default_rng(0).permutation(np.r_[flat, steep])
    assert waterfall_threshold(values) == pytest.approx(2.95, abs=0.06)
    assert waterfall_threshold(-values, higher=True) == pytest.approx(-2.95, abs=0.06)


def test_a_straight_waterfall_is_cut_at_its_median() -> None:
    assert waterfall_threshold(np.arange(21.0)) == 10.0
    assert waterfall_threshold(np.ones(5)) == 1.0


def test_waterfalls_are_learned_for_each_drug_and_new_drugs_get_their_median() -> None:
    labels = Labels.learn(Threshold("waterfall"), DATASET)
    for drug, rows in DATASET.response.groupby("drug_id"):
        assert labels.per_drug[drug] == waterfall_threshold(rows["value"].to_numpy())
    renamed = DATASET.response.assign(drug_id="new")[:1]
    drugs = pd.DataFrame({"name": ["new"]}, index=pd.Index(["new"], name="drug_id"))
    new = replace(DATASET, response=renamed, drugs=drugs, drug_features={})
    assert labels.of(new)[0] == (renamed["value"].iloc[0] < labels.per_drug.median())
    few = DATASET.take(DATASET.response.groupby("drug_id").cumcount().to_numpy() < 3)
    with pytest.raises(DataError, match="none of 5 drugs"):
        Labels.learn(Threshold("waterfall"), few)


def test_an_ic50_below_the_highest_dose_is_sensitive() -> None:
    dosed = replace(DATASET, drugs=DATASET.drugs.assign(max_dose=[0.1, 1.0, 1.0, 1.0, 10.0]))
    found = Labels.learn(Threshold("max_dose"), dosed).of(dosed)
    ic50 = np.exp(dosed.response["value"].to_numpy())
    assert np.array_equal(found, ic50 < dosed.response["drug_id"].map(dosed.drugs["max_dose"]).to_numpy())
    with pytest.raises(DataError, match="5 of 5 drugs have no highest dose"):
        Labels.learn(Threshold("max_dose"), DATASET)
    gap = replace(DATASET, drugs=DATASET.drugs.assign(max_dose=[0.1, np.nan, 1.0, 1.0, 10.0]))
    with pytest.raises(DataError, match=r"1 of 5 drugs have no highest dose, e.g. 'D01'"):
        Labels.learn(Threshold("max_dose"), gap)


@pytest.mark.parametrize("by", ["drug", "global", "waterfall"])
def test_test_rows_teach_no_threshold_and_no_cutoff(by: str) -> None:
    split = make_splits(DATASET, "LCO", n_folds=3)[0]
    response = DATASET.response.copy()
    response.loc[split.test, "value"] = -9.0
    specs = [ModelSpec(name, name) for name in ("drug_mean", "kernel_ridge")]
    runs = [
        cross_validate(d, [split], specs, threshold=Threshold(by), n_boot=0)  # type: ignore[arg-type]
        for d in (DATASET, replace(DATASET, response=response))
    ]
    assert runs[0].timings["cutoff"].equals(runs[1].timings["cutoff"])
    assert runs[0].predictions["y_pred"].equals(runs[1].predictions["y_pred"])


def test_the_cutoff_of_validation_rows_finds_more_than_the_share() -> None:
    splits = make_splits(DATASET, "LCO", n_folds=2, valid_fraction=0.3)
    spec = [ModelSpec("kernel_ridge", "kernel_ridge")]
    runs = {
        decide: cross_validate(DATASET, splits, spec, threshold=Threshold("drug", 0.2), decide=decide, n_boot=0)
        for decide in ("share", "f1")
    }
    assert not np.allclose(runs["share"].timings["cutoff"], runs["f1"].timings["cutoff"])
    assert runs["share"].timings["cutoff"].to_numpy() == pytest.approx(0.2, abs=0.03)
    auc = [r.metrics.query("metric == 'roc_auc' and fold != 'all'")["value"].to_numpy() for r in runs.values()]
    assert auc[0] == pytest.approx(auc[1])  # a cutoff changes decisions, no order


@pytest.mark.parametrize("decide", ["f1", "balanced_accuracy"])
def test_the_best_cutoff_is_the_best_of_all(decide: str) -> None:
    cutoff = best_cutoff(LABEL, SCORE, decide)  # type: ignore[arg-type]
    judge = {"f1": sk.f1_score, "balanced_accuracy": sk.balanced_accuracy_score}[decide]
    every = [judge(LABEL, c < SCORE) for c in np.unique(SCORE) - 0.05]
    assert judge(LABEL, cutoff < SCORE) == pytest.approx(max(every))
    with pytest.raises(DataError, match="no cutoff"):
        best_cutoff(np.ones(3, dtype=bool), np.arange(3.0), "f1")


def test_a_draw_counts_a_cluster_as_often_as_it_is_drawn() -> None:
    from halfmax.metrics import cluster_draws

    found = label_metrics(LABEL, SCORE, SCORE > 0.5, CLUSTER, n_boot=40, seed=1)
    for draw in (0, 17, 39):
        times = cluster_draws(40, 40, 1)[draw].astype(int)[CLUSTER]
        rows = np.repeat(np.arange(400), times)
        again = classification_metrics(LABEL[rows], SCORE[rows], SCORE[rows] > 0.5)
        for name, (_, draws) in found.items():
            assert draws[draw] == pytest.approx(again[name]), name


def test_curves_hold_their_value_and_bands_widen_with_fewer_clusters() -> None:
    many = curve_bands(LABEL, SCORE, CLUSTER, n_boot=60)
    few = curve_bands(LABEL, SCORE, CLUSTER % 4, n_boot=60)
    false, true, _ = sk.roc_curve(LABEL, SCORE, drop_intermediate=False)
    inner = (many["roc"].x > false[1]) & (many["roc"].x < 1)
    assert many["roc"].y[inner] == pytest.approx(np.interp(many["roc"].x, false, true)[inner])
    for band in (*many.values(), *few.values()):
        assert (band.low <= band.y + 0.05).all()
        assert (band.high >= band.y - 0.05).all()
    assert (many["roc"].high - many["roc"].low).mean() > 0.02
    assert many["pr"].y[-1] >= LABEL.mean() - 1e-9
