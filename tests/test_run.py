"""A whole run on small data: it ends in files that say everything, or in one clear error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.config import RunConfig, load_config
from halfmax.data.dataset import ResponseDataset
from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, HalfmaxError
from halfmax.predictor import Predictor
from halfmax.run import run

DATASET = make_dataset(n_samples=40, n_drugs=6, n_genes=30)
MODELS = ("mean_effects", "tissue_drug_mean", "kernel_ridge", "mlp")
SMALL_NETWORK = {"mlp": {"epochs": 2, "width": 16, "components": 8}}


def config(protocol: str = "LCO", **changed: object) -> RunConfig:
    options = {"models": MODELS, "params": SMALL_NETWORK, "n_boot": 5, "save": ()} | changed
    return RunConfig.model_validate({"split": {"protocol": protocol, "n_folds": 3}} | options)


def rows(mask: pd.Series) -> ResponseDataset:
    return DATASET.take(np.flatnonzero(mask.to_numpy()))


def with_expression(values: pd.DataFrame) -> ResponseDataset:
    return replace(DATASET, omics={"expression": values})


EXPRESSION = DATASET.omics["expression"]
ONE_DRUG = rows(DATASET.response["drug_id"] == DATASET.response["drug_id"].iloc[0])
ONE_SAMPLE = rows(DATASET.response["sample_id"] == DATASET.response["sample_id"].iloc[0])
FLAT = replace(DATASET, response=DATASET.response.assign(value=1.5))


@pytest.mark.parametrize("protocol", ["LPO", "LCO", "LDO", "LTO"])
def test_every_protocol_ends_in_a_predictor_and_tidy_figures(tmp_path: Path, protocol: str) -> None:
    report, _ = run(config(protocol), tmp_path / "r", dataset=DATASET)
    metrics = pd.read_csv(tmp_path / "r" / "metrics.csv")
    assert list(metrics.columns) == ["model", "fold", "group_by", "group", "metric", "value", "n", "low", "high"]
    assert {"rmse", "r2", "pearson", "spearman", "normalized_r2", "within_drug_pearson"} <= set(metrics["metric"])
    predictions = pd.read_parquet(tmp_path / "r" / "predictions.parquet")
    assert list(predictions.columns) == ["sample_id", "drug_id", "fold", "model", "y_true", "y_pred"]
    assert len(predictions) == len(MODELS) * DATASET.n_pairs
    assert Predictor.load(tmp_path / "r" / "predictor").model_name == "mlp"
    assert report.dataset["n_pairs"] == DATASET.n_pairs


@pytest.mark.parametrize(
    ("case", "dataset"),
    [
        ("one drug", ONE_DRUG),
        ("a constant gene", with_expression(EXPRESSION.assign(**{EXPRESSION.columns[0]: 3.0}))),
        ("constant genes", with_expression(EXPRESSION * 0 + 3)),
        ("constant responses", FLAT),
    ],
)
def test_poor_data_give_finite_predictions_and_say_what_has_no_value(
    tmp_path: Path, case: str, dataset: ResponseDataset
) -> None:
    report, results = run(config(), tmp_path / "r", dataset=dataset)
    assert np.isfinite(results.predictions["y_pred"]).all()
    overall = report.metrics.query("fold == 'all' and group_by == 'all'")
    for metric in overall.loc[overall["value"].isna(), "metric"]:
        assert any(metric in note for note in report.notes), case


@pytest.mark.parametrize(
    ("dataset", "protocol", "told"),
    [
        (ONE_SAMPLE, "LCO", "1 groups, fewer than 3 folds; give data"),
        (ONE_DRUG, "LDO", "1 groups, fewer than 3 folds"),
        (with_expression(EXPRESSION * np.nan), "LCO", "expression"),
        (replace(DATASET, omics={}), "LCO", "no modality 'expression'"),
    ],
)
def test_data_that_cannot_be_used_are_refused(
    tmp_path: Path, dataset: ResponseDataset, protocol: str, told: str
) -> None:
    with pytest.raises(HalfmaxError, match=told):
        run(config(protocol), tmp_path / "r", dataset=dataset)
    assert not (tmp_path / "r").exists()


def test_zero_responses_are_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        rows(DATASET.response["drug_id"] == "nothing")


def test_an_unknown_fold_of_a_folds_file_is_named(tmp_path: Path) -> None:
    table = DATASET.response.rename(columns={"sample_id": "cell", "drug_id": "drug", "value": "y"})
    number = pd.factorize(table["cell"])[0] % 3
    table.assign(fold=number).to_csv(tmp_path / "folds.csv", index=False)
    split = {"protocol": "LCO", "folds": tmp_path / "folds.csv", "only": ("7",)}
    with pytest.raises(DataError, match="'7'"):
        run(config(split=split), tmp_path / "r", dataset=DATASET)


def test_the_written_configuration_repeats_the_run(tmp_path: Path) -> None:
    first, _ = run(config(), tmp_path / "a", dataset=DATASET)
    again, _ = run(load_config(tmp_path / "a" / "config.toml"), tmp_path / "b", dataset=DATASET)
    pd.testing.assert_frame_equal(first.metrics, again.metrics)
    assert (tmp_path / "a" / "predictor" / "arrays.safetensors").read_bytes() == (
        tmp_path / "b" / "predictor" / "arrays.safetensors"
    ).read_bytes()


def test_labels_of_a_drug_are_learned_and_scored(tmp_path: Path) -> None:
    report, _ = run(config(task={"kind": "classification", "quantile": 0.3}), tmp_path / "r", dataset=DATASET)
    metrics = set(report.metrics["metric"])
    assert {"accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc"} <= metrics
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "Right and wrong calls" in page
    assert "The band holds 95 %" in page
    called = report.predictions["y_pred"] > 0.5
    best = report.predictions["model"] == report.ladder[-1]
    assert f">{int((called & best & (report.predictions['y_true'] == 1)).sum())}<" in page
    assert report.timings["cutoff"].notna().all()
    labels = json.loads((tmp_path / "r" / "predictor" / "manifest.json").read_text(encoding="utf-8"))["about"]["labels"]
    assert labels["threshold"]["quantile"] == 0.3
