"""Counters of the service in the text form that Prometheus reads; nothing in them tells what was asked."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping

#: Upper ends of the classes of answering times [s].
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0)


class Metrics:
    """Requests by route and status, and how long they took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._classes: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; methods that nobody knows are one."""
        method = method if method in ("GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "PATCH") else "other"
        with self._lock:
            self._requests[method, route, status] += 1
            self._seconds[route] += seconds
            self._classes[route][bisect_left(BUCKETS, seconds)] += 1

    def text(self, gauges: Mapping[str, float]) -> str:
        """Return all counters, and `gauges` (name to value)."""
        with self._lock:
            lines = ["# TYPE halfmax_requests_total counter"]
            for (method, route, status), n in sorted(self._requests.items()):
                lines.append(f'halfmax_requests_total{{method="{method}",route="{route}",status="{status}"}} {n}')
            lines.append("# TYPE halfmax_request_seconds histogram")
            for route, classes in sorted(self._classes.items()):
                seen = 0
                for edge, n in zip((*map(str, BUCKETS), "+Inf"), classes, strict=True):
                    seen += n
                    lines.append(f'halfmax_request_seconds_bucket{{route="{route}",le="{edge}"}} {seen}')
                lines.append(f'halfmax_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}')
                lines.append(f'halfmax_request_seconds_count{{route="{route}"}} {seen}')
        for name, value in gauges.items():
            lines += [f"# TYPE halfmax_{name.partition('{')[0]} gauge", f"halfmax_{name} {value:g}"]
        return "\n".join(lines) + "\n"
