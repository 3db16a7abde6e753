"""A claim loop and its parts, on a store without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from scheduler import Fixed, Handlers
from scheduler.bell import Bell
from scheduler.executor import Executor
from scheduler.loop import ClaimLoop, Summary
from scheduler.outage import Outage
from scheduler.outcomes import Outcomes
from scheduler.slots import Defaults, Slots
from scheduler.waker import Waker
from tests.unit.fake_store import FakeStore, claimed_task


@dataclass
class Gate:
    """A handler whose tasks end when the test says so."""

    running: list[str] = field(default_factory=list)
    most: int = 0
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, payload: dict[str, Any]) -> str:
        """Wait at the gate."""
        self.running.append(payload.get("name", "?"))
        self.most = max(self.most, len(self.running))
        try:
            await self.opened.wait()
        finally:
            self.running.remove(payload.get("name", "?"))
        return "done"


class Bench:
    """A claim loop and its parts, on a store without a server."""

    def __init__(self, concurrency: int = 10, store: FakeStore | None = None, **handlers: Any) -> None:
        group = Handlers()
        for type_, (function, slots) in handlers.items():
            group.handler(type_, concurrency=slots)(function)
        self.store = store or FakeStore()
        self.bell = Bell()
        self.outage = Outage()
        defaults = Defaults(concurrency, timeout=30, max_attempts=3, backoff=Fixed(timedelta(0)))
        self.slots = Slots(group, defaults)
        self.outcomes = Outcomes(self.bell.ring, Random(1))
        self.executor = Executor(self.slots, self.outcomes, self.store.store)
        self.waker = Waker(self.store.store, self.bell, self.outage, Random(1))
        self.loop = ClaimLoop(
            self.store.store,
            slots=self.slots,
            executor=self.executor,
            outcomes=self.outcomes,
            waker=self.waker,
            bell=self.bell,
            outage=self.outage,
            worker="w",
            lease=15,
            random=Random(1),
        )

    def put(self, *types: str, **fields: Any) -> None:
        """Let tasks wait in the store, named by their number."""
        for type_ in types:
            number = len(self.store.waiting)
            name = f"{type_}{number}"
            self.store.waiting.append(claimed_task(type_, {"name": name}, task_id=name, **fields))

    async def asked(self) -> dict[str, int]:
        """Make one pass, and return the slots of its claim."""
        before = len(self.store.claims)
        await self.loop.run_once()
        [request] = self.store.claims[before:]
        return dict(request.slots)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[Summary]]:
        """Run the loop; stop it at the end."""
        task = asyncio.create_task(self.loop.run())
        try:
            yield task
        finally:
            if not task.done():
                self.loop.stop(0)
            await asyncio.wait([task])
            self.executor.close()


async def until(predicate: Callable[[], object]) -> None:
    """Let the event loop turn until something is true."""
    async with asyncio.timeout(5):
        while not predicate():
            await asyncio.sleep(0.001)
