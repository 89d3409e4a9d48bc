"""The commands: what a user types, what is written, and what a mistake is answered with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from halfmax import RESEARCH_USE
from halfmax.cli import main
from halfmax.data.synthetic import make_dataset
from tests.data.small_tables import SYMBOLS

PLANTED = make_dataset(n_samples=30, n_drugs=5, n_genes=40)
DATASET = replace(PLANTED, omics={"expression": PLANTED.omics["expression"].set_axis(SYMBOLS[:40], axis=1)})
QUICK = ["--models", "mean_effects,kernel_ridge", "--set", "n_boot=2", "--set", "split.n_folds=2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, made by the command."""
    folder = tmp_path_factory.mktemp("cli")
    DATASET.save(folder / "data")
    assert main(["run", "--data", str(folder / "data"), "--out", str(folder / "run"), *QUICK]) == 0
    return folder / "run"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Two new samples."""
    path = tmp_path / "new.csv"
    DATASET.omics["expression"].iloc[:2].to_csv(path)
    return path


def test_run_writes_everything(finished: Path) -> None:
    there = {p.name for p in finished.iterdir()}
    assert {
        "report.html",
        "metrics.csv",
        "predictions.parquet",
        "config.toml",
        "environment.json",
        "predictor",
    } <= there
    assert RESEARCH_USE in (finished / "report.html").read_text(encoding="utf-8")


def test_a_run_can_be_quiet_and_fix_its_threads(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--data", str(finished.parent / "data"), "--models", "mean_effects", *QUICK[2:]]
    assert main([*command, "--out", str(finished.parent / "told")]) == 0
    assert "1 of 2 · fold 0 · mean_effects" in capsys.readouterr().err
    quiet = [*command, "--out", str(finished.parent / "quiet"), "-q", "--fresh", "--deterministic", "1"]
    assert main(quiet) == 0
    assert "fold" not in capsys.readouterr().err
    one, other = (pd.read_csv(finished.parent / name / "metrics.csv") for name in ("told", "quiet"))
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "parquet"])
def test_predict_writes_the_same_ranks_in_every_format(
    finished: Path, profile: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"ranks.{ending}"
    options = ["--expression", str(profile), "--unit", "zscore_gene", "--top", "3", "--out", str(out)]
    assert main(["predict", str(finished), *options]) == 0
    if ending == "json":
        content = json.loads(out.read_text(encoding="utf-8"))
        assert content["research_use"] == RESEARCH_USE
        table = pd.DataFrame(content["rows"])
    elif ending == "parquet":
        table = pd.read_parquet(out)
        assert (table["research_use"] == RESEARCH_USE).all()
    else:
        assert RESEARCH_USE in out.read_text(encoding="utf-8").splitlines()[0]
        table = pd.read_csv(out, comment="#", sep="\t" if ending == "tsv" else ",")
    assert table["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    columns = {"sample_id", "drug_id", "prediction", "drug_mean", "difference", "percentile", "gene_coverage"}
    assert columns <= set(table.columns)


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a command that fails says, in one line of words."""
    assert main(arguments) != 0
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err + shown.out
    return " ".join((shown.err + shown.out).split())


def test_mistakes_are_answered_in_words(finished: Path, profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expression = ["--expression", str(profile), "--unit", "zscore_gene"]
    assert "Did you mean 'D0" in told(["predict", str(finished), *expression, "--drugs", "D0O"], capsys)
    assert "the ending is .csv" in told(["predict", str(finished), *expression, "--out", "x.xls"], capsys)
    assert "no manifest.json" in told(["predict", str(profile.parent), *expression], capsys)
    assert "cannot be opened" in told(["predict", str(finished), "--expression", "nothing.tsv"], capsys)


def test_every_problem_of_a_configuration_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["run", "--set", "split.n_fold=3", "--set", "n_boot=-1", "--models", "kernel_rigde"]
    message = told(wrong, capsys)
    for part in ("n_folds", "n_boot", "kernel_ridge"):
        assert part in message


def test_predict_says_how_it_harmonised(finished: Path, profile: Path, tmp_path: Path) -> None:
    out = tmp_path / "ranks.csv"
    options = ["--expression", str(profile), "--unit", "zscore_gene", "--harmonise", "auto", "--out", str(out)]
    assert main(["predict", str(finished), *options]) == 0
    assert {"harmonised", "transductive"} <= set(pd.read_csv(out, comment="#").columns)
