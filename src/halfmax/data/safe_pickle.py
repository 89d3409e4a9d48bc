"""Read pickles of plain containers and torch tensors, and nothing else; no class of the file's choosing is ever made.

A pickle is a program. This reader runs it with a closed list of names: each stands for a function of ours that only
puts data together. Any other name is refused before it is looked up. torch itself is not imported. What a file can
still do is use up memory while it is read, so only files whose sha256 is known are given to it.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError

#: What a value read from a pickle can be: None, bool, int, float, str, bytes, list, tuple, set, dict, numpy array.
Plain = object

#: Most bytes of a pickle, and of all its tensors together.
MAX_BYTES = 2**30

_STORAGE_TYPES: Mapping[str, str] = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}
_ATOMS = (type(None), bool, int, float, complex, str, bytes)
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_ERRORS = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)


class _Refused(Exception):
    """The file asks for something that is not on the list."""


class _Dtype(NamedTuple):
    code: str


class _Sealed:
    """Something of ours that a pickle may use, but whose state it cannot set."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise _Refused("to set the state of an object")


class _Storage(_Sealed):
    """The numbers behind tensors; filled once the file has been read to where they lie."""

    __slots__ = ("count", "dtype", "values")

    def __init__(self, dtype: np.dtype[np.generic], count: int) -> None:
        self.dtype, self.count = dtype, count
        self.values: npt.NDArray[np.generic] | None = None


class _Tensor(_Sealed):
    """A view of a storage, checked and made only after the whole file has been read."""

    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides


class _Function(_Sealed):
    """A function of ours that a pickle may call."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *args: object) -> object:
        return self._call(*args)


def loads(data: bytes, what: str = "pickle", *, max_bytes: int = MAX_BYTES) -> Plain:
    """Return what a pickle holds, tensors as numpy arrays.

    Parameters
    ----------
    data
        The pickle.
    what
        Its name, for messages.
    max_bytes
        Most bytes of the pickle, and of all its tensors together.

    Raises
    ------
    DataError
        If it is damaged or too large, or asks for anything but containers, numbers, text and tensors.
    """
    if len(data) > max_bytes:
        raise DataError(f"{what} has {len(data):,} bytes; at most {max_bytes:,} are read.")
    budget = _Budget(max_bytes)
    try:
        return _finish(_Reader(io.BytesIO(data), budget).load(), budget, {})
    except _Refused as refused:
        raise DataError(
            f"{what} is refused: it asks for {refused}. Only plain containers and tensors are read from a pickle; "
            "get the file from its source again, or convert it to CSV or Parquet."
        ) from None
    except _ERRORS as error:
        raise DataError(f"{what} is damaged or not a pickle ({type(error).__name__}: {error}).") from None


class _Budget:
    """Bytes of tensors that may still be made."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, n_bytes: int) -> None:
        self.left -= n_bytes
        if self.left < 0:
            raise _Refused("tensors larger than the limit")


class _Reader(pickle.Unpickler):
    """An unpickler whose every global is one of ours."""

    def __init__(self, file: io.BytesIO, budget: _Budget, *, nested: bool = False) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}
        self._budget, self._nested = budget, nested

    def find_class(self, module: str, name: str) -> object:
        """Return our own stand-in for a name on the list; refuse any other."""
        match module, name:
            case ("torch._utils", "_rebuild_tensor_v2"):
                return _Function(_rebuild_tensor)
            case ("torch.storage", "_load_from_bytes"):
                return _Function(self._load_from_bytes)
            case ("collections", "OrderedDict"):
                return _Function(_ordered_dict)
            case ("torch", storage) if storage in _STORAGE_TYPES:
                return _Dtype(_STORAGE_TYPES[storage])
        raise _Refused(f"{module}.{name}")

    def persistent_load(self, pid: object) -> _Storage:
        """Return the storage that a torch file refers to by its key."""
        match pid:
            case ("storage", _Dtype(code), str() as key, str(), int() as count, *rest) if rest in ([], [None]):
                if not count >= 0:
                    raise _Refused("a storage of negative size")
                if key not in self.storages:
                    dtype = np.dtype(code)
                    self._budget.take(count * dtype.itemsize)
                    self.storages[key] = _Storage(dtype, count)
                return self.storages[key]
        raise _Refused("an object from outside the file")

    def _load_from_bytes(self, data: object) -> object:
        if self._nested or not isinstance(data, bytes):
            raise _Refused("a torch file inside a torch file")
        read = _read_torch_zip if data[:4] == b"PK\x03\x04" else _read_torch_legacy
        return read(data, self._budget)


def _read_torch_legacy(data: bytes, budget: _Budget) -> object:
    """Read the form of torch.save up to 1.5: five pickles, then the storages one after the other."""
    file = io.BytesIO(data)
    head = [_Reader(file, budget, nested=True).load() for _ in range(3)]
    little = isinstance(head[2], dict) and head[2].get("little_endian") is True
    if head[:2] != [_LEGACY_MAGIC, _LEGACY_VERSION] or not little:
        raise _Refused("a torch format of another kind or byte order")
    reader = _Reader(file, budget, nested=True)
    content = reader.load()
    keys = _Reader(file, budget, nested=True).load()
    if not isinstance(keys, list) or set(keys) != set(reader.storages):
        raise pickle.UnpicklingError("its storages are not those it names")
    for key in keys:
        storage = reader.storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        if count != storage.count:
            raise pickle.UnpicklingError(f"storage {key} has {count} values instead of {storage.count}")
        _fill(storage, file.read(count * storage.dtype.itemsize))
    return content


def _read_torch_zip(data: bytes, budget: _Budget) -> object:
    """Read the form of torch.save since 1.6: a zip of one pickle and a member a storage."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name.split("/", 1)[-1]: archive.getinfo(name) for name in archive.namelist()}
        if "byteorder" in members and _member(archive, members["byteorder"], 16) != b"little":
            raise _Refused("a torch format of another byte order")
        pickled = _member(archive, members["data.pkl"], len(data))
        reader = _Reader(io.BytesIO(pickled), budget, nested=True)
        content = reader.load()
        for key, storage in reader.storages.items():
            _fill(storage, _member(archive, members[f"data/{key}"], storage.count * storage.dtype.itemsize))
    return content


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    if info.file_size > most:
        raise pickle.UnpicklingError(f"{info.filename} has {info.file_size} bytes; {most} were announced")
    with archive.open(info) as handle:
        return handle.read(most + 1)


def _fill(storage: _Storage, data: bytes) -> None:
    if len(data) != storage.count * storage.dtype.itemsize:
        raise pickle.UnpicklingError("a storage ends early")
    storage.values = np.frombuffer(data, storage.dtype)


def _ordered_dict(*args: object) -> dict[object, object]:
    if args:
        raise _Refused("collections.OrderedDict with arguments")
    return {}


def _rebuild_tensor(*args: object) -> _Tensor:
    match args:
        case (_Storage() as storage, int() as offset, tuple() as shape, tuple() as strides, bool(), hooks, *rest) if (
            not hooks and not any(rest) and len(shape) == len(strides)
        ):
            numbers = (offset, *shape, *strides)
            if all(type(n) is int and n >= 0 for n in numbers) and len(shape) <= 32:
                return _Tensor(storage, offset, cast("tuple[int, ...]", shape), cast("tuple[int, ...]", strides))
    raise _Refused("a tensor of a kind that is not read")


def _to_array(tensor: _Tensor, budget: _Budget) -> npt.NDArray[np.generic]:
    values = tensor.storage.values
    if values is None:
        raise pickle.UnpicklingError("a tensor has no storage")
    size = math.prod(tensor.shape)
    budget.take(size * values.itemsize)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if size and last >= len(values):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    start = values[tensor.offset :] if size else values[:0]
    steps = [step * values.itemsize for step in tensor.strides]
    return np.array(np.lib.stride_tricks.as_strided(start, tensor.shape, steps))


def _finish(value: object, budget: _Budget, done: dict[int, object]) -> object:
    """Replace what only stands for something: tensors by arrays; refuse stand-ins that were never used."""
    if isinstance(value, _ATOMS) or (type(value) is list and set(map(type, value)) == {int}):
        return value
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Tensor):
        done[id(value)] = _to_array(value, budget)
    elif isinstance(value, _Storage):
        done[id(value)] = value.values
    elif type(value) is list:
        done[id(value)] = value
        value[:] = [_finish(item, budget, done) for item in value]
    elif type(value) is dict and all(map(_is_plain_key, value)):
        done[id(value)] = value
        value.update({key: _finish(item, budget, done) for key, item in value.items()})
    elif type(value) is tuple:
        done[id(value)] = tuple(_finish(item, budget, done) for item in value)
    elif isinstance(value, set | frozenset) and all(map(_is_plain_key, value)):
        return value
    else:
        raise _Refused(f"a {type(value).__name__.lstrip('_').lower()} that is no data")
    return done[id(value)]


def _is_plain_key(key: object) -> bool:
    return isinstance(key, _ATOMS) or (type(key) is tuple and all(map(_is_plain_key, key)))
