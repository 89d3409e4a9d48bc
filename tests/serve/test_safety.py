"""The service under load, at its end, and what it does not tell."""

from __future__ import annotations

import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from halfmax.errors import DataError
from halfmax.serve import molecules
from tests.serve.conftest import PROFILES

CANARY = "PATIENT-4711-CANARY"


def test_logs_hold_nothing_of_what_was_sent(serve, caplog, monkeypatch):
    server = serve()
    caplog.set_level(logging.DEBUG)
    profile = {"sample_id": CANARY, "expression": {g: float(v) for g, v in PROFILES.iloc[0].items()}}
    url = f"{server.url}/api/v1"
    assert requests.post(f"{url}/predict", json={"samples": [profile]}, timeout=30).status_code == 200
    assert requests.post(f"{url}/predict", json={"known": [CANARY]}, timeout=30).status_code == 422
    assert requests.get(f"{url}/drugs/{CANARY}?search={CANARY}", timeout=30).status_code == 404

    def broken(*_, **__):
        raise RuntimeError(f"about {CANARY}")

    monkeypatch.setattr(type(server.state.live.get()), "predict", broken)
    answer = requests.post(f"{url}/predict", json={"samples": [profile]}, timeout=30)
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert CANARY not in answer.text
    said = [r for r in caplog.records if r.name.startswith("halfmax")]
    assert any("RuntimeError" in r.getMessage() for r in said)
    assert CANARY not in "".join(r.getMessage() + str(r.exc_text) for r in said)


def test_overload_is_a_503_that_says_when_to_come_back(serve, monkeypatch):
    server = serve(max_in_flight=3, compute_threads=1)
    service = server.state.live.get()
    go = threading.Event()
    monkeypatch.setattr(type(service), "card", lambda self: go.wait(20) and {})
    with ThreadPoolExecutor(12) as pool:
        url = f"{server.url}/api/v1/predictors/latest"
        asked = [pool.submit(requests.get, url, timeout=30) for _ in range(12)]
        until = time.monotonic() + 10
        while sum(f.done() for f in asked) < 9 and time.monotonic() < until:
            time.sleep(0.02)
        assert requests.get(f"{server.url}/livez", timeout=5).status_code == 200
        go.set()
        answers = [f.result() for f in asked]
    assert sorted({a.status_code for a in answers}) == [200, 503]
    assert sum(a.status_code == 200 for a in answers) == 3
    assert all(int(a.headers["Retry-After"]) >= 1 for a in answers if a.status_code == 503)
    assert requests.get(f"{server.url}/api/v1/drugs", timeout=10).status_code == 200


def test_it_drains_readiness_first_and_finishes_what_it_began(serve, monkeypatch):
    server = serve()
    begun, go = threading.Event(), threading.Event()

    def slow(self):
        begun.set()
        go.wait(10)
        return {"slow": True}

    monkeypatch.setattr(type(server.state.live.get()), "card", slow)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(requests.get, f"{server.url}/api/v1/predictors/latest", timeout=30)
        assert begun.wait(10)
        server.server.handle_exit(15, None)
        assert requests.get(f"{server.url}/readyz", timeout=5).status_code == 503
        assert requests.get(f"{server.url}/livez", timeout=5).status_code == 200
        time.sleep(1.2)
        go.set()
        assert asked.result().status_code == 200
    server.thread.join(15)
    assert not server.thread.is_alive()


def test_slow_bodies_and_slow_headers_are_given_up(serve, monkeypatch):
    monkeypatch.setattr("halfmax.serve.server.HEADER_SECONDS", 0.5)
    server = serve(body_seconds=0.5)
    head = b"POST /api/v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
    place = ("127.0.0.1", server.port)
    with socket.create_connection(place, timeout=20) as headers, socket.create_connection(place, timeout=20) as body:
        headers.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        body.sendall(head + b"{")
        assert b" 408 " in body.recv(4096)
        assert headers.recv(4096) == b""
    assert requests.get(f"{server.url}/livez", timeout=5).status_code == 200


def test_a_structure_that_hangs_the_child_is_given_up_and_the_next_is_checked(monkeypatch):
    hanging = 'if smiles == "CCC":\n            __import__("time").sleep(60)\n        whole = '
    monkeypatch.setattr(molecules, "_CHILD", molecules._CHILD.replace("whole = ", hanging))
    checker = molecules.SmilesChecker(seconds=1.0)
    assert checker.check("CCO")["smiles"] == "CCO"
    with pytest.raises(DataError, match="more than 1 s"):
        checker.check("CCC")
    assert checker.check("CCCC")["heavy_atoms"] == 4
    checker.close()


def test_a_swap_to_a_damaged_predictor_leaves_the_old_one_answering(serve, predictor, tmp_path):
    server = serve()
    store = server.state.store.predictors
    found = store.add(predictor.save(tmp_path / "next"), "next")
    arrays = store.folder / found.digest / "arrays.safetensors"
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:-10])
    url = f"{server.url}/api/v1"
    assert requests.put(f"{url}/aliases/latest?predictor=next", timeout=30).status_code == 503
    assert requests.get(f"{url}/predictors", timeout=30).json()["latest"]["name"] == "planted"
    arrays.write_bytes(whole)
    assert requests.put(f"{url}/aliases/latest?predictor=next", timeout=30).json()["wrong"] == []
    latest = requests.get(f"{url}/predictors", timeout=30).json()["latest"]
    assert (latest["name"], latest["digest"]) == ("next@1", found.digest)
    body = {"samples": [{"expression": {g: float(v) for g, v in PROFILES.iloc[0].items()}}], "drugs": ["D01"]}
    assert requests.post(f"{url}/predict", json=body, timeout=30).status_code == 200
