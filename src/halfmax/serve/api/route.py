"""StrictRoute: routes whose JSON is read strictly, and the problems that each may answer with."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from halfmax.serve.schemas import ProblemDocument
from halfmax.serve.strict_json import StrictRequest

_TOLD = {
    400: "The body is no JSON.",
    401: "A token is needed.",
    403: "This token may not do that.",
    404: "There is none such, or it is not yours.",
    408: "The body did not arrive in time.",
    413: "Too large.",
    415: "Packed in a way that is not read.",
    422: "The input cannot be used; code, row, column and hint say why.",
    503: "Enough to do; Retry-After says when to come back.",
    507: "The disk is full.",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": words,
        "content": {"application/problem+json": {"schema": ProblemDocument.model_json_schema()}},
    }
    for status, words in _TOLD.items()
}


class StrictRoute(APIRoute):
    """A route that reads JSON strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which is given a `StrictRequest`."""
        plain = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await plain(StrictRequest(request.scope, request.receive))

        return strict
