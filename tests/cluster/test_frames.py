"""Frames hold numbers, booleans and text bit by bit, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from halfmax.cluster.frames import decode, encode
from halfmax.errors import WorkerError
from halfmax.state import State


def test_what_is_sent_arrives_bit_by_bit() -> None:
    arrays = {
        "float": np.array([[0.1, np.nan, -np.inf]]),
        "half": np.arange(7, dtype=np.float16),
        "columns": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
        "yes": np.array([True, False]),
        "text": np.array(["µ", "", "drug 1"]),
        "none": np.zeros((0, 4), dtype=np.float32),
        "scalar": np.float64(3.5),
        "empty text": np.array(["", ""]),
    }
    found = decode(encode(State(arrays, {"n": 1, "list": [None, "x"]}, {"model.txt": "tree"})))
    assert found.meta == {"n": 1, "list": [None, "x"]}
    assert found.files == {"model.txt": "tree"}
    assert list(found.arrays) == list(arrays)
    for name, array in arrays.items():
        assert found.arrays[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def test_arrays_of_a_frame_are_views_that_cannot_be_written_to() -> None:
    frame = encode(State({"x": np.arange(1000.0)}))
    x = decode(frame).arrays["x"]
    assert not x.flags.writeable
    assert not x.flags.owndata


def test_objects_are_not_sent() -> None:
    with pytest.raises(WorkerError, match="only numbers, booleans and text"):
        encode(State({"x": np.array([{}, None], dtype=object)}))


@pytest.mark.parametrize("kind", ["|O", "V8", "nonsense"])
def test_a_frame_that_names_another_type_is_refused(kind: str) -> None:
    frame = encode(State({"x": np.zeros(8, dtype="<f8")}))
    forged = frame.replace(b'"<f8"', f'"{kind}"'.encode().ljust(5)[:5] if len(kind) < 3 else f'"{kind[:3]}"'.encode())
    with pytest.raises(WorkerError, match="not a whole frame"):
        decode(forged)


def test_cut_and_damaged_frames_are_refused() -> None:
    frame = encode(State({"x": np.arange(50.0)}, {"a": 1}))
    for broken in (b"", frame[:5], frame[:40], frame[:-80], b"XXXX" + frame[4:]):
        with pytest.raises(WorkerError, match="not a whole frame"):
            decode(broken)
