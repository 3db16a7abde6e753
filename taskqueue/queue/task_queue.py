"""`TaskQueue`: what a producer holds. What an operator holds as well is in `operating`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, overload

from taskqueue.batching import Batcher, isolated
from taskqueue.codec import Entry, encode_entry
from taskqueue.connect import Connector
from taskqueue.errors import InvalidSetting, TaskNotFound, TaskQueueError
from taskqueue.names import check_idempotency_key, check_tenant
from taskqueue.queue.bulk import Bulk, offered_task, with_place
from taskqueue.queue.crediting import CreditCalls
from taskqueue.queue.opening import QueueOptions, open_store
from taskqueue.queue.operating import OperatorCalls
from taskqueue.queue.submissions import Submissions
from taskqueue.queue.waiting import Waiting
from taskqueue.ranking import Policy
from taskqueue.rules import is_id
from taskqueue.settings import DEFAULT_MAX_PAYLOAD, DEFAULT_NAME, DEFAULT_PRIORITY, DEFAULT_TENANT
from taskqueue.store import Accepted, Store
from taskqueue.store.calling import DEFAULT_PATIENCE
from taskqueue.task import Durability, Task, TaskSpec


class Connecting:
    """A queue that is about to be opened: `await` it, or enter it with `async with`."""

    def __init__(self, connector: Connector, options: QueueOptions) -> None:
        self._connector = connector
        self._options = options
        self._queue: TaskQueue | None = None

    def __await__(self) -> Generator[Any, None, TaskQueue]:
        return self._open().__await__()

    async def __aenter__(self) -> TaskQueue:
        self._queue = await self._open()
        return self._queue

    async def __aexit__(self, *_: object) -> None:
        assert self._queue is not None, "entered before"
        await self._queue.close()

    async def _open(self) -> TaskQueue:
        resources = AsyncExitStack()
        store = await resources.enter_async_context(open_store(self._connector, self._options))
        return TaskQueue(store, self._options, self._connector, resources)


class TaskQueue(OperatorCalls, CreditCalls):
    """A queue of tasks on a server; made by `TaskQueue.connect()`.

    It belongs to the event loop that connected it. All its calls may be made at once from many
    tasks of that loop: those that come together share calls to the server. Each waits up to the
    queue's patience for a server that is away, and then raises `ServerUnavailable`.

    Attributes:
        name: Name of the queue.
        url: Its server, without the password.
        connector: Makes more clients of that server; open for as long as the queue is.
    """

    def __init__(
        self, store: Store, options: QueueOptions, connector: Connector, resources: AsyncExitStack
    ) -> None:
        self.name = options.name
        self.url = connector.url_shown
        self.connector = connector
        self._store = store
        self._resources = resources
        self._max_queued = options.max_queued
        self._encode: Callable[[TaskSpec], Entry] = partial(
            encode_entry,
            max_bytes=options.max_payload,
            default_durability=Durability(options.durability),
            order=store.settings.order,
        )
        if options.mark:
            self._encode = partial(_marked, self._encode, options.mark)
        take = partial(store.enqueue, max_queued=options.max_queued)
        self._enqueuing: Batcher[Entry, Accepted] = Batcher(
            partial(isolated, take), size=lambda entry: len(entry.blob), in_two=True
        )
        self._submissions = Submissions(store, self._encode, options.max_queued)
        self._fetching: Batcher[tuple[str, str], Task | None] = Batcher(partial(isolated, store.look))
        self._waiting = Waiting(store)
        self._pid = os.getpid()
        self._is_closed = False

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
    ) -> Connecting:
        """Open a queue: `async with TaskQueue.connect(...) as queue`, or `queue = await ...`.

        The server is checked, and refused if it is too old or set up to delete keys; what makes
        promises worth less, such as no append-only file, is logged as a warning. A queue that does
        not exist yet is made.

        Args:
            url: Where: `redis://`, `rediss://`, `unix://`, `redis+sentinel://`, `redis+cluster://`,
                `embedded:///folder` or `memory://`. None takes `TASKQUEUE_URL`, else `REDIS_URL`,
                else an embedded server in the user's data folder.
            name: Which queue: 1 to 64 of `A-Z a-z 0-9 . _ -`.
            policy: How tenants share: `strict`, `fair_within_priority`, `fair_tenants` or one of
                your own; None follows the queue, and makes a new one `strict`.
            stride: Makes a queue in which a priority overtakes by a bound: how many places by
                submission one step of priority is worth, 1 to 2**30. None follows the queue, and
                makes a new one strictly ordered.
            highest_priority: Largest priority, up to 254; None follows the queue (new: 10).
            durability: When an enqueue counts as accepted, unless the task says otherwise.
            retention: How long records of tasks are kept, counted from acceptance, 1 s to 365 days.
                Stored with the queue; None follows it (new: 24 hours).
            max_payload: Largest encoded payload in bytes, up to 4 MiB.
            max_queued: QUEUED tasks that a tenant may have before this queue object raises
                `QueueFull`; None sets no limit.
            patience: Seconds for which a call tries to reach a server that is away.
            clock: Epoch milliseconds in place of the server's clock, for tests; see
                `taskqueue.testing.FakeClock`.

        Raises:
            InvalidSetting: If an option breaks its rule.
            ServerUnavailable: If the server does not answer within 5 seconds.
            ServerUnsuitable: If it cannot keep the promises; `QueueMismatch` if the queue exists
                with another policy, stride or highest priority.
        """
        options = QueueOptions(
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
        return Connecting(Connector.parse(url), options)

    @property
    def store(self) -> Store:
        """The door to the server, for the scheduler and for tests; applications have no need of it."""
        if self._is_closed:
            raise TaskQueueError(f"queue {self.name!r} is closed")
        return self._store

    async def enqueue(
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

        From then on it runs at least once, unless it is cancelled or cleared: if its worker dies,
        another runs it again. It keeps its place by submission for life, also through delays and
        retries.

        Concurrent calls share calls to the server, in the order in which they were made. A lost
        reply is dealt with here; after `ServerUnavailable` the fate of the task is unknown, and a
        caller who gave an *id* repeats the call with it. Cancelling the call may leave the task
        stored.

        Args:
            type: Names the handler: a letter, then up to 63 of `A-Z a-z 0-9 _ . -`.
            payload: What the handler gets; see `TaskSpec`. The returned task has this very mapping.
            priority: 1 (last) to 10 (first), or what the queue allows.
            idempotency_key: 1 to 255 printable characters. Refused while a task with the same key
                of the same tenant has a record.
            tenant: Whose task it is: 1 to 128 of `A-Z a-z 0-9 . _ @ -`.
            delay: Earliest start, counted from acceptance, up to 3,650 days.
            not_before: Earliest start as an instant with a time zone, in place of a delay.
            max_attempts: How often it may be tried, 1 to 1,000; None leaves it to the handler.
            timeout: How long one attempt may take, up to 7 days; None leaves it to the handler.
            id: 1 to 64 of `A-Z a-z 0-9 _ -`, made before the first try; None makes a UUID. The
                same id again with the same type, tenant and payload is the same task: it is
                accepted again with its old place.
            webhook: Address to be told at the end, as text or as `{"url": ...}`.
            cost: Price in credits; see `grant()`.
            hold: The most that may be charged, where a handler may charge more; None is the cost.
            durability: `memory`, `replicated` or `fsync`; None takes the queue's.
            reserve: Take one of the tenant's concurrent slots now, or refuse; the task runs before
                every other priority.

        Raises:
            InvalidTask: If a field breaks its rule; `PayloadTooLarge` if it is the size.
            IdempotencyConflict: If the key or the id names another task.
            QueueFull: If the tenant has as many queued tasks as it may.
            InsufficientCredits: If the tenant is metered and its balance does not cover the cost.
            LimitReached: If *reserve* found no free slot.
            DurabilityNotReached: If it was stored, but not confirmed as asked for.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        spec = TaskSpec(
            type=type,
            payload=payload,
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
        entry = self._encode(spec)
        accepted = self._enqueuing.submit(entry)
        task = offered_task(entry)
        return with_place(task, await accepted)

    @overload
    async def enqueue_many(
        self, specs: Iterable[TaskSpec], *, return_exceptions: Literal[False] = False
    ) -> list[Task]: ...

    @overload
    async def enqueue_many(
        self, specs: Iterable[TaskSpec], *, return_exceptions: bool
    ) -> Sequence[Task | TaskQueueError]: ...

    async def enqueue_many(
        self, specs: Iterable[TaskSpec], *, return_exceptions: bool = False
    ) -> Sequence[Task | TaskQueueError]:
        """Have many tasks accepted, in this order, and return them once they are stored.

        All specifications are checked before anything is sent. Up to 1,000 tasks and 4 MiB go to
        the server in one call, which stores all or none of them. More are split into several
        calls, one after the other: if one is refused, those before it stay stored and those after
        it are not sent.

        Args:
            specs: The tasks. All are held in memory: hand in very many in pieces of, say, 100,000.
            return_exceptions: True stores what can be stored, and puts an exception in the place of
                every other task, as `asyncio.gather` does.

        Returns:
            A task for each specification, in their order, with its own payload.

        Raises:
            InvalidTask: If a field of any breaks its rule; `field` says which, such as
                `specs[3].priority`. Nothing was stored.
            IdempotencyConflict: If a key or an id names another task.
            QueueFull: If a tenant would have more queued tasks than it may.
            LimitReached: If a task with *reserve* found no free slot.
            DurabilityNotReached: If all were stored, but not confirmed as asked for.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        bulk = Bulk(self.store, self._encode, self._max_queued)
        return await (bulk.enqueue_each(specs) if return_exceptions else bulk.enqueue_all(specs))

    async def get(self, task_id: str, *, tenant: str | None = None) -> Task | None:
        """Return a task as the server knows it now; None if it is unknown, cleared or purged.

        Args:
            task_id: Its id.
            tenant: Whose it must be. The task of another tenant is as good as unknown, and no time
                that the call takes tells the two apart.

        Raises:
            InvalidTask: If the tenant breaks its rule.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
            QueueCorrupt: If its record is damaged, or a newer version of this package wrote it.
        """
        owner = "" if tenant is None else check_tenant(tenant)
        return await self._fetching.submit((task_id, owner)) if is_id(task_id) else None

    async def find(self, tenant: str, idempotency_key: str) -> Task | None:
        """Return the task of a tenant that holds an idempotency key; None if there is none.

        Raises:
            InvalidTask: If the tenant or the key breaks its rule.
            ServerUnavailable: If the server gave no usable answer within the queue's patience.
        """
        key = check_idempotency_key(idempotency_key)
        holder = await self.store.holder_of(check_tenant(tenant), key)
        return None if holder is None else await self.get(holder, tenant=tenant)

    async def delivered(self, task_id: str) -> bool:
        """Note that the webhook of a finished task was taken by its receiver, now; the first time counts.

        Returns:
            Whether the task still has a record, and has finished.
        """
        return is_id(task_id) and await self.store.delivered(task_id)

    async def wait(self, task_id: str, timeout: float | None = None) -> Task:
        """Return the task once it has finished, whatever its end.

        It is event-driven: the script that ends the task tells this process. Many may wait for one
        task, and get the same object.

        Args:
            task_id: Its id.
            timeout: Seconds; 0 looks once, None waits for as long as it takes.

        Raises:
            WaitTimeout: If it had not finished by then. The task goes on.
            TaskNotFound: If it is unknown, or was cleared or purged while it was waited for.
            ServerUnavailable: If the server could not be asked for as long as the queue's patience.
            TaskQueueError: If the queue is closed meanwhile.
        """
        if timeout is not None and (type(timeout) not in {int, float} or not timeout >= 0):
            raise InvalidSetting("timeout", timeout, "a number of seconds, 0 or more, or None")
        if not is_id(task_id):
            raise TaskNotFound(task_id)
        return await self._waiting.wait(task_id, timeout)

    async def close(self) -> None:
        """Close the connections, when the tasks on their way have been answered.

        Whoever waits for a task gets a `TaskQueueError`. Closing twice does nothing.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._enqueuing.close()
            await self._submissions.close()
            await self._fetching.close(drain=False)
            await self._waiting.close()
        finally:
            await self._resources.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = ", closed" if self._is_closed else ""
        return f"TaskQueue({self.name!r} on {self.url}{state})"

    def __del__(self) -> None:
        # A forked child that drops its copy has nothing to close.
        if not getattr(self, "_is_closed", True) and self._pid == os.getpid():
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)


def _marked(encode: Callable[[TaskSpec], Entry], mark: str, spec: TaskSpec) -> Entry:
    entry = encode(spec)
    if spec.id is None:
        entry.id += mark
    return entry


def submissions_of(queue: TaskQueue) -> Submissions:
    """Return the way in for tasks of the HTTP service, whose requests are counted."""
    return queue._submissions  # noqa: SLF001 - none of a user's business, so no attribute that is shown
