"""Routes that say how the service is: alive, ready, and its counters."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from halfmax.serve.answers import json_response
from halfmax.serve.api.state import State, Who
from halfmax.serve.problems import RequestProblem

router = APIRouter(tags=["service"])
root = APIRouter(include_in_schema=False)


@root.get("/livez")
@router.get("/health/live")
async def live() -> Response:
    """Say that the process lives."""
    return json_response({"alive": True})


@root.get("/readyz")
@router.get("/health/ready", responses={503: {"description": "Not ready, or about to end."}})
async def ready(state: State) -> Response:
    """Say whether a predictor is loaded and requests are taken."""
    if state.load.draining:
        raise RequestProblem(503, "draining", "the service is about to end.", retry_after=10)
    if not state.live.ready:
        raise RequestProblem(503, "not-ready", "no predictor is loaded yet.", retry_after=2)
    return json_response({"ready": True})


@router.get("/metrics")
async def metrics(state: State, who: Who) -> Response:
    """Return counters in the form that Prometheus reads."""
    gauges = {"requests_in_flight": float(state.load.in_flight)}
    counts = await state.look(state.store.queue.counts)
    gauges |= {f'jobs{{state="{name}"}}': float(n) for name, n in counts.items()}
    return Response(state.load.metrics.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")
