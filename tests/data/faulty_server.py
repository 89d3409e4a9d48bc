"""A file server on this machine with the tricks of a bad network: it cuts, stalls, lies, and changes its mind."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

CONTENT = b"PK\x03\x04" + np.random.default_rng(0).bytes(3_000_000)


@dataclass
class Faults:
    """What the server does wrong, and what it was asked.

    Lists hold one entry a request and are used up; `before` is called with this object at every request.
    """

    content: bytes = CONTENT
    files: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    retry_after: str = ""
    ranges: bool = True
    wrong_range: int = 0
    heed_if_range: bool = True
    etag: str = '"one"'
    last_modified: str = ""
    length: bool = True
    chunked: bool = False
    slow: list[tuple[int, float]] = field(default_factory=list)  # bytes a piece, seconds between pieces
    html: bytes | None = None
    html_type: str = "text/html; charset=utf-8"
    encoding: str | None = None
    before: Callable[[Faults], None] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def taken(self, entries: list[Any], otherwise: Any) -> Any:
        with self.lock:
            return entries.pop(0) if entries else otherwise


class FaultyHandler(BaseHTTPRequestHandler):
    server: FaultyServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_content(self.server.tricks)

    def send_content(self, tricks: Faults) -> None:
        with tricks.lock:
            tricks.asked.append(dict(self.headers) | {"path": self.path})
        if tricks.before is not None:
            tricks.before(tricks)
        if self.path in tricks.moved:
            return self.answer(302, b"", {"Location": tricks.moved[self.path]})
        if (status := tricks.taken(tricks.status, None)) is not None:
            return self.answer(status, b"", {"Retry-After": tricks.retry_after} if tricks.retry_after else {})
        if tricks.html is not None:
            return self.answer(200, tricks.html, {"Content-Type": tricks.html_type})
        content = tricks.files.get(self.path.partition("?")[0], tricks.content)
        start, end, status, headers = self.asked_part(tricks, content)
        if status == 416:
            return self.answer(416, b"", {})
        headers["Content-Type"] = "application/octet-stream"
        if tricks.encoding:
            headers["Content-Encoding"] = tricks.encoding
        body = content[start:end]
        cut = tricks.taken(tricks.cut_after, len(body))
        piece, pause = tricks.taken(tricks.slow, (len(body) + 1, 0.0))
        n_sent = self.answer(status, body[:cut], headers, len(body), piece, pause)
        with tricks.lock:
            tricks.sent += n_sent

    def asked_part(self, tricks: Faults, content: bytes) -> tuple[int, int, int, dict[str, str]]:
        headers = {"ETag": tricks.etag, "Last-Modified": tricks.last_modified}
        headers = {name: value for name, value in headers.items() if value}
        if tricks.ranges:
            headers["Accept-Ranges"] = "bytes"
        known = tricks.etag or tricks.last_modified
        fresh = not tricks.heed_if_range or self.headers.get("If-Range", known) == known
        asked = self.headers.get("Range")
        if not (asked and tricks.ranges and fresh):
            return 0, len(content), 200, headers
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) + 1, len(content)) if last else len(content)
        if start >= len(content):
            return 0, 0, 416, headers
        shown = start + tricks.wrong_range
        headers["Content-Range"] = f"bytes {shown}-{end - 1}/{len(content)}"
        return start, end, 206, headers

    def answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        announced: int | None = None,
        piece: int = 2**20,
        pause: float = 0.0,
    ) -> int:
        tricks = self.server.tricks
        if tricks.chunked:
            self.protocol_version = "HTTP/1.1"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        whole = announced is None or announced == len(body)
        if tricks.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif tricks.length:
            self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        n_sent = 0
        with contextlib.suppress(ConnectionError):  # the client may have gone
            for at in range(0, len(body), piece):
                data = body[at : at + piece]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if tricks.chunked else data)
                n_sent += len(data)
                if pause:
                    self.wfile.flush()
                    time.sleep(pause)
            if tricks.chunked and whole:
                self.wfile.write(b"0\r\n\r\n")
        return n_sent


class FaultyServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    tricks: Faults

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is part of the play


@contextmanager
def serving(
    tricks: Faults, server: type[FaultyServer] = FaultyServer, handler: type[FaultyHandler] = FaultyHandler
) -> Iterator[Any]:
    """Yield a server that runs in a thread of its own."""
    with server(("127.0.0.1", 0), handler) as made:
        made.tricks = tricks
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()
