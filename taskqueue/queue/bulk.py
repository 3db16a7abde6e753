"""Many tasks in few calls: checked before anything is sent, sent in order, read while others run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar, cast

from taskqueue.batching import copy_of, isolated
from taskqueue.codec import Entry
from taskqueue.errors import (
    DurabilityNotReached,
    InvalidTask,
    PayloadTooLarge,
    ServerUnavailable,
    TaskQueueError,
)
from taskqueue.rules import check_webhook
from taskqueue.store import Accepted, Store, Withheld
from taskqueue.store.producing import portions
from taskqueue.store.rates import Whole
from taskqueue.task import Task, TaskSpec

OutcomesT = TypeVar("OutcomesT")

_CHECKED_AT_ONCE = 1000
"""After so many the others of the event loop get their turn."""


def offered_task(entry: Entry) -> Task:
    """Return the task that *entry* describes, without what only the server can say: see `with_place`.

    Its payload is the producer's own mapping.
    """
    spec, head = entry.spec, entry.head
    payload: Any = spec.payload
    return Task(
        id=entry.id,
        type=head.type,
        tenant=head.tenant,
        priority=head.priority,
        sequence=0,
        payload=payload if type(payload) is dict else dict(payload),
        created_ms=0,
        idempotency_key=spec.idempotency_key,
        max_attempts=spec.max_attempts,
        timeout=spec.timeout,
        webhook=None if spec.webhook is None else check_webhook(spec.webhook),
        cost=spec.cost,
        durability=head.durability,
        reserved=head.reserve,
    )


def with_place(task: Task, accepted: Accepted) -> Task:
    """Return *task* with the place and the times that the server gave it."""
    task.sequence, task.created_ms, task.not_before_ms = accepted
    return task


class Bulk:
    """One call of `TaskQueue.enqueue_many()`.

    Args:
        store: Takes the tasks.
        encode: Checks and encodes one.
        max_queued: QUEUED tasks that each tenant may have.
        whole: The one request that all tasks are of, for `enqueue_each`; None if they are of none.
    """

    def __init__(
        self,
        store: Store,
        encode: Callable[[TaskSpec], Entry],
        max_queued: int | None,
        whole: Whole | None = None,
    ) -> None:
        self._store = store
        self._encode = encode
        self._max_queued = max_queued
        self._whole = whole
        self._lost: ServerUnavailable | None = None

    async def enqueue_all(self, specs: Iterable[TaskSpec]) -> list[Task]:
        """Store all tasks, or raise for the first that is refused."""
        entries: list[Entry] = []
        for place, spec in enumerate(specs):
            if place % _CHECKED_AT_ONCE == _CHECKED_AT_ONCE - 1:
                await asyncio.sleep(0)
            entry = self._checked(place, spec)
            if isinstance(entry, InvalidTask):
                raise entry
            entries.append(entry)
        done: list[Task] = []

        async def send(portion: Sequence[Entry]) -> Sequence[Accepted]:
            outcomes = await self._store.enqueue(
                portion, atomic=True, together=True, max_queued=self._max_queued
            )
            return _all_accepted(outcomes, done=len(done))

        async for tasks, accepted in _send_in_turn(entries, send):
            done.extend(map(with_place, tasks, accepted))
        return done

    async def enqueue_each(self, specs: Iterable[TaskSpec]) -> list[Task | TaskQueueError]:
        """Store what can be stored; in the place of every other task stands its exception.

        Raises:
            RateExceeded: If the one request of all tasks was refused for its rate.
            QueueFull: If there was no room for all of it.
        """
        results: dict[int, Task | TaskQueueError] = {}
        entries: list[Entry] = []
        places: list[int] = []
        for place, spec in enumerate(specs):
            if place % _CHECKED_AT_ONCE == _CHECKED_AT_ONCE - 1:
                await asyncio.sleep(0)
            entry = self._checked(place, spec)
            if isinstance(entry, InvalidTask):
                results[place] = entry
            else:
                entries.append(entry)
                places.append(place)
        remaining = iter(places)
        async for tasks, outcomes in _send_in_turn(entries, self._send_what_can_be):
            for task, outcome in zip(tasks, outcomes, strict=True):
                stored = with_place(task, outcome) if isinstance(outcome, Accepted) else outcome
                results[next(remaining)] = stored
        return [results[place] for place in sorted(results)]

    async def _send_what_can_be(self, portion: Sequence[Entry]) -> Sequence[Accepted | TaskQueueError]:
        async def send(entries: Sequence[Entry]) -> Sequence[Accepted | TaskQueueError]:
            outcomes = await self._store.enqueue(
                entries, together=True, max_queued=self._max_queued, whole=self._whole
            )
            if self._whole is not None:
                # The first call that is answered decides for all: what follows is part of what was let
                # in, and is stored whoever has taken the room meanwhile.
                self._whole = self._max_queued = None
            return outcomes

        if self._lost is None:
            try:
                return await isolated(send, portion)
            except ServerUnavailable as error:
                # The next portions would only wait as long for the same answer.
                self._lost = error
        return [copy_of(self._lost) for _ in portion]

    def _checked(self, place: int, spec: object) -> Entry | InvalidTask:
        where = f"specs[{place}]"
        if not isinstance(spec, TaskSpec):
            return InvalidTask(where, spec, "a TaskSpec")
        try:
            return self._encode(spec)
        except PayloadTooLarge as error:
            return PayloadTooLarge(error.size, error.limit, f"{where}.{error.field}")
        except InvalidTask as error:
            return InvalidTask(f"{where}.{error.field}", error.value, error.rule)


async def _send_in_turn(
    entries: Sequence[Entry], send: Callable[[Sequence[Entry]], Coroutine[Any, Any, OutcomesT]]
) -> AsyncIterator[tuple[list[Task], OutcomesT]]:
    """Send what one call may carry, call after call; yield the tasks of each and what came back.

    There is one call under way at a time, for the order; while the server works on it, its tasks are
    made.
    """
    for portion in portions(entries):
        sending = asyncio.create_task(send(portion))
        try:
            # Two passes of the loop, one to begin the call and one for its bytes to leave, before
            # anything else is done.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            tasks = list(map(offered_task, portion))
            outcomes = await sending
        finally:
            sending.cancel()
        yield tasks, outcomes


def _all_accepted(outcomes: Sequence[Accepted | TaskQueueError], *, done: int) -> Sequence[Accepted]:
    """Return *outcomes* if there is no refusal among them, and raise the first one else."""
    if all(type(outcome) is Accepted for outcome in outcomes):
        return cast("Sequence[Accepted]", outcomes)
    unconfirmed = [outcome for outcome in outcomes if isinstance(outcome, DurabilityNotReached)]
    for place, outcome in enumerate(outcomes, start=done):
        if not isinstance(outcome, Accepted | Withheld | DurabilityNotReached):
            outcome.add_note(f"this is specs[{place}]; of it and those sent with it, none was stored")
            raise outcome
    first = unconfirmed[0]
    ids = tuple(task_id for problem in unconfirmed for task_id in problem.task_ids)
    raise DurabilityNotReached(first.level, first.wanted, first.reached, ids)
