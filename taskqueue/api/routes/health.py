"""For those who run the service: does it live, is it ready, what does it count, what does it offer."""

from __future__ import annotations

import asyncio

from taskqueue.api.docs import page
from taskqueue.api.errors import route_not_found, unavailable
from taskqueue.api.exchange import Exchange
from taskqueue.api.metrics import CONTENT_TYPE
from taskqueue.api.replies import Reply, json_reply
from taskqueue.api.service import Service
from taskqueue.errors import TaskQueueError

PATIENCE = 2.0
"""Seconds in which the queue's server must answer to count as there."""

_NO_TASK = "health"


async def healthz(service: Service, _: Exchange) -> Reply:
    """Run a script on the queue's server, as every request does."""
    try:
        async with asyncio.timeout(PATIENCE):
            await service.queue.get(_NO_TASK)
    except (TaskQueueError, TimeoutError):
        raise unavailable(service.options.retry_after) from None
    return json_reply({"status": "ok", "demo": service.options.demo})


async def readyz(service: Service, exchange: Exchange) -> Reply:
    """As healthz, and not while the service stops."""
    if service.stopping.is_set():
        raise unavailable(service.options.retry_after)
    return await healthz(service, exchange)


async def metrics(service: Service, exchange: Exchange) -> Reply:
    """Tell what was counted, in the text format of Prometheus."""
    if not service.options.metrics:
        raise route_not_found(exchange.scope["path"])
    try:
        async with asyncio.timeout(PATIENCE):
            stats, providers = await asyncio.gather(service.queue.stats(), service.queue.providers())
    except (TaskQueueError, TimeoutError):
        stats, providers = None, []
    text = service.metrics.text(stats, providers)
    return Reply(200, text.encode(), content_type=(b"content-type", CONTENT_TYPE))


async def openapi(service: Service, _: Exchange) -> Reply:
    """Return the OpenAPI document."""
    return Reply(200, service.document)


async def docs(service: Service, exchange: Exchange) -> Reply:
    """Return the page that shows the document to people, and tries it."""
    if not service.options.docs:
        raise route_not_found(exchange.scope["path"])
    return page()
