"""A thousand made-up requests, valid and not: none ends in a 5xx; and a service killed again and again loses no job."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings

pytestmark = pytest.mark.slow
N_CASES = 1000


def ask_made_up(operation, n, statuses):
    """Send n made-up requests to one operation, and note how each is answered."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=n,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case):
        statuses.append(case.call(timeout=30).status_code)

    ask()


def test_no_request_ends_in_a_5xx(serve):
    schemathesis = pytest.importorskip("schemathesis")
    server = serve()
    schema = schemathesis.openapi.from_url(f"{server.url}/api/v1/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    seen: dict[str, list[int]] = {}
    for operation in operations:
        ask_made_up(operation, 2 * N_CASES // len(operations), seen.setdefault(operation.label, []))
    wrong = {label: sorted({s for s in statuses if s >= 500}) for label, statuses in seen.items()}
    assert {label: codes for label, codes in wrong.items() if codes} == {}
    assert sum(map(len, seen.values())) >= N_CASES, {label: len(statuses) for label, statuses in seen.items()}
    assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 200


def test_no_acknowledged_job_is_lost_when_everything_is_killed(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])
    from serve_soak import soak

    found = soak(rounds=4, acks=120, seed=1)
    assert found["acknowledged"] >= 120
    assert (found["lost"], found["results_twice"], found["done_without_result"], found["left_at_the_end"]) == (0,) * 4
    assert found["database_sound"]
