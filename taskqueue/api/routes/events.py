"""One task as a stream of server-sent events: what it does until it has ended (ours).

    event: task       data: as GET of the task         at first, and when its state or attempt changes
    event: progress   data: {"progress": ...}          what its handler says
    event: result     data: as GET of the task         it has ended; so does the stream
    event: gone       data: {"id": ...}                it was cleared or purged; so does the stream

A comment comes when nothing else has come for a while. There is nothing to resume: a client that
connects again gets the present state first.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.types import Send

from taskqueue.api.errors import concurrency_reached, unavailable
from taskqueue.api.exchange import Exchange
from taskqueue.api.json import dumps
from taskqueue.api.routes.tasks import find
from taskqueue.api.schemas import status_body
from taskqueue.api.service import Service
from taskqueue.api.watching import running, until_gone
from taskqueue.errors import ServerUnavailable, TaskNotFound
from taskqueue.task import Task

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    # Proxies that gather answers would hold events back.
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]
_COMMENT = b": still here\n\n"
_RETRY = b"retry: 2000\n\n"


async def stream(service: Service, exchange: Exchange) -> Stream:
    """Open the stream of a task, if there is room for one more.

    Raises:
        ApiError: 404 for an unknown task, 429 if the tenant has as many streams as it may, 503 if the
            process has.
    """
    exchange.query()
    tenant, options = exchange.tenant, service.options
    task = await find(service, exchange)
    if service.metrics.streams >= options.max_streams or service.stopping.is_set():
        raise unavailable(options.retry_after)
    if service.streams[tenant] >= options.max_streams_per_tenant:
        raise concurrency_reached(options.max_streams_per_tenant)
    return Stream(service, exchange, task)


class Stream:
    """The open stream of one task. It counts as open from here on, so it must be sent."""

    def __init__(self, service: Service, exchange: Exchange, task: Task) -> None:
        self._service = service
        self._exchange = exchange
        self._task = task
        self._sent_at = 0.0
        service.metrics.streams += 1
        service.streams[task.tenant] += 1

    async def send_to(self, send: Send) -> None:
        """Send events until the task has ended, the client goes, or the service stops."""
        service, tenant = self._service, self._task.tenant
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS]})
            async with asyncio.timeout(service.options.stream_lifetime):
                await self._follow(send)
        except TimeoutError:
            pass  # it lasted long enough; the client opens another one
        finally:
            service.metrics.streams -= 1
            service.streams[tenant] -= 1
            if not service.streams[tenant]:
                del service.streams[tenant]
        await send({"type": "http.response.body", "body": b""})

    async def _follow(self, send: Send) -> None:
        service, task = self._service, self._task
        await self._send(send, _RETRY)
        if task.state.is_finished:
            await self._send(send, _event("result", status_body(task)))
            return
        await self._send(send, _event("task", status_body(task)))
        if task.progress is not None:
            await self._send(send, _event("progress", {"progress": task.progress}))
        async with running(
            service.queue.wait(task.id), until_gone(self._exchange.receive), service.stopping.wait()
        ) as (ended, gone, stopping):
            watched = [ended, gone, stopping]
            while True:
                poll = service.options.stream_poll
                done, _ = await asyncio.wait(watched, timeout=poll, return_when=asyncio.FIRST_COMPLETED)
                if gone in done:
                    return
                if ended in done:
                    await self._send_end(send, ended)
                    return
                if stopping in done or not await self._look(send):
                    return

    async def _look(self, send: Send) -> bool:
        """Tell what has changed; False ends the stream."""
        try:
            task = await self._service.queue.get(self._task.id)
        except ServerUnavailable:
            return False
        before = self._task
        if task is None or task.state.is_finished:
            return True  # the one who waits for its end knows
        self._task = task
        if (task.state, task.attempt) != (before.state, before.attempt):
            await self._send(send, _event("task", status_body(task)))
        if task.progress is not None and task.progress != before.progress:
            await self._send(send, _event("progress", {"progress": task.progress}))
        if time.monotonic() - self._sent_at >= self._service.options.heartbeat:
            await self._send(send, _COMMENT)
        return True

    async def _send_end(self, send: Send, ended: asyncio.Task[Task]) -> None:
        try:
            task = ended.result()
        except TaskNotFound:
            await self._send(send, _event("gone", {"id": self._task.id}))
        except ServerUnavailable:
            pass
        else:
            await self._send(send, _event("result", status_body(task)))

    async def _send(self, send: Send, data: bytes) -> None:
        self._sent_at = time.monotonic()
        await send({"type": "http.response.body", "body": data, "more_body": True})


def _event(name: str, data: Any) -> bytes:
    # JSON has no line breaks outside of texts, and escapes those inside: one line of data each.
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dumps(data))
