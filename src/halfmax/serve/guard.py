"""Guard: limits that hold before anything is read, one log line a request without what it holds, drain and overload."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import traceback
import zlib
from collections import deque
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from halfmax import RESEARCH_USE
from halfmax.serve.metrics import Metrics
from halfmax.serve.problems import RequestProblem, as_problem, busy, problem_response
from halfmax.serve.settings import ServeSettings

log = logging.getLogger("halfmax.serve.access")
#: Answered whatever the load, and while the service drains.
PROBES = frozenset(("/livez", "/readyz", "/api/v1/health/live", "/api/v1/health/ready"))
PREFIX = "/api/v1"
_PIECE = 1 << 20
_UPLOADS = ("/upload",)
_HEADERS = (
    (b"x-research-use", RESEARCH_USE.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


@dataclass
class Load:
    """How busy the service is, and whether it is about to end."""

    in_flight: int = 0
    draining: bool = False
    metrics: Metrics = field(default_factory=Metrics)


class Guard:
    """ASGI middleware around everything.

    Parameters
    ----------
    app
        What answers.
    settings, load
        The limits, and the counters that are kept.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, load: Load) -> None:
        self.app, self.settings, self.load = app, settings, load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [*_HEADERS, (b"x-request-id", request_id.encode())]
                if self.load.draining or status in (408, 413):
                    own.append((b"connection", b"close"))
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        probe = scope["path"] in PROBES
        self.load.in_flight += not probe
        try:
            body = Body(scope, receive, self.settings)
            if not probe and self.load.in_flight > self.settings.max_in_flight:
                raise busy(f"{self.settings.max_in_flight} requests are in work.")
            await self.app(scope, body.receive, answer)
        except Exception as error:  # a service answers and lives on
            problem = as_problem(error)
            if problem.status_code == 500:
                log.error("%s failed with %s at %s", request_id, type(error).__name__, _where(error))
            if not status:
                await problem_response(problem, request_id)(scope, receive, answer)
        finally:
            self.load.in_flight -= not probe
            seconds = time.perf_counter() - started
            route = _route(scope)
            self.load.metrics.count(scope["method"], route, status, seconds)
            log.info("%s %s %s %d %.1f ms", request_id, scope["method"], route, status, seconds * 1e3)


class Body:
    """A request's body: counted, unpacked within bounds, and given up if the client is too slow.

    Raises
    ------
    RequestProblem
        If the body is said to be, or turns out to be, larger than allowed (413), is packed in a way that is not read
        (415) or not whole (422), or is not here in time (408).
    """

    def __init__(self, scope: Scope, receive: Receive, settings: ServeSettings) -> None:
        headers = dict(scope["headers"])
        upload = scope["path"].endswith(_UPLOADS)
        self._limit = settings.max_upload if upload else settings.max_body
        self._unpacked_limit = settings.max_unpacked if upload else settings.max_body
        self._receive = receive
        self._deadline = time.monotonic() + settings.body_seconds
        self._read = self._unpacked = 0
        self._ended = False
        self._pieces: deque[bytes] = deque()
        self._unpacker: zlib._Decompress | None = None
        length = headers.get(b"content-length", b"")
        if length and (not length.isdigit() or int(length) > self._limit):
            raise self._too_large(self._limit)
        packed = headers.get(b"content-encoding", b"identity").strip().lower()
        if packed == b"gzip":
            self._unpacker = zlib.decompressobj(31)
            kept = [(k, v) for k, v in scope["headers"] if k not in (b"content-encoding", b"content-length")]
            scope["headers"] = kept
        elif packed not in (b"identity", b""):
            raise RequestProblem(415, "unknown-encoding", "the body is packed in a way that is not read; use gzip.")

    async def receive(self) -> Message:
        """Return the next piece of the body."""
        if self._ended and not self._pieces:
            return await self._receive()
        if self._pieces:
            return self._unpack(self._pieces.popleft())
        left = self._deadline - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError:
            raise RequestProblem(408, "too-slow", "the body did not arrive in time.") from None
        if message["type"] != "http.request":
            return message
        piece = message.get("body", b"")
        self._ended = not message.get("more_body", False)
        self._read += len(piece)
        if self._read > self._limit:
            raise self._too_large(self._limit)
        return message if self._unpacker is None else self._unpack(piece)

    def _unpack(self, piece: bytes) -> Message:
        unpacker = self._unpacker
        if unpacker is None:
            raise AssertionError("only packed bodies have pieces left")
        try:
            out = unpacker.decompress(piece, _PIECE)
        except zlib.error:
            raise RequestProblem(422, "damaged-gzip", "the body is not the gzip that its header says.") from None
        self._unpacked += len(out)
        if self._unpacked > self._unpacked_limit:
            raise self._too_large(self._unpacked_limit)
        if unpacker.unconsumed_tail:
            self._pieces.append(unpacker.unconsumed_tail)
        more = bool(self._pieces) or not self._ended
        if not more and not unpacker.eof:
            raise RequestProblem(422, "damaged-gzip", "the gzip of the body is cut off.")
        return {"type": "http.request", "body": out, "more_body": more}

    def _too_large(self, limit: int) -> RequestProblem:
        hint = "send fewer samples at once, or submit a job with a file"
        return RequestProblem(413, "too-large", f"the body is larger than {limit:,} bytes.", hint=hint)


def _route(scope: Scope) -> str:
    """Return the pattern that a path fits, never the path itself, which may hold what a client sent."""
    path = getattr(scope.get("route"), "path", "-")
    inside = scope["path"].startswith(PREFIX) and path.startswith("/") and not path.startswith(PREFIX)
    return f"{PREFIX}{path}" if inside else path


def _where(error: BaseException) -> str:
    """Return the places that an error went through, without its text, which may hold what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
