"""Puts the service together: routes, what happens to every request, and the lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Match, Route

from taskqueue.accounts import Accounts
from taskqueue.api.auth import UNMATCHED, Authentication, is_guarded
from taskqueue.api.counting import Counting
from taskqueue.api.errors import method_not_allowed, route_not_found
from taskqueue.api.exchange import KEY, Exchange
from taskqueue.api.json import dumps
from taskqueue.api.middleware import Requests, Shortcut
from taskqueue.api.openapi import document
from taskqueue.api.options import ApiOptions
from taskqueue.api.routes import ROUTES
from taskqueue.api.service import Endpoint, Service
from taskqueue.queue import TaskQueue

_METHOD_NOT_ALLOWED = 405


def create_app(queue: TaskQueue, accounts: Accounts, options: ApiOptions | None = None) -> FastAPI:
    """Return the HTTP service over a queue.

    The queue stays the caller's: it must be open as long as the service runs, and is not closed by
    it. Open it with `max_queued` as in the options, and with a patience that clients have too:
    that is how long a request waits for a server that is away before it gets a 503.

    `app.state.service.stop()` sends waiting clients home. Call it when the process is told to stop:
    servers wait for open connections, and only then end the lifespan.

    Args:
        queue: Where tasks go.
        accounts: Who may hand them in.
        options: None for the defaults.
    """
    service = Service(queue, accounts, options or ApiOptions())
    release = version("taskqueue-engine")
    told = document(service.options, release)
    service.document = dumps(told)
    routes, shortcuts = [], {}
    for method, path, name, handler, counted in ROUTES:
        endpoint = Endpoint(service, name, handler, counted if is_guarded(path) else None)
        routes.append(Route(path, endpoint, methods=[method], name=name))
        if "{" not in path:
            shortcuts[method, path] = endpoint
    app = FastAPI(
        title=told["info"]["title"],
        version=release,
        # Our document is written by hand, because our handlers read requests by themselves.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # An official client takes a redirect for an empty answer.
        redirect_slashes=False,
        lifespan=_lifespan,
        middleware=[
            # The first is the outermost.
            Middleware(Requests, metrics=service.metrics, retry_after=service.options.retry_after),
            Middleware(Authentication, accounts=accounts),
            Middleware(Shortcut, endpoints=shortcuts),
        ],
        exception_handlers={HTTPException: _unmatched},
    )
    app.state.service = service
    app.openapi = lambda: told  # type: ignore[method-assign]  # as FastAPI's guide has it
    app.router.routes += routes
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.service.stop()


async def _unmatched(request: Request, error: Exception) -> Response:
    """Answer what no route takes: with the contract's envelope, counted where there is a key."""
    exchange: Exchange = request.scope[KEY]
    service: Service = request.app.state.service
    if exchange.principal is not None:
        await Counting(service.accounts, exchange, exchange.principal, UNMATCHED).settle()
    path = request.scope["path"]
    if isinstance(error, HTTPException) and error.status_code == _METHOD_NOT_ALLOWED:
        raise method_not_allowed(path, ", ".join(_allowed(request)))
    raise route_not_found(path)


def _allowed(request: Request) -> list[str]:
    """Return the methods of a path, over all routes that have it: the framework names those of one."""
    routes = [route for route in request.app.router.routes if isinstance(route, Route)]
    paths = [route.path for route in routes if route.matches(request.scope)[0] is Match.PARTIAL]
    return sorted({method for route in routes if route.path in paths[:1] for method in route.methods or ()})
