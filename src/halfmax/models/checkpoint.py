"""Checkpoints: a training's whole state in a folder, so that a killed one goes on and ends with the same bits."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from halfmax.data.storage import MANIFEST, atomic_folder, read_verified, write_json
from halfmax.errors import HalfmaxError, ModelFileError, examples
from halfmax.state import JSON

if TYPE_CHECKING:
    import torch

    from halfmax.features.blocks import PairFeatures
    from halfmax.models.base import Model, Valid

FORMAT, FORMAT_VERSION = "halfmax-checkpoint", 1
ARRAYS = "arrays.safetensors"


class CheckpointError(HalfmaxError, ValueError):
    """A checkpoint that is damaged, or that another training wrote."""


@dataclass(frozen=True)
class Snapshot:
    """A training between two epochs.

    Parameters
    ----------
    arrays
        Name to tensor: weights, the optimiser's moments, the generator's state, the best weights so far.
    meta
        Plain JSON: epoch, steps taken, best loss, epochs without a better one, history, whether it is finished.
    """

    arrays: Mapping[str, torch.Tensor]
    meta: Mapping[str, JSON]


class Checkpoints:
    """The trainings of one fit, each in a folder of its own, numbered in the order in which they start.

    Parameters
    ----------
    folder
        Where they are kept.
    seconds
        A state is written when so much time has passed since the last one [s].
    epochs
        A state is written after every so many epochs, too; None = by time alone.
    """

    def __init__(self, folder: Path | str, *, seconds: float = 30.0, epochs: int | None = None) -> None:
        self.folder = Path(folder)
        self.seconds = seconds
        self.epochs = epochs
        self._started = 0

    def start(self, about: Mapping[str, JSON]) -> Training:
        """Return the next training, which `about` describes."""
        self._started += 1
        return Training(self, self.folder / f"{self._started:02d}", about)


class Training:
    """One training's place on disk."""

    def __init__(self, owner: Checkpoints, folder: Path, about: Mapping[str, JSON]) -> None:
        self.folder = folder
        self._about: dict[str, JSON] = json.loads(json.dumps(about))
        self._every = (owner.seconds, owner.epochs)
        self._written = time.monotonic()

    def load(self, device: torch.device) -> Snapshot | None:
        """Return the state that was kept, or None where there is none.

        Raises
        ------
        CheckpointError
            If it is damaged, or data, parameters, versions or the number of threads are not those it was made with.
        """
        if not (self.folder / MANIFEST).is_file():
            return None
        from safetensors.torch import load_file

        advice = "Start anew without it (halfmax run --fresh), or delete the folder."
        try:
            manifest = read_verified(self.folder, FORMAT, FORMAT_VERSION)
        except ModelFileError as error:
            raise CheckpointError(f"{error} {advice}") from None
        if found := differences(manifest["about"], self._about):
            raise CheckpointError(
                f"{self.folder} keeps the state of another training; {len(found)} things differ: "
                f"{'; '.join(found[:3])}{'; …' if len(found) > 3 else ''}. {advice}"
            )
        arrays = load_file(self.folder / ARRAYS)
        arrays = {k: v if k == "generator" else v.to(device) for k, v in arrays.items()}
        return Snapshot(arrays, manifest["state"])

    def due(self, epoch: int) -> bool:
        """Return whether the state after this epoch is to be written."""
        seconds, epochs = self._every
        return time.monotonic() - self._written >= seconds or (epochs is not None and epoch % epochs == 0)

    def save(self, snapshot: Snapshot) -> None:
        """Write a state; a kill leaves this one or the one before."""
        from safetensors.torch import save_file

        with atomic_folder(self.folder) as work:
            # A copy of each: safetensors refuses tensors that share memory.
            save_file({k: v.detach().cpu().contiguous().clone() for k, v in snapshot.arrays.items()}, work / ARRAYS)
            content = {"format": FORMAT, "format_version": FORMAT_VERSION, "about": self._about}
            write_json(work / MANIFEST, {**content, "state": dict(snapshot.meta)}, hash_siblings=True)
        self._written = time.monotonic()


_CURRENT: ContextVar[Checkpoints | None] = ContextVar("checkpoints", default=None)


@contextmanager
def checkpoints(folder: Path | str, *, seconds: float = 30.0, epochs: int | None = None) -> Iterator[Checkpoints]:
    """Keep the state of every training in the block, and go on from what the same block left when it was killed.

    Parameters are those of `Checkpoints`. The block must start the same trainings in the same order.

    Examples
    --------
    >>> with checkpoints("kept"):  # doctest: +SKIP
    ...     predictor.fit(train, valid)
    """
    kept = Checkpoints(folder, seconds=seconds, epochs=epochs)
    token = _CURRENT.set(kept)
    try:
        yield kept
    finally:
        _CURRENT.reset(token)


def start_training(about: Callable[[], Mapping[str, JSON]]) -> Training | None:
    """Return the next training's place, or None outside `checkpoints`; only then is `about` called."""
    kept = _CURRENT.get()
    return None if kept is None else kept.start(about())


def versions() -> dict[str, JSON]:
    """Return the versions that decide the last bit of a result."""
    return {name: version(name) for name in ("halfmax", "numpy", "torch")}


def describe(model: Model, x: PairFeatures, y: npt.NDArray[np.floating], valid: Valid | None) -> dict[str, JSON]:
    """Return what a model's training depends on: the model, its parameters, and a digest of its data."""
    parts = [(x, y)] if valid is None else [(x, y), valid]
    data = [(replace(features, notes={}), np.asarray(values, dtype=np.float64)) for features, values in parts]
    return {"model": type(model).__name__, "params": model.get_params(), "data": digest(data)}


def digest(*things: object) -> str:
    """Return a hash of arrays, tensors, mappings, dataclasses and plain values: the same content, the same text."""
    found = hashlib.blake2b(digest_size=16)
    for thing in things:
        for part in _parts(thing):
            found.update(part)
    return found.hexdigest()


def _parts(thing: object) -> Iterator[bytes | memoryview]:
    if hasattr(thing, "detach"):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray):
        yield f"{thing.dtype.str}{thing.shape}".encode()
        yield np.ascontiguousarray(thing).reshape(-1).view(np.uint8).data if thing.size else b""
    elif is_dataclass(thing):
        for field in fields(thing):
            yield field.name.encode()
            yield from _parts(getattr(thing, field.name))
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield repr(key).encode()
            yield from _parts(value)
    elif isinstance(thing, list | tuple) and not all(isinstance(v, str) for v in thing):
        yield f"{len(thing)}".encode()
        for value in thing:
            yield from _parts(value)
    else:
        yield repr(thing).encode()


def differences(kept: Mapping[str, JSON], now: Mapping[str, JSON], name: str = "") -> list[str]:
    """Return a sentence for each leaf of two descriptions that is not the same."""
    found = []
    for key in dict.fromkeys([*kept, *now]):
        path, old, new = f"{name}{key}", kept.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{path}.")
        elif old != new:
            found.append(f"{path} was {examples([old])} and is {examples([new])}")
    return found
