"""Members of archives: read into memory by name, or unpacked beside the archive; a bomb stops at the limit."""

from __future__ import annotations

import fnmatch
import gzip
import io
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from halfmax.data.cache import check_room
from halfmax.data.storage import atomic_file
from halfmax.errors import DataError, examples


def read_members(path: Path, names: Collection[str], *, max_bytes: int = 2**28) -> dict[str, bytes]:
    """Return the content of these members of a wheel or source archive; nothing is written to disk.

    Parameters
    ----------
    names
        Exact names of members; ``.gz`` members are decompressed.
    max_bytes
        Most bytes of one member, decompressed.

    Raises
    ------
    DataError
        If a member is missing, is a link or is too large, or the archive is damaged.
    """
    try:
        found = _read_zip(path, names, max_bytes) if zipfile.is_zipfile(path) else _read_tar(path, names, max_bytes)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path} is a damaged archive ({error}); delete it to have it fetched again.") from None
    if missing := sorted(set(names) - set(found)):
        raise DataError(f"{path} lacks {', '.join(missing)}; it is not the archive that was expected.")
    return {name: _gunzip(name, data, max_bytes) if name.endswith(".gz") else data for name, data in found.items()}


def _read_zip(path: Path, names: Collection[str], max_bytes: int) -> dict[str, bytes]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in set(names) & set(archive.namelist()):
            with archive.open(name) as handle:
                found[name] = _limited(handle.read(max_bytes + 1), name, max_bytes)
    return found


def _read_tar(path: Path, names: Collection[str], max_bytes: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name not in names:
                continue
            handle = archive.extractfile(member) if member.isreg() else None
            if handle is None:
                raise DataError(f"{member.name} in {path} is a link or folder, not a file.")
            found[member.name] = _limited(handle.read(max_bytes + 1), member.name, max_bytes)
    return found


def _gunzip(name: str, data: bytes, max_bytes: int) -> bytes:
    with gzip.open(io.BytesIO(data)) as handle:
        return _limited(handle.read(max_bytes + 1), name, max_bytes)


def _limited(data: bytes, name: str, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise DataError(f"{name} unpacks to more than {max_bytes:,} bytes; at most that is read.")
    return data


def unpack_members(path: Path, pattern: str, folder: Path, *, max_bytes: int = 2**36) -> list[Path]:
    """Unpack the members of a zip archive whose file name fits a pattern into `folder`, each whole or not at all.

    Parameters
    ----------
    pattern
        As in a shell, such as ``mutations_*.csv``; folders inside the archive do not matter, and nothing is written
        outside `folder`.
    max_bytes
        Most bytes of all of them together.

    Raises
    ------
    DataError
        If none fits, two have one name, they are too large, or the archive is damaged.
    DownloadError
        If the disk has no room.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = [i for i in archive.infolist() if not i.is_dir() and "__MACOSX" not in i.filename]
            chosen = {PurePosixPath(i.filename).name: i for i in files if _fits(i.filename, pattern)}
            n_fitting = sum(_fits(i.filename, pattern) for i in files)
            if not chosen or len(chosen) < n_fitting:
                what = "no file that fits" if not chosen else "several files of one name that fit"
                raise DataError(f"{path} holds {what} {pattern!r}; it holds {examples(i.filename for i in files)}.")
            if (total := sum(i.file_size for i in chosen.values())) > max_bytes:
                raise DataError(f"{path} unpacks to {total:,} bytes; at most {max_bytes:,} are unpacked.")
            folder.mkdir(parents=True, exist_ok=True)
            check_room(folder, total)
            made = []
            for name, member in sorted(chosen.items()):
                with (
                    atomic_file(folder / name) as temporary,
                    archive.open(member) as packed,
                    temporary.open("wb") as out,
                ):
                    shutil.copyfileobj(packed, out, 2**20)
                made.append(folder / name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is a damaged archive ({error}); delete it to have it fetched again.") from None
    return made


def _fits(member: str, pattern: str) -> bool:
    name = PurePosixPath(member).name
    return not name.startswith(".") and fnmatch.fnmatchcase(name, pattern)
