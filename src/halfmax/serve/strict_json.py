"""JSON that says one thing only: no NaN, no key twice, no lone surrogates, no depth without end."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from halfmax.serve.problems import RequestProblem


class StrictRequest(Request):
    """A request whose JSON is read strictly."""

    async def json(self) -> Any:
        """Return the body's content; raise RequestProblem if it is not plain JSON."""
        if not hasattr(self, "_strict"):
            self._strict = parse(await self.body())
        return self._strict


def parse(body: bytes) -> Any:
    """Return what JSON text holds.

    Raises
    ------
    RequestProblem
        400 if it is no JSON; 422 if it holds NaN or Infinity, a key twice, or half of a character.
    """
    try:
        text = body.decode("utf-8-sig")
        content = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twice)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        message = f"the body is not JSON: {error.msg} in line {error.lineno}, place {error.colno}."
        raise RequestProblem(400, "not-json", message, row=error.lineno) from None
    except UnicodeError:
        raise RequestProblem(422, "not-utf-8", "the body holds text that is not UTF-8.") from None
    except RecursionError:
        raise RequestProblem(422, "too-deep", "the JSON is nested too deeply.") from None
    except ValueError:  # an integer with thousands of digits
        raise RequestProblem(422, "not-a-number", "the JSON holds a number that is too long.") from None
    return content


def _no_constant(name: str) -> Any:
    hint = "leave the value out, or send null, where it is missing"
    raise RequestProblem(422, "not-a-number", f"the JSON holds {name}, which is no number.", hint=hint)


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        twice = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
        message = f"{len(twice)} keys stand twice in the JSON, e.g. {twice[0][:100]!r}."
        raise RequestProblem(422, "duplicate-key", message, column=twice[0][:200], hint="send each once")
    return content
