"""What every test stands on: no network, its own cache folder, no GPU test without a GPU."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Each worker computes with one thread: two that want all cores stand in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No deadline: a busy two-core machine would fail good code. CI draws the same examples each time.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

LOOPBACK = ("127.", "::1", "localhost")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the GPU tests where there is no GPU."""
    wanted = [item for item in items if item.get_closest_marker("gpu")]
    if not wanted:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def offline(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only tests marked slow, network or browser open a connection to another machine."""
    if any(request.node.get_closest_marker(name) for name in ("slow", "network", "browser")):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):
            raise OSError(f"a test without the marker `network` reached out to {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def plain_environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep a person's own settings and cached data out of the tests; the slow ones read the real data."""
    slow = request.node.get_closest_marker("slow") is not None
    for name in [name for name in os.environ if name.startswith("HALFMAX_")]:
        if name != "HALFMAX_HOME" or not slow:
            monkeypatch.delenv(name)
    if not slow:
        monkeypatch.setenv("HALFMAX_HOME", str(tmp_path_factory.getbasetemp() / "no-data-here"))


@pytest.fixture
def root() -> Path:
    """Return the folder of the repository."""
    return Path(__file__).resolve().parents[1]
