"""What an operator does with a partitioned queue: each call goes to the partitions that it concerns."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, TypeVar

from taskqueue.partitions.routing import Routing, divided
from taskqueue.queue import TaskQueue
from taskqueue.rules import is_id
from taskqueue.store import UNSET, Balance, Limit, Stats, Unset
from taskqueue.task import Task, TaskState

T = TypeVar("T")


class PartitionedOperatorCalls(ABC):
    """The half of `PartitionedQueue` that operators and their tools use.

    What is said of `TaskQueue` holds here for all partitions together, unless it says otherwise. A call
    that concerns several is no one step: while it is under way, or after an error, some may be changed.
    """

    partitions: tuple[TaskQueue, ...]
    routing: Routing

    @abstractmethod
    def partition_of(self, tenant: str) -> TaskQueue:
        """Return the partition in which a tenant lives."""

    @abstractmethod
    async def _home(self, task_id: str) -> TaskQueue:
        """Return the partition that has a task."""

    async def cancel(self, task_id: str) -> Task:
        """End a QUEUED task at once; ask the worker of a PROCESSING one to stop it."""
        return await (await self._home(task_id)).cancel(task_id)

    async def redrive(self, task_id: str) -> Task:
        """Submit a FAILED or CANCELLED task again, with a new place in its partition."""
        return await (await self._home(task_id)).redrive(task_id)

    async def discard(self, task_ids: Sequence[str]) -> int:
        """Remove the records of finished tasks now, and return how many there were."""
        shares: dict[int, list[str]] = {}
        for task_id in filter(is_id, task_ids):
            for number in self.routing.places_of(task_id, None):
                shares.setdefault(number, []).append(task_id)
        return sum(await _all(self.partitions[number].discard(ids) for number, ids in shares.items()))

    async def clear(self, *, tenant: str | None = None, type: str | None = None) -> int:  # noqa: A002
        """Remove QUEUED tasks with their records, delayed ones included, and return how many."""
        return sum(await self._each(lambda queue: queue.clear(tenant=tenant, type=type)))

    async def tasks(
        self,
        *,
        state: TaskState | str | None = None,
        type: str | None = None,  # noqa: A002
        tenant: str | None = None,
    ) -> AsyncIterator[Task]:
        """Go through the tasks that have records, partition by partition, in no promised order."""
        for queue in self.partitions:
            async for task in queue.tasks(state=state, type=type, tenant=tenant):
                yield task

    async def stats(self, *, type: str | None = None, tenant: str | None = None) -> Stats:  # noqa: A002
        """Count the queue, a type, a tenant, or a type of a tenant: the sum of all partitions."""
        found = await self._each(lambda queue: queue.stats(type=type, tenant=tenant))
        by_priority = sum((Counter(each.by_priority) for each in found), Counter[int]())
        ages = [each.oldest_age for each in found if each.oldest_age is not None]
        return Stats(
            queued=sum(each.queued for each in found),
            processing=sum(each.processing for each in found),
            delayed=sum(each.delayed for each in found),
            by_priority=dict(sorted(by_priority.items(), reverse=True)),
            oldest_age=max(ages, default=None),
            limits=tuple(_added(each.limits for each in found)),
        )

    async def pause(self, *, type: str | None = None, tenant: str | None = None) -> None:  # noqa: A002
        """Start nothing more of a type, of a tenant or, with neither, of the whole queue."""
        await self._each(lambda queue: queue.pause(type=type, tenant=tenant))

    async def resume(self, *, type: str | None = None, tenant: str | None = None) -> None:  # noqa: A002
        """End a pause of a type, of a tenant or, with neither, of the whole queue."""
        await self._each(lambda queue: queue.resume(type=type, tenant=tenant))

    async def is_paused(self) -> bool:
        """Whether every partition is paused."""
        return all(await self._each(lambda queue: queue.is_paused()))

    async def set_limit(
        self,
        *,
        type: str | None = None,  # noqa: A002
        tenant: str | None = None,
        concurrency: int | Unset | None = UNSET,
    ) -> None:
        """Change how many tasks of a type or of a tenant may run at once, from the next claim on.

        A tenant's limit is kept in its partition. That of a type is divided: each partition gets the
        same share, the first ones one more where it does not come out even. So it is never exceeded,
        and it is not used up where one partition has more of the type than the others.

        Args:
            type: The type concerned; or else
            tenant: the tenant concerned.
            concurrency: How many, over all workers; None for no limit.

        Raises:
            InvalidSetting: If not exactly one of *type* and *tenant* is given, or the value is out of
                range; for a type it is 0, or at least the number of partitions.
        """
        if tenant is not None and type is None:
            await self.partition_of(tenant).set_limit(tenant=tenant, concurrency=concurrency)
            return
        count = len(self.partitions)
        shares: list[Any] = [concurrency] * count
        if isinstance(concurrency, int) and not isinstance(concurrency, bool):
            shares = divided("concurrency", concurrency, count)
        await _all(
            queue.set_limit(type=type, tenant=tenant, concurrency=share)
            for queue, share in zip(self.partitions, shares, strict=True)
        )

    async def limits(self) -> list[Limit]:
        """Return every type and tenant that has a limit or a pause, the shares of all partitions added."""
        return _added(await self._each(lambda queue: queue.limits()))

    async def workers(self) -> list[tuple[str, float]]:
        """Return the workers that live, each with the seconds since its last beat in any partition."""
        found: dict[str, float] = {}
        for name, age in chain.from_iterable(await self._each(lambda queue: queue.workers())):
            found[name] = min(age, found.get(name, age))
        return sorted(found.items())

    async def grant(self, tenant: str, credits: int) -> Balance:  # noqa: A002 - the word of the field
        """Give a tenant credits, or take some back; see `TaskQueue.grant()`."""
        return await self.partition_of(tenant).grant(tenant, credits)

    async def balance(self, tenant: str) -> Balance | None:
        """Return a tenant's credits; None if it is not metered."""
        return await self.partition_of(tenant).balance(tenant)

    async def _each(self, call: Callable[[TaskQueue], Awaitable[T]]) -> list[T]:
        return await _all(map(call, self.partitions))


async def _all(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Return what all calls return; each is made to its end, also if another one fails."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    found: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found


def _added(limits: Iterable[Iterable[Limit]]) -> list[Limit]:
    """Return each type and tenant once: shares and use added, paused if it is anywhere."""
    found: dict[tuple[str, str], Limit] = {}
    for each in (limit for some in limits for limit in some):
        known = found.get((each.scope, each.name))
        if known is None:
            found[each.scope, each.name] = each
            continue
        shares = [limit.concurrency for limit in (known, each) if limit.concurrency is not None]
        found[each.scope, each.name] = replace(
            known,
            concurrency=sum(shares) if shares else None,
            used=known.used + each.used,
            paused=known.paused or each.paused,
            weight=max(known.weight, each.weight),
        )
    return list(found.values())
