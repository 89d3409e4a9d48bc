"""The cache folder: where downloads and converted datasets lie, who may write there, and whether there is room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from halfmax.errors import DownloadError

#: Bytes of the disk that a download leaves free.
RESERVE = 2**26


def cache_dir() -> Path:
    """Return the folder of downloads and converted datasets: ``HALFMAX_HOME``, or the user's cache folder."""
    home = os.environ.get("HALFMAX_HOME")
    return Path(home).expanduser().absolute() if home else user_cache_path("halfmax", appauthor=False)


def downloads_dir() -> Path:
    """Return the folder of files as they were fetched."""
    return cache_dir() / "downloads"


def quarantine_dir() -> Path:
    """Return the folder of files that came but are not what was asked for; nothing reads from it."""
    return cache_dir() / "quarantine"


@contextmanager
def held(place: Path) -> Iterator[None]:
    """Keep other processes from making `place` meanwhile; those that ask wait.

    Raises
    ------
    DownloadError
        If the folder cannot be written or the disk is full.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(place.name + ".lock")):
            yield
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"{place.name} cannot be kept in {place.parent}: {error.strerror or error}. Make room or make it "
            "writable, or set HALFMAX_HOME to another folder."
        ) from error


def check_room(folder: Path, n_bytes: int) -> None:
    """Raise DownloadError if the disk of `folder` has no room for this many bytes more."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes + RESERVE:
        raise DownloadError(
            f"{n_bytes / 1e6:,.1f} MB are to come, and the disk of {folder} has {free / 1e6:,.1f} MB left "
            f"({RESERVE / 1e6:,.0f} MB of it stay free). Make room, or set HALFMAX_HOME to a folder on another disk."
        )
