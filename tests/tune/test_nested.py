"""A nested search scores outer folds once, says what choosing flatters, and its page and command tell it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

pytest.importorskip("optuna")

from halfmax.cli import app
from halfmax.config import load_config
from halfmax.data.synthetic import make_dataset
from halfmax.evaluate import FoldRun, ModelSpec, cross_validate
from halfmax.split import make_splits
from halfmax.tune.result import Tuning
from halfmax.tune.search import tune
from halfmax.tune.settings import Plan, plan_of

DATASET = make_dataset(n_samples=36, n_drugs=4, n_genes=12)
CONTENT: dict[str, Any] = {
    "split": {"n_folds": 2},
    "tune": {"models": ["kernel_ridge", "elastic_net"], "search": "random", "trials": 5, "inner": 2, "nested": True},
}


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Tuning, Path]:
    folder = tmp_path_factory.mktemp("nested")
    plan = plan_of(CONTENT, dataset=DATASET)
    found = tune(plan, folder)
    found.write(folder)
    return plan, found, folder


def test_every_model_has_the_same_trials_on_the_same_folds(nested: tuple[Plan, Tuning, Path]) -> None:
    _, found, _ = nested
    assert found.studies[["model", "fold"]].to_numpy().tolist() == [
        ["kernel_ridge", "0"],
        ["elastic_net", "0"],
        ["kernel_ridge", "1"],
        ["elastic_net", "1"],
    ]
    assert set(found.studies["n_trials"]) == {5}
    assert (found.studies["cpu_s"] > 0).all()


def test_outer_scores_are_those_of_cross_validation(nested: tuple[Plan, Tuning, Path]) -> None:
    _, found, _ = nested
    splits = make_splits(DATASET, "LCO", n_folds=2)
    defaults = cross_validate(DATASET, splits, [ModelSpec("kernel_ridge", "kernel_ridge")], n_boot=0).metrics
    expected = defaults.query("metric == 'rmse' and group_by == 'all' and fold != 'all'")["value"]
    ours = found.studies.query("model == 'kernel_ridge'")
    np.testing.assert_allclose(ours["outer_default"], expected, rtol=1e-6)
    assert len(found.predictions) == 2 * DATASET.n_pairs
    squared = (found.predictions["y_true"] - found.predictions["y_pred"]) ** 2
    rmse = np.sqrt(squared.groupby([found.predictions["model"], found.predictions["fold"]]).mean())
    by_study = found.studies.set_index(["model", "fold"])["outer_best"].sort_index()
    np.testing.assert_allclose(by_study, rmse.sort_index(), rtol=1e-5)


def test_optimism_is_what_the_gap_of_the_chosen_has_beyond_that_of_the_defaults(
    nested: tuple[Plan, Tuning, Path],
) -> None:
    _, found, _ = nested
    rows = found.studies
    np.testing.assert_allclose(rows["gap_best"], rows["outer_best"] - rows["inner_best"])
    np.testing.assert_allclose(rows["optimism"], rows["gap_best"] - (rows["outer_default"] - rows["inner_default"]))
    assert rows["optimism"].notna().all()


def test_outer_folds_are_not_fitted_again(nested: tuple[Plan, Tuning, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, found, folder = nested

    def refuse(*arguments: Any) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(FoldRun, "fit_predict", refuse)
    pd.testing.assert_frame_equal(tune(plan, folder).studies, found.studies)


def test_the_page_holds_its_plots_and_loads_nothing(nested: tuple[Plan, Tuning, Path]) -> None:
    _, _, folder = nested
    page = (folder / "tuning.html").read_text(encoding="utf-8")
    for name in ("growth", "lines-kernel_ridge", "lines-elastic_net", "importance-kernel_ridge"):
        assert f'id="{name}-' in page, name
    assert not re.search(r"""(src|href)=["']https?:""", page)
    assert "<script" not in page
    assert "For Research Use Only" in page
    tables = {path.name for path in folder.iterdir()}
    assert {"trials.csv", "studies.csv", "importance.csv", "predictions.parquet", "studies.db"} <= tables
    shares = pd.read_csv(folder / "importance.csv").groupby(["model", "fold"])["importance"].sum()
    np.testing.assert_allclose(shares, 1, atol=1e-6)


@pytest.mark.parametrize("metric", ["roc_auc", "f1"])
def test_labels_can_be_tuned_for(tmp_path: Path, metric: str) -> None:
    settings = {"models": ["kernel_ridge"], "search": "random", "trials": 2, "inner": 2, "metric": metric}
    content = {"split": {"n_folds": 2}, "task": {"kind": "classification", "quantile": 0.3}, "tune": settings}
    found = tune(plan_of(content, dataset=DATASET), tmp_path)
    assert found.trials["value"].between(0, 1).all()
    assert found.studies["inner_best"].item() == found.trials["value"].max()


def test_the_command_tunes_goes_on_and_leaves_a_configuration_for_run(tmp_path: Path) -> None:
    DATASET.save(tmp_path / "data")
    command = [
        "tune",
        "--data",
        str(tmp_path / "data"),
        "--model",
        "kernel_ridge",
        "--search",
        "random",
        "--inner",
        "2",
    ]
    command += ["--out", str(tmp_path / "out"), "--set", "split.n_folds=2", "--quiet", "--trials"]
    first = CliRunner().invoke(app, [*command, "2"])
    assert first.exit_code == 0, first.output
    again = CliRunner().invoke(app, [*command, "4"])
    assert again.exit_code == 0, again.output
    trials = pd.read_csv(tmp_path / "out" / "trials.csv")
    assert trials["state"].tolist() == ["complete"] * 4
    best = load_config(tmp_path / "out" / "best.toml")
    assert set(best.params_of("kernel_ridge")) >= {"ridge", "kernel", "focus"}
    assert best.split.n_folds == 2


def test_the_command_tells_all_that_is_wrong_and_starts_nothing(tmp_path: Path) -> None:
    DATASET.save(tmp_path / "data")
    options = ["--search", "best", "--trials", "-1", "--model", "kernel_rigde", "--inner", "45"]
    out = CliRunner().invoke(app, ["tune", "--data", str(tmp_path / "data"), *options, "--out", str(tmp_path / "out")])
    said = str(out.exception)
    for told in ("tune.search", "tune.trials", "Did you mean 'kernel_ridge'?", "fewer than 45 folds"):
        assert told in said
    assert not (tmp_path / "out").exists()
