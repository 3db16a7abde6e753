"""How requests of API keys hand tasks in: the call that stores the tasks counts the request too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from taskqueue.batching import Batcher, isolated
from taskqueue.codec import Entry
from taskqueue.errors import TaskQueueError
from taskqueue.queue.bulk import Bulk, offered_task, with_place
from taskqueue.store import Accepted, Store
from taskqueue.store.rates import RateTicket, Whole
from taskqueue.task import Task, TaskSpec

_Pair = tuple[Entry, RateTicket | None]


class Submissions:
    """Takes tasks of requests, for the HTTP service; applications have `TaskQueue.enqueue()`.

    Requests of all keys that come together share calls to the server, in their order.

    Args:
        store: Takes the tasks.
        encode: Checks and encodes one.
        max_queued: QUEUED tasks that each tenant may have.
    """

    def __init__(self, store: Store, encode: Callable[[TaskSpec], Entry], max_queued: int | None) -> None:
        self._store = store
        self._encode = encode
        self._max_queued = max_queued
        self._enqueuing: Batcher[_Pair, Accepted] = Batcher(
            partial(isolated, self._send), size=lambda pair: len(pair[0].blob)
        )

    async def enqueue(self, spec: TaskSpec, ticket: RateTicket | None) -> Task:
        """Have the task of one request accepted.

        In order: the rate, room, the idempotency key, credits, a slot. A request that one of the
        others refuses is counted all the same; one whose rate is used up leaves nothing behind.

        Args:
            spec: The task.
            ticket: What the request is counted by, filled in whatever the answer; None if it was
                counted before.

        Raises:
            RateExceeded: If the key has no request left in this second.
            TaskQueueError: What `TaskQueue.enqueue()` raises.
        """
        entry = self._encode(spec)
        accepted = self._enqueuing.submit((entry, ticket))
        task = offered_task(entry)
        return with_place(task, await accepted)

    async def enqueue_batch(self, specs: Iterable[TaskSpec], whole: Whole) -> Sequence[Task | TaskQueueError]:
        """Have the tasks of one request accepted, each by itself, if the request as a whole may be.

        Args:
            specs: The tasks that are fit to be sent, of one tenant.
            whole: How many tasks the request has, and what it is counted by. Neither is looked at if
                no task gets as far as the server.

        Returns:
            For each specification its task, or the refusal as an exception (not raised).

        Raises:
            RateExceeded: If the key has no request left in this second. Nothing was stored.
            QueueFull: If there is no room for all of `whole.total`. Nothing was stored.
        """
        return await Bulk(self._store, self._encode, self._max_queued, whole).enqueue_each(specs)

    async def close(self) -> None:
        """Refuse new tasks, and wait for those on their way."""
        await self._enqueuing.close()

    async def _send(self, pairs: Sequence[_Pair]) -> Sequence[Accepted | TaskQueueError]:
        return await self._store.enqueue(
            [entry for entry, _ in pairs],
            max_queued=self._max_queued,
            tickets=[ticket for _, ticket in pairs],
        )
