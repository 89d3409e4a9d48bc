"""The application: routes, guard and problems put together around one predictor or a store of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from halfmax import RESEARCH_USE, __version__
from halfmax.errors import HalfmaxError
from halfmax.serve.api import facts, health, jobs, predict
from halfmax.serve.api.state import ServerState
from halfmax.serve.guard import Guard, Load
from halfmax.serve.live import Live
from halfmax.serve.problems import handle, handle_invalid
from halfmax.serve.service import Service
from halfmax.serve.settings import ServeSettings
from halfmax.serve.store.store import Store
from halfmax.serve.web.kept import KeptSamples
from halfmax.serve.web.views import add_pages
from halfmax.serve.workers import Workers

log = logging.getLogger(__name__)
_FOLLOW_EVERY, _TIDY_EVERY = 5.0, 3600.0
_ABOUT = (
    "How strongly a cancer sample is predicted to respond to drugs, from its genomic profile. "
    f"**{RESEARCH_USE}** Errors are RFC 9457 documents with code, row, column and hint."
)


def create_app(settings: ServeSettings | None = None, service: Service | None = None) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    settings
        Limits, and where state is kept.
    service
        What answers; the store's predictor with the alias ``latest`` if None.

    Raises
    ------
    DataError
        If the store cannot be written.
    """
    settings = settings or ServeSettings()
    store = Store(settings)
    live = Live(store.predictors, dataset=None if service is None else service.dataset)
    if service is not None:
        live.put(service)
    live.refresh()
    state = ServerState(settings, Load(), live, store)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        workers = Workers(settings)
        workers.start()
        following = asyncio.create_task(_follow(state))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.to_thread(workers.stop)
            state.close()

    app = FastAPI(
        title="halfmax",
        version=__version__,
        description=_ABOUT,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.halfmax = state
    for module in (predict, facts, jobs, health):
        app.include_router(module.router, prefix="/api/v1")
    app.include_router(health.root)
    add_pages(app)
    for kind in (HalfmaxError, HTTPException):
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(RequestValidationError, handle_invalid)
    app.add_middleware(Guard, settings=settings, load=state.load)
    return app


async def _follow(state: ServerState) -> None:
    """Follow the aliases, and delete what is beyond retention."""
    waited, settings = _TIDY_EVERY, state.settings
    while True:
        try:
            await state.look(state.live.refresh)
            if waited >= _TIDY_EVERY:
                waited = 0.0
                await state.look(state.store.tidy)
                await state.look(KeptSamples.of(settings).tidy, settings.retention_days)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the store may be locked now and free at the next look
            log.warning("the store was not looked after: %s", type(error).__name__)
        await asyncio.sleep(_FOLLOW_EVERY)
        waited += _FOLLOW_EVERY
