"""Dask Distributed: a cluster on this machine, one that runs elsewhere, or one that a batch system starts."""

from __future__ import annotations

import importlib
import importlib.util
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from halfmax.cluster.base import Cluster, default_workers, raise_error
from halfmax.cluster.cores import ATTEMPTS
from halfmax.cluster.frames import decode, encode
from halfmax.cluster.worker import Loaded
from halfmax.errors import WorkerError
from halfmax.state import State

#: Batch systems and the classes of dask-jobqueue that speak to them.
BATCH_SYSTEMS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "htcondor": "HTCondorCluster",
    "oar": "OARCluster",
    "moab": "MoabCluster",
}
_LOADED = Loaded()
#: Workers of a cluster that was joined may have several threads; a job is asked by one.
_ONE_AT_A_TIME = threading.Lock()
#: Larger frames travel beside the graph of tasks.
_LARGE = 1 << 20


class Dask(Cluster):
    """A client of a Dask scheduler.

    Parameters
    ----------
    on
        ``dask`` (a cluster of this machine, bound to the loopback), one of `BATCH_SYSTEMS`, or the address of a
        scheduler: ``tls://host:8786`` or ``tcp://host:8786``. The certificates of TLS are those of Dask's own
        configuration (``distributed.comm.tls``), and so is what a batch job asks for (``jobqueue``).
    n_workers
        How many, where they are started; as many as cores by default.
    """

    local = False

    def __init__(self, on: str = "dask", n_workers: int | None = None) -> None:
        distributed = _import("distributed", "dask")
        self._wait = distributed.wait
        self._started: Any = None
        # answers are bytes: nothing that a worker returns is unpickled here
        reading = {"deserializers": ["msgpack", "dask", "error"], "set_as_default": False}
        if "://" in on:
            self._client = distributed.Client(on, timeout=30, **reading)
            self._client.wait_for_workers(1, timeout=60)
            self.n_workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
            return
        self.n_workers = n_workers or default_workers()
        self._started = self._start(on, distributed)
        self._client = distributed.Client(self._started, timeout=30, **reading)
        self._client.wait_for_workers(1)

    def map(self, job: str, tasks: Iterable[State], shared: State | None = None) -> Iterator[tuple[int, State]]:
        """Keep twice as many tasks with the scheduler as there are workers; see `Cluster.map`."""
        content = encode(shared or State())
        about = {"job": job, "key": uuid.uuid4().hex, "path": ""}
        source = enumerate(tasks)
        pending: dict[Any, tuple[int, bytes, int]] = {}
        sent = self._scatter(content)

        def submit(number: int, frame: bytes, attempt: int) -> None:
            where = self._client.scatter(frame, hash=False) if len(frame) > _LARGE else frame
            future = self._client.submit(answer_frame, where, sent, pure=False)
            pending[future] = (number, frame, attempt)

        try:
            while True:
                while len(pending) < 2 * self.n_workers and (drawn := next(source, None)) is not None:
                    number, task = drawn
                    submit(number, encode(State(task.arrays, {**about, "task": dict(task.meta)})), 1)
                if not pending:
                    return
                for future in self._any_of(list(pending)):
                    number, frame, attempt = pending.pop(future)
                    answer, reason = _answer(future)
                    if answer is not None:
                        found = decode(answer)
                        raise_error(found, number)
                        yield number, found
                    elif attempt >= ATTEMPTS:
                        raise WorkerError(f"task {number} was lost {attempt} times: {reason}.")
                    else:
                        if sent.status != "finished":  # it died with the workers that held it
                            sent = self._scatter(content)
                        submit(number, frame, attempt + 1)
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """Leave the scheduler; end the workers where they were started here."""
        self._client.close()
        if self._started is not None:
            self._started.close()

    def _any_of(self, futures: list[Any]) -> list[Any]:
        """Wait until one of the futures is done or lost; return those that are."""
        from concurrent.futures import CancelledError

        # a cancelled one is among those that are done, too
        with self._client.as_current(), suppress(CancelledError):
            self._wait(futures, return_when="FIRST_COMPLETED")
        return [future for future in futures if future.status != "pending"]

    def _scatter(self, content: bytes) -> Any:
        return self._client.scatter(content, broadcast=True, hash=False)

    def _start(self, on: str, distributed: Any) -> Any:
        security = _security(distributed)
        if on == "dask":
            return distributed.LocalCluster(
                n_workers=self.n_workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                security=security,
                env=dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            )
        jobqueue = _import("dask_jobqueue", "dask-jobqueue", package=True)
        if security is None:
            raise WorkerError(
                f"--on {on} lets workers of other machines in, for which TLS is needed: pip install cryptography."
            )
        # the keys' files must be seen by the nodes: the working folder, unless Dask's configuration names another
        keys = _import("dask", "dask").config.get(f"jobqueue.{on}.shared-temp-directory", None) or str(Path.cwd())
        try:
            cluster = getattr(jobqueue, BATCH_SYSTEMS[on])(security=security, shared_temp_directory=keys)
        except ValueError as error:
            raise WorkerError(
                f"a job of {on} cannot be described: {error} Say what a job asks for (cores, memory, queue, …) under "
                f"jobqueue.{on} of Dask's configuration, ~/.config/dask/jobqueue.yaml."
            ) from None
        cluster.scale(n=self.n_workers)
        return cluster


def answer_frame(frame: bytes, shared: bytes) -> bytes:
    """Return the answer to a frame: what a Dask worker runs, and all that it runs."""
    with _ONE_AT_A_TIME:
        return _LOADED.answer(frame, shared)


def _security(distributed: Any) -> Any:
    """Return keys made for this cluster alone; None where the library for them is not installed."""
    if importlib.util.find_spec("cryptography") is None:
        return None
    return distributed.Security.temporary()


def _answer(future: Any) -> tuple[bytes | None, str]:
    """Return a future's answer; None and why where it was lost, be it after it was done."""
    try:
        return future.result(), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}".splitlines()[0]


def _import(module: str, name: str, *, package: bool = False) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        wanted = name if package else f"'halfmax[{name}]'"
        raise WorkerError(f"{module} is not installed, which this needs: pip install {wanted}.") from None
