"""The tenant's queue as a whole: how much is in it, and emptying it."""

from __future__ import annotations

from typing import Any

from taskqueue.api.exchange import Exchange
from taskqueue.api.replies import Reply, json_reply
from taskqueue.api.schemas import HIGHEST_PRIORITY
from taskqueue.api.service import Service
from taskqueue.store import Stats


async def status(service: Service, exchange: Exchange) -> Reply:
    """Count the tenant's queue (contract: GET /v1/async/status).

    A synchronous request holds a slot from its arrival, so one that waits for its worker counts as
    processing, as it counts in `concurrency.used`.
    """
    exchange.query()
    stats = await service.queue.stats(tenant=exchange.tenant)
    queued = {level: count for level, count in stats.by_priority.items() if level <= HIGHEST_PRIORITY}
    reserved = sum(stats.by_priority.values()) - sum(queued.values())
    body = {
        "queuedTasks": sum(queued.values()),
        "processingTasks": stats.processing + reserved,
        "priorityBreakdown": [
            {"priority": level, "count": count}
            for level, count in sorted(queued.items(), reverse=True)
            if count
        ],
        "concurrency": concurrency_block(stats),
    }
    return json_reply(body)


def concurrency_block(stats: Stats) -> dict[str, Any] | None:
    """Return the tenant's slots, `used` and `max`; None if it has no limit."""
    for limit in stats.limits:
        if limit.scope == "tenant" and limit.concurrency is not None:
            return {"used": limit.used, "max": limit.concurrency}
    return None


async def clear(service: Service, exchange: Exchange) -> Reply:
    """Remove the tenant's QUEUED tasks (contract: DELETE /v1/async/queue). Deliveries of webhooks stay."""
    exchange.query()
    cleared = await service.queue.clear(tenant=exchange.tenant)
    return json_reply({"success": True, "cleared": cleared})
