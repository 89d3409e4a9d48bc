"""Fetch one file whose sha256 is known: resumed after a cut, whole or not at all, and never something else."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import requests
import urllib3

from halfmax.data.package_index import Link, Web
from halfmax.data.storage import sha256_of
from halfmax.errors import DownloadError

#: Told how many bytes are here, and how many there will be.
OnProgress = Callable[[int, int], None]

ATTEMPTS = 5
CHUNK = 2**18
#: Seconds before the second attempt; doubled for each further one.
BACKOFF = 0.5
_GAIN = 2**20
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
log = logging.getLogger(__name__)


class _Again(Exception):
    """Something that may be better at the next attempt."""


@dataclass(frozen=True)
class Expected:
    """What the file must be."""

    filename: str
    sha256: str
    size: int


def download(web: Web, link: Link, expected: Expected, target: Path, quarantine: Path, progress: OnProgress) -> None:
    """Fetch `link` into `target`.

    A file that is cut off stays as ``NAME.part`` and is continued, by this call or a later one.

    Raises
    ------
    DownloadError
        If the place gives up, sends a web page, or sends a file with another sha256; that file is kept in
        `quarantine`.
    """
    part = target.with_name(target.name + ".part")
    resumed = part.exists() and part.stat().st_size > 0
    _fetch(web, link, expected, part, progress)
    if resumed and sha256_of(part) != expected.sha256:
        log.info("the continued %s does not match its sha256; fetching it whole", expected.filename)
        _drop(part)
        _fetch(web, link, expected, part, progress)
    try:
        accept(part, expected, target, quarantine, str(link))
    finally:
        _drop(part)


def accept(found: Path, expected: Expected, target: Path, quarantine: Path, origin: str) -> None:
    """Rename `found` to `target` if it is the expected file; move it to `quarantine` and raise otherwise."""
    digest, size = sha256_of(found), found.stat().st_size
    if digest == expected.sha256:
        with found.open("rb") as handle:
            os.fsync(handle.fileno())
        found.replace(target)
        return
    quarantine.mkdir(parents=True, exist_ok=True)
    kept = quarantine / f"{digest[:12]}-{expected.filename}"
    found.replace(kept)
    raise DownloadError(
        f"{origin} is not the {expected.filename} that was asked for: its sha256 is {digest} ({size:,} bytes) "
        f"instead of {expected.sha256} ({expected.size:,} bytes). It was moved to {kept} and is not used."
    )


def _fetch(web: Web, link: Link, expected: Expected, part: Path, progress: OnProgress) -> None:
    """Bring `part` to its full length, in as many attempts as it takes while each brings something."""
    if link.path is not None:
        _copy(link.path, expected, part, progress)
        return
    attempt = 1
    while True:
        before = _length(part)
        try:
            _once(web, link, expected, part, progress)
            return
        except _Again as reason:
            if _length(part) >= before + _GAIN:
                attempt = 1
            if attempt >= ATTEMPTS:
                raise DownloadError(
                    f"{link}: {reason} ({ATTEMPTS} attempts); {_length(part):,} bytes are kept"
                ) from None
            pause = BACKOFF * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)
            log.info("%s: %s; trying again in %.1f s", link, reason, pause)
            time.sleep(pause)
            attempt += 1


def _once(web: Web, link: Link, expected: Expected, part: Path, progress: OnProgress) -> None:
    have = _length(part)
    if have >= expected.size:
        return
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator := _read_validator(part, link):
            headers["If-Range"] = validator
    try:
        with web.get(link.url, headers) as response:
            _check_status(response, part)
            _refuse_page(response, link)
            goes_on = response.status_code == 206 and _starts_at(response, have)
            if response.status_code == 206 and not goes_on:
                _drop(part)
                raise _Again("it sent another part than the one asked for")
            _write_validator(part, response, link)
            announced = response.headers.get("Content-Length", "")
            length = (have if goes_on else 0) + (int(announced) if announced.isdigit() else 0)
            with part.open("ab" if goes_on else "wb") as handle:
                chunks = response.raw.stream(CHUNK, decode_content=False)
                done = _write(handle, chunks, have if goes_on else 0, expected, link, progress)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _Again(_reason(error)) from None
    if done < length:
        raise _Again(f"the connection ended after {done:,} of {length:,} bytes")


def _write(
    handle: IO[bytes], chunks: Iterable[bytes], done: int, expected: Expected, link: Link, progress: OnProgress
) -> int:
    for chunk in chunks:
        if done == 0 and chunk.lstrip()[:1] == b"<":
            raise _page(link)
        done += len(chunk)
        if done > 2 * expected.size + _GAIN:
            raise DownloadError(f"{link} sends far more than the {expected.size:,} bytes of {expected.filename}")
        handle.write(chunk)
        progress(min(done, expected.size), expected.size)
    return done


def _copy(path: Path, expected: Expected, part: Path, progress: OnProgress) -> None:
    try:
        shutil.copyfile(path, part)
    except OSError as error:
        raise DownloadError(f"{path} could not be copied: {error.strerror or error}") from None
    progress(expected.size, expected.size)


def _check_status(response: requests.Response, part: Path) -> None:
    status = response.status_code
    if status in _BUSY:
        raise _Again(f"HTTP {status}")
    if status == 416:
        _drop(part)
        raise _Again("the part that is here is longer than its file")
    if status not in (200, 206):
        raise DownloadError(f"{response.url.partition('?')[0]}: HTTP {status} {response.reason or ''}".rstrip())


def _refuse_page(response: requests.Response, link: Link) -> None:
    if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/html":
        raise _page(link)


def _page(link: Link) -> DownloadError:
    return DownloadError(f"{link} answered with a web page instead of the file (a login or error page of a proxy?)")


def _starts_at(response: requests.Response, offset: int) -> bool:
    return response.headers.get("Content-Range", "").replace(" ", "").lower().startswith(f"bytes{offset}-")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _validator_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _write_validator(part: Path, response: requests.Response, link: Link) -> None:
    tag = response.headers.get("ETag", "")
    value = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    _validator_file(part).write_text(json.dumps({"url": str(link), "if_range": value}), encoding="utf-8")


def _read_validator(part: Path, link: Link) -> str:
    try:
        kept = json.loads(_validator_file(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(kept.get("if_range", "")) if isinstance(kept, dict) and kept.get("url") == str(link) else ""


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)
