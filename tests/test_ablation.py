"""An ablation finds a planted modality, finds nothing where there is nothing, and compares like with like."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from halfmax import ablate
from halfmax.ablation import paired_differences, parse_variants
from halfmax.cli import app
from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, UnknownNameError
from halfmax.evaluate import ModelSpec
from halfmax.features.pipeline import FeaturePipeline

BASE = make_dataset(100, 5, 12, noise=0.5)
HIDDEN = pd.Series(np.random.default_rng(5).normal(size=len(BASE.samples)), index=BASE.samples.index)
SPEC = [ModelSpec("kernel_ridge", "kernel_ridge", {"focus": 0.0, "ridge": 0.3})]
VARIANTS = {"expression": ["expression"], "both": ["expression", "proteomics"]}


def frame(values, ids):
    return pd.DataFrame(values.astype(np.float32), index=ids, columns=[f"P{i}" for i in range(values.shape[1])])


def dataset(*, planted: bool, n_profiled: int = 100):
    """Return responses that follow a protein beside a gene, or only noise named proteins."""
    response = BASE.response.copy()
    if planted:
        response["value"] += response["sample_id"].map(HIDDEN)
    proteins = np.random.default_rng(6).normal(size=(len(HIDDEN), 4))
    if planted:
        proteins[:, 0] = HIDDEN
    omics = dict(BASE.omics) | {"proteomics": frame(proteins, HIDDEN.index).iloc[:n_profiled]}
    return replace(BASE, response=response, omics=omics)


def overall(table, metric):
    return table.query("fold == 'all' and metric == @metric").iloc[0]


def test_a_planted_modality_is_worth_something_and_noise_is_not():
    found = ablate(dataset(planted=True), VARIANTS, SPEC, n_folds=3, n_boot=100).differences
    row = overall(found, "rmse")
    assert row["high"] < 0
    assert overall(found, "within_drug_pearson")["low"] > 0
    assert (row["variant"], row["reference"], row["n_samples"]) == ("both", "expression", 100)
    row = overall(ablate(dataset(planted=False), VARIANTS, SPEC, n_folds=3, n_boot=100).differences, "rmse")
    assert row["high"] > 0


def test_differences_are_those_of_the_metrics_and_pairing_narrows_them():
    found = ablate(dataset(planted=True), VARIANTS, SPEC, n_folds=3, n_boot=100)
    own = found.metrics.query("fold == 'all' and group_by == 'all' and model == 'kernel_ridge' and metric == 'rmse'")
    value = own.set_index("variant")["value"]
    row = overall(found.differences, "rmse")
    assert row["value"] == pytest.approx(value["both"] - value["expression"])
    apart = np.hypot(*(own["high"] - own["low"]).to_numpy())
    assert row["high"] - row["low"] < apart


def test_every_variant_has_the_same_samples():
    few = dataset(planted=True, n_profiled=60)
    found = ablate(few, VARIANTS, SPEC, n_folds=3, n_boot=0)
    pairs = [set(map(tuple, t[["sample_id", "drug_id"]].to_numpy())) for _, t in found.predictions.groupby("variant")]
    assert pairs[0] == pairs[1]
    assert len({sample for sample, _ in pairs[0]}) == 60
    assert found.dropped.causes["sample without proteomics"][0] == BASE.n_pairs - len(pairs[0])
    masked = ablate(few, VARIANTS, SPEC, n_folds=3, n_boot=0, require=["expression"])
    assert masked.predictions["sample_id"].nunique() == 100
    assert masked.coverage.set_index(["variant", "modality"]).loc[("both", "proteomics"), "n_with"] == 60


def test_other_pairs_are_refused():
    found = ablate(dataset(planted=True), VARIANTS, SPEC, n_folds=3, n_boot=0).predictions
    with pytest.raises(DataError, match="other pairs"):
        paired_differences(found.drop(found.index[-1]), list(VARIANTS))


def test_misuse_is_told():
    with pytest.raises(DataError, match="at least two"):
        ablate(BASE, {"a": ["expression"]})
    with pytest.raises(UnknownNameError, match="no modality 'proteomics'"):
        ablate(BASE, VARIANTS)
    with pytest.raises(DataError, match="beside the mean-effects"):
        ablate(dataset(planted=True), VARIANTS, [ModelSpec("mean_effects", "mean_effects")])
    assert parse_variants(["expression", "expression+proteomics"])["expression+proteomics"] == list(VARIANTS["both"])
    for bad in (["a", "a"], ["a+a", "b"], ["a+", "b"]):
        with pytest.raises(DataError, match="cannot be read"):
            parse_variants(bad)


def test_one_command_writes_the_tables(tmp_path):
    folder = dataset(planted=True).save(tmp_path / "data")
    words = ["ablate", "expression", "expression+proteomics", "--data", str(folder), "--out", str(tmp_path / "out")]
    options = ["--set", "split.n_folds=2", "--set", "n_boot=20"]
    told = CliRunner().invoke(app, words + options, catch_exceptions=False)
    assert told.exit_code == 0
    assert "each less expression" in told.stdout
    assert "the same for every variant" in " ".join(told.output.split())
    names = {"metrics.csv", "differences.csv", "coverage.csv", "dropped.csv", "predictions.parquet"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    written = pd.read_csv(tmp_path / "out" / "differences.csv")
    assert overall(written, "rmse")["value"] < 0


def test_the_command_says_what_was_left_out(tmp_path):
    folder = dataset(planted=True, n_profiled=95).save(tmp_path / "data")
    words = ["ablate", "expression", "proteomics", "--data", str(folder), "--out", str(tmp_path / "out")]
    told = CliRunner().invoke(app, [*words, "--set", "split.n_folds=2", "--set", "n_boot=0"], catch_exceptions=False)
    assert "pairs: sample without proteomics (5, e.g. " in " ".join(told.output.split())


def test_own_features_are_used():
    asked = []

    def features(modalities):
        asked.append(tuple(modalities))
        return FeaturePipeline(modalities, categories=())

    ablate(dataset(planted=True), VARIANTS, SPEC, n_folds=2, n_boot=0, features=features)
    assert set(asked) == {("expression",), ("expression", "proteomics")}
