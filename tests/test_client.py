"""The client says what the predictor says, and what the service refuses is an error of halfmax."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from halfmax.errors import DataError, UnknownNameError

pytest.importorskip("fastapi")
from halfmax.client import Client, ServiceError
from halfmax.serve.worker import Worker
from tests.serve.conftest import PROFILES, predictor, serve, service

__all__ = ["predictor", "serve", "service"]


@pytest.fixture
def running(serve):
    return serve()


@pytest.fixture
def client(running):
    with Client(running.url) as found:
        yield found


def test_tables_are_those_of_the_predictor(client, predictor):
    holed = PROFILES.copy()
    holed.iloc[0, 0] = np.nan
    plain, _ = predictor.predict_samples({"expression": holed})
    told = client.predict(holed)
    assert told["prediction"].to_numpy() == pytest.approx(plain["prediction"].to_numpy(), abs=1e-5)
    assert told.attrs["research_use"].startswith("For Research Use Only.")
    assert len(client.rank(["S001", "S002"], top=3)) == 6
    assert client.similar("S003", n=1)["similar_id"].tolist() == ["S003"]
    assert len(client.drugs()) == 6
    assert client.card()["model"] == "kernel_ridge"


def test_files_and_jobs_come_back_as_frames(client, running, tmp_path):
    PROFILES.to_csv(tmp_path / "mine.csv", index_label="sample")
    direct = client.rank_file(tmp_path / "mine.csv", unit="log2", top=2)
    job_id = client.submit_file(tmp_path / "mine.csv", unit="log2", top=2)
    worker = Worker(running.state.store, running.state.live)
    thread = threading.Thread(target=worker.step)
    thread.start()
    later = client.wait(job_id, every=0.05)
    thread.join()
    assert later["drug_id"].tolist() == direct["drug_id"].tolist()
    client.delete(job_id)
    with pytest.raises(ServiceError, match="no such job"):
        client.job(job_id)
    cancelled = client.submit(["S001"])
    assert client.cancel(cancelled)["state"] == "cancelled"
    with pytest.raises(ServiceError, match="cancelled"):
        client.wait(cancelled)


def test_refusals_are_errors_of_halfmax(client):
    with pytest.raises(UnknownNameError, match="D0x"):
        client.predict(["S001"], ["D0x"])
    with pytest.raises(DataError, match="at least 80%"):
        client.predict(PROFILES.iloc[:, :10])
    with pytest.raises(DataError, match="infinite"):
        client.predict(PROFILES * np.inf)
    with pytest.raises(DataError, match="bottom"):
        client.ask("POST", "/rank", {"known": ["S001"], "bottom": 3})
