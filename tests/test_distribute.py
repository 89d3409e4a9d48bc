"""A cross-validation on a cluster gives the bits of one process, and loses nothing to a killed worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.cluster import Here
from halfmax.cluster.base import one_thread
from halfmax.cluster.cores import Cores, ProcessWorker
from halfmax.cluster.folders import pack_folder, unpack_folder
from halfmax.data.synthetic import make_dataset
from halfmax.distribute import cross_validate_on
from halfmax.errors import DataError, WorkerError
from halfmax.evaluate import ModelSpec, Progress, Results, cross_validate
from halfmax.features.pipeline import FeaturePipeline
from halfmax.labels import Threshold
from halfmax.resume import Resume
from halfmax.run import run
from halfmax.split import make_splits
from tests.test_resume import CONFIG, tables

DATASET = make_dataset(n_samples=30, n_drugs=4, n_genes=20)
SPLITS = make_splits(DATASET, "LCO", n_folds=2, seed=0)
NETWORK = {"epochs": 3, "width": 8, "components": 4, "drug_width": 4, "members": 1}
MODELS = [ModelSpec("net", "mlp", NETWORK), ModelSpec("kernel", "kernel_ridge"), ModelSpec("trees", "lightgbm")]


def pipeline() -> FeaturePipeline:
    return FeaturePipeline(drug_blocks=("fingerprint",), steps={"expression": ["impute", ("standard", {"clip": 4.0})]})


def same(one: Results, other: Results) -> None:
    for name in ("metrics", "predictions", "curves", "selected"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True, check_dtype=False)
    assert one.timings[["model", "fold", "n_train", "n_test"]].equals(
        other.timings[["model", "fold", "n_train", "n_test"]]
    )


def serial(**options: object) -> Results:
    with one_thread():
        return cross_validate(DATASET, SPLITS, MODELS, features=pipeline, n_boot=3, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", [None, Threshold("drug", 0.3)], ids=["regression", "classification"])
def test_here_gives_the_bits_of_a_plain_cross_validation(threshold: Threshold | None) -> None:
    told: list[Progress] = []
    found = cross_validate_on(
        Here(), DATASET, SPLITS, MODELS, features=pipeline, threshold=threshold, n_boot=3, on_progress=told.append
    )
    same(found, serial(threshold=threshold))
    assert [where.done for where in told] == list(range(7))


def test_worker_processes_give_the_same_bits_though_one_is_killed() -> None:
    with Cores(2) as cluster:
        worker = cluster.workers[0]
        assert isinstance(worker, ProcessWorker)
        killed: list[int] = []

        def kill() -> None:
            while worker.pid is None:
                time.sleep(0.01)
            killed.append(worker.pid)
            time.sleep(0.5)
            os.kill(killed[0], signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        found = cross_validate_on(cluster, DATASET, SPLITS, MODELS, features=pipeline, n_boot=3)
        thread.join()
        assert worker.pid != killed[0]
    same(found, serial())


def test_what_is_finished_is_not_fitted_again(tmp_path: Path) -> None:
    resume, told = Resume(tmp_path), []
    first = cross_validate_on(Here(), DATASET, SPLITS, MODELS[1:], features=pipeline, n_boot=0, resume=resume)
    again = cross_validate_on(
        Here(), DATASET, SPLITS, MODELS[1:], features=pipeline, n_boot=0, resume=resume, on_progress=told.append
    )
    same(first, again)
    assert not told
    assert first.timings.equals(again.timings)


def test_an_error_of_a_model_names_the_task() -> None:
    wrong = [ModelSpec("net", "mlp", {**NETWORK, "activation": "sine"})]
    with pytest.raises(DataError, match="activation is 'sine'") as caught:
        cross_validate_on(Here(), DATASET, SPLITS, wrong, features=pipeline, n_boot=0)
    assert "in task 0" in caught.value.__notes__[-1]


def test_a_run_on_a_cluster_writes_what_a_run_without_one_writes(tmp_path: Path) -> None:
    with one_thread():
        run(CONFIG, tmp_path / "serial", dataset=DATASET)
        run(CONFIG, tmp_path / "cluster", dataset=DATASET, cluster=Here())
    for one, other in zip(tables(tmp_path / "serial"), tables(tmp_path / "cluster"), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert not (tmp_path / "cluster" / "unfinished").exists()


def test_a_folder_that_was_sent_is_the_same_and_cannot_lead_out(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.bin").write_bytes(b"\0\1")
    sent = pack_folder(tmp_path / "a", "it")
    assert (unpack_folder(sent, "it", tmp_path / "c") / "b" / "x.bin").read_bytes() == b"\0\1"
    with pytest.raises(WorkerError, match=r"'\.\./x', which leads out"):
        unpack_folder({"it/../x": np.zeros(1, dtype=np.uint8)}, "it", tmp_path / "d")


RANKS = """
import sys
import numpy as np
from halfmax.cluster import Here, connect, is_helper, serve_rank
from halfmax.state import State
if is_helper():
    serve_rank()
else:
    rng = np.random.default_rng(0)
    shared = State({"x": rng.normal(size=(32, 32)).astype(np.float32)})
    tasks = [State({"x": rng.normal(size=(2, 32)).astype(np.float32)}, {"sleep": 0.2}) for _ in range(8)]
    with connect("torchrun") as cluster:
        found = cluster.run("check", tasks, shared)
    expected = Here().run("check", tasks, shared)
    assert [f.arrays["y"].tobytes() for f in found] == [e.arrays["y"].tobytes() for e in expected]
    print(len({f.meta["pid"] for f in found}), "processes", cluster.n_workers, "workers")
"""


@pytest.mark.slow
def test_ranks_that_torchrun_started_give_the_same_bits(tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    command += ["--master-port", "29731", str(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    )
    assert done.returncode == 0, done.stderr
    assert "2 processes 2 workers" in done.stdout
