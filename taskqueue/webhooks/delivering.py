"""Delivers the end of one task: reads it, sends it, notes that it was taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from taskqueue.queue import TaskQueue
from taskqueue.task import Task
from taskqueue.webhooks.egress import EgressPolicy
from taskqueue.webhooks.keeping import WebhookSecrets, sealed_of
from taskqueue.webhooks.posting import post
from taskqueue.webhooks.secrets import SecretUnreadable
from taskqueue.webhooks.signing import sign, standard_headers

ATTEMPTS: Final = 5
"""How often a delivery is tried (contract: webhooks)."""

BodyOf = Callable[[Task], bytes]
"""Makes the body that tells of a finished task."""


FIRST_WAIT: Final = timedelta(minutes=2)
"""How long to wait after the first failed attempt (contract: 2, 4, 8, 16 minutes)."""

LONGEST_WAIT: Final = timedelta(days=1)
"""However often it is tried."""


def wait_after(attempt: int, first: timedelta = FIRST_WAIT) -> timedelta:
    """Return how long to wait after a failed attempt, counted from 1: *first*, then twice as long."""
    return min(first * (1 << min(attempt - 1, 32)), LONGEST_WAIT)


async def deliver(
    queue: TaskQueue,
    task_id: str,
    attempt: int,
    *,
    body_of: BodyOf,
    policy: EgressPolicy,
    secrets: WebhookSecrets | None,
) -> int | None:
    """Send the end of a task to its webhook, and note in its record that it was taken.

    The body is built from the record, and so is the same for every attempt; the signature is made
    anew, with the secret that signs at that moment. Whoever is stopped between the answer and the
    note delivers twice: receivers tell repeats by the task's id.

    Args:
        queue: Where the task is.
        task_id: Its id.
        attempt: Which attempt this is, from 1.
        body_of: Makes the body.
        policy: Where deliveries may go.
        secrets: What deliveries are signed with; None if this process has no secret of its own, and
            so delivers only for tenants that want no signature.

    Returns:
        The receiver's status; None if there is nothing to deliver: the task has no record any more,
        was submitted again, or has no webhook.

    Raises:
        DeliveryFailed: If the receiver did not take it; try again later.
        DeliveryRefused: If the address may not be called.
        SecretUnreadable: If the tenant wants signatures, and this process cannot make them. Nothing
            was sent.
    """
    task = await queue.get(task_id)
    if task is None or not task.state.is_finished or task.webhook is None:
        return None
    body = body_of(task)
    headers = await _signature(queue, task, attempt, body, secrets)
    taken = await post(task.webhook["url"], body, headers, policy=policy)
    await queue.delivered(task_id)
    return taken.status


async def _signature(
    queue: TaskQueue, task: Task, attempt: int, body: bytes, secrets: WebhookSecrets | None
) -> Mapping[str, str]:
    if secrets is None:
        if await sealed_of(queue, task.tenant) is not None:
            raise SecretUnreadable(
                f"the webhooks of tenant {task.tenant} are to be signed, and this process has no secret to "
                "read theirs with: set TASKQUEUE_SECRET as in the service"
            )
        return {}
    # Asked for at each attempt: a rotation needs no restart, and a change by the clock no message.
    signing = await secrets.of(task.tenant)
    if signing is None:
        return {}
    now = int(time.time())
    headers = sign(signing.secret, body, task.id, attempt, now)
    if signing.is_standard:
        headers |= standard_headers(signing.secrets, body, _message_id(task), now)
    return headers


def _message_id(task: Task) -> str:
    """Return what names this end of a task, in all attempts to tell it.

    A task that is redriven ends once more, and receivers that have seen the first end must not take
    the second for a repeat.
    """
    return f"{task.id}-{task.finished_ms or 0}"
