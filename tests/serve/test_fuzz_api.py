"""A thousand made-up requests, valid and not: none ends in a 5xx."""

from __future__ import annotations

import random

import pytest

pytestmark = pytest.mark.slow
N_CASES = 1000


def test_no_request_ends_in_a_5xx(serve):
    schemathesis = pytest.importorskip("schemathesis")
    import requests
    from hypothesis import HealthCheck, Phase, given, settings

    server = serve()
    schema = schemathesis.openapi.from_url(f"{server.url}/api/v1/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    each = N_CASES // len(operations) + 1
    random.seed(0)
    seen: dict[str, list[int]] = {}
    for operation in operations:
        statuses = seen.setdefault(operation.label, [])

        @given(case=operation.as_strategy())
        @settings(
            max_examples=each,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case, statuses=statuses):
            statuses.append(case.call(timeout=30).status_code)

        ask()
    wrong = {label: sorted({s for s in statuses if s >= 500}) for label, statuses in seen.items()}
    assert {label: codes for label, codes in wrong.items() if codes} == {}
    assert sum(map(len, seen.values())) >= N_CASES * 0.7
    assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 200
