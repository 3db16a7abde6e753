"""What `taskqueue serve` puts together: queue, accounts, application, HTTP server and scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from scheduler import Scheduler
from scheduler.providers import simulated
from scheduler.signals import stop_signals
from taskqueue.accounts import Accounts, load_secret
from taskqueue.api import ApiOptions, create_app
from taskqueue.cli.deliveries import add_deliveries, policy_for
from taskqueue.cli.exits import Stop
from taskqueue.contract import TASK_TYPES
from taskqueue.errors import QueueMismatch
from taskqueue.queue import TaskQueue
from taskqueue.settings import Settings
from taskqueue.webhooks import EgressPolicy

logger = logging.getLogger("taskqueue.serve")

PATIENCE = 5.0
"""Seconds for which a request waits for a server that is away, before it is told so."""

POLICY = "fair_tenants"
"""How tenants share a queue that this command makes; another policy stays as it is."""

_GRACEFUL = 10  # seconds that open connections get at the end
_SEARCHES = ("GOOGLE", "GOOGLE_NEWS")


class Service:
    """The HTTP service, ready to run.

    Attributes:
        queue: Where tasks go.
        accounts: Who may hand them in.
        address: Base URL.
        example_type: A task type that is served.
    """

    def __init__(
        self,
        queue: TaskQueue,
        accounts: Accounts,
        app: FastAPI,
        scheduler: Scheduler | None,
        listening: socket.socket,
    ) -> None:
        self.queue = queue
        self.accounts = accounts
        self._app = app
        self._scheduler = scheduler
        self._listening = listening
        host, port = listening.getsockname()[:2]
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.example_type: str = app.state.service.options.served[0]

    @property
    def example_payload(self) -> str:
        """A payload of the example type, as JSON."""
        field = "query" if self.example_type in _SEARCHES else "prompt"
        return json.dumps({field: "Which harbours freeze over in winter?", "country": "US"})

    async def first_key(self, tenant: str, credits: int | None) -> str | None:  # noqa: A002
        """Make an API key if there is none yet, and return it."""
        if await self.accounts.keys():
            return None
        if credits is not None:
            await self.queue.grant(tenant, credits)
        return (await self.accounts.create_key(tenant, name="first")).key

    async def run(self) -> None:
        """Serve until a signal comes, then end in order."""
        config = uvicorn.Config(
            self._app, http="httptools", loop="none", log_config=None, timeout_graceful_shutdown=_GRACEFUL
        )
        server = _Server(config)

        def stop() -> None:
            self._app.state.service.stop()
            server.should_exit = True

        with stop_signals(stop):
            if self._scheduler is None:
                await server.serve(sockets=[self._listening])
                return
            async with self._scheduler:
                await server.serve(sockets=[self._listening])


class _Server(uvicorn.Server):
    """A server that leaves the signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def opened_service(
    settings: Settings, url: str | None, scheduler: Scheduler | None, host: str, port: int, *, demo: bool
) -> AsyncIterator[Service]:
    """Open everything that the service needs, and close it in the end.

    Args:
        settings: Of the program.
        url: The server of the queue.
        scheduler: With the user's handlers; None: the demo's, or none.
        host: Where to listen.
        port: Likewise; 0 takes a free one.
        demo: Whether results are made up.

    Raises:
        Stop: If the address cannot be listened on, or no handler is of a type of the contract.
    """
    types = _served_types(scheduler)
    egress = policy_for(EgressPolicy, local=settings.local_webhooks)
    options = ApiOptions(types=types, egress=egress, demo=demo)
    with _listening(host, port) as listening:
        async with _opened_queue(settings, url, options) as queue:
            secret = load_secret(settings.secret_text, folder=queue.connector.folder)
            if demo:
                scheduler = Scheduler(queue=queue, concurrency=settings.concurrency)
                scheduler.include(simulated.handlers())
            if scheduler is not None:
                add_deliveries(scheduler, local=settings.local_webhooks, secret=settings.secret_text)
            async with Accounts(queue, secret) as accounts:
                app = create_app(queue, accounts, options)
                yield Service(queue, accounts, app, scheduler, listening)


def _served_types(scheduler: Scheduler | None) -> tuple[str, ...] | None:
    if scheduler is None:
        return None
    types = tuple(name for name in TASK_TYPES if name in scheduler.types)
    if not types:
        raise Stop(
            f"the scheduler has handlers for {', '.join(scheduler.types) or 'nothing'}; the HTTP service "
            f"takes tasks of the types {', '.join(TASK_TYPES)}"
        )
    return types


@asynccontextmanager
async def _opened_queue(settings: Settings, url: str | None, options: ApiOptions) -> AsyncIterator[TaskQueue]:
    given: dict[str, Any] = {
        "name": settings.name,
        "max_payload": int(settings.max_payload),
        "max_queued": options.max_queued,
        "patience": PATIENCE,
    }
    try:
        queue = await TaskQueue.connect(url, policy=POLICY, **given)
    except QueueMismatch as mismatch:
        logger.warning("%s: the policy stays %s", mismatch, mismatch.stored)
        queue = await TaskQueue.connect(url, **given)
    try:
        yield queue
    finally:
        await asyncio.shield(queue.close())


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(2048)
            listening.setblocking(False)
            yield listening
    except OSError as error:
        reason = error.strerror or str(error)
        raise Stop(f"cannot listen on {host} port {port}: {reason}; choose another with --port") from error
