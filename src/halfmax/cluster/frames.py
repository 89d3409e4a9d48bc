"""Frames: a State as bytes, JSON and raw arrays, the one form in which tasks and their results travel."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from halfmax.errors import WorkerError
from halfmax.state import State

_MAGIC, _ALIGN = b"HMF1", 64
#: Booleans, integers, floats and text; nothing that would have to be unpickled.
_KINDS = frozenset("biufU")
_HEAD = struct.Struct("<4sQ")


def encode(state: State) -> bytes:
    """Return a state as bytes: a JSON header, then each array's memory.

    Raises
    ------
    WorkerError
        If an array holds objects.
    """
    parts: list[bytes] = []
    entries: dict[str, list[Any]] = {}
    place = 0
    for name, value in state.arrays.items():
        array = np.asarray(value, order="C")
        if array.dtype.kind not in _KINDS:
            raise WorkerError(f"array {name!r} is of type {array.dtype}; only numbers, booleans and text can be sent.")
        content = array.tobytes()
        entries[name] = [array.dtype.str, list(array.shape), place]
        padding = -len(content) % _ALIGN
        parts += [content, bytes(padding)]
        place += len(content) + padding
    header = json.dumps({"meta": dict(state.meta), "files": dict(state.files), "arrays": entries}).encode()
    header += b" " * (-(len(header) + _HEAD.size) % _ALIGN)
    return b"".join((_HEAD.pack(_MAGIC, len(header)), header, *parts))


def decode(frame: bytes | memoryview) -> State:
    """Return the state that `encode` wrote; its arrays are read-only views of `frame`, without a copy.

    Raises
    ------
    WorkerError
        If the bytes are not a whole frame, or name a type that is not sent.
    """
    try:
        magic, size = _HEAD.unpack_from(frame)
        if magic != _MAGIC:
            raise ValueError("it starts with other bytes")
        start = _HEAD.size + size
        header = json.loads(bytes(frame[_HEAD.size : start]))
        body = memoryview(frame)[start:]
        arrays = {name: _array(body, *entry) for name, entry in header["arrays"].items()}
        return State(arrays, header["meta"], header["files"])
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise WorkerError(f"{len(frame):,} bytes are not a whole frame: {error}.") from None


def _array(body: memoryview, kind: str, shape: list[int], place: int) -> npt.NDArray[np.generic]:
    dtype = np.dtype(kind)
    if dtype.kind not in _KINDS or min([place, *shape], default=0) < 0:
        raise ValueError(f"type {kind} and shape {shape} are not sent")
    if not (count := math.prod(shape)) or not dtype.itemsize:
        return np.zeros(shape, dtype=dtype)
    return np.frombuffer(body, dtype=dtype, count=count, offset=place).reshape(shape)
