"""The card says what a predictor is and is not for, and every output carries the sentence on its use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import halfmax
from halfmax import RESEARCH_USE
from halfmax.card import card_text, make_card
from halfmax.cli import main
from halfmax.data.synthetic import make_dataset
from halfmax.predictor import Predictor
from tests.data.small_tables import SYMBOLS

PLANTED = make_dataset(n_samples=60, n_drugs=5, n_genes=40)
DATASET = replace(PLANTED, omics={"expression": PLANTED.omics["expression"].set_axis(SYMBOLS[:40], axis=1)})
QUICK = ["--models", "mean_effects,kernel_ridge", "--set", "n_boot=2", "--set", "split.n_folds=3", "-q"]
PACKAGE = Path(halfmax.__file__).parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with ranks in every format beside it, made by the commands."""
    folder = tmp_path_factory.mktemp("trust")
    DATASET.save(folder / "data")
    assert main(["run", "--data", str(folder / "data"), "--out", str(folder), *QUICK]) == 0
    DATASET.omics["expression"].iloc[:2].to_csv(folder / "new.csv")
    options = ["--expression", str(folder / "new.csv"), "--unit", "zscore_gene"]
    for ending in ("csv", "tsv", "json", "parquet"):
        assert main(["predict", str(folder), *options, "--out", str(folder / f"ranks.{ending}")]) == 0
    return folder


@pytest.mark.parametrize(
    "name",
    [
        *("report.html", "environment.json", "predictions.parquet"),
        *("predictor/card.md", "predictor/card.json", "predictor/manifest.json"),
        *("ranks.csv", "ranks.tsv", "ranks.json", "ranks.parquet"),
    ],
)
def test_every_output_says_that_it_is_for_research_only(finished: Path, name: str) -> None:
    path = finished / name
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        said = table["research_use"].iloc[0] if "research_use" in table else table.attrs["research_use"]
        assert said == RESEARCH_USE
    else:
        assert RESEARCH_USE in path.read_text(encoding="utf-8")


def test_the_sentence_is_the_one_that_was_agreed() -> None:
    assert RESEARCH_USE == "For Research Use Only. Not for use in diagnostic procedures."


def test_screen_output_says_so_too(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--expression", str(finished / "new.csv"), "--unit", "zscore_gene"]
    assert main(["predict", str(finished), *options]) == 0
    assert RESEARCH_USE in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert RESEARCH_USE in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_a_run_gives_its_predictor_intervals_and_says_what_they_hold(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(finished / "ranks.csv", comment="#")
    assert table[["low", "high", "domain_percentile"]].notna().all(axis=None)
    assert (table["domain"] == "inside").any()
    options = ["--expression", str(finished / "new.csv"), "--unit", "zscore_gene", "--level", "0.5"]
    assert main(["predict", str(finished), *options]) == 0
    shown = capsys.readouterr()
    assert "ln_ic50 [ln µM], are to hold 50% of the values" in " ".join(shown.err.split())


def test_the_card_holds_what_a_reader_needs(finished: Path) -> None:
    card = json.loads((finished / "predictor" / "card.json").read_text(encoding="utf-8"))
    assert card["data"]["n_samples"] == 60
    assert card["data"]["licence"] == "none needed"
    assert len(card["data"]["fingerprint"]) == 64
    assert card["split"] == {"protocol": "LCO", "n_folds": 3}
    assert set(card["ladder"]) == {"mean_effects", "kernel_ridge"}
    assert set(card["skill_by_drug"]) == {f"D0{j}" for j in range(5)}
    assert set(card["skill_by_tissue"]) <= {"lung", "blood", "skin"}
    assert 0.5 < card["intervals"]["sample"]["coverage"] <= 1
    text = (finished / "predictor" / "card.md").read_text(encoding="utf-8")
    for heading in ("Intended use", "Limits", "Data", "How it was tested", "Intervals", "Domain", "Skill by drug"):
        assert f"## {heading}" in text
    assert "Licence: none needed" in text
    assert card_text(card) == text


def test_a_predictor_that_was_never_tested_says_so() -> None:
    text = card_text(make_card(Predictor.of("mean_effects").fit(DATASET)))
    assert "It was not cross-validated." in text
    assert "It has none: no cross-validation" in text


def test_nothing_calls_a_drug_recommended() -> None:
    wrong = [
        path.name
        for path in (*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html"), *PACKAGE.rglob("*.j2"))
        if "recommended" in path.read_text(encoding="utf-8").lower()
    ]
    assert not wrong
