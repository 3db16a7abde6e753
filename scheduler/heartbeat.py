"""Extends the leases of running tasks, and hears from the server which of them must stop.

It runs in a thread of its own, so that a handler that blocks the event loop keeps its lease. A task
is extended while it is within its timeout and the grace after it: a handler that hangs beyond that
loses its lease, and the task runs again somewhere else. A task whose handler has ended is extended
until its report was answered, however long the server is away.

Only an answer stops a handler. While the server cannot be reached nobody knows who holds a lease;
the server waits for one lease after an outage before it takes any task back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random

from scheduler.run import Run
from taskqueue.store import Extension, Store

logger = logging.getLogger("scheduler.heartbeat")

Lease = tuple[str, str]
"""A task's id and the token of its claim."""

Tell = Callable[[Sequence[Lease]], None]
"""Brings leases to the executor, from whatever thread."""


class Heartbeat:
    """Extends every lease of this worker once; also the sign that the worker lives.

    Args:
        store: The queue, by a client of the thread that this runs in.
        worker: Name of this scheduler's run.
        runs: The runs of this scheduler, which another thread changes meanwhile.
        lease: How long an extension holds, in seconds.
        interval: How often to extend, in seconds.
        grace: For how long after its timeout a task is still extended, in seconds.
        lost: Told about leases that another worker has, or whose task has ended.
        cancelled: Told about leases whose task was cancelled.
        random: Source of chance for the jitter.
        is_here: Says of a run whether its lease is one of this store; None: all are.
    """

    def __init__(
        self,
        store: Store,
        worker: str,
        runs: Mapping[str, Run],
        *,
        lease: float,
        interval: float,
        grace: float,
        lost: Tell,
        cancelled: Tell,
        random: Random,
        is_here: Callable[[Run], bool] | None = None,
    ) -> None:
        self._store = store
        self._worker = worker
        self._runs = runs
        self._is_here = is_here
        self._lease = lease
        self._interval = interval
        self._grace = grace
        self._lost = lost
        self._cancelled = cancelled
        self._random = random
        self._began_at = self._extended_at = time.monotonic()

    async def run_once(self) -> Extension:
        """Extend all leases that are due, and pass on what the server says of them.

        Raises:
            ServerUnavailable: If the server gave no answer; nothing is known then.
        """
        now = self._began_at = time.monotonic()
        # A copy is one step for the interpreter, so the thread that runs handlers cannot interfere.
        leases = [(run.id, run.token) for run in list(self._runs.values()) if self._is_due(run, now)]
        extension = await self._store.extend(
            self._worker, leases, round(self._lease * 1000), patience=self._interval
        )
        self._notice_gap(now, len(leases))
        tokens = dict(leases)
        if extension.lost:
            self._lost([(task_id, tokens[task_id]) for task_id in extension.lost])
        if extension.cancelled:
            self._cancelled([(task_id, tokens[task_id]) for task_id in extension.cancelled])
        return extension

    def pause(self, result: Extension) -> float:
        """Return what is left of the interval, less a little chance, so that workers do not beat together.

        Beats *begin* an interval apart. One that was held up by an outage is followed by the next at once:
        what was too young for it has waited as long.
        """
        del result
        beat = self._interval * self._random.uniform(0.9, 1.0)
        return max(0.0, self._began_at + beat - time.monotonic())

    def _is_due(self, run: Run, now: float) -> bool:
        if self._is_here is not None and not self._is_here(run):
            return False
        # What was claimed just now has most of its lease left. Short tasks are never extended at all.
        if now - run.claimed_at < self._interval / 2:
            return False
        return run.has_ended or now < run.deadline + self._grace

    def _notice_gap(self, now: float, leases: int) -> None:
        gap = now - self._extended_at
        if leases and gap > self._lease:
            logger.warning(
                "no lease was extended for %.1f s, longer than the lease of %g s: "
                "tasks that were running may also run elsewhere",
                gap,
                self._lease,
            )
        self._extended_at = now


class Inbox:
    """Listens for what others tell this worker, so that a cancel arrives at once.

    A message can be lost with its connection; the heartbeat then finds the cancel.

    Args:
        store: The queue, by a client of the thread that this runs in.
        worker: Name of this scheduler's run, and of its inbox.
        cancelled: Told about leases whose task was cancelled.
        wait: How long to listen at a time, in seconds.
    """

    def __init__(self, store: Store, worker: str, *, cancelled: Tell, wait: float = 5.0) -> None:
        self._store = store
        self._worker = worker
        self._cancelled = cancelled
        self._wait = wait

    async def run_once(self) -> list[Lease]:
        """Wait for messages, and pass on the leases whose task was cancelled."""
        leases = []
        for message in await self._store.listen(self._worker, self._wait):
            match message.split(" "):
                case ["cancel", task_id, token]:
                    leases.append((task_id, token))
                case _:
                    logger.warning("a message that this version does not know was ignored: %r", message[:80])
        if leases:
            self._cancelled(leases)
        return leases

    def pause(self, result: list[Lease]) -> float:
        """Listen again at once: the waiting is done on the server."""
        del result
        return 0.0
