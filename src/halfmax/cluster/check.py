"""The job that checks a cluster: arithmetic on what is shared, and on request an error or the end of the worker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from halfmax.errors import DataError
from halfmax.state import State


class CheckJob:
    """Multiply the task's matrix by the shared one; `halfmax.cluster` is tested with it on every backend."""

    def __init__(self, shared: State) -> None:
        self.shared = shared
        self.asked = 0

    def run(self, task: State) -> State:
        """Return the product, the process and how often the job was asked.

        meta of the task: ``sleep`` [s] before the answer; ``fail`` raises DataError; ``die`` names a file: where it is
        absent it is made, and the process killed.
        """
        self.asked += 1
        time.sleep(float(task.meta.get("sleep", 0)))  # type: ignore[arg-type]
        if task.meta.get("fail"):
            raise DataError(f"refused, as asked: {task.meta['fail']}")
        if "die" in task.meta:
            marker = Path(str(task.meta["die"]))
            if task.meta.get("always") or not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        product = np.asarray(task.arrays["x"], dtype=np.float32)
        if "x" in self.shared.arrays:
            product = product @ np.asarray(self.shared.arrays["x"], dtype=np.float32)
        return State({"y": product}, {"pid": os.getpid(), "asked": self.asked, "threads": _threads()})


def _threads() -> int:
    """Return the most threads that any library for linear algebra in this process would use."""
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    return max((int(library["num_threads"]) for library in threadpool_info()), default=1)
