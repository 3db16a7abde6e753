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
from scheduler.registry import Registration
from scheduler.run import Stop
from scheduler.slots import Defaults, Slots
from scheduler.waker import LONGEST, Waker
from taskqueue.errors import ServerUnavailable
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
    """One run of a scheduler on an open queue.

    Args:
        plan: What to run, and how.
        opened: Opens the queue, or hands over one that is open.
    """

    def __init__(self, plan: Plan, opened: Callable[[], AbstractAsyncContextManager[TaskQueue]]) -> None:
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

    async def _work(self, queue: TaskQueue, state: Any, *, burst: bool, ready: Callable[[], None]) -> Summary:
        plan, store, bell = self._plan, queue.store, Bell()
        slots = Slots(map(failing_over, plan.registrations), plan.defaults)
        outcomes = Outcomes(bell.ring, self._random)
        executor = Executor(slots, outcomes, store, state=state, queue=queue, middleware=plan.middleware)
        waker = Waker(store, bell, self._outage, self._random, longest=_BURST_WAIT if burst else LONGEST)
        loop = self._loop = ClaimLoop(
            store,
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
        if self._stop_within is not None:
            loop.stop(self._stop_within)
        serve = partial(self._serve_duties, queue, executor, asyncio.get_running_loop())
        background = Background(serve, bell.crash, threaded=not _is_in_process(queue))
        try:
            await background.start()
            self._greet(queue)
            ready()
            return await loop.run(partial(_burst_is_over, store, slots) if burst else None)
        finally:
            # After a crash or a cancel handlers may still run; in an orderly end none does.
            executor.stop_all(Stop.SHUTDOWN)
            executor.close()
            await waker.close()
            await background.stop()
            await self._say_goodbye(store)

    async def _serve_duties(
        self,
        queue: TaskQueue,
        executor: Executor,
        home: asyncio.AbstractEventLoop,
        ready: Callable[[], None],
        stopping: asyncio.Event,
    ) -> None:
        """Run every background duty until *stopping* is set; in a thread, with a client of its own."""
        plan, random = self._plan, Random()  # noqa: S311  jitter
        async with AsyncExitStack() as stack:
            store = queue.store
            if not _is_in_process(queue):
                store = await stack.enter_async_context(_second_store(queue))
            cancelled = _in_loop(home, executor.cancel)
            heartbeat = Heartbeat(
                store,
                self.name,
                executor.runs,
                lease=plan.lease,
                interval=plan.heartbeat,
                grace=plan.grace,
                lost=_in_loop(home, executor.lost),
                cancelled=cancelled,
                random=random,
            )
            inbox = Inbox(store, self.name, cancelled=cancelled)
            duties: list[Duty[Any]] = [heartbeat, inbox, *maintenance_duties(store, random, plan.lease)]
            loop = asyncio.get_running_loop()
            tasks = [loop.create_task(repeat(duty, self._outage, random)) for duty in duties]
            stop = loop.create_task(stopping.wait())
            try:
                ready()
                await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end([stop, *tasks])
            crashes = [error for task in tasks if not task.cancelled() and (error := task.exception())]
            if crashes:
                raise crashes[0]

    def _greet(self, queue: TaskQueue) -> None:
        plan = self._plan
        logger.info(
            "worker %s runs queue %r at %s: up to %d tasks at once, handlers for %s",
            self.name,
            queue.name,
            queue.connector.url_shown,
            plan.defaults.concurrency,
            ", ".join(sorted(each.type for each in plan.registrations)),
        )

    async def _say_goodbye(self, store: Store) -> None:
        if not self._outage.is_on:
            try:
                async with asyncio.timeout(_GOODBYE):
                    await store.forget_worker(self.name)
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


async def _burst_is_over(store: Store, slots: Slots) -> bool:
    """Whether no task of the handlers' types is QUEUED, delayed or in its backoff."""
    for type_ in slots.handlers:
        if (await store.stats(type=type_)).queued:
            return False
    return True


def _in_loop(loop: asyncio.AbstractEventLoop, tell: Tell) -> Tell:
    """Return *tell* as it may be called from another thread."""

    def call(leases: Sequence[Lease]) -> None:
        with suppress(RuntimeError):  # the loop is closed: no handler is left to be told
            loop.call_soon_threadsafe(tell, leases)

    return call
