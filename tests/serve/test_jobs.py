"""Jobs through the API and a worker: done once, followed, cancelled, fetched, deleted; and each tenant sees its own."""

from __future__ import annotations

import io

import pandas as pd
import pytest
import requests

from halfmax.serve.worker import Worker
from tests.serve.conftest import PROFILES


def call(server, method, path, token=None, **more):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, f"{server.url}/api/v1{path}", headers=headers, timeout=30, **more)


def worker_of(server) -> Worker:
    return Worker(server.state.store, server.state.live)


def test_a_job_gives_the_answer_of_a_request(serve):
    server = serve()
    body = {"known": ["S001", "S002", "S003"], "drugs": ["D01", "D02"]}
    answer = call(server, "post", "/jobs/predict", json=body)
    assert answer.status_code == 202, answer.text
    place = answer.headers["Location"].removeprefix("/api/v1")
    assert answer.json()["state"] == "queued"
    assert call(server, "get", f"{place}/result").status_code == 409
    assert worker_of(server).step()
    assert not worker_of(server).step()
    told = call(server, "get", place).json()
    assert (told["state"], told["done"], told["total"]) == ("done", 3, 3)
    rows = call(server, "get", f"{place}/result").json()["rows"]
    direct = call(server, "post", "/predict", json=body).json()["rows"]
    key = ["sample_id", "drug_id"]
    left, right = (pd.DataFrame(r).sort_values(key, ignore_index=True) for r in (rows, direct))
    assert left["prediction"].to_numpy() == pytest.approx(right["prediction"].to_numpy(), abs=1e-5)
    csv = call(server, "get", f"{place}/result?format=csv").text
    assert csv.startswith("# For Research Use Only.")
    parquet = pd.read_parquet(io.BytesIO(call(server, "get", f"{place}/result?format=parquet").content))
    assert len(parquet) == 6


def test_an_uploaded_table_is_ranked_and_deleted_at_once(serve):
    server = serve()
    content = PROFILES.to_csv(index_label="sample").encode()
    answer = call(server, "post", "/jobs/upload?top=2&unit=log2", files={"file": ("mine.csv", content)})
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["job_id"]
    assert worker_of(server).step()
    rows = call(server, "get", f"/jobs/{job_id}/result").json()["rows"]
    assert len(rows) == 2 * len(PROFILES)
    assert call(server, "delete", f"/jobs/{job_id}").json()["deleted"]
    assert call(server, "get", f"/jobs/{job_id}").status_code == 404
    assert server.state.store.queue.stored() == set()


def test_what_cannot_be_done_fails_in_words(serve):
    server = serve()
    broken = call(server, "post", "/jobs/upload", files={"file": ("odd.csv", b"%PDF-1.4")}).json()["job_id"]
    unknown = call(server, "post", "/jobs/rank", json={"known": ["nobody"]}).json()["job_id"]
    worker = worker_of(server)
    assert worker.step()
    assert worker.step()
    told = call(server, "get", f"/jobs/{broken}").json()
    assert told["state"] == "failed"
    assert "odd.csv" in told["error"]
    assert "/tmp" not in told["error"]
    assert "nobody" in call(server, "get", f"/jobs/{unknown}").json()["error"]


def test_a_cancelled_job_is_not_done(serve):
    server = serve()
    job_id = call(server, "post", "/jobs/rank", json={"known": ["S001"]}).json()["job_id"]
    assert call(server, "post", f"/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert not worker_of(server).step()


def test_tenants_see_their_own_and_tokens_are_needed(serve):
    server = serve(require_token=True)
    tokens = server.state.store.tokens
    mine, yours, admin = tokens.create("mine"), tokens.create("yours"), tokens.create("us", admin=True)
    assert call(server, "get", "/drugs").status_code == 401
    assert call(server, "get", "/drugs", "hm_" + "0" * 16 + "_" + "0" * 64).status_code == 401
    assert call(server, "get", "/drugs", tokens.create("late", days=-1)).status_code == 401
    assert call(server, "get", "/drugs", mine).status_code == 200
    assert call(server, "get", "/audit", mine).status_code == 403
    assert call(server, "get", "/health/ready").status_code == 200
    job_id = call(server, "post", "/jobs/rank", mine, json={"known": ["S001"]}).json()["job_id"]
    assert call(server, "get", f"/jobs/{job_id}", yours).status_code == 404
    assert call(server, "delete", f"/jobs/{job_id}", yours).status_code == 404
    assert call(server, "get", "/jobs", yours).json()["jobs"] == []
    assert call(server, "delete", f"/jobs/{job_id}", mine).status_code == 200
    assert call(server, "get", "/audit", admin).json()["rows"] == 1
