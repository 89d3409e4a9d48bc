"""The server: uvicorn with an orderly end, and no patience with clients that send headers drop by drop."""

from __future__ import annotations

import asyncio
import threading
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from fastapi import FastAPI

    from halfmax.serve.settings import ServeSettings

#: How long a connection may take until its headers are whole [s].
HEADER_SECONDS = 15.0
#: How long load balancers are told that the service is not ready, before it stops to listen [s].
_TELL_SECONDS = 1.0

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    _Protocol: type[asyncio.Protocol] = HttpToolsProtocol
except ImportError:
    _Protocol = H11Protocol


class ImpatientProtocol(_Protocol):  # type: ignore[misc, valid-type]
    """HTTP whose connections are closed when a request's headers do not come in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._waiting: asyncio.TimerHandle | None = None
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Read on; wait again if a request has begun that is not whole."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _watch(self) -> None:
        cycle = getattr(self, "cycle", None)
        if cycle is not None and not cycle.response_complete:
            self._stop_waiting()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class DrainingServer(uvicorn.Server):
    """A server that says it is not ready, finishes what it has begun, and ends."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second signal ends at once."""
        load = self.config.app.state.halfmax.load  # type: ignore[union-attr]
        if load.draining:
            self.force_exit = True
        load.draining = True
        timer = threading.Timer(_TELL_SECONDS, setattr, (self, "should_exit", True))
        timer.daemon = True
        timer.start()


def serve(app: FastAPI, settings: ServeSettings, *, host: str, port: int) -> None:
    """Answer requests until the process is told to end."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=ImpatientProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=int(settings.drain_seconds),
        limit_concurrency=None,
        backlog=512,
    )
    DrainingServer(config).run()
