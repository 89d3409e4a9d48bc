"""Fetch one file: resumed after a cut, large ones in parts side by side, whole or not at all, never something else."""

from __future__ import annotations

import logging
import random
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests
import urllib3

from halfmax.data.cache import check_room
from halfmax.data.partial import Partial, Span
from halfmax.data.verify import HEAD, Expected, accept, matches, wrong_content
from halfmax.data.web import Link, Web, redact, short_reason
from halfmax.errors import DownloadError

#: Told how many bytes are here, and how many there will be (0 = not known yet).
OnProgress = Callable[[int, int], None]

#: Requests without progress before it is given up.
ATTEMPTS = 5
CHUNK = 2**18
#: Seconds before the second attempt; doubled for each further one, and spread by chance.
BACKOFF = 0.5
#: Longest wait that a server may ask for [s].
LONGEST_WAIT = 120.0
#: A connection that brings fewer than so many bytes in so many seconds is cut and asked again.
STALL_BYTES, STALL_SECONDS = 2**15, 30.0
#: From this size on a file is fetched in so many parts side by side, where the server can.
PARALLEL_FROM, PARTS = 2**26, 4
_GAIN = 2**20
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
log = logging.getLogger(__name__)


class _Again(Exception):
    """Something that may be better at the next attempt, at the earliest after `pause` seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class _NoParts(Exception):
    """The server sends the whole file where a part was asked for."""


class _Stopped(Exception):
    """Another part failed for good."""


@dataclass(frozen=True)
class Arrival:
    """What came: its digest, size, and what the server calls this version of it (ETag or date; may be empty)."""

    sha256: str
    size: int
    version: str


def download(web: Web, link: Link, expected: Expected, target: Path, quarantine: Path, progress: OnProgress) -> Arrival:
    """Fetch `link` into `target`; the caller keeps other processes away (`halfmax.data.cache.held`).

    A file that is cut off stays as ``NAME.part`` and is continued, by this call or a later one. It is continued only
    if the server can be held to the same version of the file (If-Range), or if a digest will tell.

    Raises
    ------
    DownloadError
        If the place gives up, sends a page or message, or sends another file, which is kept in `quarantine`; if the
        disk has no room.
    """
    partial = Partial(target.with_name(target.name + ".part"), str(link))
    continued = partial.n_bytes > 0
    transfer = _Transfer(web, link, expected, partial, progress)
    try:
        transfer.run()
    finally:
        if partial.n_bytes == 0 and not partial.complete:
            partial.drop()
    if continued and expected.pinned and not matches(partial.path, expected):
        log.info("the continued %s does not match its digest; fetching it whole", expected.filename)
        partial.drop()
        transfer.run()
    size, version = partial.n_bytes, partial.validator
    try:
        return Arrival(accept(partial.path, expected, target, quarantine, str(link)), size, version)
    finally:
        partial.drop()


@dataclass
class _Transfer:
    """Brings the bytes of one file into its `Partial`."""

    web: Web
    link: Link
    expected: Expected
    partial: Partial
    progress: OnProgress
    in_parts: bool = True
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Fetch what is missing, in as many attempts as it takes while they bring something."""
        if self.link.path is not None:
            self._copy(self.link.path)
            return
        self._persist(self._once, lambda: self.partial.n_bytes)

    def _persist(self, once: Callable[[], None], reached: Callable[[], int]) -> None:
        best, attempt = reached(), 1
        while True:
            try:
                once()
                return
            except _Again as reason:
                if reached() >= best + _GAIN:
                    best, attempt = reached(), 1
                if attempt >= ATTEMPTS:
                    kept = f"{self.partial.n_bytes:,} bytes are kept"
                    raise DownloadError(f"{self.link}: {reason} ({ATTEMPTS} attempts); {kept}") from None
                pause = max(BACKOFF * 2 ** (attempt - 1) * random.uniform(0.5, 1.5), reason.pause)
                log.info("%s: %s; trying again in %.1f s", self.link, reason, pause)
                if self.stop.wait(pause):
                    raise _Stopped from None
                attempt += 1

    def _once(self) -> None:
        partial = self.partial
        if partial.complete:
            return
        may_go_on = bool(partial.validator) or self.expected.pinned
        if partial.n_bytes and not (may_go_on and (self.in_parts or len(partial.spans) == 1)):
            partial.drop()
        if partial.size is not None:
            check_room(partial.path.parent, partial.size - partial.n_bytes)
        missing = partial.missing()
        if len(partial.spans) > 1:
            self._side_by_side(missing)
        else:
            self._ask(missing[0] if missing else None)

    def _side_by_side(self, missing: list[Span]) -> None:
        self.stop.clear()
        with ThreadPoolExecutor(PARTS, thread_name_prefix="download") as pool:
            try:
                jobs = [pool.submit(self._bring, span) for span in missing]
                wait(jobs, return_when=FIRST_EXCEPTION)
            finally:
                self.stop.set()  # also where the user interrupts
        self.stop.clear()
        failed = [error for job in jobs if (error := job.exception()) is not None]
        failed.sort(key=lambda error: isinstance(error, _Stopped))
        if any(isinstance(error, _NoParts) for error in failed):
            self.in_parts = False
            self.partial.drop()
            raise _Again("it sends no parts of the file, so it is fetched in one piece")
        if failed:
            raise failed[0]

    def _bring(self, span: Span) -> None:
        self._persist(lambda: self._ask(span), lambda: span.at)

    def _ask(self, span: Span | None) -> None:
        """Send one request, for what is missing of a span or for the whole file, and write what comes."""
        headers = {"Accept-Encoding": "identity"}
        if span is not None and (span.at > 0 or span.end != self.partial.size):
            last = "" if span.end is None or span.end == self.partial.size else str(span.end - 1)
            headers["Range"] = f"bytes={span.at}-{last}"
            if self.partial.validator:
                headers["If-Range"] = self.partial.validator
        try:
            with self.web.get(self.link.url, headers) as response:
                self._check_answer(response)
                if response.status_code == 206:
                    span = self._check_part(response, span)
                elif len(self.partial.spans) > 1:
                    raise _NoParts
                else:
                    span = self._begin(response)
                if span is not None:
                    self._receive(response, span)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _Again(short_reason(error)) from None
        if span is None:
            self._side_by_side(self.partial.missing())
        elif not span.done:
            raise _Again(f"the connection ended after {span.at:,} of {span.end or 0:,} bytes")

    def _begin(self, response: requests.Response) -> Span | None:
        """Make ready for the whole file; return its span, or None if it is better fetched in parts."""
        headers, pinned = response.headers, self.expected.pinned
        chunked = headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
        announced = headers.get("Content-Length", "").strip()
        size = int(announced) if announced.isdigit() else None if chunked else self.expected.size
        if size is None and not chunked and not pinned:
            raise DownloadError(f"{self.link} does not say how long the file is, so that a cut could not be noticed.")
        if size is not None:
            self._check_size(size)
            check_room(self.partial.path.parent, size)
        validator = _validator(response)
        large = size is not None and size >= PARALLEL_FROM and bool(validator or pinned)
        in_parts = large and self.in_parts and headers.get("Accept-Ranges", "").strip().lower() == "bytes"
        self.partial.begin(size, validator, PARTS if in_parts else 1)
        return None if in_parts else self.partial.spans[0]

    def _receive(self, response: requests.Response, span: Span) -> None:
        """Write the body until the span is full or the body ends."""
        began, mark = time.monotonic(), span.at
        with self.partial.writer(span) as writer:
            while not span.done:
                want = CHUNK if span.end is None else min(CHUNK, span.end - span.at)
                data = response.raw.read1(want, decode_content=False)
                if not data:
                    break
                if span.at == 0 and (wrong := wrong_content(data[:HEAD], self.expected)):
                    raise DownloadError(f"{self.link} answered with {wrong}")
                writer.write(data)
                self._check_size(span.at)
                self._tell()
                if self.stop.is_set():
                    raise _Stopped
                if (waited := time.monotonic() - began) >= STALL_SECONDS:
                    if span.at - mark < STALL_BYTES:
                        raise _Again(f"only {span.at - mark:,} bytes came in {waited:.0f} s")
                    began, mark = time.monotonic(), span.at
        if span.end is None:
            self.partial.finish(span)
            self._tell()

    def _tell(self) -> None:
        total = self.partial.size or self.expected.size or 0
        with self.lock:
            self.progress(min(self.partial.n_bytes, total) if total else self.partial.n_bytes, total)

    def _copy(self, path: Path) -> None:
        try:
            size = path.stat().st_size
            check_room(self.partial.path.parent, size)
            self.partial.begin(size, "")
            shutil.copyfile(path, self.partial.path)
        except DownloadError:
            raise
        except OSError as error:
            raise DownloadError(f"{path} could not be copied: {error.strerror or error}") from None
        self.partial.spans[0].at = size
        self._tell()

    def _check_answer(self, response: requests.Response) -> None:
        status, place = response.status_code, redact(response.url)
        if status in _BUSY:
            asked = _retry_after(response.headers.get("Retry-After", ""))
            if asked > LONGEST_WAIT:
                raise DownloadError(f"{place}: HTTP {status}; it asks to come back in {asked:,.0f} s.")
            raise _Again(f"HTTP {status}", asked)
        if status == 416:
            self._forget()
            raise _Again("the part that is here is longer than its file")
        if status not in (200, 206):
            raise DownloadError(f"{place}: HTTP {status} {response.reason or ''}".rstrip())
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == "text/html":
            raise DownloadError(f"{self.link} answered with {wrong_content(b'<', self.expected)}")

    def _check_part(self, response: requests.Response, span: Span | None) -> Span:
        """Return the span if the answer is its next part, of the same version of the file."""
        place, _, total = response.headers.get("Content-Range", "").lower().replace(" ", "").partition("/")
        known, found = self.partial.validator, _validator(response)
        if span is None or not place.startswith(f"bytes{span.at}-"):
            self.in_parts = False
            reason = "it sent another part than the one asked for"
        elif self.partial.size is not None and total.isdigit() and int(total) != self.partial.size:
            reason = f"the file changed while it was fetched: it has {int(total):,} bytes now"
        elif known and found and known.startswith('"') == found.startswith('"') and known != found:
            reason = f"the file changed while it was fetched: it is version {found} now, not {known}"
        else:
            return span
        self._forget()
        raise _Again(reason)

    def _forget(self) -> None:
        """Drop what is here; where several parts are under way the others must stop first."""
        if len(self.partial.spans) > 1:
            raise _NoParts
        self.partial.drop()

    def _check_size(self, n_bytes: int) -> None:
        limit = self.expected.size
        if limit is not None and n_bytes > 2 * limit + _GAIN:
            raise DownloadError(f"{self.link} sends far more than the {limit:,} bytes of {self.expected.filename}")


def _validator(response: requests.Response) -> str:
    """Return what names this version of the file for If-Range: a strong ETag, else the date; may be empty."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _retry_after(value: str) -> float:
    """Return the seconds that a Retry-After header asks for; 0 if it says nothing readable."""
    if value.strip().isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
