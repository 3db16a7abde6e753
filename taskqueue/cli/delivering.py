"""What delivers webhooks, imported with the first one: most workers never have any."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

from scheduler import Context, GiveUp, Retry
from taskqueue.accounts import load_secret
from taskqueue.api import finished_body
from taskqueue.api.json import dumps
from taskqueue.cli.deliveries import policy_for
from taskqueue.queue import TaskQueue
from taskqueue.settings import Settings
from taskqueue.webhooks import (
    DeliveryFailed,
    DeliveryRefused,
    EgressPolicy,
    SecretBox,
    SecretUnreadable,
    WebhookSecrets,
)
from taskqueue.webhooks.delivering import deliver, wait_after

logger = logging.getLogger("taskqueue.webhooks")


class Sender:
    """Delivers the webhooks of one scheduler.

    Args:
        settings: Which addresses are allowed, when to try again, and what seals the tenants' secrets.
    """

    def __init__(self, settings: Settings) -> None:
        self._policy = policy_for(EgressPolicy, local=settings.local_webhooks)
        self._first_wait = settings.webhook_backoff
        self._secret = settings.secret_text
        self._known: list[WebhookSecrets | None] = []

    async def send(self, payload: dict[str, Any], context: Context) -> dict[str, Any]:
        """Make one attempt at one delivery.

        Raises:
            GiveUp: It may not be sent where it should.
            Retry: It was not taken, or the tenant's secret cannot be read; later it may be.
        """
        try:
            status = await deliver(
                context.queue,
                str(payload["task"]),
                context.attempt,
                body_of=lambda task: dumps(finished_body(task)),
                policy=self._policy,
                secrets=await self._secrets_of(context.queue),
            )
        except DeliveryRefused as refused:
            raise GiveUp(refused.reason, code="DELIVERY_REFUSED") from None
        except SecretUnreadable as unreadable:
            logger.error("%s", unreadable)  # noqa: TRY400  a sentence for operators says it
            raise Retry(wait_after(context.attempt, self._first_wait), str(unreadable)) from None
        except DeliveryFailed as failed:
            wait = wait_after(context.attempt, self._first_wait)
            raise Retry(max(wait, timedelta(seconds=failed.retry_after or 0)), str(failed)) from None
        return {"status": status}

    async def _secrets_of(self, queue: TaskQueue) -> WebhookSecrets | None:
        if not self._known:
            self._known.append(await asyncio.to_thread(_secrets, queue, self._secret))
        return self._known[0]


def _secrets(queue: TaskQueue, given: str | None) -> WebhookSecrets | None:
    folder = queue.connector.folder
    if given is None and folder is None:
        return None
    return WebhookSecrets(queue, SecretBox(load_secret(given, folder=folder)))
