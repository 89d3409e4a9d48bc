"""Problems: every error of the API as one RFC 9457 document with code, row, column and hint, never a traceback."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from halfmax import RESEARCH_USE
from halfmax.errors import DataError, DownloadError, HalfmaxError, ModelFileError, UnknownNameError

_ROW = re.compile(r"\brow (\d+)", re.IGNORECASE)
_COLUMN = re.compile(r"\bcolumn '([^']{1,200})'")


class RequestProblem(HTTPException, HalfmaxError):
    """A request that cannot be answered as it is.

    Parameters
    ----------
    status, code
        HTTP status, and a short fixed name for programs.
    detail
        What was found and what to do.
    row, column, hint
        Where in the input, and what to do, where they are known.
    retry_after
        Seconds after which to try again.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        row: int | None = None,
        column: str | None = None,
        hint: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        more = {} if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(status, detail, {**(headers or {}), **more})
        self.code, self.row, self.column, self.hint = code, row, column, hint


def not_found(what: str) -> RequestProblem:
    """Return the problem of something that is not there, or not the caller's."""
    return RequestProblem(404, "not-found", f"there is no such {what}.")


def busy(detail: str, seconds: int = 1) -> RequestProblem:
    """Return the problem of a service that has enough to do."""
    hint = f"try again after {seconds} s"
    return RequestProblem(503, "busy", detail, hint=hint, retry_after=seconds)


def as_problem(error: Exception) -> RequestProblem:
    """Return what a client is told of any error; what is not foreseen says nothing of the inside."""
    if isinstance(error, RequestProblem):
        return error
    if isinstance(error, HTTPException):
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        return RequestProblem(error.status_code, code, f"{error.detail}.", headers=error.headers)
    if isinstance(error, ModelFileError):
        return RequestProblem(503, "predictor-unusable", "the predictor cannot be used; see the service's log.")
    if isinstance(error, DownloadError):
        return RequestProblem(503, "data-unavailable", "data that this needs are not on the service's machine.")
    if isinstance(error, UnknownNameError):
        return _told(404, "unknown-name", str(error))
    if isinstance(error, DataError):
        return _told(422, "unusable-data", str(error))
    if isinstance(error, HalfmaxError):
        return _told(422, "refused", str(error))
    return _of_the_store(error)


def problem_response(problem: RequestProblem, request_id: str = "") -> Response:
    """Return the document of a problem."""
    status = problem.status_code
    content: dict[str, Any] = {
        "type": f"urn:halfmax:problem:{problem.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": problem.detail,
        "code": problem.code,
        "row": problem.row,
        "column": problem.column,
        "hint": problem.hint,
        "request_id": request_id,
        "research_use": RESEARCH_USE,
    }
    body = json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(body, status, dict(problem.headers or {}), media_type="application/problem+json")


async def handle(request: Request, error: Exception) -> Response:
    """Answer an error of a route; a name that is not known is a 404 in the path, and a 422 in what is sent."""
    problem = as_problem(error)
    if isinstance(error, UnknownNameError) and request.method == "POST":
        problem.status_code = 422
    return problem_response(problem, getattr(request.state, "request_id", ""))


async def handle_invalid(request: Request, error: Exception) -> Response:
    """Answer a request that does not fit the schema: the first fault in words, with its place."""
    faults: list[dict[str, Any]] = getattr(error, "errors", list)()
    first = faults[0] if faults else {"loc": (), "msg": "the request does not fit the schema"}
    place = [str(part) for part in first["loc"]]
    rows = [int(part) for part in place if part.isdigit()]
    more = f" ({len(faults)} faults in all)" if len(faults) > 1 else ""
    problem = RequestProblem(
        422,
        "invalid-request",
        f"{'.'.join(place)[:200]}: {first['msg']}{more}.",
        row=rows[0] if rows else None,
        column=place[-1][:200] if place else None,
        hint="see /api/v1/openapi.json for what the request must hold",
    )
    return problem_response(problem, getattr(request.state, "request_id", ""))


def _told(status: int, code: str, message: str) -> RequestProblem:
    row, column = _ROW.search(message), _COLUMN.search(message)
    _, semicolon, hint = message.rpartition("; ")
    return RequestProblem(
        status,
        code,
        message,
        row=int(row[1]) if row else None,
        column=column[1] if column else None,
        hint=hint if semicolon else None,
    )


def _of_the_store(error: Exception) -> RequestProblem:
    """Return the problem of a database that is locked, full or away, or of something unforeseen."""
    kind, text = type(error).__module__.partition(".")[0], str(error).lower()
    if isinstance(error, OSError) and error.errno == 28:
        return RequestProblem(507, "disk-full", "the service's disk is full.", retry_after=60)
    if kind != "sqlalchemy":
        return RequestProblem(500, "internal", "the service failed; its log says where, under the request's id.")
    if "disk" in text and "full" in text:
        return RequestProblem(507, "disk-full", "the service's disk is full.", retry_after=60)
    return busy("the service's database does not answer at the moment.", 2)
