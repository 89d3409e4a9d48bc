"""Folders as arrays of bytes, so that a saved dataset or predictor can be sent to workers of other machines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from halfmax.errors import WorkerError


def pack_folder(folder: Path, name: str) -> dict[str, npt.NDArray[np.uint8]]:
    """Return every file of `folder` under ``name/path``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"{name}/{p.relative_to(folder).as_posix()}": np.fromfile(p, dtype=np.uint8) for p in files}


def unpack_folder(arrays: Mapping[str, npt.NDArray[np.generic]], name: str, folder: Path) -> Path:
    """Write the files that `pack_folder` read to `folder`; raise WorkerError for a path that leads out of it."""
    for key, content in arrays.items():
        if not key.startswith(f"{name}/"):
            continue
        path = PurePosixPath(key.removeprefix(f"{name}/"))
        if path.is_absolute() or ".." in path.parts:
            raise WorkerError(f"a folder that was sent holds {str(path)!r}, which leads out of it.")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.tobytes())
    return folder
