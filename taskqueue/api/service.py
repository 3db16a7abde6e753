"""What all handlers share, and how a route calls one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from taskqueue.accounts import Accounts
from taskqueue.api.counting import Counted, Counting, before_body
from taskqueue.api.errors import missing_key, queue_full
from taskqueue.api.exchange import KEY, Exchange
from taskqueue.api.metrics import Metrics
from taskqueue.api.options import ApiOptions
from taskqueue.queue import TaskQueue
from taskqueue.queue.submissions import Submissions
from taskqueue.queue.task_queue import submissions_of


class Sendable(Protocol):
    """An answer: a `Reply`, or a stream."""

    async def send_to(self, send: Send) -> None:
        """Send all of it."""


@dataclass(slots=True)
class Service:
    """What all handlers share.

    Attributes:
        queue: Where tasks go.
        accounts: Who may hand them in.
        options: What the operator has set.
        metrics: What was counted.
        stopping: Set when the service stops: those that wait are sent home, streams end.
        streams: Open event streams of each tenant.
        document: The OpenAPI document, encoded.
        submissions: How tasks of requests that are still to be counted go into the queue.
    """

    queue: TaskQueue
    accounts: Accounts
    options: ApiOptions
    metrics: Metrics = field(default_factory=Metrics)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    streams: Counter[str] = field(default_factory=Counter)
    document: bytes = b""
    submissions: Submissions = field(init=False)

    def __post_init__(self) -> None:
        self.submissions = submissions_of(self.queue)

    def stop(self) -> None:
        """Let synchronous requests and streams end; call it when the process is told to stop.

        Servers wait for open connections before they end the lifespan, so that is too late for it.
        """
        self.stopping.set()

    async def body(self, exchange: Exchange, *, is_batch: bool = False) -> Any:
        """Return the JSON value of a request's body.

        Raises:
            RateExceeded: If the body is long, and its request was refused before it was read.
            ApiError: If there is none that is accepted.
        """
        await before_body(exchange)
        options = self.options
        limit = options.max_body_bytes if is_batch else options.max_task_bytes
        return await exchange.json(limit, options.body_timeout)

    async def check_room(self, tenant: str, wanted: int) -> None:
        """Refuse *wanted* tasks that the tenant's queue has no room for.

        Raises:
            ApiError: 429 `QUEUE_LIMIT_EXCEEDED`.
        """
        stats = await self.queue.stats(tenant=tenant)
        if stats.queued + wanted > self.options.max_queued:
            raise queue_full(self.options.max_queued)


Handler = Callable[[Service, Exchange], Coroutine[Any, Any, Sendable]]


class Endpoint:
    """A handler as an ASGI application: counts the request, calls the handler, sends what it returns.

    Args:
        service: What handlers share.
        name: Of the endpoint: its bucket of the rate limit, its name in log and metrics.
        handler: Returns the answer, or raises.
        counted: When requests are counted; None if it answers also who shows no key. The middleware
            has seen to keys; should it ever let a request slip past, this does not.
    """

    __slots__ = ("_counted", "_handler", "_service", "name")

    def __init__(self, service: Service, name: str, handler: Handler, counted: Counted | None) -> None:
        self._service = service
        self.name = name
        self._handler = handler
        self._counted = counted

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Answer one request."""
        exchange: Exchange = scope[KEY]
        exchange.endpoint = self.name
        if self._counted is None:
            reply = await self._handler(self._service, exchange)
        else:
            reply = await self._counted_reply(exchange, self._counted)
        await reply.send_to(send)

    async def _counted_reply(self, exchange: Exchange, counted: Counted) -> Sendable:
        if exchange.principal is None:
            raise missing_key()
        counting = Counting(self._service.accounts, exchange, exchange.principal, self.name)
        match counted:
            case Counted.BESIDE:
                return await counting.beside(self._handler(self._service, exchange))
            case Counted.WITHIN:
                return await counting.within(self._handler(self._service, exchange))
            case Counted.FIRST:  # pragma: no branch - there is no fourth
                await counting.settle()
                return await self._handler(self._service, exchange)
