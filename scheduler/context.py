"""What a handler may know about its task, and what it may tell while it runs."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler.run import Run
from scheduler.work import Work
from taskqueue.codec import MAX_PAYLOAD, encode_value
from taskqueue.errors import InvalidSetting, ServerUnavailable
from taskqueue.queue import TaskQueue
from taskqueue.store import Verdict
from taskqueue.task import Task

logger = logging.getLogger("scheduler.context")

PROGRESS_PATIENCE = 2.0
"""For how long a handler is held up by its progress while the server is away, in seconds."""


class Surroundings:
    """What all contexts of one running scheduler share.

    Args:
        store: Where progress is stored.
        state: What the lifespan yielded.
        queue: The queue that the scheduler works on; None if it has partitions.
        on_stale: Called in the event loop with a run whose lease turned out to be lost.
    """

    __slots__ = ("is_over", "loop", "on_stale", "queue", "state", "store", "thread")

    def __init__(
        self, store: Work, state: Any, on_stale: Callable[[Run], None], queue: TaskQueue | None = None
    ) -> None:
        self.queue = queue
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.store = store
        self.state = state
        self.on_stale = on_stale
        self.is_over = False


class Context:
    """One attempt at one task, as its handler sees it."""

    __slots__ = ("_run", "_surroundings")

    def __init__(self, run: Run, surroundings: Surroundings) -> None:
        self._run = run
        self._surroundings = surroundings

    def __repr__(self) -> str:
        return f"<Context of {self.task.type} {self.task.id}, attempt {self.attempt}>"

    @property
    def task(self) -> Task:
        """The task as it was when this attempt began; its payload as it was enqueued."""
        return self._run.task

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1; attempts that a release or a rate limit gave back do not count."""
        return self._run.task.attempt

    @property
    def deliveries(self) -> int:
        """How often the task was given to a handler, this time included; it never goes down."""
        return self._run.task.deliveries

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this task: give it to an outside service that removes duplicates."""
        return self._run.id

    @property
    def fence(self) -> int:
        """Higher with every delivery: a store of your own can refuse writes with a lower one."""
        return self._run.task.deliveries

    @property
    def remaining(self) -> timedelta:
        """How long this attempt may still take; zero when its time is over."""
        return timedelta(seconds=max(0.0, self._run.deadline - time.monotonic()))

    @property
    def deadline(self) -> datetime:
        """When this attempt times out, in UTC by this machine's clock."""
        return datetime.now(UTC) + timedelta(seconds=self._run.deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the handler should stop: timeout, a cancel, a lost lease, or the end of the grace period.

        An async handler is cancelled at the same time; one in a thread must look here.
        """
        return self._run.stop is not None

    @property
    def state(self) -> Any:
        """What the scheduler's lifespan yielded; None without one."""
        return self._surroundings.state

    @property
    def queue(self) -> TaskQueue:
        """The queue that this task came from, to enqueue what follows; for async handlers.

        Raises:
            InvalidSetting: In a handler of a thread: the queue belongs to the scheduler's event loop. And
                of a partitioned queue, which the lifespan can open and hand over as `state`.
        """
        surroundings = self._surroundings
        if surroundings.queue is None or threading.get_ident() != surroundings.thread:
            rule = "used in an async handler; a sync one connects a BlockingTaskQueue"
            if surroundings.queue is None:
                rule = "left alone where the queue has partitions: the lifespan opens a PartitionedQueue"
            raise InvalidSetting("queue", self.task.type, rule)
        return surroundings.queue

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that puts the task's type and id before every message."""
        return _TaskLogger(logging.getLogger("scheduler.handler"), {"task": self.task})

    @property
    def provider(self) -> str | None:
        """The outside service that this task is sent to now; None where its handler has no providers."""
        return self._run.provider

    def spend(self, tokens: int) -> None:
        """Say how many tokens the provider used, more than once if need be: they count in its limit.

        Args:
            tokens: 0 or more.

        Raises:
            InvalidSetting: If it is no whole number of 0 or more.
        """
        if type(tokens) is not int or tokens < 0:
            raise InvalidSetting("tokens", tokens, "a whole number of 0 or more")
        self._run.tokens += tokens

    async def leave(
        self, verdict: Verdict, after: timedelta | None = None, *, goes_on: bool = True
    ) -> str | None:
        """Leave the provider of this task, say how it went, and go on with the next one that has room.

        The loop around handlers with providers does this by itself; see `scheduler.failover`.

        Args:
            verdict: How it went.
            after: For how long it asks to be left alone; None if it says nothing.
            goes_on: Whether the next one is wanted; each of a chain is asked once in an attempt.

        Returns:
            Its name; None if no other provider of the chain has room, or the lease is lost.
        """
        run, surroundings = self._run, self._surroundings
        if run.provider is None:
            return None
        run.left.append(run.provider)
        following = [name for name in run.handler.providers if name not in run.left] if goes_on else []
        try:
            switched = await surroundings.store.switch(
                run.id,
                run.token,
                left=run.provider,
                verdict=verdict,
                after_ms=0 if after is None else max(1, round(after.total_seconds() * 1000)),
                tokens=run.tokens,
                following=following,
                patience=PROGRESS_PATIENCE,
            )
        except ServerUnavailable as error:
            # Whether it was noted is unknown. The report of the attempt, which insists, frees the slot.
            logger.debug("task %s could not leave provider %s: %s", run.id, run.provider, error)
            return None
        run.provider, run.tokens = switched.provider, 0
        if switched.is_stale:
            surroundings.on_stale(run)
        return switched.provider

    def charge(self, credits: int) -> None:  # noqa: A002 - the word of the field
        """Say what this task costs if it completes, in place of its price.

        Never more is charged than the task holds: its price, or its `hold`.

        Args:
            credits: 0 or more; the last call counts.

        Raises:
            InvalidSetting: If it is no whole number of 0 or more.
        """
        if type(credits) is not int or credits < 0:
            raise InvalidSetting("credits", credits, "a whole number of 0 or more")
        self._run.charge = credits

    def progress(self, value: Any) -> Awaitable[None]:
        """Store how far the task is, for everybody who reads it; the last value counts.

        An async handler awaits this. A handler in a thread just calls it; it returns when the
        value is stored. While the server is away the value is dropped and the handler goes on;
        a lost lease stops the handler as the heartbeat would.

        Args:
            value: Anything that a payload could hold, up to 1 MiB encoded.

        Raises:
            InvalidTask: If the value cannot be stored.
        """
        data = encode_value(value, field="progress", max_bytes=MAX_PAYLOAD)
        surroundings = self._surroundings
        if surroundings.is_over:
            return _Stored()
        report = _store_progress(self._run, surroundings, data)
        if threading.get_ident() == surroundings.thread:
            return report
        _wait_in_thread(report, surroundings.loop)
        return _Stored()


async def _store_progress(run: Run, surroundings: Surroundings, data: bytes) -> None:
    was_stopped = run.stop is not None
    try:
        async with asyncio.timeout(PROGRESS_PATIENCE):
            is_ours = await surroundings.store.progress(run.id, run.token, data)
    except (ServerUnavailable, TimeoutError) as error:
        logger.debug("progress of task %s was not stored: %s", run.id, error)
        return
    if run.stop is not None and not was_stopped and run.handler.is_async:
        # The cancel came meanwhile and was lost on the way (python/cpython#86296).
        raise asyncio.CancelledError
    if not is_ours:
        surroundings.on_stale(run)


def _wait_in_thread(report: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    try:
        stored = asyncio.run_coroutine_threadsafe(report, loop)
    except RuntimeError:
        # The event loop was closed while the thread ran on: there is nobody left to store it.
        report.close()
        return
    stored.result()


class _Stored:
    """Awaitable that is done: lets `await context.progress()` and `context.progress()` be one method."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class _TaskLogger(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        task: Task = self.extra["task"]  # type: ignore[index,assignment]  # made with it, above
        return f"{task.type} {task.id}: {msg}", kwargs
