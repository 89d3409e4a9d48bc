"""Cluster: map a job over tasks, with what all tasks need sent once; and the simplest one, this process."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self, cast

from halfmax import errors
from halfmax.cluster.frames import decode, encode
from halfmax.errors import HalfmaxError, WorkerError
from halfmax.registry import Registry
from halfmax.state import JSON, State


class Job(Protocol):
    """What a worker does: it is made once from what all tasks share, then asked task after task."""

    def __init__(self, shared: State) -> None: ...

    def run(self, task: State) -> State:
        """Return the task's result; the same task gives the same result on every worker."""
        ...


#: The work that can be sent: a worker looks a job up by its name and runs nothing else.
JOBS: Registry[type[Job]] = Registry(
    "job",
    {
        "fold": "halfmax.distribute:FoldJob",
        "screen": "halfmax.screening.job:ScreenJob",
        "structures": "halfmax.screening.structures:StructureJob",
        "check": "halfmax.cluster.check:CheckJob",
    },
)


class Cluster(ABC):
    """Workers, of which each does one task at a time with one thread, so that the bits are the same everywhere.

    Parameters
    ----------
    n_workers
        How many tasks are done at a time.
    """

    #: Whether workers see this machine's files.
    local: bool = True
    n_workers: int = 1

    @abstractmethod
    def map(self, job: str, tasks: Iterable[State], shared: State | None = None) -> Iterator[tuple[int, State]]:
        """Yield (number of the task, result) as tasks are done, in any order.

        Tasks are drawn when a worker is free: of many tasks only a few are in memory at a time.

        Parameters
        ----------
        job
            A name in `JOBS`.
        shared
            What all tasks need; sent once a worker.

        Raises
        ------
        HalfmaxError
            What a task raised; other errors in a task arrive as WorkerError.
        WorkerError
            If a task ended its worker three times.
        """

    def run(self, job: str, tasks: Iterable[State], shared: State | None = None) -> list[State]:
        """Return all results in the order of the tasks."""
        found = dict(self.map(job, tasks, shared))
        return [found[i] for i in range(len(found))]

    def close(self) -> None:  # noqa: B027 - a cluster without workers of its own has nothing to end
        """End the workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Here(Cluster):
    """The process at hand, one task after the other."""

    def map(self, job: str, tasks: Iterable[State], shared: State | None = None) -> Iterator[tuple[int, State]]:
        """Do the tasks in order; what they are given and return passes through frames as elsewhere."""
        loaded: Job | None = None
        try:
            for i, task in enumerate(tasks):
                try:
                    with one_thread():
                        loaded = loaded or JOBS.get(job)(decode(encode(shared or State())))
                        found = loaded.run(decode(encode(task)))
                except Exception as error:
                    error.add_note(f"in task {i}, in this process")
                    raise
                yield i, decode(encode(found))
        finally:
            close_job(loaded)


def close_job(job: Job | None) -> None:
    """End what a job has started, where it has a ``close``."""
    if (close := getattr(job, "close", None)) is not None:
        close()


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold the numerical libraries to one thread while the block runs."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if "torch" not in sys.modules and os.environ.get("OMP_NUM_THREADS") == "1":
        with threadpool_limits(1):  # torch, if it is imported in the block, heeds the variable
            yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def error_to_state(error: Exception) -> State:
    """Return an error as JSON: its class's name, what it says and its notes."""
    said: dict[str, JSON] = {"type": type(error).__name__, "message": str(error)}
    notes: list[JSON] = list(getattr(error, "__notes__", ()))
    return State(meta={"error": {**said, "known": isinstance(error, HalfmaxError), "notes": notes}})


def raise_error(state: State, number: int) -> None:
    """Raise the error that a worker's answer describes; do nothing if it is a result."""
    told = cast("dict[str, Any] | None", state.meta.get("error"))
    if told is None:
        return
    name, message = str(told["type"]), str(told["message"])
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, HalfmaxError):
        error: HalfmaxError = kind(message)
    else:
        error = HalfmaxError(message) if told["known"] else WorkerError(f"{name}: {message}")
    for note in told["notes"]:
        error.add_note(str(note))
    error.add_note(f"in task {number}, on a worker")
    raise error from None


def default_workers() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
