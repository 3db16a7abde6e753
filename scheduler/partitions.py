"""The partitions of a queue as one piece of work: reports go where they belong, claims to the best heads.

Each call of the claim loop is one round of two steps. First every partition gets its reports and, in the
same call, is looked at: which is the highest priority that a claim would find there? Then the free slots
are claimed in those partitions that have the best of these priorities, and no lower priority is taken in
any of them. So whatever a round starts is at least as good as everything that it saw. Passed over can
be only what became runnable between the look and the claim of a round; and as a scheduler has one round
under way at a time, by no more tasks than it has slots (tests/partitions/test_order.py).

A partition that does not answer is left out of the rounds until it does; the others go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

from scheduler.ending import end
from scheduler.outage import Outage, retry_delay
from scheduler.run import Run
from taskqueue.errors import ServerUnavailable
from taskqueue.queue import TaskQueue
from taskqueue.store import (
    Claim,
    ClaimedTask,
    ClaimRequest,
    Completion,
    Ended,
    Extension,
    Failure,
    Release,
    Store,
    Switched,
)

logger = logging.getLogger("scheduler.partitions")

T = TypeVar("T")
ReportT = TypeVar("ReportT", Completion, Failure, Release)

_PATIENCE = 1.0
"""For how long a call that looks for a partition may keep trying by itself, in seconds."""

_NAMESAKE_MS = 1000
"""After so long a task is offered again whose id another one has that runs here."""


def partition_of(token: str) -> int:
    """Return the number of the partition that gave out a lease."""
    return int(token.rpartition(".")[2])


@dataclass(frozen=True, slots=True)
class Home:
    """A queue that a scheduler works on, whole or a partition, and whether its server is away."""

    queue: TaskQueue
    outage: Outage

    @property
    def store(self) -> Store:
        """Its store."""
        return self.queue.store


@dataclass(slots=True, eq=False)
class _Partition:
    number: int
    store: Store
    outage: Outage
    recovering: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        return self.recovering is not None


class PartitionedWork:
    """All partitions of a queue, for one claim loop.

    Args:
        homes: The partitions, in order; their outages are told which do not answer.
        runs: Returns what runs here, by the ids of the tasks.
        ring: Tells the claim loop that a partition is back.
        random: Source of chance for pauses.
    """

    def __init__(
        self,
        homes: Sequence[Home],
        *,
        runs: Callable[[], Mapping[str, Run]],
        ring: Callable[[], None],
        random: Random,
    ) -> None:
        self._partitions = [_Partition(number, home.store, home.outage) for number, home in enumerate(homes)]
        self._runs = runs
        self._ring = ring
        self._random = random
        self._turn = random.randrange(len(homes))

    async def complete(
        self,
        completions: Sequence[Completion],
        claim: ClaimRequest | None = None,
        *,
        patience: float | None = None,
    ) -> tuple[list[Ended | None], Claim | None]:
        """Report what succeeded and, in a second step, claim; None: report it again.

        Raises:
            ServerUnavailable: If no partition answers; nothing was claimed.
        """
        shares = self._shared(completions)
        look = None if claim is None else replace(claim, limit=0, lowest=0, request=f"{claim.request}.look")

        async def report(partition: _Partition) -> tuple[list[Ended], Claim | None]:
            reports = [completions[place] for place in shares[partition.number]]
            return await partition.store.complete(reports, look, patience=patience)

        asked = [each for each in self._partitions if claim is not None or shares[each.number]]
        answers = await self._ask_all(asked, report)
        words = _in_order(len(completions), shares, {number: each[0] for number, each in answers.items()})
        seen = {number: each[1] for number, each in answers.items() if each[1] is not None}
        return words, None if claim is None else await self._claim_best(claim, seen, patience)

    async def claim(self, request: ClaimRequest, *, patience: float | None = None) -> Claim:
        """Look at every partition, and claim in the best.

        Raises:
            ServerUnavailable: If no partition answers.
        """
        claim = (await self.complete((), request, patience=patience))[1]
        assert claim is not None, "one was asked for"
        return claim

    async def fail(self, failures: Sequence[Failure], *, patience: float | None = None) -> list[Ended | None]:
        """Report attempts that did not succeed; None: report it again."""
        return await self._report(failures, lambda store, some: store.fail(some, patience=patience))

    async def release(
        self, releases: Sequence[Release], *, patience: float | None = None
    ) -> list[Ended | None]:
        """Give tasks back; None: report it again."""
        return await self._report(releases, lambda store, some: store.release(some, patience=patience))

    async def extend(
        self, worker: str, leases: Sequence[tuple[str, str]], lease_ms: int, *, patience: float | None = None
    ) -> Extension:
        """Lengthen leases; of a partition that does not answer, none counts as lost."""
        shares: dict[int, list[tuple[str, str]]] = {}
        for lease in leases:
            shares.setdefault(partition_of(lease[1]), []).append(lease)

        async def extend(partition: _Partition) -> Extension:
            mine = shares[partition.number]
            return await partition.store.extend(worker, mine, lease_ms, patience=patience)

        found = (await self._ask_all([self._partitions[number] for number in shares], extend)).values()
        lost = [task_id for each in found for task_id in each.lost]
        return Extension(lost, [task_id for each in found for task_id in each.cancelled])

    async def progress(self, task_id: str, token: str, value: bytes) -> bool:
        """Store how far a task is."""
        return await self._home(token).progress(task_id, token, value)

    async def switch(self, task_id: str, token: str, **options: Any) -> Switched:
        """Move a running task to the next provider that has room."""
        return await self._home(token).switch(task_id, token, **options)

    async def close(self) -> None:
        """Look for no partition any more."""
        await end([each.recovering for each in self._partitions if each.recovering is not None])

    def _home(self, token: str) -> Store:
        return self._partitions[partition_of(token)].store

    def _shared(self, reports: Sequence[Completion | Failure | Release]) -> list[list[int]]:
        """Return for each partition the places of its reports."""
        shares: list[list[int]] = [[] for _ in self._partitions]
        for place, report in enumerate(reports):
            shares[partition_of(report.token)].append(place)
        return shares

    async def _report(
        self,
        reports: Sequence[ReportT],
        send: Callable[[Store, list[ReportT]], Awaitable[list[Ended]]],
    ) -> list[Ended | None]:
        shares = self._shared(reports)

        async def report(partition: _Partition) -> list[Ended]:
            return await send(partition.store, [reports[place] for place in shares[partition.number]])

        asked = [each for each in self._partitions if shares[each.number]]
        return _in_order(len(reports), shares, await self._ask_all(asked, report))

    async def _claim_best(self, claim: ClaimRequest, seen: dict[int, Claim], patience: float | None) -> Claim:
        """Claim where the best was seen, nothing worse than that; what was seen says what is left."""
        heads = {number: each.best for number, each in seen.items() if each.best is not None}
        tasks: list[ClaimedTask] = []
        if heads and claim.limit:
            best = max(heads.values())
            requests = self._divided(claim, [number for number, head in heads.items() if head == best], best)

            async def take(partition: _Partition) -> Claim:
                return await partition.store.claim(requests[partition.number], patience=patience)

            asked = [self._partitions[number] for number in requests]
            taken = await self._ask_all(asked, take, requests)
            seen.update(taken)
            tasks = await self._without_namesakes([task for each in taken.values() for task in each.tasks])
        times = [each.next_in for each in seen.values() if each.next_in is not None]
        more = any(each.more for each in seen.values())
        return Claim(tasks, min(times, default=None), more)

    def _divided(self, claim: ClaimRequest, numbers: list[int], lowest: int) -> dict[int, ClaimRequest]:
        """Share the slots out evenly; who gets one more than the others changes from round to round."""
        self._turn += 1
        first = self._turn % len(numbers)
        numbers = numbers[first:] + numbers[:first]
        requests = {}
        for place, number in enumerate(numbers):
            limit = _share(claim.limit, place, len(numbers))
            slots = {type_: _share(free, place, len(numbers)) for type_, free in claim.slots.items()}
            if limit and any(slots.values()):
                request = f"{claim.request}.{number}"
                requests[number] = replace(claim, limit=limit, slots=slots, lowest=lowest, request=request)
        return requests

    async def _without_namesakes(self, tasks: list[ClaimedTask]) -> list[ClaimedTask]:
        """Give back what has the id of another partition's task that runs here: callers made both ids."""
        runs = self._runs()
        homes: dict[str, int] = {}
        fit: list[ClaimedTask] = []
        releases = []
        for task in tasks:
            number, run = partition_of(task.token), runs.get(task.id)
            home = number if run is None else partition_of(run.token)
            if home == number == homes.setdefault(task.id, number):
                fit.append(task)
            else:
                releases.append(Release(task.id, task.token, _NAMESAKE_MS))
        if releases:
            await self.release(releases, patience=_PATIENCE)
        return fit

    async def _ask_all(
        self,
        asked: Sequence[_Partition],
        call: Callable[[_Partition], Awaitable[T]],
        requests: Mapping[int, ClaimRequest] | None = None,
    ) -> dict[int, T]:
        """Return the answers of the partitions that are there.

        Args:
            asked: Which ones.
            call: Asks one.
            requests: The claims that are made by that: what they may have got is given back later.

        Raises:
            ServerUnavailable: If all partitions of the queue are away.
        """
        present = [each for each in asked if not each.is_away]
        answers: dict[int, T] = {}
        results = await asyncio.gather(*map(call, present), return_exceptions=True)
        for partition, result in zip(present, results, strict=True):
            if isinstance(result, ServerUnavailable):
                lost = None if requests is None else requests[partition.number]
                self._lose(partition, result, lost)
            elif isinstance(result, BaseException):
                raise result
            else:
                answers[partition.number] = result
        if requests is None and all(each.is_away for each in self._partitions):
            raise ServerUnavailable("no partition of the queue answers")
        return answers

    def _lose(self, partition: _Partition, error: ServerUnavailable, lost: ClaimRequest | None) -> None:
        partition.outage.noticed(error)
        if not partition.is_away:
            partition.recovering = asyncio.get_running_loop().create_task(self._recover(partition, lost))

    async def _recover(self, partition: _Partition, lost: ClaimRequest | None) -> None:
        """Ask until the partition answers; what a claim without an answer has got, it gives back."""
        # Without room for anything new, the same request only gets again what it got before.
        request = ClaimRequest("-", "-", {}, 0, 0) if lost is None else replace(lost, limit=0)
        failures = 0
        while True:
            failures += 1
            await asyncio.sleep(retry_delay(failures, self._random))
            try:
                claim = await partition.store.claim(request, patience=_PATIENCE)
                releases = [Release(task.id, task.token) for task in claim.tasks]
                await partition.store.release(releases, patience=_PATIENCE)
            except ServerUnavailable:
                continue
            except Exception:
                # Whatever it is, the others go on, and this one is looked for again.
                logger.exception("partition %d cannot be used", partition.number)
                continue
            break
        partition.outage.over()
        partition.recovering = None
        self._ring()


def _share(whole: int, place: int, shares: int) -> int:
    return whole // shares + (place < whole % shares)


def _in_order(
    count: int, shares: Sequence[Sequence[int]], answers: Mapping[int, Sequence[Ended]]
) -> list[Ended | None]:
    """Return the words for so many reports, each in its place; None where there was no answer."""
    words: list[Ended | None] = [None] * count
    for number, said in answers.items():
        for place, word in zip(shares[number], said, strict=True):
            words[place] = word
    return words
