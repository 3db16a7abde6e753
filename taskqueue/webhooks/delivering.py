"""Delivers the end of one task: reads it, sends it, notes that it was taken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from taskqueue.queue import TaskQueue
from taskqueue.task import Task
from taskqueue.webhooks.egress import EgressPolicy
from taskqueue.webhooks.posting import post

ATTEMPTS: Final = 5
"""How often a delivery is tried (contract: webhooks)."""

TIMEOUT: Final = timedelta(seconds=30)
"""How long one attempt may take at the most; `post()` gives up earlier."""

BodyOf = Callable[[Task], bytes]
"""Makes the body that tells of a finished task."""


def wait_after(attempt: int) -> timedelta:
    """Return how long to wait after a failed attempt, counted from 1: 2, 4, 8, 16 minutes (contract)."""
    return timedelta(minutes=2 ** min(attempt, ATTEMPTS - 1))


async def deliver(queue: TaskQueue, task_id: str, body_of: BodyOf, policy: EgressPolicy) -> int | None:
    """Send the end of a task to its webhook, and note in its record that it was taken.

    The body is built from the record, and so is the same for every attempt. Whoever is stopped
    between the answer and the note delivers twice: receivers tell repeats by the task's id.

    Args:
        queue: Where the task is.
        task_id: Its id.
        body_of: Makes the body.
        policy: Where deliveries may go.

    Returns:
        The receiver's status; None if there is nothing to deliver: the task has no record any more,
        was submitted again, or has no webhook.

    Raises:
        DeliveryFailed: If the receiver did not take it; try again later.
        DeliveryRefused: If the address may not be called.
    """
    task = await queue.get(task_id)
    if task is None or not task.state.is_finished or task.webhook is None:
        return None
    headers = {"Content-Type": "application/json"}
    taken = await post(task.webhook["url"], body_of(task), headers, policy=policy)
    await queue.delivered(task_id)
    return taken.status
