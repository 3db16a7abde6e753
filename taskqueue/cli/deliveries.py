"""Webhooks are tasks like others: every scheduler that the command line starts delivers them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from taskqueue.names import WEBHOOK_TYPE

if TYPE_CHECKING:
    from scheduler import Context, Scheduler
    from taskqueue.cli.delivering import Sender
    from taskqueue.settings import Settings

CONCURRENCY = 64
"""Deliveries at once in one process, and never more than half of its slots; four to one host."""

TIMEOUT = timedelta(seconds=30)
"""How long one attempt may take at the most; it gives up earlier by itself."""


def can_deliver() -> bool:
    """Whether the packages of the extra `api`, which deliveries need, are installed."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in ("cryptography", "h11", "idna", "fastapi"))


def add_deliveries(scheduler: Scheduler, settings: Settings) -> None:
    """Let a scheduler deliver webhooks too, unless it has a handler of its own for them.

    Args:
        scheduler: Not running yet.
        settings: Which addresses are allowed, how often and when to try, and what seals the tenants'
            secrets: without it the file of an embedded server, where there is one.
    """
    # A scheduler without handlers stays one: that is a mistake, which it reports itself.
    if not scheduler.types or WEBHOOK_TYPE in scheduler.types:
        return
    senders: list[Sender] = []

    # Receivers that hang must leave slots to what the scheduler is there for.
    slots = max(1, min(CONCURRENCY, scheduler.concurrency // 2))

    @scheduler.handler(
        WEBHOOK_TYPE, concurrency=slots, timeout=TIMEOUT, max_attempts=settings.webhook_attempts
    )
    async def send(payload: dict[str, Any], context: Context) -> dict[str, Any]:
        if not senders:
            # Its packages are loaded in a thread: that takes a while.
            senders.append(await asyncio.to_thread(_sender, settings))
        return await senders[0].send(payload, context)


def _sender(settings: Settings) -> Sender:
    from taskqueue.cli.delivering import Sender

    return Sender(settings)


def policy_for(policy: Any, *, local: bool) -> Any:
    """Return where webhooks may go: to public addresses by https; or also to this machine."""
    if not local:
        return policy()
    return policy(schemes=("http", "https"), ports=None, allow_loopback=True)
