"""The worker process: reads frames on standard input, does what the job says, writes frames on standard output."""

from __future__ import annotations

import mmap
import os
import queue
import struct
import threading
from pathlib import Path
from typing import BinaryIO

from halfmax.cluster.base import JOBS, Job, close_job, error_to_state, one_thread
from halfmax.cluster.frames import decode, encode
from halfmax.state import State

_LENGTH = struct.Struct("<Q")


class Loaded:
    """The job of a worker, made from what was shared; a new one takes the old one's place."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._job: Job | None = None

    def open(self, asked: State, shared: bytes | memoryview | None) -> Job:
        """Return the job that a frame names, made anew where it is not the one at hand."""
        key = str(asked.meta["key"])
        if self._job is None or self._key != key:
            close_job(self._job)
            self._job = None  # the old one's memory first
            if shared is None:
                sent = asked.arrays.get("shared")
                shared = _mapped(str(asked.meta["path"])) if sent is None else sent.data
            self._job = JOBS.get(str(asked.meta["job"]))(decode(shared) if len(shared) else State())
            self._key = key
        return self._job

    def answer(self, frame: bytes | memoryview, shared: bytes | memoryview | None = None) -> bytes:
        """Return the answer to a frame: the result, or the error in words.

        Parameters
        ----------
        frame
            meta: job, key (of what is shared), path (where it lies, unless given) and task; arrays: the task's.
        """
        try:
            asked = decode(frame)
            with one_thread():
                job = self.open(asked, shared)
                if asked.meta.get("task") is None:
                    return encode(State())
                return encode(job.run(State(asked.arrays, asked.meta["task"])))  # type: ignore[arg-type]
        except Exception as error:  # whatever it is, the one who asked is told
            return encode(error_to_state(error))


def write_frame(stream: BinaryIO, frame: bytes) -> None:
    """Write a frame after its length."""
    stream.write(_LENGTH.pack(len(frame)))
    stream.write(frame)
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """Return the next frame, or None where the stream ends."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    frame = stream.read(size)
    return frame if len(frame) == size else None


def _mapped(path: str) -> memoryview | bytes:
    """Return a file's bytes without reading them all: workers of one machine share the memory."""
    if not path:
        return b""
    with Path(path).open("rb") as handle:
        return memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))


def main() -> None:
    """Answer frames until standard input ends; end at once when the one who asks is gone."""
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the frames
    frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while (frame := read_frame(source)) is not None:
            frames.put(frame)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    loaded = Loaded()
    while True:
        write_frame(target, loaded.answer(frames.get()))
