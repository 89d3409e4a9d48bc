"""Cores: worker processes on this machine, each with one thread; one that dies is replaced and its task done again."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

from halfmax.cluster.base import Cluster, default_workers, raise_error
from halfmax.cluster.frames import decode, encode
from halfmax.cluster.worker import read_frame, write_frame
from halfmax.errors import WorkerError
from halfmax.state import JSON, State

#: A task that ended so many workers is given up.
ATTEMPTS = 3
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class WorkerLost(Exception):
    """A worker that ended while it was asked."""


class Worker(Protocol):
    """One that answers frames, one at a time."""

    def ask(self, frame: bytes) -> bytes:
        """Return the answer; raise WorkerLost if the worker ends first, after which it can be asked anew."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class ProcessWorker:
    """A process of this machine. It is started when it is first asked, and again after it was lost.

    Parameters
    ----------
    one_thread
        Whether the numerical libraries in it are held to one thread.
    """

    def __init__(self, *, one_thread: bool = True) -> None:
        self.one_thread = one_thread
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Number of the process, or None before it is started."""
        return None if self._process is None else self._process.pid

    def ask(self, frame: bytes) -> bytes:
        """Return the process's answer."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            write_frame(process.stdin, frame)  # type: ignore[arg-type]
            answer = read_frame(process.stdout)  # type: ignore[arg-type]
        except (BrokenPipeError, ConnectionResetError):
            answer = None
        if answer is None:
            process.kill()
            code = process.wait()
            self.close()
            raise WorkerLost(f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}")
        return answer

    def close(self) -> None:
        """Kill the process; it holds nothing that is not done again."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            try:
                cast("object", stream.close())  # type: ignore[union-attr]
            except BrokenPipeError:
                continue

    def _start(self) -> subprocess.Popen[bytes]:
        paths = [path for path in sys.path if path]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        if self.one_thread:
            environment |= dict.fromkeys(_THREADS, "1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "halfmax.cluster"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is the business of the one who asks
        )
        return self._process


class Pool(Cluster):
    """Any workers, each asked by a thread of its own; what is shared lies in a file, or travels once a worker.

    Parameters
    ----------
    workers
        Started and not busy.
    by_file
        Whether the workers can read a temporary file of this machine.
    """

    def __init__(self, workers: Sequence[Worker], *, by_file: bool = True) -> None:
        self.workers = workers
        self.n_workers = len(workers)
        self.local = by_file
        self._number = itertools.count()
        self._name = f"{os.getpid()}"

    def map(self, job: str, tasks: Iterable[State], shared: State | None = None) -> Iterator[tuple[int, State]]:
        """Ask each worker for one task at a time; see `Cluster.map`."""
        key = f"{self._name}-{next(self._number)}"
        content = b"" if shared is None else encode(shared)
        with tempfile.TemporaryDirectory(prefix="halfmax-") as folder:
            path = ""
            if self.local and content:
                path = str(Path(folder) / "shared")
                Path(path).write_bytes(content)
                content = b""
            yield from _Round(job, key, path, content, tasks, self.workers).results()

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.close()


class Cores(Pool):
    """Processes of this machine.

    Parameters
    ----------
    n_workers
        How many; as many as this process may use cores by default.
    """

    def __init__(self, n_workers: int | None = None) -> None:
        super().__init__([ProcessWorker() for _ in range(n_workers or default_workers())])


class _Round:
    """One call of `map`: threads that draw tasks and ask their workers."""

    def __init__(
        self, job: str, key: str, path: str, content: bytes, tasks: Iterable[State], workers: Sequence[Worker]
    ) -> None:
        self.about: dict[str, JSON] = {"job": job, "key": key, "path": path}
        self.content = content
        self.tasks = enumerate(tasks)
        self.workers = workers
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.done: queue.Queue[Callable[[], tuple[int, State]] | None] = queue.Queue(maxsize=max(2, len(workers)))

    def results(self) -> Iterator[tuple[int, State]]:
        """Yield what is done; where the caller stops or a task fails, the workers end with it."""
        threads = [threading.Thread(target=self._serve, args=(worker,), daemon=True) for worker in self.workers]
        for thread in threads:
            thread.start()
        left, whole = len(threads), False
        try:
            while left:
                found = self.done.get()
                if found is None:
                    left -= 1
                else:
                    yield found()
            whole = True
        finally:
            self.stopped.set()
            if not whole:
                for worker in self.workers:
                    worker.close()
            while any(thread.is_alive() for thread in threads):
                try:
                    self.done.get(timeout=0.05)
                except queue.Empty:
                    continue

    def _serve(self, worker: Worker) -> None:
        try:
            opened = not self.content
            while not self.stopped.is_set():
                with self.lock:
                    drawn = next(self.tasks, None)
                if drawn is None:
                    break
                number, task = drawn
                answer, opened = self._ask(worker, number, task, opened)
                self._put(lambda n=number, a=answer: _result(n, a))  # type: ignore[misc]
        except BaseException as error:  # told to the one who waits, whatever it is
            self._put(lambda e=error: _raise(e))  # type: ignore[misc]
        finally:
            self._put(None)

    def _ask(self, worker: Worker, number: int, task: State, opened: bool) -> tuple[bytes, bool]:
        frame = encode(State(task.arrays, {**self.about, "task": dict(task.meta)}))
        for attempt in range(ATTEMPTS):
            try:
                if not opened:
                    worker.ask(encode(State({"shared": _bytes(self.content)}, {**self.about, "task": None})))
                    opened = True
                return worker.ask(frame), opened
            except WorkerLost as lost:
                opened, reason = not self.content, str(lost)
                if self.stopped.is_set() or attempt == ATTEMPTS - 1:
                    raise WorkerError(
                        f"task {number} ended its worker {attempt + 1} times, the last time by {reason}; it may need "
                        "more memory than there is."
                    ) from None
        raise AssertionError  # not reached: the last attempt returns or raises

    def _put(self, item: Callable[[], tuple[int, State]] | None) -> None:
        self.done.put(item)


def _bytes(content: bytes):  # type: ignore[no-untyped-def]
    import numpy as np

    return np.frombuffer(content, dtype=np.uint8)


def _result(number: int, answer: bytes) -> tuple[int, State]:
    found = decode(answer)
    raise_error(found, number)
    return number, found


def _raise(error: BaseException) -> tuple[int, State]:
    raise error
