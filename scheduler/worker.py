"""One run of a scheduler: puts its parts together, starts them, and takes them down in order."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any
from uuid import uuid4

from scheduler.background import Background
from scheduler.bell import Bell
from scheduler.duties import Duty, repeat
from scheduler.ending import end
from scheduler.executor import Executor, Middleware
from scheduler.failover import failing_over
from scheduler.heartbeat import Heartbeat, Inbox, Lease, Tell
from scheduler.loop import ClaimLoop, Summary
from scheduler.maintenance import maintenance_duties
from scheduler.outage import Outage
from scheduler.outcomes import Outcomes
from scheduler.partitions import Home, PartitionedWork, partition_of
from scheduler.registry import Registration
from scheduler.run import Run, Stop
from scheduler.slots import Defaults, Slots
from scheduler.waker import LONGEST, Waker, Wakers
from scheduler.work import Work
from taskqueue.errors import ServerUnavailable
from taskqueue.partitions import PartitionedQueue
from taskqueue.queue import TaskQueue
from taskqueue.store import Store

logger = logging.getLogger("scheduler.worker")

_GOODBYE = 2.0
"""Seconds that the last, dispensable word to the server may take."""

_BURST_WAIT = 0.5
"""Seconds between two looks for the end of a burst, should nothing else happen."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a scheduler was told, checked. Times are in seconds.

    Attributes:
        registrations: The handlers.
        defaults: What holds for handlers that say nothing of their own.
        lease: How long a claim holds without being extended.
        heartbeat: How often leases are extended.
        grace: How long handlers may go on after a stop.
        middleware: Wrapped around every task; the first is the outermost.
        lifespan: Opens what handlers share.
        group_lifespans: Likewise for groups of handlers; nobody sees what they yield.
    """

    registrations: Sequence[Registration]
    defaults: Defaults
    lease: float
    heartbeat: float
    grace: float
    middleware: Sequence[Middleware]
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None
    group_lifespans: Sequence[Callable[[], AbstractAsyncContextManager[Any]]] = ()


class Worker:
    """One run of a scheduler on an open queue, or on all partitions of one.

    Args:
        plan: What to run, and how.
        opened: Opens the queue, or hands over one that is open.
    """

    def __init__(
        self, plan: Plan, opened: Callable[[], AbstractAsyncContextManager[TaskQueue | PartitionedQueue]]
    ) -> None:
        self.name = new_worker_name()
        self._plan = plan
        self._opened = opened
        self._outage = Outage()
        self._random = Random()  # noqa: S311  jitter
        self._loop: ClaimLoop | None = None
        self._stop_within: float | None = None

    def stop(self, grace: float | None = None) -> None:
        """Let run() end: claim nothing more, and give handlers so many seconds (None: as planned)."""
        self._stop_within = self._plan.grace if grace is None else grace
        if self._loop is not None:
            self._loop.stop(self._stop_within)

    async def run(self, *, burst: bool, ready: Callable[[], None]) -> Summary:
        """Work until stopped.

        Args:
            burst: End as soon as nothing of the handlers' types is QUEUED and nothing runs here.
            ready: Called when everything is open and tasks are about to be claimed.
        """
        async with AsyncExitStack() as stack:
            queue = await stack.enter_async_context(self._opened())
            state = None
            if self._plan.lifespan is not None:
                state = await stack.enter_async_context(self._plan.lifespan())
            for lifespan in self._plan.group_lifespans:
                await stack.enter_async_context(lifespan())
            return await self._work(queue, state, burst=burst, ready=ready)

    async def _work(
        self, queue: TaskQueue | PartitionedQueue, state: Any, *, burst: bool, ready: Callable[[], None]
    ) -> Summary:
        plan, bell = self._plan, Bell()
        homes = self._homes_of(queue)
        slots = Slots(map(failing_over, plan.registrations), plan.defaults)
        outcomes = Outcomes(bell.ring, self._random)
        work: Work = homes[0].store
        if len(homes) > 1:
            work = PartitionedWork(homes, runs=lambda: executor.runs, ring=bell.ring, random=self._random)
        own = queue if isinstance(queue, TaskQueue) else None
        executor = Executor(slots, outcomes, work, state=state, queue=own, middleware=plan.middleware)
        longest = _BURST_WAIT if burst else LONGEST
        wakers = [Waker(each.store, bell, each.outage, self._random, longest=longest) for each in homes]
        waker = Wakers(wakers) if len(homes) > 1 else wakers[0]
        loop = self._loop = ClaimLoop(
            work,
            slots=slots,
            executor=executor,
            outcomes=outcomes,
            waker=waker,
            bell=bell,
            outage=self._outage,
            worker=self.name,
            lease=plan.lease,
            random=self._random,
        )
        if len(homes) == 1:
            # Partitions bound how far their order may be off by having one call under way.
            outcomes.when_many = loop.follow
        if self._stop_within is not None:
            loop.stop(self._stop_within)
        serve = partial(self._serve_duties, homes, executor, asyncio.get_running_loop())
        background = Background(serve, bell.crash, threaded=not _is_in_process(homes[0].queue))
        try:
            await background.start()
            self._greet(queue)
            ready()
            return await loop.run(partial(_burst_is_over, homes, slots) if burst else None)
        finally:
            # After a crash or a cancel handlers may still run; in an orderly end none does.
            executor.stop_all(Stop.SHUTDOWN)
            executor.close()
            await waker.close()
            if isinstance(work, PartitionedWork):
                await work.close()
            await background.stop()
            await self._say_goodbye(homes)

    def _homes_of(self, queue: TaskQueue | PartitionedQueue) -> list[Home]:
        if isinstance(queue, TaskQueue):
            return [Home(queue, self._outage)]
        named = ((each, f"the server of partition {each.name!r}") for each in queue.partitions)
        return [Home(each, Outage(server)) for each, server in named]

    async def _serve_duties(
        self,
        homes: Sequence[Home],
        executor: Executor,
        loop: asyncio.AbstractEventLoop,
        ready: Callable[[], None],
        stopping: asyncio.Event,
    ) -> None:
        """Run every background duty until *stopping* is set; in a thread, with clients of its own."""
        random, here = Random(), asyncio.get_running_loop()  # noqa: S311  jitter
        async with AsyncExitStack() as stack:
            tasks = []
            for number, home in enumerate(homes):
                store = home.store
                if not _is_in_process(home.queue):
                    store = await stack.enter_async_context(_second_store(home.queue))
                is_here = None if len(homes) == 1 else partial(_is_of, number)
                duties = self._duties(store, executor, loop, random, is_here)
                # The reaper may leave no more than half a lease after an outage: be back well before.
                longest = self._plan.lease / 4
                tasks += [here.create_task(repeat(duty, home.outage, random, longest)) for duty in duties]
            stop = here.create_task(stopping.wait())
            try:
                ready()
                await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end([stop, *tasks])
        crashes = [error for task in tasks if not task.cancelled() and (error := task.exception())]
        if crashes:
            raise crashes[0]

    def _duties(
        self,
        store: Store,
        executor: Executor,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        is_here: Callable[[Run], bool] | None,
    ) -> list[Duty[Any]]:
        plan, cancelled = self._plan, _in_loop(loop, executor.cancel)
        heartbeat = Heartbeat(
            store,
            self.name,
            executor.runs,
            lease=plan.lease,
            interval=plan.heartbeat,
            grace=plan.grace,
            lost=_in_loop(loop, executor.lost),
            cancelled=cancelled,
            random=random,
            is_here=is_here,
        )
        inbox = Inbox(store, self.name, cancelled=cancelled)
        return [heartbeat, inbox, *maintenance_duties(store, random, plan.lease)]

    def _greet(self, queue: TaskQueue | PartitionedQueue) -> None:
        plan = self._plan
        logger.info(
            "worker %s runs queue %r at %s: up to %d tasks at once, handlers for %s",
            self.name,
            queue.name,
            queue.url,
            plan.defaults.concurrency,
            ", ".join(sorted(each.type for each in plan.registrations)),
        )

    async def _say_goodbye(self, homes: Sequence[Home]) -> None:
        for home in homes:
            if self._outage.is_on or home.outage.is_on:
                continue
            try:
                async with asyncio.timeout(_GOODBYE):
                    await home.store.forget_worker(self.name)
            except (ServerUnavailable, TimeoutError) as error:
                logger.debug("worker %s is forgotten later: %r", self.name, error)
        logger.info("worker %s has ended", self.name)


def new_worker_name() -> str:
    """Return a name that no other run of a scheduler has: where it runs, and chance."""
    host = re.sub(r"[^A-Za-z0-9.-]+", "-", socket.gethostname())[:40] or "host"
    return f"{host}-{os.getpid()}-{uuid4().hex[:8]}"


def _is_in_process(queue: TaskQueue) -> bool:
    """Whether the server lives in this process, where a second thread would win nothing."""
    return queue.connector.kind == "memory"


@asynccontextmanager
async def _second_store(queue: TaskQueue) -> AsyncIterator[Store]:
    """Open a store of the same queue with a client of its own, for the event loop that runs now."""
    connector, settings = queue.connector, queue.store.settings
    store = queue.store.sibling(connector.client())
    try:
        # With every setting, so that a queue that was wiped meanwhile is made again as it was.
        await store.open(settings.order, settings.policy, settings.retention)
        yield store
    finally:
        await store.close()


async def _burst_is_over(homes: Sequence[Home], slots: Slots) -> bool:
    """Whether no task of the handlers' types is QUEUED, delayed or in its backoff."""
    for home in homes:
        for type_ in slots.handlers:
            if (await home.store.stats(type=type_)).queued:
                return False
    return True


def _is_of(partition: int, run: Run) -> bool:
    return partition_of(run.token) == partition


def _in_loop(loop: asyncio.AbstractEventLoop, tell: Tell) -> Tell:
    """Return *tell* as it may be called from another thread."""

    def call(leases: Sequence[Lease]) -> None:
        with suppress(RuntimeError):  # the loop is closed: no handler is left to be told
            loop.call_soon_threadsafe(tell, leases)

    return call
