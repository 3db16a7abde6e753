"""One exchange with the server: everything that has ended is reported, and free slots are claimed for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from scheduler.outcomes import Batch
from scheduler.work import Work
from taskqueue.errors import ServerUnavailable
from taskqueue.store import Claim, ClaimRequest, Ended

T = TypeVar("T")

Words = Sequence[Ended | None]
"""What the server answered to each report, in their order."""

PATIENCE = 1.0
"""For how long a call may keep trying by itself, in seconds, before the outage is logged."""


class Insist(Protocol):
    """Repeats a call until it is answered."""

    async def __call__(self, call: Callable[[], Awaitable[T]], /) -> T:
        """Return its answer."""


@dataclass(slots=True)
class Answer:
    """What came of an exchange.

    Attributes:
        completions: How each completion was answered.
        failures: How each failure was.
        releases: How each release was.
        claim: What was claimed; None if nothing was asked for.
    """

    completions: Words = ()
    failures: Words = ()
    releases: Words = ()
    claim: Claim | None = None


@dataclass(slots=True)
class Exchange:
    """An exchange that is under way, or about to be.

    Attributes:
        batch: What it reports.
        request: What it claims; None if nothing.
        sent_at: When it began, on the monotonic clock.
        answer: Makes its calls and returns their answers; a task if it has begun already.
        answered: Set when that has returned.
    """

    batch: Batch
    request: ClaimRequest | None
    sent_at: float
    answer: Coroutine[Any, Any, Answer] | asyncio.Task[Answer]
    answered: asyncio.Event

    def start(self) -> None:
        """Begin before anybody awaits the answer."""
        self.answer = asyncio.ensure_future(self.answer)

    def stop(self) -> None:
        """Give up: nobody will await the answer."""
        if isinstance(self.answer, asyncio.Task):
            self.answer.cancel()
        else:
            self.answer.close()


async def exchange(
    store: Work,
    insist: Insist,
    batch: Batch,
    request: ClaimRequest | None,
    after: asyncio.Event | None = None,
) -> Answer:
    """Report *batch*; the call that reports completions also makes the claim.

    Args:
        store: The queue, or its partitions.
        insist: Repeats a call until it is answered.
        batch: What is reported.
        request: What is claimed; None if nothing.
        after: Set when the exchange before this one has been answered. They are sent one after the other
            on one connection; if that breaks, this one waits, so that claims stay in their order.
    """
    answer = Answer()
    if after is not None:
        try:
            await _fill(answer, store, _once, batch=batch, request=request, patience=0)
        except ServerUnavailable:
            await after.wait()
        else:
            return answer
    await _fill(answer, store, insist, batch=batch, request=request, patience=PATIENCE)
    return answer


async def _fill(
    answer: Answer,
    store: Work,
    insist: Insist,
    *,
    batch: Batch,
    request: ClaimRequest | None,
    patience: float,
) -> None:
    """Make the calls whose answers are not there yet."""
    if batch.failures and not answer.failures:
        answer.failures = await insist(lambda: store.fail(batch.failures, patience=patience))
    if batch.releases and not answer.releases:
        answer.releases = await insist(lambda: store.release(batch.releases, patience=patience))
    if batch.completions or request is not None:
        answer.completions, answer.claim = await insist(
            lambda: store.complete(batch.completions, request, patience=patience)
        )


async def _once(call: Callable[[], Awaitable[T]]) -> T:
    return await call()
