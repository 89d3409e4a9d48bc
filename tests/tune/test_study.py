"""A search finds what is planted, gives the same trials each time, and loses nothing to a kill."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("optuna")

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError
from halfmax.tune import objective, study
from halfmax.tune import search as search_module
from halfmax.tune.search import budget_of, search, tune
from halfmax.tune.settings import Plan, plan_of
from halfmax.tune.study import MOST_RETRIES, storage_of

DATASET = make_dataset(n_samples=36, n_drugs=4, n_genes=12)
NETWORK = {"epochs": 4, "width": 8, "components": 4, "drug_width": 4, "members": 1}


def plan(**changed: Any) -> Plan:
    """Return a plan over kernel ridge (or the network), small enough for a test."""
    settings = {"models": ["kernel_ridge"], "search": "random", "trials": 5, "inner": 2} | changed.pop("tune", {})
    content = {"split": {"n_folds": 2}, "params": {"mlp": NETWORK}, "models": ["kernel_ridge", "mlp"]} | changed
    return plan_of(content | {"tune": settings}, dataset=DATASET)


def told(found: Any) -> list[tuple[int, float, str]]:
    """Return place, value and parameters of the complete trials, in the order of their places."""
    complete = found.trials.query("state == 'complete'").sort_values("place")
    return list(complete[["place", "value", "params"]].itertuples(index=False, name=None))


def search_with(plan: Plan, folder: Path, act: Callable[[int, str], None]) -> None:
    """Search in a process of its own, and do something at the beginning of each inner fold of a trial."""

    def hook(slot: int, inner: str, epoch: int | None, values: Mapping[str, float]) -> None:
        act(slot, inner)

    search_module._shower = lambda *arguments: hook
    search(plan, folder, on_progress=lambda where: None)


def started(plan: Plan, folder: Path, act: Callable[[int, str], None]) -> Any:
    process = multiprocessing.get_context("fork").Process(target=search_with, args=(plan, folder, act))
    process.start()
    return process


def killed(plan: Plan, folder: Path, place: int, inner: str = "1") -> None:
    """Search, and be killed in the middle of the trial at `place`."""

    def die(slot: int, fold: str) -> None:
        if (slot, fold) == (place, inner):
            os.kill(os.getpid(), signal.SIGKILL)

    process = started(plan, folder, die)
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


@pytest.mark.slow
def test_two_killed_workers_leave_nothing_running_and_the_best_value_as_it_would_have_been(tmp_path: Path) -> None:
    asked = plan()
    whole = tune(asked, tmp_path / "whole")
    killed(asked, tmp_path / "cut", place=1)
    workers = [started(asked, tmp_path / "cut", lambda slot, fold: time.sleep(600)) for _ in range(2)]
    until = time.monotonic() + 120
    while states(tmp_path / "cut").get("RUNNING", 0) < 2:
        assert time.monotonic() < until, f"the workers did not start: {states(tmp_path / 'cut')}"
        time.sleep(0.05)
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    found = tune(asked, tmp_path / "cut")
    left = states(tmp_path / "cut")
    assert set(left) == {"COMPLETE", "FAIL"}
    assert left["COMPLETE"] == 5
    assert told(found) == told(whole)
    assert found.studies["inner_best"].tolist() == whole.studies["inner_best"].tolist()


def test_a_trial_of_another_machine_is_run_again_after_the_grace(tmp_path: Path) -> None:
    asked = plan(tune={"heartbeat": 1, "grace": 2})
    killed(asked, tmp_path, place=1)
    for lock in (tmp_path / "workers").iterdir():
        lock.unlink()  # so that only the silence tells that it is dead
    began = time.monotonic()
    found = tune(asked, tmp_path)
    assert time.monotonic() - began >= 1
    assert states(tmp_path) == {"COMPLETE": 5, "FAIL": 1}
    assert len(told(found)) == 5


def test_a_trial_that_kills_its_worker_every_time_is_given_up(tmp_path: Path) -> None:
    asked = plan()
    for _ in range(MOST_RETRIES + 1):
        killed(asked, tmp_path, place=1)
    found = tune(asked, tmp_path)
    assert [place for place, _, _ in told(found)] == [0, 2, 3, 4]
    assert found.studies["n_interrupted"].tolist() == [MOST_RETRIES + 1]


def test_a_search_that_was_stopped_from_the_keyboard_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = objective.InnerFolds.score

    def score(self: Any, spec: Any, i: int, on_epoch: Any) -> float:
        if (tmp_path / "cut" / "stop").exists():
            raise KeyboardInterrupt
        return whole(self, spec, i, on_epoch)

    monkeypatch.setattr(objective.InnerFolds, "score", score)
    monkeypatch.setattr(study, "_SETTLED", 0.0)
    tune(plan(tune={"trials": 2}), tmp_path / "cut")
    (tmp_path / "cut" / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        tune(plan(), tmp_path / "cut")
    (tmp_path / "cut" / "stop").unlink()
    assert states(tmp_path / "cut") == {"COMPLETE": 2, "FAIL": 1}
    assert told(tune(plan(), tmp_path / "cut")) == told(tune(plan(), tmp_path / "whole"))


def test_more_trials_are_added_and_another_search_is_refused(tmp_path: Path) -> None:
    first = tune(plan(tune={"trials": 2}), tmp_path)
    more = tune(plan(tune={"trials": 4}), tmp_path)
    assert told(more)[:2] == told(first)
    assert len(told(more)) == 4
    with pytest.raises(DataError, match=r"another search.*search was 'random' and is 'tpe'.*--fresh"):
        tune(plan(tune={"search": "tpe"}), tmp_path)
    anew = tune(plan(tune={"search": "tpe", "trials": 2}), tmp_path, fresh=True)
    assert len(anew.trials) == 2


def test_the_first_trial_has_the_defaults_where_the_space_holds_them(tmp_path: Path) -> None:
    focus = {"kernel_ridge": {"focus": {"low": 0.0, "high": 3.0}}}
    found = tune(plan(tune={"space": focus}), tmp_path / "in")
    row = found.studies.iloc[0]
    assert found.trials["value"].min() == row["inner_best"]
    assert found.trials.loc[found.trials["place"] == 0, "value"].item() == row["inner_default"]
    scores = [np.mean(json.loads(text)) for text in found.trials["scores"]]
    np.testing.assert_allclose(scores, found.trials["value"])
    beside = tune(plan(tune={"space": {"kernel_ridge": {"ridge": {"low": 0.1, "high": 9.0}}}}), tmp_path / "beside")
    assert beside.studies["inner_default"].item() == pytest.approx(row["inner_default"], rel=1e-9)
    assert row["inner_default"] not in set(beside.trials["value"])


def test_what_is_higher_the_better_is_maximised(tmp_path: Path) -> None:
    found = tune(plan(tune={"metric": "normalized_r2"}), tmp_path)
    assert found.trials["value"].max() == found.studies["inner_best"].item()


def test_test_rows_of_the_outer_fold_cannot_reach_a_trial(tmp_path: Path) -> None:
    asked = plan()
    test = asked.prepared.splits[0].test
    values = asked.prepared.dataset.response["value"].to_numpy(copy=True)
    values[test] = 99.0
    response = asked.prepared.dataset.response.assign(value=values)
    spoiled = replace(asked.prepared, dataset=replace(asked.prepared.dataset, response=response))
    assert told(tune(asked, tmp_path / "a")) == told(tune(replace(asked, prepared=spoiled), tmp_path / "b"))


def test_trials_that_fail_count_and_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = objective.InnerFolds.score

    def score(self: Any, spec: Any, i: int, on_epoch: Any) -> float:
        if (spec.params.get("ridge") or 0) > 1:
            raise DataError("a ridge above 1 is not for this test")
        return whole(self, spec, i, on_epoch)

    monkeypatch.setattr(objective.InnerFolds, "score", score)
    found = tune(plan(), tmp_path)
    failed = found.trials.query("state == 'failed'")
    assert len(failed) + len(told(found)) == 5
    assert len(failed) > 0
    assert set(failed["reason"]) == {"a ridge above 1 is not for this test"}
    assert "a ridge above 1 is not for this test" in found.write(tmp_path).read_text(encoding="utf-8")


def test_a_search_without_a_finished_trial_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(*arguments: Any) -> float:
        raise DataError("no")

    monkeypatch.setattr(objective.InnerFolds, "score", score)
    with pytest.raises(DataError, match=r"none of the 2 trials of default/kernel_ridge/LCO/0 was finished, .* 'no'"):
        tune(plan(tune={"trials": 2}), tmp_path)


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_trials_that_are_behind_are_stopped(tmp_path: Path, pruner: str) -> None:
    space = {"mlp": {"learning_rate": {"low": 1e-6, "high": 1e-2, "log": True}}}
    found = tune(plan(tune={"models": ["mlp"], "prune": pruner, "trials": 9, "space": space}), tmp_path)
    row = found.studies.iloc[0]
    assert row["n_pruned"] > 0
    assert row["n_complete"] + row["n_pruned"] == row["n_trials"] == 9
    stopped = found.trials.query("state == 'pruned'")
    assert stopped["cpu_s"].notna().all()
    assert (stopped["scores"].map(json.loads).map(len) < 2).all()


def test_two_workers_find_what_one_finds(tmp_path: Path) -> None:
    one, two = plan(), plan(tune={"workers": 2})
    assert told(tune(one, tmp_path / "one")) == told(tune(two, tmp_path / "two"))


def test_a_database_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    asked = plan(tune={"storage": f"sqlite:///{tmp_path}/no/such/folder/x.db"})
    with pytest.raises(DataError, match="cannot be kept at sqlite"), storage_of(asked.settings, tmp_path):
        pass


def test_the_grid_ends_with_its_last_combination(tmp_path: Path) -> None:
    asked = plan(tune={"search": "grid", "space": {"kernel_ridge": {"ridge": {"choices": [0.1, 1.0, 10.0]}}}})
    assert budget_of(asked, "kernel_ridge") == 3
    found = tune(asked, tmp_path)
    assert sorted(json.loads(p)["ridge"] for _, _, p in told(found)) == [0.1, 1.0, 10.0]


@pytest.mark.slow
def test_two_machines_share_a_postgresql_database(tmp_path: Path) -> None:
    url = os.environ.get("TEST_POSTGRES_URL")
    if url is None:
        pytest.skip("TEST_POSTGRES_URL names no database")
    asked = plan(name=tmp_path.name, tune={"storage": url, "heartbeat": 1, "grace": 3})
    whole = tune(plan(), tmp_path / "whole")
    killed(asked, tmp_path / "one", place=2)
    found = tune(asked, tmp_path / "other")  # another folder: only the silence tells that the worker is dead
    assert told(found) == told(whole)
    assert found.studies["n_interrupted"].tolist() == [1]
    assert not (tmp_path / "other" / "studies.db").exists()
    assert url not in found.write(tmp_path / "other").read_text(encoding="utf-8")
