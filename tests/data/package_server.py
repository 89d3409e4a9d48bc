"""A package index on this machine with the tricks of a bad network: it cuts, lies, repeats and changes its mind."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from halfmax.data.package_index import IndexSettings
from halfmax.data.packages import PackageSource

CONTENT = b"PK" + np.random.default_rng(0).bytes(3_000_000)
NAME = "thing-1.0-py3-none-any.whl"


def source_of(content: bytes = CONTENT, filename: str = NAME) -> PackageSource:
    digest = hashlib.sha256(content).hexdigest()
    return PackageSource("thing", "thing", "1.0", filename, digest, len(content), "MIT", "none", ())


@dataclass
class Tricks:
    """What the server does wrong, and what it was asked."""

    content: bytes = CONTENT
    page: bytes | None = None
    cut_after: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    ranges: bool = True
    wrong_range: int = 0
    etag: str = '"one"'
    html: bytes | None = None
    html_type: str = "text/html; charset=utf-8"
    user: str | None = None
    encoding: str | None = None
    elsewhere: str | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        tricks = self.server.tricks
        if tricks.user is not None and self.headers.get("Authorization") != tricks.user:
            self.answer(401, b"who are you", {})
        elif self.path == "/simple/thing/":
            link = tricks.elsewhere or f"/files/{NAME}"
            page = tricks.page or f'<!DOCTYPE html><a href="{link}">{NAME}</a>'.encode()
            self.answer(200, page, {"Content-Type": "text/html"})
        elif self.path.startswith("/files/"):
            self.send_content(tricks)
        else:
            self.answer(404, b"", {})

    def send_content(self, tricks: Tricks) -> None:
        tricks.asked.append(dict(self.headers))
        if tricks.status:
            return self.answer(tricks.status.pop(0), b"", {})
        if tricks.html is not None:
            return self.answer(200, tricks.html, {"Content-Type": tricks.html_type})
        start, status, headers = 0, 200, {"ETag": tricks.etag, "Content-Type": "application/octet-stream"}
        asked = self.headers.get("Range")
        if asked and tricks.ranges and self.headers.get("If-Range", tricks.etag) == tricks.etag:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            shown = start + tricks.wrong_range
            headers["Content-Range"] = f"bytes {shown}-{len(tricks.content) - 1}/{len(tricks.content)}"
            if start >= len(tricks.content):
                return self.answer(416, b"", {})
        if tricks.encoding:
            headers["Content-Encoding"] = tricks.encoding
        body = tricks.content[start:]
        cut = tricks.cut_after.pop(0) if tricks.cut_after else len(body)
        self.answer(status, body[:cut], headers, announced=len(body))
        tricks.sent += len(body[:cut])

    def answer(self, status: int, body: bytes, headers: dict[str, str], announced: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    tricks: Tricks

    @property
    def index(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"

    @property
    def settings(self) -> IndexSettings:
        return IndexSettings(indexes=(self.index,), timeout=5.0)
