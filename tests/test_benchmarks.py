"""The benchmarks' fixed folds hold no response and keep to their protocols, and every script starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from halfmax.data.cell_lines import normalise_name

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
PROTOCOLS = ("LPO", "LCO", "LDO", "LTO")
COMMANDS = sorted(path.name for path in FOLDER.glob("*.py") if "argparse" in path.read_text(encoding="utf-8"))


def folds(protocol: str) -> pd.DataFrame:
    return pd.read_parquet(FOLDER / "folds" / f"GDSC2_{protocol}.parquet")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_fold_files_hold_names_and_folds_only(protocol: str) -> None:
    file = pq.ParquetFile(FOLDER / "folds" / f"GDSC2_{protocol}.parquet")
    assert [(f.name, str(f.type)) for f in file.schema_arrow] == [
        ("cell", "string"),
        ("drug", "string"),
        ("fold", "int8"),
    ]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    table = folds(protocol)
    assert len(table) == 179_822
    assert (table["cell"].nunique(), table["drug"].nunique()) == (898, 228)
    assert set(table["fold"]) == set(range(5))
    assert not table.duplicated(["cell", "drug"]).any()


def test_every_protocol_deals_the_same_pairs() -> None:
    first, *others = (set(zip(t["cell"].map(normalise_name), t["drug"], strict=True)) for t in map(folds, PROTOCOLS))
    assert all(pairs == first for pairs in others)


@pytest.mark.parametrize(("protocol", "column"), [("LCO", "cell"), ("LDO", "drug"), ("LTO", "cell")])
def test_a_group_lies_in_one_fold(protocol: str, column: str) -> None:
    assert (folds(protocol).groupby(column)["fold"].nunique() == 1).all()


def test_folds_of_pairs_split_every_cell_and_drug() -> None:
    table = folds("LPO")
    sizes = table["fold"].value_counts()
    assert sizes.max() - sizes.min() <= 1
    for column in ("cell", "drug"):
        counts = table.groupby(column).agg(n=("fold", "size"), folds=("fold", "nunique"))
        assert (counts.loc[counts["n"] >= 60, "folds"] == 5).all()


@pytest.mark.parametrize("name", COMMANDS)
def test_scripts_start(name: str) -> None:
    told = subprocess.run([sys.executable, FOLDER / name, "--help"], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "usage:" in told.stdout


def test_bars_are_read_from_the_right_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import anchors

    rows = [
        *(("kernel_ridge", "0", "rmse", 1.18), ("mlp", "0", "rmse", 1.21), ("mlp", "1", "rmse", 1.0)),
        *(("kernel_ridge", "0", "normalized_r2", 0.34), ("mlp", "0", "normalized_r2", 0.31)),
    ]
    metrics = pd.DataFrame(rows, columns=["model", "fold", "metric", "value"])
    timings = pd.DataFrame(
        {
            "model": ["kernel_ridge", "kernel_ridge", "kernel_ridge", anchors.SHARED, anchors.SHARED],
            "fold": ["0", "1", "0", "all", "all"],
            "cpu_s": [99.0, 5.0, 4.0, 2.0, 50.0],
            "fit_s": [99.0, 5.0, 4.0, None, None],
            "run": ["2001-01-01", "2002-01-01", "2002-01-01", "2002-01-01", "2003-01-01"],
        }
    )
    timings = anchors.latest(timings)
    assert timings["cpu_s"].tolist() == [5.0, 4.0, 2.0, 50.0]
    found = {(b.what, b.metric): (value, model) for b, value, model in anchors.bars("LCO", metrics, timings)}
    assert found == {
        ("a model, fold 0", "rmse"): (1.18, "kernel_ridge"),
        ("a model, fold 0", "normalized_r2"): (0.34, "kernel_ridge"),
        ("the network alone, fold 0", "normalized_r2"): (0.31, "mlp"),
        ("kernel model, five folds, all steps", "cpu_s"): (11.0, "kernel_ridge"),
    }
    assert anchors.ACCURACY[0].met(1.18)
    assert not anchors.ACCURACY[2].met(0.31)


def test_the_tables_of_the_documents_are_those_of_the_raw_results() -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / "tables.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
