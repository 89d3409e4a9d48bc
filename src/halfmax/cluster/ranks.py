"""Ranks: the processes that torchrun started on one machine or many; rank 0 gives out tasks, the others do them."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from halfmax.cluster.cores import Pool, ProcessWorker, Worker
from halfmax.cluster.worker import Loaded
from halfmax.errors import WorkerError

if TYPE_CHECKING:
    import torch

#: A rank may wait as long for a task.
_PATIENCE = timedelta(days=7)


class RankWorker:
    """Another rank, which is sent frames and sends answers as plain bytes."""

    def __init__(self, rank: int, group: Any) -> None:
        self.rank, self.group = rank, group

    def ask(self, frame: bytes) -> bytes:
        """Return the rank's answer; where a rank is lost, torchrun ends all of them."""
        _send(frame, self.rank, self.group)
        return _receive(self.rank, self.group)

    def close(self) -> None:
        """Let the rank end."""
        if self.group is not None:
            _send(b"", self.rank, self.group)
            self.group = None


class Ranks(Pool):
    """What torchrun started: the other ranks, and beside this process one worker in rank 0's place."""

    def __init__(self) -> None:
        _check()
        groups = _join()
        others: list[Worker] = [RankWorker(rank, group) for rank, group in groups.items()]
        super().__init__([ProcessWorker(), *others], by_file=False)


def is_helper() -> bool:
    """Return whether torchrun started this process as another than rank 0."""
    return int(os.environ.get("RANK", "0")) > 0


def serve_rank() -> None:
    """Do the tasks that rank 0 sends until it says that there are no more."""
    import torch

    _check()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    group = _join()[int(os.environ["RANK"])]
    loaded = Loaded()
    while frame := _receive(0, group):
        _send(loaded.answer(frame), 0, group)


def _check() -> None:
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise WorkerError(
            f"--on torchrun is for processes that torchrun started, and {', '.join(missing)} are not set: "
            "torchrun --nnodes 2 --nproc-per-node 4 … -m halfmax run … --on torchrun."
        )


def _join() -> dict[int, Any]:
    """Join the other ranks; return a group of two, rank 0 and each of the others."""
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=_PATIENCE)
    return {rank: dist.new_group([0, rank], timeout=_PATIENCE) for rank in range(1, dist.get_world_size())}


def _send(frame: bytes, rank: int, group: Any) -> None:
    import torch
    import torch.distributed as dist

    dist.send(torch.tensor([len(frame)], dtype=torch.int64), rank, group=group)
    if frame:
        dist.send(_tensor(frame), rank, group=group)


def _receive(rank: int, group: Any) -> bytes:
    import torch
    import torch.distributed as dist

    size = torch.zeros(1, dtype=torch.int64)
    dist.recv(size, rank, group=group)
    if not int(size):
        return b""
    content = torch.empty(int(size), dtype=torch.uint8)
    dist.recv(content, rank, group=group)
    return content.numpy().tobytes()


def _tensor(frame: bytes) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.frombuffer(frame, dtype=np.uint8).copy())
