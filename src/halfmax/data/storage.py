"""Folders that are written whole or not at all, and read only if every file is the one that was written."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from halfmax.errors import ModelFileError, examples

MANIFEST = "manifest.json"


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success its files are flushed and it takes `folder`'s place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        yield work
        for path in work.rglob("*"):
            if path.is_file():
                path.chmod(0o644)  # safetensors makes files that nobody else can read
                _sync(path)
        work.chmod(0o755)
        if folder.exists():
            _exchange(work, folder)
        else:
            work.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_json(path: Path, content: dict[str, Any], *, hash_siblings: bool = False) -> None:
    """Write `content` as JSON; with `hash_siblings` add the sha256 of every other file in the folder."""
    if hash_siblings:
        files = sorted(p for p in path.parent.rglob("*") if p.is_file() and p != path)
        content = content | {"files": {p.relative_to(path.parent).as_posix(): sha256_of(p) for p in files}}
        content["manifest_sha256"] = _self_hash(content)
    with atomic_file(path) as temporary:
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
        temporary.write_text(f"{text}\n", encoding="utf-8")


def read_verified(folder: Path, kind: str, version: int) -> dict[str, Any]:
    """Return the manifest of `folder` after checking that every file is there, is ours and is unchanged.

    Raises
    ------
    ModelFileError
        If the folder is not of this `kind`, is of a newer `version`, is reached through a link, or if a file is
        missing, added or differs from its sha256.
    """
    path = folder / MANIFEST
    if folder.is_symlink() or not path.is_file() or path.is_symlink():
        raise ModelFileError(f"{folder} is not a {kind} folder: it has no {MANIFEST} of its own.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{path} is not readable JSON ({error}); the folder is damaged.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != kind:
        raise ModelFileError(f"{path} does not describe a {kind}.")
    found = manifest.get("format_version")
    if not isinstance(found, int) or found > version:
        raise ModelFileError(
            f"{folder} has format version {found}; this halfmax reads up to {version}. Update halfmax."
        )
    if manifest.get("manifest_sha256") != _self_hash(manifest):
        raise ModelFileError(f"{path} was changed after it was written (its own sha256 does not match).")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(v, str) for v in files.values()):
        raise ModelFileError(f"{path} does not list the folder's files and their sha256.")
    _check_files(folder, files)
    return manifest


def _check_files(folder: Path, expected: dict[str, str]) -> None:
    entries = [p for p in folder.rglob("*") if p.is_symlink() or p.is_file()]
    links = [p.name for p in entries if p.is_symlink()]
    if links:
        raise ModelFileError(f"{folder} holds links ({examples(links)}); its files must be its own.")
    present = {p.relative_to(folder).as_posix() for p in entries} - {MANIFEST}
    if missing := sorted(set(expected) - present):
        raise ModelFileError(f"{folder} lacks {len(missing)} of its files: {examples(missing)}.")
    if extra := sorted(present - set(expected)):
        raise ModelFileError(f"{folder} holds {len(extra)} files that are not its own: {examples(extra)}.")
    for name, digest in expected.items():
        if (found := sha256_of(folder / name)) != digest:
            raise ModelFileError(
                f"{folder / name} is damaged or was replaced: sha256 {found[:12]}… instead of {digest[:12]}…."
            )


def _self_hash(manifest: dict[str, Any]) -> str:
    content = {k: v for k, v in manifest.items() if k != "manifest_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders; in one system call where the platform has it, so that a kill leaves one or the other."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        renameat2 = None
    current_folder, swap = -100, 2
    names = (os.fsencode(new), os.fsencode(old))
    if renameat2 is not None and renameat2(current_folder, names[0], current_folder, names[1], swap) == 0:
        return
    aside = new.with_suffix(".old")
    old.rename(aside)
    new.rename(old)
    aside.rename(new)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
