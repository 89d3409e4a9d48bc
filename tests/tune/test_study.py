"""A search finds what is planted, gives the same trials each time, and loses nothing to a kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("optuna")

from halfmax.data.synthetic import make_dataset
from halfmax.tune.search import search, tune
from halfmax.tune.settings import Plan, plan_of

DATASET = make_dataset(n_samples=36, n_drugs=4, n_genes=12)
NETWORK = {"epochs": 4, "width": 8, "components": 4, "drug_width": 4, "members": 1}
SMALL = {"width": {"choices": [4, 8]}, "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}


def plan(**changed: Any) -> Plan:
    """Return a plan over kernel ridge (or the network), small enough for a test."""
    settings = {"models": ["kernel_ridge"], "search": "random", "trials": 5, "inner": 2} | changed.pop("tune", {})
    content = {"split": {"n_folds": 2}, "params": {"mlp": NETWORK}, "models": ["kernel_ridge", "mlp"]} | changed
    return plan_of(content | {"tune": settings}, dataset=DATASET)


def told(found: Any) -> list[tuple[int, float, str]]:
    """Return place, value and parameters of the complete trials, in the order of their places."""
    complete = found.trials.query("state == 'complete'").sort_values("place")
    return list(complete[["place", "value", "params"]].itertuples(index=False, name=None))


def die_in(plan: Plan, folder: Path, place: int, place_of_death: str) -> None:
    """Search, and be killed in the middle of a trial."""

    def hook(slot: int, inner: str, epoch: int | None, values: Mapping[str, float]) -> None:
        if slot == place and inner == place_of_death:
            os.kill(os.getpid(), signal.SIGKILL)

    import halfmax.tune.search as module

    module._shower = lambda *arguments: hook
    search(plan, folder, on_progress=lambda where: None)


def killed(plan: Plan, folder: Path, place: int, inner: str = "1") -> None:
    process = multiprocessing.get_context("fork").Process(target=die_in, args=(plan, folder, place, inner))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def states(folder: Path) -> dict[str, int]:
    with sqlite3.connect(folder / "studies.db") as connection:
        return dict(connection.execute("select state, count(*) from trials group by state"))


@pytest.mark.parametrize("kind", ["random", "tpe", "gp"])
def test_a_killed_search_goes_on_with_the_trials_that_it_would_have_had(tmp_path: Path, kind: str) -> None:
    asked = plan(tune={"search": kind, "trials": 7})
    whole = tune(asked, tmp_path / "whole")
    killed(asked, tmp_path / "cut", place=5)
    assert states(tmp_path / "cut") == {"COMPLETE": 5, "RUNNING": 1}
    found = tune(asked, tmp_path / "cut")
    assert states(tmp_path / "cut") == {"COMPLETE": 7, "FAIL": 1}
    assert told(found) == told(whole)
    assert found.studies["n_interrupted"].tolist() == [1]
    pd.testing.assert_series_equal(found.studies["inner_best"], whole.studies["inner_best"])
    again = tune(asked, tmp_path / "cut")
    assert told(again) == told(whole)
    assert list((tmp_path / "cut" / "workers").iterdir()) == []
