"""A service that stands on a thread of its own, with a real HTTP server and workers for every task.

It is for tests that block: they run programs against it, or speak to it byte by byte.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from scheduler import Context, GiveUp, Scheduler
from scheduler.backoff import Fixed
from taskqueue import TaskQueue
from taskqueue.accounts import Accounts
from taskqueue.api import ApiOptions, create_app
from taskqueue.contract import TASK_TYPES
from tests.api.conftest import MAX_QUEUED, SECRET
from tests.api.live import served
from tests.api.raw import request, say
from tests.audit import audit, dump, wipe
from tests.servers import RealServer

LOUD = ("taskqueue", "scheduler", "uvicorn", "asyncio")
ENDLESS = 1_000_000
"""Requests a second, and credits: more than any test uses."""


class Troubles(logging.Handler):
    """Keeps what is logged as an error: whatever is, was nobody's bad input."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(f"{record.name}: {record.getMessage()}\n{record.exc_text or record.exc_info or ''}")


@dataclass
class Standing:
    """The service.

    Attributes:
        port: Of the loopback.
        keys: An API key of every tenant: `acme` has no limits, `globex` some of each kind, `initech`
            no credits, so that nothing is left of what it asks for.
        queue: What it serves. It belongs to the other thread: use it by `call`.
        accounts: Likewise.
        troubles: What it logged as an error.
    """

    server: RealServer
    port: int
    keys: dict[str, str]
    queue: TaskQueue
    accounts: Accounts
    troubles: Troubles
    portal: BlockingPortal | None = None

    @property
    def address(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    def call(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Run a coroutine function beside the service, and return its result."""
        assert self.portal is not None
        return self.portal.call(partial(function, *args, **named))

    def left(self) -> set[str]:
        """Return the keys that the queue has on its server, once its audit finds nothing wrong.

        Without the counts of rates: they are gone after a second or two.
        """
        with self.server.client() as client:
            assert audit(client, self.queue.name) == []
            names = dump(client, self.queue.name).values
        return {name for name in names if not name.startswith("rate:")}


async def answer(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    """Answer at once; every third asynchronous task fails, so that failures are seen too."""
    if not context.task.reserved and context.task.sequence % 3 == 0:
        raise GiveUp("the engine gave no answer", code="NO_ANSWER", details={"tried": 3})
    return {"text": payload.get("prompt", payload.get("query", "")), "sources": []}


async def resolve(_: str) -> str:
    """Say where redirect links lead."""
    return "https://example.com/"


@contextmanager
def standing(server: RealServer, name: str, *, workers: bool = True, **options: Any) -> Iterator[Standing]:
    """Let a service stand as long as the context lasts; *options* are those of the service.

    What it leaves is audited, and taken away.
    """
    troubles = Troubles()
    for logger in LOUD:
        logging.getLogger(logger).addHandler(troubles)
    try:
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(_standing(server, name, workers, options, troubles)) as made,
        ):
            made.portal = portal
            yield made
        with server.client() as client:
            assert audit(client, name) == []
            wipe(client, name)
    finally:
        for logger in LOUD:
            logging.getLogger(logger).removeHandler(troubles)


@asynccontextmanager
async def _standing(
    server: RealServer, name: str, workers: bool, options: dict[str, Any], troubles: Troubles
) -> AsyncIterator[Standing]:
    given = {"max_queued": MAX_QUEUED, "stream_poll": 0.05, "stream_lifetime": 2.0, "resolve_goto": resolve}
    async with (
        TaskQueue.connect(server.url, name=name, max_queued=MAX_QUEUED, patience=5.0) as queue,
        Accounts(queue, SECRET) as accounts,
        _working(queue, workers),
    ):
        await queue.grant("globex", 2_000)
        await queue.set_limit(tenant="globex", concurrency=2)
        await queue.grant("initech", 0)
        keys = {
            "acme": (await accounts.create_key("acme", rate=ENDLESS)).key,
            "globex": (await accounts.create_key("globex", rate=100)).key,
            "initech": (await accounts.create_key("initech", rate=ENDLESS)).key,
        }
        app = create_app(queue, accounts, ApiOptions(**{**given, **options}))
        async with served(app) as address:
            port = int(address.rpartition(":")[2])
            yield Standing(server, port, keys, queue, accounts, troubles)


@asynccontextmanager
async def _working(queue: TaskQueue, workers: bool) -> AsyncIterator[None]:
    if not workers:
        yield
        return
    scheduler = Scheduler(queue=queue, backoff=Fixed(timedelta(milliseconds=10)), grace=1)
    for task_type in TASK_TYPES:
        scheduler.handler(task_type)(answer)
    async with scheduler:
        yield


def assert_unharmed(service: Standing, before: set[str]) -> None:
    """Fail if the service does not answer a good request, has logged an error, or keeps something new."""
    (answer,) = say(service.port, request("GET", "/v1/async/status", service.keys["acme"]))
    assert answer.status == 200
    assert service.troubles.seen == []
    assert service.left() == before
