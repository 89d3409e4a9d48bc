"""Resume: what a run that was cut off has finished, and the states of what it was training."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock, Timeout

from halfmax.data.storage import MANIFEST, atomic_folder, read_verified, write_json
from halfmax.errors import DataError, ModelFileError
from halfmax.models.checkpoint import checkpoints, differences, versions
from halfmax.state import JSON

FORMAT, FORMAT_VERSION = "halfmax-fold-result", 1
#: Test predictions, timings [s] and learning curve of one model on one fold.
Fitted = tuple[npt.NDArray[np.float64], dict[str, float], pd.DataFrame]


class Resume:
    """A folder in which a run keeps what it has finished, until all of it is.

    Use `opened`, which lets one process at a time into the folder.

    Parameters
    ----------
    folder
        Where it is kept.
    seconds
        The state of a training is written when so much time has passed since the last one [s].
    """

    def __init__(self, folder: Path, *, seconds: float = 30.0) -> None:
        self.folder = folder
        self.seconds = seconds

    def unit(self, fold: str, model: str, fit: Callable[[], Fitted]) -> Fitted:
        """Return what `fit` gives; where this run finished the model on the fold before, what it gave then."""
        place = self.folder / "finished" / _short(fold, model)
        if (place / MANIFEST).is_file():
            return _read(place)
        with self.training(fold, model):
            found = fit()
        _write(place, fold, model, found)
        shutil.rmtree(self.folder / "training" / _short(fold, model), ignore_errors=True)
        return found

    def holds(self, fold: str, model: str) -> bool:
        """Return whether the model was finished on the fold."""
        return (self.folder / "finished" / _short(fold, model) / MANIFEST).is_file()

    @contextmanager
    def training(self, fold: str, model: str) -> Iterator[None]:
        """Keep the states of the trainings in the block, and go on from those of a run that was cut off."""
        with checkpoints(self.folder / "training" / _short(fold, model), seconds=self.seconds):
            yield


@contextmanager
def opened(folder: Path, about: Mapping[str, Any], *, fresh: bool = False, seconds: float = 30.0) -> Iterator[Resume]:
    """Open, or go on with, the folder of a run that `about` describes; it is deleted when the block ends well.

    Parameters
    ----------
    about
        Configuration and data; the versions of the packages are added.
    fresh
        Forget what an earlier run left.

    Raises
    ------
    DataError
        If another run left something in the folder, or one works in it now.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    now = json.loads(json.dumps({**about, "versions": versions()}))
    try:
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            if fresh:
                shutil.rmtree(folder, ignore_errors=True)
            _check(folder, now)
            yield Resume(folder, seconds=seconds)
            shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        raise DataError(f"another process runs into {folder.parent}; wait for it, or choose another folder.") from None


def _check(folder: Path, now: dict[str, JSON]) -> None:
    """Write what the run is, or compare it with the run that left something in the folder."""
    path = folder / "run.json"
    if not path.is_file() or not any(next((folder / kept).glob("*"), None) for kept in ("finished", "training")):
        shutil.rmtree(folder, ignore_errors=True)
        write_json(path, now)
        return
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        kept = {}
    if found := differences(kept, now):
        raise DataError(
            f"{folder} holds an unfinished run of another kind; {len(found)} things differ: {'; '.join(found[:3])}"
            f"{'; …' if len(found) > 3 else ''}. Go on with it by its own command, start anew (halfmax run --fresh), "
            "or choose another folder (--out)."
        )


def _short(fold: str, model: str) -> str:
    """Return a folder's name for any fold and label."""
    return hashlib.sha256(json.dumps([fold, model]).encode()).hexdigest()[:16]


def _write(place: Path, fold: str, model: str, found: Fitted) -> None:
    predicted, timing, curve = found
    rows = curve.astype(object).where(curve.notna(), None)
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "fold": fold,
        "model": model,
        "timing": timing,
        "curve": {str(name): rows[name].tolist() for name in rows},
    }
    with atomic_folder(place) as work:
        np.save(work / "predicted.npy", predicted, allow_pickle=False)
        write_json(work / MANIFEST, content, hash_siblings=True)


def _read(place: Path) -> Fitted:
    try:
        manifest = read_verified(place, FORMAT, FORMAT_VERSION)
    except ModelFileError as error:
        raise DataError(f"{error} Start the run anew (halfmax run --fresh).") from None
    predicted = np.load(place / "predicted.npy", allow_pickle=False)
    return predicted, manifest["timing"], pd.DataFrame(manifest["curve"])
