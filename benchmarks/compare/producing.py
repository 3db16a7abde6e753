"""What the harness asks of every queue that is compared. Standard library only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

CALLERS = 50
BULK = 1_000

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a queue is told.

    Attributes:
        url: The server.
        variant: Which of its configurations.
        slots: Tasks at once in a worker; None leaves it to the worker.
    """

    url: str
    variant: str
    slots: int | None = None

    @property
    def most(self) -> int:
        """Tasks at once, for a queue that must be told."""
        assert self.slots is not None, "the roster says how many"
        return self.slots


class Producer:
    """Enqueues as a user of the library would, and as fast as that can be done.

    Attributes:
        callers: Coroutines that may enqueue at once; a blocking library has one.
    """

    callers: ClassVar[int] = CALLERS

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect."""

    async def enqueue(self, task: str, payload: Payload) -> None:
        """Enqueue one task, and return when the server has it."""
        raise NotImplementedError

    async def enqueue_many(self, task: str, payloads: Sequence[Payload]) -> None:
        """Enqueue tasks, up to `BULK` of them, in the fastest way that the library offers."""
        await at_once((self.enqueue, task), payloads, self.callers)


class BlockingProducer(Producer):
    """One whose library blocks: nothing else runs in its process."""

    callers: ClassVar[int] = 1

    async def enqueue_many(self, task: str, payloads: Sequence[Payload]) -> None:
        """Enqueue one after the other."""
        for payload in payloads:
            await self.enqueue(task, payload)


class Queue(Protocol):
    """A module of `benchmarks.compare.queues`."""

    def producer(self, setup: Setup) -> Producer:
        """Return a producer that is not open yet."""
        ...

    def work(self, setup: Setup) -> None:
        """Run a worker until this process is killed."""
        ...


async def at_once(
    call: tuple[Callable[[str, Payload], Awaitable[None]], str], payloads: Iterable[Payload], callers: int
) -> None:
    """Enqueue all by so many coroutines, each of which awaits its own call."""
    enqueue, task = call
    waiting = iter(payloads)

    async def enqueue_next() -> None:
        for payload in waiting:
            await enqueue(task, payload)

    await asyncio.gather(*(enqueue_next() for _ in range(callers)))
