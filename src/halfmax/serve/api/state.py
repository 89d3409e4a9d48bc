"""What the routes share: settings, predictors, store, and a bounded place to compute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ParamSpec, TypeVar

from fastapi import Depends, Request

from halfmax.serve.guard import Load
from halfmax.serve.live import Live
from halfmax.serve.molecules import SmilesChecker
from halfmax.serve.problems import RequestProblem, busy
from halfmax.serve.settings import ServeSettings
from halfmax.serve.store.store import Store
from halfmax.serve.store.tokens import Caller

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class ServerState:
    """Everything that the routes need.

    Parameters
    ----------
    settings, load, live, store
        Limits, counters, loaded predictors, and what outlives the process.
    """

    settings: ServeSettings
    load: Load
    live: Live
    store: Store
    smiles: SmilesChecker = field(default_factory=SmilesChecker)

    def __post_init__(self) -> None:
        n = self.settings.compute_threads
        self._computing = ThreadPoolExecutor(n, thread_name_prefix="halfmax-compute")
        self._looking = ThreadPoolExecutor(4, thread_name_prefix="halfmax-store")

    async def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in a computing thread; raise RequestProblem (503) if it takes too long."""
        return await self._run(self._computing, partial(function, *args, **kwargs))

    async def look(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that waits for the store."""
        return await self._run(self._looking, partial(function, *args, **kwargs))

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.settings.request_seconds):
                return await loop.run_in_executor(pool, call)
        except TimeoutError:
            raise busy("the answer takes too long; submit it as a job.", 5) from None

    def close(self) -> None:
        """End threads and the child process, and close the store."""
        for pool in (self._computing, self._looking):
            pool.shutdown(wait=False, cancel_futures=True)
        self.smiles.close()
        self.store.close()


async def state_of(request: Request) -> ServerState:
    """Return what the application was made with."""
    found = request.app.state.halfmax
    if not isinstance(found, ServerState):
        raise TypeError("the application was not made by create_app")
    return found


async def caller_of(request: Request) -> Caller:
    """Return who asks; raise RequestProblem (401) if a token is needed and is not there or not right."""
    state = await state_of(request)
    if not state.settings.require_token:
        return Caller("local", admin=True)
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    found = await state.look(state.store.tokens.check, token.strip()) if kind.lower() == "bearer" else None
    if found is None:
        headers = {"WWW-Authenticate": "Bearer"}
        raise RequestProblem(401, "no-token", "a valid bearer token is needed; it may have expired.", headers=headers)
    return found


async def admin_of(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
    """Return who asks; raise RequestProblem (403) unless it may change predictors."""
    if not caller.admin:
        raise RequestProblem(403, "forbidden", "this token may not do that.")
    return caller


State = Annotated[ServerState, Depends(state_of)]
Who = Annotated[Caller, Depends(caller_of)]
Admin = Annotated[Caller, Depends(admin_of)]
