"""One claimed task in the hands of this scheduler, and why its handler was asked to stop."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import Any

from scheduler.slots import ActiveHandler
from taskqueue.store import ClaimedTask
from taskqueue.task import Task


class Stop(IntEnum):
    """Why a handler was asked to stop; a higher reason replaces a lower one."""

    SHUTDOWN = 1
    """The grace period of a shutdown is over."""
    TIMEOUT = 2
    """The attempt took longer than it may."""
    CANCELLED = 3
    """Somebody cancelled the task."""
    STALE = 4
    """The lease was lost: another worker has the task, or it has ended; its outcome is dropped."""


class Run:
    """One attempt at one task, from its claim until the server has answered its report.

    Attributes:
        id: Of the task.
        token: Proves that the lease is ours; part of every report.
        task: The task as it was claimed.
        handler: What runs it.
        claimed_at: When the claim was sent, on the monotonic clock: the lease cannot have begun
            before.
        deadline: When the attempt times out, on the monotonic clock.
        charge: What the handler said that the task costs, in credits; None is its price.
        provider: The outside service that it is sent to; None without any.
        left: The providers that it has left in this attempt.
        tokens: What the provider said that it used, since the task came to it.
        stop: Why the handler was asked to stop, or None.
        has_begun: Whether an async handler's first step was made; before, nothing can be cancelled.
        has_ended: Whether the handler is done; its report may still be on its way.
        future: The running handler, if it is async; None in a thread.
    """

    __slots__ = (
        "charge",
        "claimed_at",
        "deadline",
        "future",
        "handler",
        "has_begun",
        "has_ended",
        "id",
        "left",
        "provider",
        "stop",
        "task",
        "token",
        "tokens",
    )

    def __init__(
        self, claimed: ClaimedTask, task: Task, handler: ActiveHandler, claimed_at: float, deadline: float
    ) -> None:
        self.id = claimed.id
        self.token = claimed.token
        self.task = task
        self.handler = handler
        self.claimed_at = claimed_at
        self.deadline = deadline
        self.charge: int | None = None
        self.provider = claimed.provider
        self.left: list[str] = []
        self.tokens = 0
        self.stop: Stop | None = None
        self.has_begun = False
        self.has_ended = False
        self.future: asyncio.Future[Any] | None = None
