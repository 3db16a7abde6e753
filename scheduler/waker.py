"""Waits, while the scheduler is idle, until the server says that there may be something to claim.

A wait is one blocking call on the server. It is never cut short in normal work: its answer might be
on the way, and with it a marker that another worker would need. So when more types become idle
while a wait is pending, they get a wait of their own, timed to end together with the first, and
from then on one covers all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from random import Random

from scheduler.bell import Bell
from scheduler.ending import end
from scheduler.outage import Outage, retry_delay
from taskqueue.errors import ServerUnavailable
from taskqueue.store import Store

logger = logging.getLogger("scheduler.waker")

SHORTEST, LONGEST = 1.5, 3.0
"""How long a wait lasts, in seconds, if nothing comes: drawn evenly, so that workers spread out.

When it is over the scheduler claims anyway. This is the backstop for a marker that was lost.
"""

_TOGETHER = 0.05
"""A wait that ends within this many seconds is waited for, so that the next one covers all types."""


class Waker:
    """Keeps at most one wait pending for each idle type.

    Args:
        store: Where to wait.
        bell: Rung whenever a wait is over: something to claim may be there.
        outage: Told about an unreachable server.
        random: Source of chance for the jitter.
        longest: How long a wait lasts at the most, in seconds.
    """

    def __init__(
        self,
        store: Store,
        bell: Bell,
        outage: Outage,
        random: Random,
        *,
        longest: float = LONGEST,
    ) -> None:
        self._store = store
        self._bell = bell
        self._outage = outage
        self._random = random
        self._longest = longest
        self._fired: set[str] = set()
        self._waiting: dict[str, float] = {}
        self._waits: set[asyncio.Task[None]] = set()
        self._failures = 0

    def arm(self, types: Collection[str], until: float | None = None) -> None:
        """See to it that something new of these types is noticed.

        Call this when the last firing was handled by a claim, never before.

        Args:
            types: The types that have free slots and nothing to run.
            until: When the wait is to end, on the monotonic clock; None leaves it to chance.
        """
        idle = [type_ for type_ in types if type_ not in self._waiting]
        if not idle:
            return
        now = time.monotonic()
        timeout = self.patience() if until is None else until - now
        if self._waiting:
            if min(self._waiting.values()) - now < _TOGETHER:
                return
            timeout = max(self._waiting.values()) - now
        for type_ in idle:
            self._waiting[type_] = now + timeout
        wait = asyncio.get_running_loop().create_task(self._wait(idle, timeout))
        self._waits.add(wait)
        wait.add_done_callback(self._waits.discard)

    def patience(self) -> float:
        """Return how long a wait may last, in seconds; drawn anew each time."""
        return self._longest * self._random.uniform(SHORTEST / LONGEST, 1.0)

    def take(self) -> set[str]:
        """Return the types that were woken since the last time; a claim must name all of them."""
        fired, self._fired = self._fired, set()
        return fired

    async def close(self) -> set[str]:
        """End every wait, and return the types whose markers may have been taken by that."""
        await end(list(self._waits))
        return self.take() | set(self._waiting)

    async def _wait(self, types: list[str], timeout: float) -> None:
        try:
            woken = await self._store.wait_wake(types, timeout)
        except Exception as error:
            # Whatever it is, claims go on without being woken, a little apart; and if it concerns
            # them as well, they say so. A worker must not go silent, nor end, because of this.
            if isinstance(error, ServerUnavailable):
                self._outage.noticed(error)
            else:
                logger.exception("waiting for new tasks failed; it is tried again")
            self._failures += 1
            await asyncio.sleep(retry_delay(self._failures, self._random))
            woken = True  # a marker may have been taken with the answer that was lost
        else:
            self._failures = 0
        if woken:
            self._fired.update(types)
        for type_ in types:
            del self._waiting[type_]
        self._bell.ring()


class Wakers:
    """The wakers of the partitions of a queue, as one.

    Their waits end together, because each end makes the claim loop look at all partitions.

    Args:
        wakers: One for each partition; all ring the same bell.
    """

    def __init__(self, wakers: Sequence[Waker]) -> None:
        self._wakers = wakers
        self._until = 0.0

    def arm(self, types: Collection[str]) -> None:
        """See to it that something new of these types is noticed in any partition."""
        now = time.monotonic()
        if self._until - now < _TOGETHER:
            self._until = now + self._wakers[0].patience()
        for each in self._wakers:
            each.arm(types, self._until)

    def take(self) -> set[str]:
        """Return the types that were woken since the last time, in whichever partition."""
        return set().union(*(each.take() for each in self._wakers))

    async def close(self) -> set[str]:
        """End every wait, and return the types whose markers may have been taken by that."""
        return set().union(*await asyncio.gather(*(each.close() for each in self._wakers)))
