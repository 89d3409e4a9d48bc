"""Routes on batch jobs: submit, follow, cancel, fetch the result, delete."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import pandas as pd
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import FileResponse, Response

from halfmax.serve.answers import csv_text, json_response, rows_of_table
from halfmax.serve.api.predict import _FILE
from halfmax.serve.api.route import PROBLEMS, StrictRoute
from halfmax.serve.api.state import ServerState, State, Who
from halfmax.serve.inputs import received
from halfmax.serve.problems import RequestProblem, not_found
from halfmax.serve.schemas import JobAnswer, Name, PredictRequest, RankRequest
from halfmax.serve.store.queue import ENDED, Job

router = APIRouter(route_class=StrictRoute, tags=["jobs"], responses=PROBLEMS)
JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
_MEDIA = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv; charset=utf-8"}


@router.post("/jobs/predict", status_code=202, response_model=JobAnswer)
async def submit_predict(asked: PredictRequest, state: State, who: Who) -> Response:
    """Submit a prediction; the job is on disk when this answers."""
    if asked.new_drugs:
        raise RequestProblem(422, "unusable-data", "new drugs are predicted at once, not as a job.")
    return await _submit(state, who.tenant, {"kind": "predict", "content": asked.model_dump()})


@router.post("/jobs/rank", status_code=202, response_model=JobAnswer)
async def submit_rank(asked: RankRequest, state: State, who: Who) -> Response:
    """Submit a ranking; the job is on disk when this answers."""
    return await _submit(state, who.tenant, {"kind": "rank", "content": asked.model_dump()})


@router.post("/jobs/upload", status_code=202, response_model=JobAnswer, openapi_extra=_FILE)
async def submit_upload(
    request: Request,
    state: State,
    who: Who,
    predictor: Name = "latest",
    unit: Name | None = None,
    top: Annotated[int | None, Query(ge=1, le=100_000)] = None,
    drugs: Annotated[str | None, Query(max_length=20_000, description="Comma-separated names.")] = None,
    allow_low_coverage: bool = False,
    harmonise: Name = "none",
) -> Response:
    """Submit an expression table with many samples; file and job are on disk when this answers."""
    async with received(request, state.settings) as (path, name):
        if not path.stat().st_size:
            raise RequestProblem(422, "no-file", "the file is empty.")
        digest = await state.look(state.store.files.put, path)
    wanted = None if drugs is None else [d.strip() for d in drugs.split(",") if d.strip()]
    content: dict[str, Any] = {"predictor": predictor, "unit": unit, "top": top, "drugs": wanted, "name": name}
    content |= {"allow_low_coverage": allow_low_coverage, "harmonise": harmonise}
    return await _submit(state, who.tenant, {"kind": "file", "content": content}, digest)


@router.get("/jobs")
async def jobs(state: State, who: Who, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """List your newest jobs."""
    found = await state.look(state.store.queue.list, who.tenant, limit=limit)
    return json_response({"jobs": [_told(job) for job in found]})


@router.get("/jobs/{job_id}", response_model=JobAnswer)
async def job(job_id: JobId, state: State, who: Who) -> Response:
    """Say where a job is."""
    return json_response(_told(await _find(state, job_id, who.tenant)))


@router.post("/jobs/{job_id}/cancel", response_model=JobAnswer)
async def cancel(job_id: JobId, state: State, who: Who) -> Response:
    """Stop a job; one that has ended stays as it is."""
    await _find(state, job_id, who.tenant)
    if await state.look(state.store.queue.cancel, job_id, who.tenant):
        await state.look(state.store.audit.add, who.tenant, "cancel", job_id)
    return json_response(_told(await _find(state, job_id, who.tenant)))


@router.delete("/jobs/{job_id}")
async def delete(job_id: JobId, state: State, who: Who) -> Response:
    """Delete a job, what was sent with it, and its result, now."""
    await _find(state, job_id, who.tenant)

    def work() -> None:
        state.store.queue.cancel(job_id, who.tenant)
        state.store.queue.delete(job_id, who.tenant)
        state.store.files.delete_all_but(state.store.queue.stored(), older_than=60)
        state.store.audit.add(who.tenant, "delete", job_id)

    await state.look(work)
    return json_response({"job_id": job_id, "deleted": True})


@router.get("/jobs/{job_id}/result")
async def result(job_id: JobId, state: State, who: Who, format: Literal["json", "csv", "parquet"] = "json") -> Response:
    """Return a finished job's table."""
    found = await _find(state, job_id, who.tenant)
    if found.state != "done":
        hint = "ask again later" if found.state not in ENDED else None
        raise RequestProblem(409, "no-result", f"the job is {found.state}; it has no result.", hint=hint)
    digest = await state.look(state.store.queue.result, job_id)
    path = state.store.files.path(digest or "")
    name = f"halfmax-{job_id}.{format}"
    if format == "parquet":
        return FileResponse(path, media_type=_MEDIA[format], filename=name)

    def work() -> Response:
        table = pd.read_parquet(path)
        measure = state.live.get().measure if state.live.ready else ""
        if format == "csv":
            headers = {"Content-Disposition": f'attachment; filename="{name}"'}
            return Response(csv_text(table, measure), media_type=_MEDIA[format], headers=headers)
        return json_response({"job_id": job_id, "measure": measure, "rows": rows_of_table(table)})

    return await state.compute(work)


async def _submit(state: ServerState, tenant: str, request: dict[str, Any], digest: str | None = None) -> Response:
    text = json.dumps(request, ensure_ascii=False, allow_nan=False)
    job_id = await state.look(state.store.queue.submit, tenant, text, input=digest)
    headers = {"Location": f"/api/v1/jobs/{job_id}"}
    return json_response(_told(await _find(state, job_id, tenant)), 202, headers)


async def _find(state: ServerState, job_id: str, tenant: str) -> Job:
    found = await state.look(state.store.queue.get, job_id, tenant)
    if found is None:
        raise not_found("job")
    return found


def _told(job: Job) -> dict[str, Any]:
    place = f"/api/v1/jobs/{job.job_id}/result" if job.state == "done" else None
    told = {"job_id": job.job_id, "state": job.state, "done": job.done, "total": job.total, "attempts": job.attempts}
    created = datetime.fromtimestamp(job.created, UTC).isoformat(timespec="seconds")
    return {**told, "error": job.error, "created": created, "result": place}
