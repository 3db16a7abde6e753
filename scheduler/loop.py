"""The claim loop: reports what ended, claims for the slots that are free, and waits in between.

An exchange with the server reports everything that ended since the last one and claims exactly what may
run now; whatever ends meanwhile is gathered for the next. So the busier a scheduler is, the more tasks
share one call, and nothing is claimed that has to wait here. Mostly one exchange is under way. A second
one is begun only when enough has ended to fill it: then the server finds its next work waiting when it
has answered, and is never idle while this process reads, runs and writes.

While the server is away handlers run on. The same report and the same claim are repeated until they
are answered; both may be, because the server remembers what it answered to them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import TypeVar
from uuid import uuid4

from scheduler.bell import Bell
from scheduler.exchange import PATIENCE, Exchange, exchange
from scheduler.executor import Executor
from scheduler.outage import Outage, retry_delay
from scheduler.outcomes import Outcomes
from scheduler.run import Stop
from scheduler.slots import Slots
from scheduler.starter import Starter
from scheduler.waker import Waker, Wakers
from scheduler.work import Work
from taskqueue.errors import ServerUnavailable
from taskqueue.store import (
    CALLS_AT_ONCE,
    Claim,
    ClaimedTask,
    ClaimRequest,
    Completion,
    Ended,
    Failure,
    Release,
)

logger = logging.getLogger("scheduler.loop")

T = TypeVar("T")
Report = Completion | Failure | Release

MOST_CLAIMED = 1_000
"""Tasks that one call claims at the most."""

UNWIND = 3.0
"""How long handlers get to stop when the grace period is over, in seconds."""

_NEAREST, _FARTHEST = 0.005, 3600.0
"""Bounds of the timer for the next due task, in seconds."""

_MOST_EMPTY_CLAIMS = 10
"""Claims in a row that may return nothing and still be followed by another at once."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run of a scheduler did, counted by how the server answered its reports.

    Attributes:
        claimed: Tasks that were given to this scheduler.
        completed: Tasks that ended as COMPLETED.
        failed: Tasks that ended as FAILED.
        retried: Attempts that failed and will be repeated.
        released: Tasks given back without spending an attempt.
        cancelled: Tasks that ended as CANCELLED.
        stale: Outcomes that came too late: the lease was lost before.
    """

    claimed: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0
    released: int = 0
    cancelled: int = 0
    stale: int = 0


@dataclass(slots=True)
class Tick:
    """What one pass of the claim loop did.

    Attributes:
        answered: How the server answered each report.
        claimed: Tasks that were claimed.
        claims: Whether a claim was made.
    """

    answered: list[Ended] = field(default_factory=list)
    claimed: int = 0
    claims: bool = False


class _Abandoned(Exception):
    """The scheduler ends although the server has not answered."""


class ClaimLoop:
    """Keeps the slots of one scheduler busy.

    Args:
        store: The queue, or its partitions.
        slots: Counts what runs here.
        executor: Runs what is claimed.
        outcomes: Holds what is to be reported.
        waker: Notices new work while there is none.
        bell: Rung by all of them when there is something to do.
        outage: Told about an unreachable server.
        worker: Name of this scheduler's run, unique.
        lease: How long a claim holds without being extended, in seconds.
        random: Source of chance for the jitter.
    """

    def __init__(
        self,
        store: Work,
        *,
        slots: Slots,
        executor: Executor,
        outcomes: Outcomes,
        waker: Waker | Wakers,
        bell: Bell,
        outage: Outage,
        worker: str,
        lease: float,
        random: Random,
    ) -> None:
        self._store = store
        self._slots = slots
        self._executor = executor
        self._starter = Starter(slots, executor, outcomes, bell)
        self._outcomes = outcomes
        self._waker = waker
        self._bell = bell
        self._outage = outage
        self._worker = worker
        self._lease = lease
        self._random = random
        # Tokens are made of this: even a server that lost its memory never sees one twice.
        self._name = uuid4().hex[:12]
        self._claims = count()
        self._counts: Counter[str] = Counter()
        self._under_way: deque[Exchange] = deque()
        self._is_abandoned = False
        self._claim_again = False
        self._empty_claims = 0
        self._timer: asyncio.TimerHandle | None = None
        self._shutdown_timer: asyncio.TimerHandle | None = None

    @property
    def summary(self) -> Summary:
        """What was done so far."""
        return Summary(**{name: self._counts[name] for name in Summary.__dataclass_fields__})

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs here and nothing is left to report."""
        has_runs = self._executor.runs or self._executor.running
        return not has_runs and not self._outcomes and not self._under_way

    async def run(self, is_over: Callable[[], Awaitable[bool]] | None = None) -> Summary:
        """Claim and report until stopped, then let what runs end and report that.

        Args:
            is_over: Asked whenever nothing runs here and nothing could be claimed; the loop ends
                when it says so. None: it ends when it is stopped.

        Raises:
            BaseException: Whatever made one of its parts crash; failures of handlers never do.
        """
        try:
            while not self._has_finished():
                tick = await self.run_once()
                if is_over is not None and tick.claims and not tick.claimed and self.is_idle:
                    self._starter.is_stopping = self._starter.is_stopping or await self._insist(is_over)
                await self._wait()
        except _Abandoned:
            lost = len(self._executor.runs)
            logger.error("the server did not come back: %d tasks could not be reported", lost)  # noqa: TRY400  it is no fault
        finally:
            for timer in (self._timer, self._shutdown_timer):
                if timer is not None:
                    timer.cancel()
            for each in self._under_way:
                each.stop()
        await self._hand_back_markers()
        return self.summary

    def stop(self, grace: float) -> None:
        """Claim nothing more, and let run() return when everything has ended.

        Args:
            grace: How long handlers may go on, in seconds. Then the async ones are cancelled and
                what has ended is released; the others are left to their leases.
        """
        if not self._starter.is_stopping:
            logger.info("stopping: %d tasks may take %g s more to finish", self._executor.running, grace)
        self._starter.is_stopping = True
        if self._shutdown_timer is not None:
            self._shutdown_timer.cancel()
        self._shutdown_timer = asyncio.get_running_loop().call_later(grace, self._end_grace)
        self._bell.ring()

    async def run_once(self) -> Tick:
        """Report everything that has ended, and claim for the slots that are free.

        Returns:
            What was answered; claimed tasks have been started.
        """
        tick = Tick()
        if not self._under_way and not self._begin():
            self._starter.start_held()
            return tick
        current = self._under_way[0]
        answer = await self._starter.beside(current.answer)
        self._under_way.popleft().answered.set()
        batch, request, claim = current.batch, current.request, answer.claim
        self._answered(tick, batch.failures, answer.failures)
        self._answered(tick, batch.releases, answer.releases)
        self._answered(tick, batch.completions, answer.completions)
        if request is not None:
            assert claim is not None, "one was asked for"
            self._slots.answered(request.slots, request.limit)
            tick.claims, tick.claimed = True, len(claim.tasks)
            await self._start(claim, current.sent_at)
            self._plan(request, claim)
        self._log(tick)
        return tick

    def follow(self) -> None:
        """Begin one more exchange while one is under way: enough has ended to fill it.

        In the next pass of the event loop, because more ends in this one.
        """
        if len(self._under_way) == 1:
            asyncio.get_running_loop().call_soon(self._follow)

    def _follow(self) -> None:
        if len(self._under_way) == 1 and not self._starter.is_stopping and self._begin():
            self._under_way[-1].start()

    def _begin(self) -> bool:
        """Gather what the next exchange reports and claims; False if that is nothing."""
        self._bell.silence()
        batch = self._outcomes.take()
        request = None if self._starter.is_stopping else self._request()
        if not batch and request is None:
            return False
        if request is not None:
            self._slots.ask(request.slots, request.limit)
        before = self._under_way[0].answered if self._under_way else None
        answer = exchange(self._store, self._insist, batch, request, before)
        self._under_way.append(Exchange(batch, request, time.monotonic(), answer, asyncio.Event()))
        return True

    def _request(self) -> ClaimRequest | None:
        slots = self._slots.by_type()
        limit = min(self._slots.free, MOST_CLAIMED) if slots else 0
        # Whoever took a marker must claim, even with nothing to run it: only a claim sets it again.
        for type_ in self._waker.take():
            slots.setdefault(type_, 0)
        if not slots:
            return None
        return self._claim_request(slots, limit)

    def _claim_request(self, slots: dict[str, int], limit: int) -> ClaimRequest:
        lease_ms, chains = round(self._lease * 1000), self._slots.chains
        claim = next(self._claims)
        name = f"{self._name}.{claim:x}"
        # Of those that are under way each has its own number, and with it what the server remembers of it.
        number = claim % CALLS_AT_ONCE
        return ClaimRequest(self._worker, name, slots, limit, lease_ms, chains, number=number)

    def _answered(self, tick: Tick, reports: Sequence[Report], words: Sequence[Ended | None]) -> None:
        for report, word in zip(reports, words, strict=True):
            if word is None:
                # Its partition is away, and rings when it is back.
                if not self._is_abandoned:
                    self._outcomes.again(report)
                continue
            tick.answered.append(word)
            self._executor.reported(report.id, report.token)
            if word == "stale":
                logger.warning(
                    "task %s: its outcome came after its lease was lost, and is dropped", report.id
                )

    async def _start(self, claim: Claim, claimed_at: float) -> None:
        tasks = claim.tasks
        if tasks and time.monotonic() - claimed_at > self._lease / 2:
            tasks = await self._still_held(tasks)
        await self._starter.start(tasks, claimed_at, may_hold=not self._under_way)

    async def _still_held(self, tasks: list[ClaimedTask]) -> list[ClaimedTask]:
        """Return those tasks of a claim whose answer took long that are still ours; extend their leases."""
        leases = [(claimed.id, claimed.token) for claimed in tasks]
        extension = await self._insist(
            lambda: self._store.extend(self._worker, leases, round(self._lease * 1000), patience=PATIENCE)
        )
        lost = set(extension.lost)
        return [claimed for claimed in tasks if claimed.id not in lost]

    def _plan(self, request: ClaimRequest, claim: Claim) -> None:
        """Decide from a claim's answer when the next one is due."""
        self._empty_claims = 0 if claim.tasks else self._empty_claims + 1
        left = self._slots.by_type()
        # A type that got all it asked for explains why work was left; that waits for its slots. If
        # none did, the claim stopped at a bound of its own, and the next one goes on from there.
        is_bounded = all(type_ in left for type_, slots in request.slots.items() if slots)
        self._claim_again = (
            claim.more and bool(left) and is_bounded and self._empty_claims < _MOST_EMPTY_CLAIMS
        )
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if claim.next_in is not None and left:
            delay = min(max(claim.next_in, _NEAREST), _FARTHEST)
            self._timer = asyncio.get_running_loop().call_later(delay, self._bell.ring)

    async def _wait(self) -> None:
        if self._under_way:
            return
        if self._starter.is_stopping:
            if self._has_finished():
                return
        elif self._claim_again:
            self._bell.ring()
        else:
            self._waker.arm(self._slots.by_type())
        await self._bell.wait()

    def _has_finished(self) -> bool:
        self._bell.check()
        return self._starter.is_stopping and (self.is_idle or (self._is_abandoned and not self._outcomes))

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call until the server answers it, or until nobody can wait any longer."""
        failures = 0
        while True:
            try:
                answer = await call()
            except ServerUnavailable as error:
                self._outage.noticed(error)
            else:
                self._outage.over()
                return answer
            if self._is_abandoned:
                raise _Abandoned
            failures += 1
            await asyncio.sleep(retry_delay(failures, self._random))

    def _end_grace(self) -> None:
        if self._executor.running:
            logger.info("the grace period is over: %d handlers are asked to stop", self._executor.running)
        self._executor.stop_all(Stop.SHUTDOWN)
        self._shutdown_timer = asyncio.get_running_loop().call_later(UNWIND, self._abandon)

    def _abandon(self) -> None:
        if self._executor.running:
            logger.warning(
                "%d handlers did not stop; their tasks run again when their leases end",
                self._executor.running,
            )
        self._is_abandoned = True
        self._bell.ring()

    async def _hand_back_markers(self) -> None:
        types = await self._waker.close()
        if not types or self._is_abandoned:
            return
        request = self._claim_request(dict.fromkeys(types, 0), 0)
        try:
            await self._store.claim(request, patience=PATIENCE)
        except ServerUnavailable as error:
            logger.debug("other workers wake up by themselves: %s", error)

    def _log(self, tick: Tick) -> None:
        self._counts["claimed"] += tick.claimed
        self._counts.update(tick.answered)
        if logger.isEnabledFor(logging.DEBUG) and (tick.claimed or tick.answered):
            logger.debug("claimed %d tasks, reported %s", tick.claimed, dict(Counter(tick.answered)))
