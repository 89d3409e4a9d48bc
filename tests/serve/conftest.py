"""A predictor of a made-up dataset, and a server that answers with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module

import pytest

from halfmax.data.dataset import ResponseDataset
from halfmax.data.synthetic import make_dataset
from halfmax.predictor import Predictor


def _is_there(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True


_NEEDED = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "python_multipart")
#: Without the extra ``serve`` there is nothing to test here.
collect_ignore_glob = [] if all(map(_is_there, _NEEDED)) else ["test_*.py"]

_GENES = [
    "A1BG", "A2M", "AAAS", "AACS", "AADAC", "AARS1", "ABAT", "ABCA1", "ABCB1", "ABCC1", "ABCG2", "ABL1", "ACACA",
    "ACHE", "ACO1", "ACP1", "ACTA2", "ACTB", "ACVR1", "ADA", "ADAM10", "ADH5", "ADK", "ADRB2", "AGER", "AHR",
    "AKT1", "ALB", "ALDOA", "ALK", "AMPD1", "ANXA1", "APC", "APOE", "AR", "ARAF", "ARG1", "ATM", "AXL", "BAX",
    "BCL2", "BRAF", "BRCA1", "BRCA2", "CASP3", "CCND1", "CDK2", "CDK4", "EGFR", "TP53",
]  # fmt: skip


def _with_genes(seed: int, n: int) -> ResponseDataset:
    """Return a made-up dataset whose genes have names that readers know."""
    made = make_dataset(n, 6, len(_GENES), seed=seed)
    return replace(made, omics={"expression": made.omics["expression"].set_axis(_GENES, axis=1)})


DATASET = _with_genes(0, 60)
PROFILES = _with_genes(9, 4).omics["expression"] + 8


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return Predictor.of("kernel_ridge").fit(DATASET)


@pytest.fixture(scope="session")
def service(predictor):
    from halfmax.serve.service import Service

    return Service(predictor, name="planted", digest="0" * 64, dataset=DATASET)


class Running:
    """A server in a thread."""

    def __init__(self, app) -> None:
        import uvicorn

        from halfmax.serve.server import DrainingServer, ImpatientProtocol

        config = uvicorn.Config(app, port=0, http=ImpatientProtocol, ws="none", access_log=False, log_config=None)
        self.app, self.server = app, DrainingServer(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until = time.monotonic() + 60
        while not self.server.started and time.monotonic() < until:
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def state(self):
        return self.app.state.halfmax

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)


@pytest.fixture
def serve(service, tmp_path) -> Iterator:
    """Return a function that starts a server with settings of one's own."""
    from halfmax.serve.app import create_app
    from halfmax.serve.settings import ServeSettings

    running: list[Running] = []

    def start(**options) -> Running:
        options.setdefault("home", tmp_path / f"home{len(running)}")
        running.append(Running(create_app(ServeSettings(job_workers=0, **options), service)))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture(scope="session")
def shared(service, tmp_path_factory) -> Iterator[Running]:
    """A server with the limits of a small machine, for tests that change nothing."""
    from halfmax.serve.app import create_app
    from halfmax.serve.settings import ServeSettings

    home = tmp_path_factory.mktemp("serve")
    settings = ServeSettings(home=home, job_workers=0, max_body=200_000, max_upload=400_000, max_unpacked=2_000_000)
    running = Running(create_app(settings, service))
    yield running
    running.stop()
