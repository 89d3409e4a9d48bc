"""A package index on this machine, over the server with the tricks of a bad network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from halfmax.data.package_index import IndexSettings
from halfmax.data.packages import PackageSource
from tests.data.faulty_server import CONTENT, Faults, FaultyHandler, FaultyServer

NAME = "thing-1.0-py3-none-any.whl"


def source_of(content: bytes = CONTENT, filename: str = NAME) -> PackageSource:
    digest = hashlib.sha256(content).hexdigest()
    return PackageSource("thing", "thing", "1.0", filename, digest, len(content), "MIT", "none", ())


@dataclass
class Tricks(Faults):
    """What the index does wrong besides."""

    page: bytes | None = None
    user: str | None = None
    elsewhere: str | None = None


class Handler(FaultyHandler):
    server: Server

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


class Server(FaultyServer):
    tricks: Tricks

    @property
    def index(self) -> str:
        return f"{self.origin}/simple"

    @property
    def settings(self) -> IndexSettings:
        return IndexSettings(indexes=(self.index,), timeout=5.0)
