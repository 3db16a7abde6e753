"""A store without a server, for tests of the scheduler's parts: it keeps what it is told, and can go away.

It knows nothing of order, lanes or leases; those are the server's, and tested on one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

from taskqueue.codec import encode_entry
from taskqueue.errors import ServerUnavailable
from taskqueue.store import (
    Claim,
    ClaimedTask,
    ClaimRequest,
    Completion,
    Ended,
    Extension,
    Failure,
    Promoted,
    Purged,
    Reaped,
    Release,
    Repaired,
    Store,
    Switched,
)
from taskqueue.task import TaskSpec


def claimed_task(
    type_: str = "T",
    payload: Mapping[str, Any] | None = None,
    *,
    task_id: str = "task-1",
    attempt: int = 1,
    deliveries: int | None = None,
    **fields: Any,
) -> ClaimedTask:
    """Return a task as a claim returns it; *fields* are those of a `TaskSpec`."""
    entry = encode_entry(TaskSpec(type=type_, payload=payload or {}, id=task_id, **fields))
    record = b"1|7|1700000000000|" + entry.blob
    return ClaimedTask(entry.id, f"token-of-{task_id}-{attempt}", attempt, deliveries or attempt, 0, record)


class FakeStore:
    """Answers every call at once, from lists that a test fills and reads.

    Attributes:
        waiting: Tasks that claims hand out, first in first out.
        is_away: Whether every call finds no server.
        stale: Ids whose reports are answered "stale".
        unanswered: Ids whose reports get no answer, as those for a partition that is away.
        lost: Ids that the next extensions report as lost.
        cancelled: Ids that the next extensions report as cancelled.
        messages: What the inbox hands out.
    """

    def __init__(self) -> None:
        self.waiting: deque[ClaimedTask] = deque()
        self.is_away = False
        self.stale: set[str] = set()
        self.unanswered: set[str] = set()
        self.lost: list[str] = []
        self.cancelled: list[str] = []
        self.messages: list[str] = []
        self.next_in: float | None = None
        self.more_than_slots = False
        self.claims: list[ClaimRequest] = []
        self.completions: list[Completion] = []
        self.failures: list[Failure] = []
        self.releases: list[Release] = []
        self.extended: list[list[tuple[str, str]]] = []
        self.stored_progress: list[tuple[str, bytes]] = []
        self.switches: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.waits: list[tuple[list[str], float]] = []
        self.wakes: asyncio.Queue[bool] = asyncio.Queue()
        self.reaped: list[Reaped] = []
        self.changed = asyncio.Event()

    @property
    def store(self) -> Store:
        """Itself, as what it stands for."""
        return cast("Store", self)

    async def complete(
        self,
        completions: Sequence[Completion],
        claim: ClaimRequest | None = None,
        *,
        patience: float | None = None,
    ) -> tuple[list[Ended | None], Claim | None]:
        """Keep the completions, and hand out what waits."""
        await self._called("complete")
        self.completions += completions
        words = self._words(completions, "completed")
        return words, None if claim is None else self._claimed(claim)

    async def claim(self, request: ClaimRequest, *, patience: float | None = None) -> Claim:
        """Hand out what waits."""
        await self._called("claim")
        return self._claimed(request)

    async def fail(self, failures: Sequence[Failure], *, patience: float | None = None) -> list[Ended | None]:
        """Keep the failures."""
        await self._called("fail")
        self.failures += failures
        return self._words(failures, "failed")

    async def release(
        self, releases: Sequence[Release], *, patience: float | None = None
    ) -> list[Ended | None]:
        """Keep the releases."""
        await self._called("release")
        self.releases += releases
        return self._words(releases, "released")

    async def extend(
        self, worker: str, leases: Sequence[tuple[str, str]], lease_ms: int, *, patience: float | None = None
    ) -> Extension:
        """Keep the leases; report as lost and cancelled what the test says."""
        await self._called("extend")
        self.extended.append(list(leases))
        known = {task_id for task_id, _ in leases}
        return Extension(
            [each for each in self.lost if each in known], [each for each in self.cancelled if each in known]
        )

    async def progress(self, task_id: str, token: str, value: bytes) -> bool:
        """Keep the value."""
        await self._called("progress")
        self.stored_progress.append((task_id, value))
        return task_id not in self.stale

    async def switch(self, task_id: str, token: str, **options: Any) -> Switched:
        """Keep what was said; there is no other provider."""
        await self._called("switch")
        self.switches.append(options)
        return Switched(None, is_stale=task_id in self.stale)

    async def wait_wake(self, types: Sequence[str], timeout: float) -> bool:
        """Wait for what the test puts into `wakes`."""
        self.waits.append((list(types), timeout))
        await self._called("wait_wake")
        return await self.wakes.get()

    async def listen(self, owner: str, timeout: float) -> list[str]:
        """Hand out the messages."""
        await self._called("listen")
        messages, self.messages = self.messages, []
        return messages

    async def reap(self, lease_ms: int, limit: int = 100) -> Reaped:
        """Hand out what the test put into `reaped`."""
        await self._called("reap")
        return self.reaped.pop(0) if self.reaped else Reaped()

    async def promote(self, limit: int = 500) -> Promoted:
        """Promote nothing."""
        await self._called("promote")
        return Promoted(0, more=False, next_in=None)

    async def purge(self, cursor: str = "0", limit: int = 500) -> Purged:
        """Walk in two steps."""
        await self._called("purge")
        return Purged(3, "7" if cursor == "0" else "0")

    async def repair(self, cursor: str = "0", limit: int = 100) -> Repaired:
        """Walk in two steps; the second finds something."""
        await self._called("repair")
        return Repaired(5, 0, "9") if cursor == "0" else Repaired(5, 2, "0")

    async def _called(self, name: str) -> None:
        await asyncio.sleep(0)
        self.calls.append(name)
        self.changed.set()
        if self.is_away:
            raise ServerUnavailable(f"{name}: no usable answer")

    def _words(self, reports: Sequence[Completion | Failure | Release], word: Ended) -> list[Ended | None]:
        words: list[Ended | None] = ["stale" if report.id in self.stale else word for report in reports]
        return [
            None if report.id in self.unanswered else each
            for report, each in zip(reports, words, strict=True)
        ]

    def _claimed(self, request: ClaimRequest) -> Claim:
        self.claims.append(request)
        slots, taken, left = dict(request.slots), list[ClaimedTask](), deque[ClaimedTask]()
        for claimed in self.waiting:
            type_ = claimed.task().type
            if len(taken) < request.limit and slots.get(type_, 0) > 0:
                slots[type_] -= 1
                taken.append(claimed)
            else:
                left.append(claimed)
        self.waiting = left
        return Claim(taken, self.next_in, more=bool(left) or self.more_than_slots)
