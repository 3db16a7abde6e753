"""`BlockingTaskQueue`: a queue for code without an event loop, and for threads.

It is no second implementation: an event loop in a thread of its own runs a `TaskQueue`, and every
method here hands its call over and waits. So calls of many threads share calls to the server, just
as those of many asyncio tasks do. A test holds the methods of both classes against each other.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from taskqueue.blocking.thread import LoopThread, abandon
from taskqueue.errors import TaskQueueError
from taskqueue.queue import TaskQueue
from taskqueue.ranking import Policy
from taskqueue.settings import DEFAULT_MAX_PAYLOAD, DEFAULT_NAME, DEFAULT_PRIORITY, DEFAULT_TENANT
from taskqueue.store import UNSET, Balance, Limit, ProviderState, Stats, Unset
from taskqueue.store.calling import DEFAULT_PATIENCE
from taskqueue.task import Durability, Task, TaskSpec, TaskState

T = TypeVar("T")

_READ_AHEAD = 100
"""Tasks that one step of `tasks()` fetches, so that not each of them costs two thread switches."""


class BlockingTaskQueue:
    """A queue of tasks on a server, for sync code; made by `BlockingTaskQueue.connect()`.

    It has the methods of `TaskQueue` without `await`; what they do and raise is told there. It may
    be used by many threads at once. A process that was forked needs a queue of its own: the old one
    raises `TaskQueueError` there. Ctrl-C ends the call that is waiting, and the queue stays usable.

    Attributes:
        name: Name of the queue.
        url: Its server, without the password.
    """

    def __init__(self, loop: LoopThread, queue: TaskQueue) -> None:
        self.name = queue.name
        self.url = queue.url
        self._loop = loop
        self._queue = queue
        self._is_closed = False
        self._abandoned = weakref.finalize(self, abandon, loop, queue)

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        name: str = DEFAULT_NAME,
        policy: str | Policy | None = None,
        stride: int | None = None,
        highest_priority: int | None = None,
        durability: Durability | str = Durability.MEMORY,
        retention: timedelta | None = None,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        max_queued: int | None = None,
        patience: float = DEFAULT_PATIENCE,
        clock: Callable[[], int] | None = None,
    ) -> Self:
        """Open a queue; use it with `with`, or close it yourself. See `TaskQueue.connect()`."""
        connecting = TaskQueue.connect(
            url,
            name=name,
            policy=policy,
            stride=stride,
            highest_priority=highest_priority,
            durability=durability,
            retention=retention,
            max_payload=max_payload,
            max_queued=max_queued,
            patience=patience,
            clock=clock,
        )
        loop = LoopThread(name)

        async def open_queue() -> TaskQueue:
            return await connecting

        try:
            queue = loop.run(open_queue)
        except BaseException:
            loop.stop()
            raise
        return cls(loop, queue)

    def enqueue(
        self,
        type: str,  # noqa: A002 - the name of the field
        payload: Mapping[str, Any],
        *,
        priority: int = DEFAULT_PRIORITY,
        idempotency_key: str | None = None,
        tenant: str = DEFAULT_TENANT,
        delay: timedelta | None = None,
        not_before: datetime | None = None,
        max_attempts: int | None = None,
        timeout: timedelta | None = None,
        id: str | None = None,  # noqa: A002 - the name of the field
        webhook: str | Mapping[str, Any] | None = None,
        cost: int = 0,
        hold: int | None = None,
        durability: Durability | str | None = None,
        reserve: bool = False,
    ) -> Task:
        """Have a task accepted, and return it once the server has stored it.

        See `TaskQueue.enqueue()` for what the arguments mean and what is raised.
        """
        return self._run(
            lambda: self._queue.enqueue(
                type,
                payload,
                priority=priority,
                idempotency_key=idempotency_key,
                tenant=tenant,
                delay=delay,
                not_before=not_before,
                max_attempts=max_attempts,
                timeout=timeout,
                id=id,
                webhook=webhook,
                cost=cost,
                hold=hold,
                durability=durability,
                reserve=reserve,
            )
        )

    @overload
    def enqueue_many(
        self, specs: Iterable[TaskSpec], *, return_exceptions: Literal[False] = False
    ) -> list[Task]: ...

    @overload
    def enqueue_many(
        self, specs: Iterable[TaskSpec], *, return_exceptions: bool
    ) -> Sequence[Task | TaskQueueError]: ...

    def enqueue_many(
        self, specs: Iterable[TaskSpec], *, return_exceptions: bool = False
    ) -> Sequence[Task | TaskQueueError]:
        """Have many tasks accepted, in this order, and return them once they are stored.

        See `TaskQueue.enqueue_many()` for what goes in one call and what is raised.
        """
        # Read here: a generator of the caller's is run in the caller's thread.
        listed = list(specs)
        return self._run(lambda: self._queue.enqueue_many(listed, return_exceptions=return_exceptions))

    def get(self, task_id: str, *, tenant: str | None = None) -> Task | None:
        """Return a task as the server knows it now; None if it is unknown, cleared or purged.

        With a tenant, also if it is another one's.
        """
        return self._run(lambda: self._queue.get(task_id, tenant=tenant))

    def find(self, tenant: str, idempotency_key: str) -> Task | None:
        """Return the task of a tenant that holds an idempotency key; None if there is none."""
        return self._run(lambda: self._queue.find(tenant, idempotency_key))

    def delivered(self, task_id: str) -> bool:
        """Note that the webhook of a finished task was taken by its receiver, now; the first time counts."""
        return self._run(lambda: self._queue.delivered(task_id))

    def wait(self, task_id: str, timeout: float | None = None) -> Task:
        """Return the task once it has finished, whatever its end.

        See `TaskQueue.wait()`.

        Raises:
            WaitTimeout: If it had not finished after *timeout* seconds. The task goes on.
            TaskNotFound: If it is unknown, or was cleared or purged while it was waited for.
        """
        return self._run(lambda: self._queue.wait(task_id, timeout))

    def cancel(self, task_id: str) -> Task:
        """End a QUEUED task at once; ask the worker of a PROCESSING one to stop it.

        See `TaskQueue.cancel()`.

        Raises:
            TaskNotFound: If it is unknown, cleared or purged.
        """
        return self._run(lambda: self._queue.cancel(task_id))

    def clear(self, *, tenant: str | None = None, type: str | None = None) -> int:  # noqa: A002
        """Remove QUEUED tasks with their records, delayed ones included, and return how many."""
        return self._run(lambda: self._queue.clear(tenant=tenant, type=type))

    def redrive(self, task_id: str) -> Task:
        """Submit a FAILED or CANCELLED task again, with a new place and its counts at zero.

        Raises:
            TaskNotFound: If it is unknown, cleared or purged.
            TaskNotFinished: If it is QUEUED, PROCESSING or COMPLETED.
        """
        return self._run(lambda: self._queue.redrive(task_id))

    def discard(self, task_ids: Sequence[str]) -> int:
        """Remove the records of finished tasks now, dead letters too, and return how many there were."""
        return self._run(lambda: self._queue.discard(task_ids))

    def tasks(
        self,
        *,
        state: TaskState | str | None = None,
        type: str | None = None,  # noqa: A002
        tenant: str | None = None,
    ) -> Iterator[Task]:
        """Go through the tasks that have records, page by page, in no promised order.

        They are fetched as they are asked for. See `TaskQueue.tasks()`.
        """
        found = self._queue.tasks(state=state, type=type, tenant=tenant)

        async def step() -> list[Task]:
            page: list[Task] = []
            async for task in found:
                page.append(task)
                if len(page) == _READ_AHEAD:
                    break
            return page

        def pages() -> Iterator[Task]:
            while page := self._run(step):
                yield from page

        return pages()

    def stats(self, *, type: str | None = None, tenant: str | None = None) -> Stats:  # noqa: A002
        """Count the queue, a type, a tenant, or a type of a tenant."""
        return self._run(lambda: self._queue.stats(type=type, tenant=tenant))

    def pause(
        self,
        *,
        type: str | None = None,  # noqa: A002
        tenant: str | None = None,
        provider: str | None = None,
    ) -> None:
        """Start nothing more of a type, of a tenant, at a provider or, with none, of the whole queue."""
        self._run(lambda: self._queue.pause(type=type, tenant=tenant, provider=provider))

    def resume(
        self,
        *,
        type: str | None = None,  # noqa: A002
        tenant: str | None = None,
        provider: str | None = None,
    ) -> None:
        """End a pause of a type, of a tenant, of a provider or, with none, of the whole queue."""
        self._run(lambda: self._queue.resume(type=type, tenant=tenant, provider=provider))

    def is_paused(self) -> bool:
        """Whether the whole queue is paused; `limits()` and `providers()` say what else is."""
        return self._run(self._queue.is_paused)

    def set_limit(
        self,
        *,
        type: str | None = None,  # noqa: A002
        tenant: str | None = None,
        provider: str | None = None,
        concurrency: int | Unset | None = UNSET,
        weight: int | Unset = UNSET,
        lowest: int | Unset | None = UNSET,
        rate: int | Unset | None = UNSET,
        period: timedelta | Unset = UNSET,
        tokens: int | Unset | None = UNSET,
        breaker: int | Unset | None = UNSET,
        fresh: bool = False,
    ) -> None:
        """Change what a type, a tenant or a provider may use, for all workers, from the next claim on.

        See `TaskQueue.set_limit()`.
        """
        self._run(
            lambda: self._queue.set_limit(
                type=type,
                tenant=tenant,
                provider=provider,
                concurrency=concurrency,
                weight=weight,
                lowest=lowest,
                rate=rate,
                period=period,
                tokens=tokens,
                breaker=breaker,
                fresh=fresh,
            )
        )

    def grant(self, tenant: str, credits: int) -> Balance:  # noqa: A002
        """Give a tenant credits, or take some back. From its first grant on it is metered.

        See `TaskQueue.grant()`.
        """
        return self._run(lambda: self._queue.grant(tenant, credits))

    def balance(self, tenant: str) -> Balance | None:
        """Return a tenant's credits; None if it is not metered."""
        return self._run(lambda: self._queue.balance(tenant))

    def limits(self) -> list[Limit]:
        """Return every type and tenant that has a limit, a weight or a pause."""
        return self._run(self._queue.limits)

    def providers(self) -> list[ProviderState]:
        """Return every provider that has limits or was used, by name, and what it is at."""
        return self._run(self._queue.providers)

    def workers(self) -> list[tuple[str, float]]:
        """Return the workers that live, each with the seconds since its last beat."""
        return self._run(self._queue.workers)

    def close(self) -> None:
        """Close the connections, when the tasks on their way have been answered.

        Calls of other threads that are still waiting for a task get a `TaskQueueError`. Closing
        twice does nothing.
        """
        if self._is_closed or self._loop.is_foreign:
            self._abandoned.detach()
            return
        self._is_closed = True
        self._abandoned.detach()
        try:
            self._loop.run(self._queue.close)
        finally:
            self._loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self._is_closed else ""
        return f"BlockingTaskQueue({self.name!r} on {self.url}{state})"

    def _run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._is_closed:
            raise TaskQueueError(f"queue {self.name!r} is closed")
        return self._loop.run(call)
