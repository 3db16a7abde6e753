"""What `taskqueue serve` puts together: queue, accounts, application, HTTP server, and who runs the tasks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shlex
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import KW_ONLY, dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI

from scheduler import Scheduler
from scheduler.processes import Supervisor
from scheduler.signals import stop_signals
from taskqueue.accounts import Accounts, load_secret
from taskqueue.api import ApiOptions, create_app
from taskqueue.api.protocol import HttpProtocol
from taskqueue.cli.deliveries import add_deliveries, policy_for
from taskqueue.cli.exits import Stop
from taskqueue.cli.listening import address_of, is_everywhere, listening
from taskqueue.cli.supervising import supervisor_of
from taskqueue.contract import TASK_TYPES, PriceList
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


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be served, and by whom.

    Attributes:
        settings: Of the program; its url and name are those of the queue.
        target: MODULE:ATTR of the scheduler; None where there is none, or all is done by providers.
        scheduler: That very scheduler, with the providers; None where tasks are run elsewhere.
        workers: How many processes run it beside this one; 0: this one does.
        host: Where to listen.
        port: Likewise; 0 takes a free one.
        demo: Whether results are made up.
        docs: Whether there is a page that shows the API.
    """

    settings: Settings
    target: str | None
    scheduler: Scheduler | None
    workers: int
    host: str
    port: int
    _: KW_ONLY
    demo: bool
    docs: bool


class Service:
    """The HTTP service, ready to run.

    Attributes:
        queue: Where tasks go.
        accounts: Who may hand them in.
        address: Base URL, as clients on this machine reach it.
        is_everywhere: Whether others reach it too.
    """

    def __init__(
        self,
        queue: TaskQueue,
        accounts: Accounts,
        app: FastAPI,
        runs: Scheduler | Supervisor | None,
        bound: socket.socket,
    ) -> None:
        self.queue = queue
        self.accounts = accounts
        self.address = address_of(bound)
        self.is_everywhere = is_everywhere(bound)
        self._app = app
        self._runs = runs
        self._listening = bound

    def example(self, key: str) -> str:
        """Return a line for a shell that submits a task, with this API key."""
        task_type = self._app.state.service.options.served[0]
        field = "query" if task_type in _SEARCHES else "prompt"
        payload = {field: "Which harbours freeze over in winter?", "country": "US"}
        task = json.dumps({"taskType": task_type, "priority": 5, "payload": payload})
        headers = (f"Authorization: Bearer {key}", "Content-Type: application/json")
        words = ["curl", "-s", f"{self.address}/v1/async/task"]
        return shlex.join([*words, *(word for header in headers for word in ("-H", header)), "-d", task])

    async def first_key(self, tenant: str, credits: int | None) -> str | None:  # noqa: A002
        """Make an API key if there is none yet, and return it."""
        if await self.accounts.keys():
            return None
        if credits is not None:
            await self.queue.grant(tenant, credits)
        return (await self.accounts.create_key(tenant, name="first")).key

    async def run(self) -> int:
        """Serve until a signal comes, then end in order: first the requests, then the tasks.

        Returns:
            0, or the exit status of the first worker process that did not end well.
        """
        config = uvicorn.Config(
            self._app,
            http=HttpProtocol,
            ws="none",
            loop="none",
            log_config=None,
            timeout_graceful_shutdown=_GRACEFUL,
        )
        server = _Server(config)

        def stop() -> None:
            self._app.state.service.stop()
            server.should_exit = True

        if isinstance(self._runs, Supervisor):
            return await self._run_beside(self._runs, server, stop)
        with stop_signals(stop):
            async with self._runs or nullcontext():
                await server.serve(sockets=[self._listening])
        return 0

    async def _run_beside(self, workers: Supervisor, server: uvicorn.Server, stop: Callable[[], None]) -> int:
        def stop_both() -> None:
            # Workers go on until the last request is answered: synchronous ones wait for their tasks.
            workers.hold()
            stop()

        with stop_signals(stop_both, at_once=workers.kill):
            running = asyncio.create_task(workers.run(handle_signals=False))
            # They end by themselves only where starting again cannot help: then nobody would run what
            # is accepted here.
            running.add_done_callback(lambda _: stop())
            try:
                await server.serve(sockets=[self._listening])
            finally:
                workers.stop()
                status = await running
        return status


class _Server(uvicorn.Server):
    """A server that leaves the signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def opened_service(plan: Plan) -> AsyncIterator[Service]:
    """Open everything that the service needs, and close it in the end.

    Raises:
        Stop: If the address cannot be listened on, or no handler is of a type of the contract.
    """
    settings = plan.settings
    egress = policy_for(EgressPolicy, local=settings.local_webhooks)
    options = ApiOptions(
        prices=PriceList.default() if settings.prices is None else PriceList.from_file(settings.prices),
        strict=settings.strict_payloads,
        types=_served_types(plan.scheduler),
        max_body_bytes=int(settings.max_body),
        max_task_bytes=int(settings.max_task_body),
        max_queued=settings.max_queued,
        sync_timeout=settings.sync_timeout.total_seconds(),
        egress=egress,
        demo=plan.demo,
        docs=plan.docs,
    )
    with listening(plan.host, plan.port) as bound:
        async with _opened_queue(settings, options) as queue:
            secret = load_secret(settings.secret_text, folder=queue.connector.folder)
            async with Accounts(queue, secret) as accounts:
                app = create_app(queue, accounts, options)
                yield Service(queue, accounts, app, _who_runs(plan), bound)


def _who_runs(plan: Plan) -> Scheduler | Supervisor | None:
    """Return the scheduler, in this process or in others; both run the same queue and deliver webhooks."""
    settings, scheduler = plan.settings, plan.scheduler
    if scheduler is None:
        return None
    concurrency = settings.concurrency if plan.demo else None
    if plan.workers:
        return supervisor_of(
            plan.target,
            plan.workers,
            url=settings.url,
            queue=settings.name,
            providers=None if plan.demo else settings.providers,
            concurrency=concurrency,
            log_level=settings.log_level,
            endless=True,
        )
    scheduler.configure(url=settings.url, name=settings.name, concurrency=concurrency)
    add_deliveries(scheduler, settings)
    return scheduler


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
async def _opened_queue(settings: Settings, options: ApiOptions) -> AsyncIterator[TaskQueue]:
    given: dict[str, Any] = {
        "name": settings.name,
        "max_payload": int(settings.max_payload),
        "max_queued": options.max_queued,
        "patience": PATIENCE,
    }
    try:
        queue = await TaskQueue.connect(settings.url, policy=POLICY, **given)
    except QueueMismatch as mismatch:
        logger.warning("%s: the policy stays %s", mismatch, mismatch.stored)
        queue = await TaskQueue.connect(settings.url, **given)
    try:
        yield queue
    finally:
        await asyncio.shield(queue.close())
