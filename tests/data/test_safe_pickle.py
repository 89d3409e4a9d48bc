"""The closed unpickler: it reads what torch wrote, and runs nothing that a file asks it to run."""

from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halfmax.data.safe_pickle import loads
from halfmax.errors import DataError

torch = pytest.importorskip("torch")


class Call:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.parts


def dumps(value: object, protocol: int = 4) -> bytes:
    return pickle.dumps(value, protocol)  # hostile files have to be made somehow


def legacy(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def zipped(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def raw_call(module: str, name: str, argument: bytes) -> bytes:
    """Return a protocol 0 pickle that calls module.name with one piece of text."""
    return b"c" + f"{module}\n{name}\n".encode() + b"(S'" + argument + b"'\ntR."


def load_from_bytes(data: bytes) -> bytes:
    """Return a pickle that hands `data` to torch's own reader of nested storages."""
    return b"\x80\x04ctorch.storage\n_load_from_bytes\nB" + len(data).to_bytes(4, "little") + data + b"\x85R."


TENSORS = {
    "float": torch.arange(6, dtype=torch.float32).reshape(2, 3) / 7,
    "double": torch.tensor([1.5, float("nan"), -0.0], dtype=torch.float64),
    "half": torch.tensor([0.5, 2.0], dtype=torch.float16),
    "long": torch.tensor([2**40, -1]),
    "byte": torch.tensor([0, 255], dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "slice": torch.arange(10.0)[3:9:2],
    "scalar": torch.tensor(3.0),
    "empty": torch.zeros(0, 4),
}


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("wrap", [dict, collections.OrderedDict])
def test_a_dict_of_tensors_equals_what_torch_reads(protocol: int, wrap: Any) -> None:
    data = dumps(wrap(TENSORS), protocol)
    found = loads(data)
    assert isinstance(found, dict)
    assert list(found) == list(TENSORS)
    for name, expected in pickle.loads(data).items():
        assert found[name].dtype == expected.numpy().dtype
        np.testing.assert_array_equal(found[name], expected.numpy())


@pytest.mark.parametrize("form", [legacy, zipped], ids=["legacy", "zip"])
def test_both_forms_of_nested_torch_files_are_read(form: Any) -> None:
    found = loads(load_from_bytes(form({"a": TENSORS["float"], "b": [TENSORS["long"]]})))
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["a"], TENSORS["float"].numpy())
    np.testing.assert_array_equal(found["b"][0], TENSORS["long"].numpy())


def test_arrays_are_copies_that_share_nothing() -> None:
    shared = torch.zeros(4)
    found = loads(dumps({"a": shared[:2], "b": shared[1:]}))
    assert isinstance(found, dict)
    found["a"][:] = 1
    assert found["b"].sum() == 0


def test_plain_containers_come_back_as_they_are() -> None:
    value = {"a": [1, 2, None, True], (1, "b"): {"c": (1.5, b"x")}, "s": {1, 2}, "big": 10**30}
    assert loads(dumps(value)) == value


def test_a_list_that_holds_itself_is_read() -> None:
    value: list[Any] = ["x"]
    value.append(value)
    found = loads(dumps(value))
    assert isinstance(found, list)
    assert found[1] is found


def canary_calls(canary: Path) -> dict[str, bytes]:
    """Return hostile pickles by name; each would make `canary` if it were run."""
    touch = f"touch {canary}"
    write = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    inner = dumps({"x": Call(os.system, touch)}, 2)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", inner)
        archive.writestr("archive/byteorder", "little")
    magic, version = dumps(0x1950A86A20F9469CFC6C, 2), dumps(1001, 2)
    system = dumps({"little_endian": True}, 2)
    return {
        "os.system": dumps({"CAL120": Call(os.system, touch)}),
        "posix.system": raw_call("posix", "system", touch.encode()),
        "subprocess": raw_call("subprocess", "getoutput", touch.encode()),
        "eval": dumps(Call(eval, write)),
        "exec": dumps(Call(exec, write)),
        "dotted name": b"\x80\x04\x8c\x0ctorch._utils\x8c\x15_rebuild_tensor_v2.os\x93.",
        "open": dumps(Call(open, str(canary), "w")),
        "path": dumps(Call(Path.touch, canary)),
        "setattr": dumps(Call(setattr, Call(__import__, "os"), "system", 1)),
        "nested legacy": load_from_bytes(magic + version + system + inner + dumps([], 2)),
        "nested first pickle": load_from_bytes(inner + version + system + dumps({}, 2) + dumps([], 2)),
        "nested zip": load_from_bytes(buffer.getvalue()),
        "nested plain": load_from_bytes(inner),
        "numpy object": dumps(np.array([Call(os.system, touch)], dtype=object)),
        "numpy load": raw_call("numpy", "load", str(canary).encode()),
        "torch load": raw_call("torch", "load", str(canary).encode()),
        "torch jit": raw_call("torch.jit", "load", str(canary).encode()),
        "copyreg": raw_call("copyreg", "_reconstructor", b"x"),
    }


@pytest.mark.parametrize("attack", canary_calls(Path("canary")))
def test_a_hostile_pickle_is_refused_and_runs_nothing(attack: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = canary_calls(canary)[attack]
    pickletools.dis(data, io.StringIO())  # it is a well-formed pickle; it is refused for what it asks
    with pytest.raises(DataError, match=r"is refused|is damaged"):
        loads(data, "cell lines")
    assert not canary.exists()


def test_the_attacks_work_on_python_s_own_reader(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for attack in ("os.system", "eval", "posix.system"):
        pickle.loads(canary_calls(canary)[attack])  # shows that the test above can fail
        assert canary.exists()
        canary.unlink()


def test_the_message_names_what_was_asked_for() -> None:
    with pytest.raises(DataError, match=r"GDSC_EXP.pkl is refused: it asks for posix.system"):
        loads(raw_call("posix", "system", b"true"), "GDSC_EXP.pkl")


@pytest.mark.parametrize(
    ("stand_in", "state"),
    [
        (b"ctorch._utils\n_rebuild_tensor_v2\n", b"}\x8c\x0b__globals__}sb."),
        (b"ctorch._utils\n_rebuild_tensor_v2\n", b"N}\x8c\x05_callK\x01s\x86b."),
        (b"ctorch\nFloatStorage\n", b"}\x8c\x04codeK\x01sb."),
        (b"ccollections\nOrderedDict\n", b"N}\x8c\x05clearK\x01s\x86b."),
        (b"ccollections\nOrderedDict\n)R", b"N}\x8c\x05clearK\x01s\x86b."),
    ],
)
def test_the_state_of_what_is_allowed_cannot_be_set(stand_in: bytes, state: bytes) -> None:
    with pytest.raises(DataError):
        loads(b"\x80\x04" + stand_in + state)
    assert isinstance(loads(dumps({"a": TENSORS["float"]})), dict)


def tensor_over_two_numbers(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    storage = torch.zeros(2)._typed_storage()
    hooks: dict[str, Any] = collections.OrderedDict()
    return dumps(Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, hooks))


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((3,), (1,), 0),
        ((2,), (2,), 0),
        ((2,), (-1,), 1),
        ((1,), (1,), 2),
        ((1,), (1,), -1),
        ((10**6, 10**6), (0, 0), 0),
        ((2,), (), 0),
        ((2.0,), (1,), 0),
    ],
)
def test_a_tensor_beyond_its_storage_or_the_limit_is_refused(size: Any, stride: Any, offset: int) -> None:
    with pytest.raises(DataError):
        loads(tensor_over_two_numbers(size, stride, offset))


def test_the_same_tensor_within_its_storage_is_read() -> None:
    assert np.array_equal(np.asarray(loads(tensor_over_two_numbers((2,), (1,)))), [0, 0])


def test_too_many_bytes_are_refused_before_they_are_made() -> None:
    data = dumps({"a": torch.zeros(1000)})
    with pytest.raises(DataError, match="at most"):
        loads(data, max_bytes=100)
    with pytest.raises(DataError, match="larger than the limit"):
        loads(data, max_bytes=len(data) + 10)


@pytest.mark.parametrize("keep", [0, 1, 10, 0.5, 0.9, -1])
def test_a_truncated_file_is_named_damaged(keep: float) -> None:
    data = dumps({"a": torch.zeros(100), "b": list(range(1000))})
    cut = data[: int(len(data) * keep)] if isinstance(keep, float) else data[:keep]
    with pytest.raises(DataError, match=r"damaged|refused"):
        loads(cut)


def test_random_changes_end_in_a_value_or_a_data_error() -> None:
    data = dumps({"a": torch.zeros(3), "b": [1, 2, 3], "c": "text"}, 2)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), 2):
            changed[at] = rng.choice(list(b"abcdKMXU}](.tR\x85\x86\x87sue0"))
        try:
            loads(bytes(changed))
        except DataError:
            refused += 1
    assert refused > 200
