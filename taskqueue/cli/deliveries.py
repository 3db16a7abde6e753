"""Webhooks are tasks like others: every scheduler that the command line starts delivers them."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from taskqueue.names import WEBHOOK_TYPE

if TYPE_CHECKING:
    from scheduler import Context, Scheduler
    from taskqueue.queue import TaskQueue
    from taskqueue.settings import Settings
    from taskqueue.webhooks import WebhookSecrets

logger = logging.getLogger("taskqueue.webhooks")

CONCURRENCY = 64
"""Deliveries at once in one process, beside what the scheduler runs otherwise; four to one host."""


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
    from scheduler import GiveUp, Retry
    from taskqueue.api import finished_body
    from taskqueue.api.json import dumps
    from taskqueue.webhooks import DeliveryFailed, DeliveryRefused, EgressPolicy, SecretUnreadable
    from taskqueue.webhooks.delivering import TIMEOUT, deliver, wait_after

    # A scheduler without handlers stays one: that is a mistake, which it reports itself.
    if not scheduler.types or WEBHOOK_TYPE in scheduler.types:
        return
    policy = policy_for(EgressPolicy, local=settings.local_webhooks)
    attempts, first_wait = settings.webhook_attempts, settings.webhook_backoff
    known: list[WebhookSecrets | None] = []

    async def secrets_of(queue: TaskQueue) -> WebhookSecrets | None:
        if not known:
            known.append(await asyncio.to_thread(_secrets, queue, settings.secret_text))
        return known[0]

    @scheduler.handler(WEBHOOK_TYPE, concurrency=CONCURRENCY, timeout=TIMEOUT, max_attempts=attempts)
    async def send(payload: dict[str, Any], context: Context) -> dict[str, Any]:
        try:
            status = await deliver(
                context.queue,
                str(payload["task"]),
                context.attempt,
                body_of=lambda task: dumps(finished_body(task)),
                policy=policy,
                secrets=await secrets_of(context.queue),
            )
        except DeliveryRefused as refused:
            raise GiveUp(refused.reason, code="DELIVERY_REFUSED") from None
        except SecretUnreadable as unreadable:
            logger.error("%s", unreadable)  # noqa: TRY400  a sentence for operators says it
            raise Retry(wait_after(context.attempt, first_wait), str(unreadable)) from None
        except DeliveryFailed as failed:
            wait = wait_after(context.attempt, first_wait)
            raise Retry(max(wait, timedelta(seconds=failed.retry_after or 0)), str(failed)) from None
        return {"status": status}


def _secrets(queue: TaskQueue, given: str | None) -> WebhookSecrets | None:
    from taskqueue.accounts import load_secret
    from taskqueue.webhooks import SecretBox, WebhookSecrets

    folder = queue.connector.folder
    if given is None and folder is None:
        return None
    return WebhookSecrets(queue, SecretBox(load_secret(given, folder=folder)))


def policy_for(policy: Any, *, local: bool) -> Any:
    """Return where webhooks may go: to public addresses by https; or also to this machine."""
    if not local:
        return policy()
    return policy(schemes=("http", "https"), ports=None, allow_loopback=True)
