"""One contract for every place where work can run: the same bits, nothing lost, errors in words."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from halfmax.cluster import Cluster, Here, connect
from halfmax.cluster.base import error_to_state, raise_error
from halfmax.cluster.cores import Cores, Pool, WorkerLost
from halfmax.cluster.frames import decode, encode
from halfmax.cluster.worker import Loaded
from halfmax.errors import DataError, HalfmaxError, UnknownNameError, WorkerError
from halfmax.models.loop import TrainingError
from halfmax.state import State

NEEDS_DASK = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs the extra dask")
PLACES = ["here", "cores", pytest.param("dask", marks=NEEDS_DASK)]


@pytest.fixture(scope="module", params=PLACES)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with connect(request.param, 2) as made:
        yield made


@pytest.fixture(scope="module")
def shared() -> State:
    return State({"x": np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)})


def tasks(n: int = 6) -> list[State]:
    rng = np.random.default_rng(0)
    return [State({"x": rng.normal(size=(3, 64)).astype(np.float32)}, {"name": f"task {i}"}) for i in range(n)]


def test_every_place_gives_the_same_bits_with_one_thread(cluster: Cluster, shared: State) -> None:
    expected = Here().run("check", tasks(), shared)
    found = cluster.run("check", tasks(), shared)
    assert len(found) == 6
    for one, other in zip(expected, found, strict=True):
        assert one.arrays["y"].tobytes() == other.arrays["y"].tobytes()
        assert other.meta["threads"] == 1


def test_what_is_shared_is_made_once_a_worker(cluster: Cluster, shared: State) -> None:
    found = cluster.run("check", tasks(12), shared)
    asked: dict[object, list[int]] = {}
    for result in found:
        asked.setdefault(result.meta["pid"], []).append(int(result.meta["asked"]))  # type: ignore[arg-type]
    assert len(asked) <= cluster.n_workers
    assert all(sorted(counts) == list(range(1, len(counts) + 1)) for counts in asked.values())


def test_another_call_shares_something_else(cluster: Cluster, shared: State) -> None:
    doubled = State({"x": shared.arrays["x"] * 2})
    once, twice = (cluster.run("check", tasks(2), part) for part in (shared, doubled))
    np.testing.assert_array_equal(once[1].arrays["y"] * 2, twice[1].arrays["y"])
    np.testing.assert_array_equal(cluster.run("check", tasks(1))[0].arrays["y"], tasks(1)[0].arrays["x"])


def test_an_error_in_a_task_arrives_with_its_class_and_the_cluster_goes_on(cluster: Cluster) -> None:
    failing = [*tasks(2), State({"x": np.zeros((1, 1))}, {"fail": "for a reason"})]
    with pytest.raises(DataError, match="refused, as asked: for a reason") as caught:
        cluster.run("check", failing)
    assert "in task 2" in caught.value.__notes__[-1]
    assert len(cluster.run("check", tasks(2))) == 2


def test_an_unknown_job_is_refused_by_name(cluster: Cluster) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown job 'os\.system'"):
        cluster.run("os.system", tasks(1))


def test_tasks_are_drawn_as_they_are_needed(cluster: Cluster) -> None:
    drawn = []

    def many() -> Iterator[State]:
        for i in range(1000):
            drawn.append(i)
            yield tasks(1)[0]

    found = cluster.map("check", many())
    next(found)
    time.sleep(0.3)
    assert len(drawn) < 40
    found.close()  # type: ignore[attr-defined]


def test_no_task_no_result(cluster: Cluster) -> None:
    assert cluster.run("check", []) == []


@pytest.mark.parametrize("place", PLACES[1:])
def test_a_worker_killed_in_a_task_loses_nothing(place: str, tmp_path: Path, shared: State) -> None:
    expected = Here().run("check", tasks(), shared)
    work = tasks()
    for i in (1, 3):
        work[i] = State(work[i].arrays, {"die": str(tmp_path / f"died {i}")})
    with connect(place, 2) as cluster:
        found = cluster.run("check", work, shared)
    assert {path.name for path in tmp_path.iterdir()} == {"died 1", "died 3"}
    assert [f.arrays["y"].tobytes() for f in found] == [e.arrays["y"].tobytes() for e in expected]


@pytest.mark.parametrize("place", PLACES[1:])
def test_the_only_worker_killed_is_replaced_and_given_the_shared_data_again(
    place: str, tmp_path: Path, shared: State
) -> None:
    work = [*tasks(2), State(tasks(1)[0].arrays, {"die": str(tmp_path / "died")})]
    with connect(place, 1) as cluster:
        found = cluster.run("check", work, shared)
    assert found[0].arrays["y"].tobytes() == found[2].arrays["y"].tobytes()


def test_a_task_that_ends_its_worker_three_times_is_given_up(tmp_path: Path) -> None:
    work = [State({"x": np.zeros((1, 1))}, {"die": str(tmp_path / "died"), "always": True})]
    with Cores(1) as cluster, pytest.raises(WorkerError, match=r"task 0 ended its worker 3 times, .* signal SIGKILL"):
        cluster.run("check", work)


def test_workers_of_this_machine_work_at_the_same_time_and_end_with_the_block() -> None:
    slow = [State({"x": np.zeros((1, 1))}, {"sleep": 0.5}) for _ in range(4)]
    with Cores(4) as cluster:
        found = cluster.run("check", slow)
        pids = {int(f.meta["pid"]) for f in found}  # type: ignore[call-overload]
        assert len(pids) == 4
        assert os.getpid() not in pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class Slow:
    """A simulated worker: it answers in this process, and is lost at every third call."""

    def __init__(self) -> None:
        self.loaded, self.calls, self.opened = Loaded(), 0, 0

    def ask(self, frame: bytes) -> bytes:
        self.calls += 1
        if self.calls % 3 == 0:
            self.loaded = Loaded()
            raise WorkerLost("simulated")
        self.opened += decode(frame).meta["task"] is None
        return self.loaded.answer(frame)

    def close(self) -> None: ...


def test_workers_without_this_machines_files_are_sent_the_shared_data_once_and_after_a_loss(shared: State) -> None:
    workers = [Slow() for _ in range(5)]
    found = Pool(workers, by_file=False).run("check", tasks(40), shared)
    expected = Here().run("check", tasks(40), shared)
    assert [f.arrays["y"].tobytes() for f in found] == [e.arrays["y"].tobytes() for e in expected]
    assert all(worker.opened <= 1 + worker.calls // 3 for worker in workers)


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    pool = Pool([Slow() for _ in range(8)])
    results = pool.map("check", tasks(100))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("error", "kind"),
    [(DataError("a"), DataError), (UnknownNameError("a"), UnknownNameError), (TrainingError("a"), HalfmaxError)],
)
def test_errors_travel_by_name(error: Exception, kind: type[Exception]) -> None:
    error.add_note("in step impute")
    with pytest.raises(kind, match="a") as caught:
        raise_error(decode(encode(error_to_state(error))), 4)
    assert caught.value.__notes__ == ["in step impute", "in task 4, on a worker"]


def test_an_error_that_is_not_ours_arrives_as_one_of_a_worker() -> None:
    with pytest.raises(WorkerError, match="ZeroDivisionError: division by zero"):
        raise_error(error_to_state(ZeroDivisionError("division by zero")), 0)


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(DataError, match=r"no place 'core'.* Did you mean 'cores'"):
        connect("core")
    with pytest.raises(DataError, match="at least 1"):
        connect("cores", 0)


@pytest.mark.skipif(importlib.util.find_spec("distributed") is not None, reason="the extra dask is installed")
def test_without_the_extra_dask_the_command_to_install_it_is_named() -> None:
    with pytest.raises(WorkerError, match=r"pip install 'halfmax\[dask\]'"):
        connect("dask")


@NEEDS_DASK
def test_a_dask_cluster_of_this_machine_listens_on_the_loopback_alone_and_can_be_joined() -> None:
    psutil = pytest.importorskip("psutil")
    with connect("dask", 1) as cluster:
        own = psutil.Process()
        listening = [
            connection.laddr.ip
            for process in (own, *own.children(recursive=True))
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert set(listening) == {"127.0.0.1"}
        address = cluster._started.scheduler_address  # type: ignore[attr-defined]
        assert address.startswith("tls://" if importlib.util.find_spec("cryptography") else "tcp://")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("dask_jobqueue") is None, reason="needs dask-jobqueue")
def test_jobs_of_a_batch_system_are_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: State) -> None:
    commands = {"sbatch": 'bash "$1" >> "$OUT" 2>&1 & echo "Submitted batch job $!"', "scancel": 'kill "$1"'}
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    import dask
    import dask_jobqueue  # noqa: F401 - its settings first

    with pytest.raises(WorkerError, match=r"jobqueue\.slurm of Dask's configuration"):
        connect("slurm", 2)
    job = {"cores": 1, "memory": "1GiB", "interface": "lo"}
    with (
        dask.config.set({f"jobqueue.slurm.{key}": value for key, value in job.items()}),
        connect("slurm", 2) as cluster,
    ):
        found = cluster.run("check", tasks(), shared)
        assert cluster._started.scheduler_address.startswith("tls://")  # type: ignore[attr-defined]
    expected = Here().run("check", tasks(), shared)
    assert [f.arrays["y"].tobytes() for f in found] == [e.arrays["y"].tobytes() for e in expected]
