"""`halfmax screen` writes what it says, names bad lines, and tells errors in words."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from halfmax.cli import main
from halfmax.data.synthetic import make_dataset
from halfmax.features.pipeline import FeaturePipeline
from halfmax.predictor import Predictor


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    dataset = make_dataset(30, 6, 30)
    features = FeaturePipeline(drug_blocks=("fingerprint",))
    Predictor.of("kernel_ridge").fit(dataset, features=features).save(folder / "run" / "predictor")
    dataset.omics["expression"].head(4).to_csv(folder / "samples.csv", index_label="sample_id")
    (folder / "library.smi").write_text("CCOC first\nCC( second\nNCCO third\n")
    return folder


def asked(inputs: Path, out: Path, *more: str) -> list[str]:
    words = ["screen", str(inputs / "run"), "--samples", str(inputs / "samples.csv"), "--out", str(out), "--on", "here"]
    return [*words, "--unit", "zscore_gene", *more]


def test_a_library_is_screened(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = asked(inputs, tmp_path / "out", "--library", str(inputs / "library.smi"), "--top", "1")
    assert main(command) == 0
    told = capsys.readouterr().err
    assert "line 2: 'CC(' is not a valid SMILES" in told
    assert "scored     8 pairs of 4 samples" in told
    assert len(pd.read_parquet(tmp_path / "out" / "top.parquet")) == 4
    assert main(command) == 0  # there is nothing left to do


def test_errors_are_told_in_words(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked(inputs, tmp_path / "a", "--top-only")) == 2
    assert main(asked(inputs, tmp_path / "b", "--drugs", "nobody")) == 2
    assert main(asked(inputs, tmp_path / "c", "--on", "corse")) == 2
    assert main([*asked(inputs, tmp_path / "d"), "--on", "torchrun"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "nothing would be written" in told
    assert "1 drugs are not among the 6" in told
    assert "Did you mean 'cores'" in told
    assert "RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT are not set" in told


def test_known_drugs_are_scored_without_a_library(inputs: Path, tmp_path: Path) -> None:
    assert main(asked(inputs, tmp_path / "out", "--drugs", "D01,D03", "--quiet")) == 0
    (part,) = (tmp_path / "out" / "pairs").iterdir()
    table = pd.read_parquet(part)
    assert set(table["drug_id"]) == {"D01", "D03"}
    assert len(table) == 8
