"""A run that was cut off: what it finished is not done again, and what it gives is what it would have given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError
from halfmax.evaluate import Progress
from halfmax.predictor import Predictor
from halfmax.resume import Resume, opened
from halfmax.run import run
from tests.test_run import config

DATASET = make_dataset(n_samples=30, n_drugs=4, n_genes=20)
NETWORK = {"mlp": {"epochs": 3, "width": 8, "components": 4, "drug_width": 4, "members": 1}}
QUICK = {"models": ("mean_effects", "mlp"), "params": NETWORK, "split": {"protocol": "LCO", "n_folds": 2}}
CONFIG = config(**QUICK, n_boot=2)
CURVE = pd.DataFrame({"epoch": [1, 2], "train_loss": [1.0, 0.5], "valid_loss": [np.nan, 0.25], "member": "all"})


class Cut(Exception):
    """What stands for a kill where a process of its own would only cost time."""


def cut_at(fold: str, model: str, epoch: int | None, *, kill: bool = False):
    def show(where: Progress) -> None:
        if (where.fold, where.model, where.epoch) == (fold, model, epoch):
            if kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Cut

    return show


def killed_run(folder: Path) -> None:
    """Run until the second epoch of the network on the second fold, and die there."""
    run(CONFIG, folder, dataset=DATASET, on_progress=cut_at("1", "mlp", 2, kill=True))


def tables(folder: Path) -> list[pd.DataFrame]:
    return [pd.read_parquet(folder / "predictions.parquet"), pd.read_csv(folder / "metrics.csv")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(CONFIG, folder, dataset=DATASET)
    return folder


def test_a_killed_run_started_again_gives_the_same_report_and_predictor(tmp_path: Path, whole: Path) -> None:
    import torch

    code = (
        f"import torch; torch.set_num_threads({torch.get_num_threads()})\n"
        f"from pathlib import Path; from tests.test_resume import killed_run; killed_run(Path({str(tmp_path)!r}))"
    )
    died = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(list((tmp_path / "unfinished" / "finished").iterdir())) == 3
    told = []
    run(CONFIG, tmp_path, dataset=DATASET, on_progress=lambda w: told.append((w.fold, w.model, w.epoch)))
    assert [w for w in told if w[2] is not None and w[0] == "0"] == []  # nothing of the first fold was trained again
    assert not (tmp_path / "unfinished").exists()
    for one, other in zip(tables(tmp_path), tables(whole), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    models = [Predictor.load(folder / "predictor").model.get_state().arrays for folder in (tmp_path, whole)]
    assert all(np.array_equal(models[0][name], models[1][name]) for name in models[1])


def test_another_run_is_refused_unless_it_is_fresh(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        run(CONFIG, tmp_path, dataset=DATASET, on_progress=cut_at("1", "mlp", None))
    other = config(**QUICK, n_boot=3)
    with pytest.raises(DataError, match=r"config\.n_boot was '2' and is '3'.*--fresh"):
        run(other, tmp_path, dataset=DATASET)
    changed = replace(DATASET, response=DATASET.response.assign(value=DATASET.response["value"] + 1))
    with pytest.raises(DataError, match="data was"):
        run(CONFIG, tmp_path, dataset=changed)
    run(other, tmp_path, dataset=DATASET, fresh=True)
    assert not (tmp_path / "unfinished").exists()


def test_one_process_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".unfinished.lock"),
        pytest.raises(DataError, match="another process runs into"),
        opened(tmp_path / "unfinished", {}),
    ):
        pass


def test_what_was_fitted_comes_back_bit_for_bit_and_is_not_fitted_again(tmp_path: Path) -> None:
    fitted = (np.array([0.1, 1 / 3, -2e300]), {"fit_s": 0.25}, CURVE)
    resume = Resume(tmp_path)
    resume.unit("0", 'mlp:{"layers": 2}', lambda: fitted)
    again = Resume(tmp_path).unit("0", 'mlp:{"layers": 2}', pytest.fail)
    assert np.array_equal(again[0], fitted[0])
    assert again[1] == fitted[1]
    pd.testing.assert_frame_equal(again[2], CURVE, check_exact=True)
    empty = (np.zeros(1), {}, pd.DataFrame())
    resume.unit("1", "mean", lambda: empty)
    assert resume.unit("1", "mean", pytest.fail)[2].empty


def test_a_damaged_result_is_refused(tmp_path: Path) -> None:
    Resume(tmp_path).unit("0", "mean", lambda: (np.ones(4), {}, pd.DataFrame()))
    (path,) = tmp_path.rglob("predicted.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(DataError, match=r"damaged.*--fresh"):
        Resume(tmp_path).unit("0", "mean", pytest.fail)


def test_a_folder_that_died_before_it_was_described_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "unfinished" / "finished").mkdir(parents=True)
    with opened(tmp_path / "unfinished", {"config": 1}):
        assert not (tmp_path / "unfinished" / "finished").exists()


def test_a_run_that_failed_before_it_finished_anything_is_no_hindrance(tmp_path: Path) -> None:
    with pytest.raises(Cut), opened(tmp_path / "unfinished", {"config": 1}):
        raise Cut
    with opened(tmp_path / "unfinished", {"config": 2}) as resume:
        assert (resume.folder / "run.json").is_file()
