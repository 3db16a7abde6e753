"""What workers claimed, and when: kept beside their calls, judged by what is certain."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from taskqueue.partitions import PartitionedQueue
from taskqueue.store import Claim, ClaimRequest


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task that was claimed, by a call that had begun and ended at these instants."""

    id: str
    worker: int
    partition: int
    type: str
    priority: int
    sequence: int
    began: float
    ended: float


@dataclass(slots=True)
class Log:
    """Everything that was accepted and claimed."""

    accepted: dict[str, float] = field(default_factory=dict)
    claimed: list[Claimed] = field(default_factory=list)

    def watch(self, queue: PartitionedQueue, worker: int) -> None:
        """Keep what a worker claims through its own queue object."""
        for partition, part in enumerate(queue.partitions):
            part.store.claim = self._keeping(part.store.claim, worker, partition)  # type: ignore[method-assign, assignment]

    def _keeping(
        self, claim: Callable[..., Awaitable[Claim]], worker: int, partition: int
    ) -> Callable[..., Awaitable[Claim]]:
        async def keep(request: ClaimRequest, *, patience: float | None = None) -> Claim:
            began = time.monotonic()
            found = await claim(request, patience=patience)
            ended = time.monotonic()
            for each in found.tasks:
                task = each.task()
                self.claimed.append(
                    Claimed(
                        *(task.id, worker, partition, task.type, task.priority, task.sequence, began, ended)
                    )
                )
            return found

        return keep

    def most_passed_over(self, type_: str) -> int:
        """Return how many tasks of lower priority one worker certainly took before a better one.

        They were claimed by calls that began after the better one was accepted, and that ended before
        the call began which took it. Only better ones of one type are looked at, which has no limit.
        """
        most = 0
        for better in self.claimed:
            accepted = self.accepted[better.id]
            if better.type == type_:
                passed: dict[int, int] = defaultdict(int)
                for worse in self.claimed:
                    if (
                        worse.priority < better.priority
                        and worse.began > accepted
                        and worse.ended < better.began
                    ):
                        passed[worse.worker] += 1
                most = max(most, *passed.values(), 0)
        return most

    def disorders_inside(self, type_: str) -> list[tuple[Claimed, Claimed]]:
        """Return pairs of one partition and type of which the worse was certainly taken first."""
        return [
            (better, worse)
            for better in self.claimed
            for worse in self.claimed
            if worse.partition == better.partition
            and worse.type == better.type == type_
            and (worse.priority, -worse.sequence) < (better.priority, -better.sequence)
            and worse.began > self.accepted[better.id]
            and worse.ended < better.began
        ]
