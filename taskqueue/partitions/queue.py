"""`PartitionedQueue`: what a producer holds. What an operator holds as well is in `operating`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack, overload

from taskqueue.errors import InvalidTask, PayloadTooLarge, TaskNotFound, TaskQueueError
from taskqueue.names import check_tenant
from taskqueue.partitions.opening import Connecting
from taskqueue.partitions.operating import PartitionedOperatorCalls
from taskqueue.partitions.routing import Routing
from taskqueue.queue import TaskQueue
from taskqueue.rules import is_id
from taskqueue.settings import DEFAULT_MAX_PAYLOAD, DEFAULT_NAME
from taskqueue.store.calling import DEFAULT_PATIENCE
from taskqueue.task import Durability, Task, TaskSpec

_PLACE = re.compile(r"specs\[(\d+)\]")


class Fields(TypedDict, total=False):
    """What a task may be given beside its type and its payload; `TaskQueue.enqueue()` says what each is."""

    priority: int
    idempotency_key: str | None
    tenant: str
    delay: timedelta | None
    not_before: datetime | None
    max_attempts: int | None
    timeout: timedelta | None
    id: str | None
    cost: int
    hold: int | None
    durability: Durability | str | None
    reserve: bool


class PartitionedQueue(PartitionedOperatorCalls):
    """A queue of strict order that is spread over N partitions; made by `PartitionedQueue.connect()`.

    Each partition is a queue of its own, complete, with a hash tag of its own: in a cluster they can
    live on different nodes. A tenant lives in one of them. docs/partitions.md says what order there is
    between partitions, and what a partitioned queue cannot do.

    Attributes:
        name: Name of the queue; the partitions are called `name.0`, `name.1` and so on.
        url: Its server, without the password.
        partitions: The partitions, in order.
    """

    def __init__(self, name: str, partitions: Sequence[TaskQueue]) -> None:
        self.name = name
        self.url = partitions[0].url
        self.partitions = tuple(partitions)
        self.routing = Routing(len(partitions))

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        name: str = DEFAULT_NAME,
        partitions: int,
        highest_priority: int | None = None,
        durability: Durability | str = Durability.MEMORY,
        retention: timedelta | None = None,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        max_queued: int | None = None,
        patience: float = DEFAULT_PATIENCE,
    ) -> Connecting:
        """Open a queue: `async with PartitionedQueue.connect(...) as queue`, or `queue = await ...`.

        Options that are not told here are those of `TaskQueue.connect()`.

        Args:
            url: Where; any server, not only a cluster.
            name: Which queue; with the number of a partition behind it at most 64 characters.
            partitions: How many, 1 to 1,000; stored with the queue, and the same for good.
            highest_priority: As for `TaskQueue.connect()`.
            durability: Likewise.
            retention: Likewise.
            max_payload: Likewise.
            max_queued: Likewise; a tenant's, so within its partition.
            patience: Likewise, for each partition by itself.

        Raises:
            InvalidSetting: If an option breaks its rule.
            ServerUnavailable: If any partition's server does not answer within 5 seconds.
            ServerUnsuitable: If it cannot keep the promises; `QueueMismatch` if the queue has another
                number of partitions, or other settings.
        """
        options = {
            "highest_priority": highest_priority,
            "durability": durability,
            "retention": retention,
            "max_payload": max_payload,
            "max_queued": max_queued,
            "patience": patience,
        }
        return Connecting(cls, url, name, partitions, options)

    async def enqueue(
        self,
        type: str,  # noqa: A002 - the name of the field
        payload: Mapping[str, Any],
        *,
        spread: bool = False,
        **fields: Unpack[Fields],
    ) -> Task:
        """Have a task accepted by its tenant's partition; see `TaskQueue.enqueue()`.

        Args:
            type: Names the handler.
            payload: What the handler gets.
            spread: True puts it into the partitions in turn, or by its *id* if the caller made one. Only
                for tasks of the default tenant without idempotency key, cost, hold and *reserve*; tasks
                that are spread have no order by submission among each other.
            fields: As for `TaskQueue.enqueue()`, but no *webhook*.

        Raises:
            InvalidTask: If a field breaks its rule, or cannot be had together with *spread*.
            TaskQueueError: What `TaskQueue.enqueue()` raises.
        """
        number = self.routing.place(TaskSpec(type=type, payload=payload, **fields), spread=spread)
        return await self.partitions[number].enqueue(type, payload, **fields)

    @overload
    async def enqueue_many(
        self, specs: Iterable[TaskSpec], *, spread: bool = False, return_exceptions: Literal[False] = False
    ) -> list[Task]: ...

    @overload
    async def enqueue_many(
        self, specs: Iterable[TaskSpec], *, spread: bool = False, return_exceptions: bool
    ) -> Sequence[Task | TaskQueueError]: ...

    async def enqueue_many(
        self, specs: Iterable[TaskSpec], *, spread: bool = False, return_exceptions: bool = False
    ) -> Sequence[Task | TaskQueueError]:
        """Have many tasks accepted; each partition gets its own in their order, all partitions at once.

        What `TaskQueue.enqueue_many()` says of all tasks holds for those of one partition: if one is
        refused, those of other partitions may be stored.

        Args:
            specs: The tasks, without webhooks.
            spread: As for `enqueue()`, for all of them.
            return_exceptions: True stores what can be stored, and puts an exception in the place of
                every other task.

        Returns:
            A task for each specification, in their order.

        Raises:
            InvalidTask: If a field of any breaks its rule; `field` says which, such as
                `specs[3].priority`.
            TaskQueueError: What `TaskQueue.enqueue_many()` raises.
        """
        found: list[Task | TaskQueueError | None] = []
        shares: dict[int, tuple[list[int], list[TaskSpec]]] = {}
        for place, spec in enumerate(specs):
            found.append(None)
            try:
                number = self.routing.place(_checked(spec), spread=spread)
            except InvalidTask as error:
                field = f"specs[{place}].{error.field}".removesuffix(".")
                refusal = InvalidTask(field, error.value, error.rule)
                if not return_exceptions:
                    raise refusal from None
                found[place] = refusal
                continue
            places, share = shares.setdefault(number, ([], []))
            places.append(place)
            share.append(spec)
        calls = (
            self.partitions[number].enqueue_many(share, return_exceptions=return_exceptions)
            for number, (_, share) in shares.items()
        )
        results = await asyncio.gather(*calls, return_exceptions=True)
        for (places, _), result in zip(shares.values(), results, strict=True):
            if isinstance(result, BaseException):
                raise _in_place(result, places)
            for place, each in zip(places, result, strict=True):
                found[place] = each if isinstance(each, Task) else _in_place(each, places)
        return [each for each in found if each is not None]

    async def get(self, task_id: str, *, tenant: str | None = None) -> Task | None:
        """Return a task as the server knows it now; None if it is unknown, cleared or purged.

        An id made here costs one call. One made by the caller is looked for in its tenant's partition,
        or, without a tenant, in all of them.

        Args:
            task_id: Its id.
            tenant: Whose it must be.

        Raises:
            TaskQueueError: What `TaskQueue.get()` raises.
        """
        if tenant is not None:
            check_tenant(tenant)
        if not is_id(task_id):
            return None
        asked = (self.partitions[number] for number in self.routing.places_of(task_id, tenant))
        found = await asyncio.gather(*(each.get(task_id, tenant=tenant) for each in asked))
        return next((task for task in found if task is not None), None)

    async def find(self, tenant: str, idempotency_key: str) -> Task | None:
        """Return the task of a tenant that holds an idempotency key; None if there is none."""
        return await self.partition_of(tenant).find(tenant, idempotency_key)

    async def wait(self, task_id: str, timeout: float | None = None) -> Task:
        """Return the task once it has finished, whatever its end; see `TaskQueue.wait()`."""
        return await (await self._home(task_id)).wait(task_id, timeout)

    def partition_of(self, tenant: str) -> TaskQueue:
        """Return the partition in which a tenant lives.

        Raises:
            InvalidTask: If the tenant has no such name.
        """
        return self.partitions[self.routing.of_tenant(check_tenant(tenant))]

    async def close(self) -> None:
        """Close all partitions, when the tasks on their way have been answered."""
        results = await asyncio.gather(*(each.close() for each in self.partitions), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _home(self, task_id: str) -> TaskQueue:
        """Return the partition that has a task.

        Raises:
            TaskNotFound: If none has it.
        """
        number = self.routing.of_id(task_id) if is_id(task_id) else None
        if number is not None:
            return self.partitions[number]
        found = await asyncio.gather(*(each.get(task_id) for each in self.partitions))
        for queue, task in zip(self.partitions, found, strict=True):
            if task is not None:
                return queue
        raise TaskNotFound(task_id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"PartitionedQueue({self.name!r} on {self.url}, {len(self.partitions)} partitions)"


def _checked(spec: object) -> TaskSpec:
    if not isinstance(spec, TaskSpec):
        raise InvalidTask("", spec, "a TaskSpec")
    return spec


def _in_place(error: Any, places: Sequence[int]) -> Any:
    """Return an error with the place that its task has among all, not among those of its partition."""
    if not isinstance(error, InvalidTask):
        return error
    field = _PLACE.sub(lambda found: f"specs[{places[int(found[1])]}]", error.field, count=1)
    if isinstance(error, PayloadTooLarge):
        return PayloadTooLarge(error.size, error.limit, field)
    return InvalidTask(field, error.value, error.rule)
