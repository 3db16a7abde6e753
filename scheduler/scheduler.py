"""The scheduler: handlers and options in, a running worker out."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from scheduler.backoff import Backoff, Exponential
from scheduler.executor import Middleware
from scheduler.loop import Summary
from scheduler.options import (
    MOST_ATTEMPTS,
    MOST_SLOTS,
    Duration,
    check_backoff,
    check_count,
    check_duration,
    check_timeout,
)
from scheduler.registry import F, Handlers
from scheduler.service import Service, until_ended
from scheduler.signals import stop_signals, stop_with_supervisor
from scheduler.slots import Defaults
from scheduler.worker import Plan, Worker
from taskqueue.errors import InvalidSetting
from taskqueue.names import check_queue_name
from taskqueue.partitions import MOST_PARTITIONS, PartitionedQueue
from taskqueue.queue import TaskQueue
from taskqueue.ranking import Policy
from taskqueue.settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_GRACE,
    DEFAULT_LEASE,
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_NAME,
    DEFAULT_TIMEOUT,
)

Lifespan = Callable[..., AbstractAsyncContextManager[Any]]
"""Opens what handlers share, and closes it; called without arguments, or with the scheduler."""

SHORTEST_LEASE, LONGEST_LEASE = 0.1, 3600.0
_LONGEST_GRACE = 3600.0
_SHORTEST_HEARTBEAT = 0.01


class Scheduler:
    """Runs the tasks of one queue through handlers.

    A task runs at least once, and its outcome counts at most once: a worker that dies, or is cut
    off for longer than the lease, loses the task to another, and what it reports later is refused.
    So a handler must bear to be run twice; `Context.idempotency_key` and `Context.fence` help.

    Run it until a signal with `await scheduler.run()`, or inside of a service with `async with
    scheduler:`. One scheduler runs once at a time, and as often as you like one after the other.

    Args:
        url: The server, as for `TaskQueue.connect`; None takes what the environment says.
        name: The queue.
        concurrency: How many tasks run at once, all types together, 1 to 100,000.
        lease: How long a claimed task belongs to this worker without a heartbeat, 0.1 s to 1 hour.
        heartbeat: How often leases are extended, at most half of the lease; None is a third of it.
        grace: How long handlers may go on after a stop, up to 1 hour; also how long after its timeout a
            handler that does not stop keeps its lease.
        timeout: How long one attempt may take where neither the handler nor the task says so.
        max_attempts: How often a task is tried where neither the handler nor the task says so.
        backoff: How long to wait between attempts where the handler does not say so.
        middleware: Async functions of (context, call_next) around every task; the first is the
            outermost. What one returns becomes the result.
        lifespan: An async context manager function, called with nothing or with the scheduler. What it
            yields is `Context.state`; it ends when the last handler has.
        policy: The policy that the queue must have; None follows the queue.
        queue: An open queue to share in place of *url*, *name*, *policy* and *partitions*; it is not
            closed here.
        partitions: How many partitions the queue has, where it is a `PartitionedQueue`.

    Raises:
        InvalidSetting: If an option breaks its rule.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        name: str = DEFAULT_NAME,
        concurrency: int = DEFAULT_CONCURRENCY,
        lease: Duration = DEFAULT_LEASE,
        heartbeat: Duration | None = None,
        grace: Duration = DEFAULT_GRACE,
        timeout: Duration = DEFAULT_TIMEOUT,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        backoff: Backoff = Exponential(),  # noqa: B008  frozen
        middleware: Iterable[Middleware] = (),
        lifespan: Lifespan | None = None,
        policy: str | Policy | None = None,
        queue: TaskQueue | PartitionedQueue | None = None,
        partitions: int | None = None,
    ) -> None:
        if queue is not None and (
            url is not None or policy is not None or partitions is not None or name != DEFAULT_NAME
        ):
            rule = "given alone: it has its own url, name, policy and partitions"
            raise InvalidSetting("queue", queue, rule)
        if partitions is not None:
            check_count("partitions", partitions, MOST_PARTITIONS)
            if policy is not None:
                raise InvalidSetting("policy", policy, "left out: a partitioned queue is strict")
        self._url, self._policy, self._queue, self._partitions = url, policy, queue, partitions
        self._name = check_queue_name(name)
        self._lease = check_duration("lease", lease, lowest=SHORTEST_LEASE, highest=LONGEST_LEASE)
        self._heartbeat = self._lease / 3
        if heartbeat is not None:
            self._heartbeat = check_duration(
                "heartbeat", heartbeat, lowest=_SHORTEST_HEARTBEAT, highest=self._lease / 2
            )
        self._grace = check_duration("grace", grace, highest=_LONGEST_GRACE)
        self._defaults = Defaults(
            check_count("concurrency", concurrency, MOST_SLOTS),
            check_timeout("timeout", timeout),
            check_count("max_attempts", max_attempts, MOST_ATTEMPTS),
            check_backoff("backoff", backoff),
        )
        self._middleware = tuple(_checked_middleware(each) for each in middleware)
        self._lifespan = self._checked_lifespan(lifespan)
        self._handlers = Handlers()
        self._worker: Worker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._service: Service | None = None
        self._exit = ExitStack()

    @property
    def url(self) -> str | None:
        """The server that it was made or configured for; None takes what the environment says.

        It may hold a password.
        """
        return self._url

    @property
    def name(self) -> str:
        """Name of the queue."""
        return self._name if self._queue is None else self._queue.name

    @property
    def types(self) -> tuple[str, ...]:
        """The types that it has handlers for, in the order of their registration."""
        return tuple(registration.type for registration in self._handlers)

    @property
    def concurrency(self) -> int:
        """How many tasks it runs at once, all types together."""
        return self._defaults.concurrency

    def configure(
        self, *, url: str | None = None, name: str | None = None, concurrency: int | None = None
    ) -> None:
        """Change what the scheduler was made with, before it runs; a command line does so.

        Args:
            url: Another server; None leaves it.
            name: Another queue; None leaves it.
            concurrency: How many tasks run at once; None leaves it.

        Raises:
            InvalidSetting: If an option breaks its rule, the scheduler runs, or it shares a queue that
                has a url and a name of its own.
        """
        if self._worker is not None:
            raise InvalidSetting("scheduler", self._worker.name, "configured before it runs")
        if self._queue is not None and (url is not None or name is not None):
            raise InvalidSetting("queue", self._queue, "left out where url or name are to be changed")
        self._url = self._url if url is None else url
        self._name = self._name if name is None else check_queue_name(name)
        if concurrency is not None:
            checked = check_count("concurrency", concurrency, MOST_SLOTS)
            self._defaults = replace(self._defaults, concurrency=checked)

    def handler(
        self,
        type: str,  # noqa: A002  the word for it everywhere else
        *,
        concurrency: int | None = None,
        timeout: Duration | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        providers: Sequence[str] = (),
    ) -> Callable[[F], F]:
        """Register a function as the handler of one type of task; see `Handlers.handler`."""
        return self._handlers.handler(
            type,
            concurrency=concurrency,
            timeout=timeout,
            max_attempts=max_attempts,
            backoff=backoff,
            providers=providers,
        )

    def include(self, handlers: Handlers) -> None:
        """Take over every handler of a group; see `Handlers.include`."""
        self._handlers.include(handlers)

    async def run(self, *, burst: bool = False, handle_signals: bool = True) -> Summary:
        """Work until stopped, by `stop()` or by a signal, then let what runs end within the grace period.

        Failures of handlers end up in their tasks, never here. While the server is away this
        waits for it.

        Args:
            burst: Return as soon as nothing of the handlers' types is QUEUED, delayed tasks and those in
                their backoff included, and nothing runs here.
            handle_signals: Stop at the first SIGTERM or SIGINT, exit the process at the second. Only in
                the main thread; the former handlers are put back at the end.

        Returns:
            What was done, counted.

        Raises:
            InvalidSetting: If it has no handlers, or runs already.
            ServerUnavailable: If the server cannot be reached at the start.
            ServerUnsuitable: If the server, or the queue on it, cannot keep the promises.
        """
        with ExitStack() as stack:
            worker = stack.enter_context(self._begin())
            if handle_signals:
                stack.enter_context(stop_signals(self.stop))
                stack.enter_context(stop_with_supervisor(self.stop))
            running = asyncio.get_running_loop().create_task(worker.run(burst=burst, ready=lambda: None))
            return await until_ended(running, worker)

    def stop(self) -> None:
        """Let run() end: claim nothing more, let handlers finish. Safe in any thread, any number of times."""
        worker, loop = self._worker, self._loop
        if worker is not None and loop is not None:
            loop.call_soon_threadsafe(worker.stop)

    async def __aenter__(self) -> Self:
        """Run in the background of this event loop; return when everything is open.

        Should it crash, the task that is inside of the `async with` is cancelled, and the error is
        raised at its end: a service must not go on without noticing that nothing is run any more.

        Raises:
            What `run` raises.
        """
        with ExitStack() as stack:
            service = Service(stack.enter_context(self._begin()))
            await service.start()
            self._service, self._exit = service, stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._service is not None, "entered before"
        with self._exit:
            await self._service.end(error)

    @contextmanager
    def _begin(self) -> Iterator[Worker]:
        if self._worker is not None:
            raise InvalidSetting("scheduler", self._worker.name, "run once at a time; make another one")
        if not len(self._handlers):
            rule = "at least one; register a function with @scheduler.handler('TYPE'), or include a group"
            raise InvalidSetting("handlers", [], rule)
        self._handlers.freeze("belongs to a scheduler that has started: register its handlers before")
        plan = Plan(
            registrations=tuple(self._handlers),
            defaults=self._defaults,
            lease=self._lease,
            heartbeat=self._heartbeat,
            grace=self._grace,
            middleware=self._middleware,
            lifespan=self._lifespan,
            group_lifespans=self._handlers.lifespans,
        )
        self._worker = Worker(plan, self._opened)
        self._loop = asyncio.get_running_loop()
        try:
            yield self._worker
        finally:
            self._worker = self._loop = None
            self._handlers.thaw()

    def _opened(self) -> AbstractAsyncContextManager[TaskQueue | PartitionedQueue]:
        if self._queue is not None:
            return nullcontext(self._queue)
        if self._partitions is not None:
            return PartitionedQueue.connect(self._url, name=self._name, partitions=self._partitions)
        return TaskQueue.connect(self._url, name=self._name, policy=self._policy)

    def _checked_lifespan(self, lifespan: Any) -> Callable[[], AbstractAsyncContextManager[Any]] | None:
        if lifespan is None:
            return None
        if (
            not callable(lifespan)
            or inspect.isasyncgenfunction(lifespan)
            or inspect.iscoroutinefunction(lifespan)
        ):
            rule = "a function that returns an async context manager: put @asynccontextmanager above it"
            raise InvalidSetting("lifespan", lifespan, rule)
        takes_scheduler = any(
            each.default is each.empty and each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}
            for each in inspect.signature(lifespan).parameters.values()
        )
        return (lambda: lifespan(self)) if takes_scheduler else lifespan


def _checked_middleware(middleware: Any) -> Middleware:
    function = middleware if inspect.isroutine(middleware) else type(middleware).__call__
    if not callable(middleware) or not inspect.iscoroutinefunction(function):
        raise InvalidSetting("middleware", middleware, "an async function of (context, call_next)")
    checked: Middleware = middleware
    return checked
