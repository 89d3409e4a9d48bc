"""A planted gene set is found among sets and among chance, and a step that matters is missed when it is left out."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from halfmax import ablate
from halfmax.ablation_kinds import chosen_sets, gene_set_variants, step_variants
from halfmax.cli import app
from halfmax.config import RunConfig
from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, UnknownNameError
from halfmax.evaluate import ModelSpec

DATASET = make_dataset(90, 4, 30)  # drug D00 answers to G0, …, D03 to G3
CONFIG = RunConfig()
SPEC = [ModelSpec("kernel_ridge", "kernel_ridge", {"focus": 0.0, "ridge": 0.3})]
SETS = {"planted": ["G0", "G1", "G2", "G3", "NOT_MEASURED"], "empty_handed": ["G20", "G21", "G22"]}


def test_planted_genes_are_told_from_others_and_from_chance():
    found = ablate(DATASET, gene_set_variants(CONFIG, DATASET, SETS, seed=3), SPEC, n_folds=3, n_boot=60).differences
    rmse = found.query("fold == 'all' and metric == 'rmse'").set_index("variant")
    assert set(rmse["reference"]) == {"all genes"}
    assert rmse.loc["only planted", "high"] < rmse.loc["random like planted", "low"]
    assert rmse.loc["without planted", "low"] > 0
    assert rmse.loc["only empty_handed", "low"] > 0
    assert abs(rmse.loc["without empty_handed", "value"]) < 0.1


def test_genes_are_chosen_after_the_steps_of_a_whole_sample():
    pipeline = gene_set_variants(CONFIG, DATASET, SETS)["only planted"].features()
    kinds = [step if isinstance(step, str) else step[0] for step in pipeline.steps["expression"]]
    assert kinds == ["sample_zscore", "genes", "impute", "standard"]
    assert pipeline.fit(DATASET).transform(DATASET).sample_x["expression"].names == ("G0", "G1", "G2", "G3")


def test_sets_that_say_nothing_are_refused():
    for genes, modality in ((["nope"], "expression"), ([f"G{i}" for i in range(30)], "expression")):
        with pytest.raises(DataError, match="1 of 1 gene sets hold none or all of the 30 genes"):
            gene_set_variants(CONFIG, DATASET, {"odd": genes}, modality=modality)
    with pytest.raises(UnknownNameError, match="no modality 'mutation'"):
        gene_set_variants(CONFIG, DATASET, SETS, modality="mutation")
    with pytest.raises(UnknownNameError, match="planted"):
        chosen_sets(SETS, ["plantet"])


def test_a_step_that_matters_is_missed():
    wild = DATASET.omics["expression"].mul(np.r_[1.0, np.full(29, 30.0)].astype(np.float32), axis=1)
    dataset = type(DATASET)(**{**vars(DATASET), "omics": {"expression": wild}})
    variants = step_variants(CONFIG, "expression")
    assert list(variants) == ["all steps", "without 1. sample_zscore", "without 3. standard"]
    found = ablate(dataset, variants, SPEC, n_folds=3, n_boot=60)
    assert set(found.differences["variant"]) == set(variants) - {"all steps"}
    with pytest.raises(UnknownNameError, match="In use: expression"):
        step_variants(CONFIG, "expresion")
    with pytest.raises(DataError, match="no step to leave out: impute"):
        step_variants(CONFIG, "fingerprint")


def test_the_command_reads_a_gmt_file(tmp_path):
    DATASET.save(tmp_path / "data")
    (tmp_path / "sets.gmt").write_text("PLANTED\t-\tG0\tG1\tG2\tG3\nOTHER\t-\tG9\n")
    words = ["ablate", "--gene-sets", str(tmp_path / "sets.gmt"), "--sets", "PLANTED", "--data", str(tmp_path / "data")]
    more = ["--set", "split.n_folds=2", "--set", "n_boot=20", "--out", str(tmp_path / "out"), "-q"]
    done = CliRunner().invoke(app, [*words, *more])
    assert done.exit_code == 0, done.output
    variants = set(pd.read_csv(tmp_path / "out" / "differences.csv")["variant"])
    assert variants == {"only PLANTED", "without PLANTED", "random like PLANTED"}
    both = CliRunner().invoke(app, ["ablate", "expression", "--steps", "expression"])
    assert isinstance(both.exception, DataError)
    assert "one of the three" in str(both.exception)
