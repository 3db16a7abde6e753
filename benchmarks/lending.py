"""What a worker asks of the server, without a worker: claims that are completed at once.

A handler would add its own cost, and another process the noise of two that share the machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from taskqueue import TaskQueue
from taskqueue.store import ClaimRequest, Completion

_WORKER = "bench"
_LEASE_MS = 15_000
_RESULT = b"\x81\xa2ok\xc3"
"""{"ok": True}, as msgpack: what the handlers of the benchmarks return."""

_numbers = itertools.count(1)


class Lending:
    """Claims and completes tasks of some types, as one worker that has handlers for all of them.

    Args:
        queue: Where.
        types: Their names.
        most: How many a call claims at the most.
    """

    def __init__(self, queue: TaskQueue, types: Sequence[str], most: int) -> None:
        self._store = queue.store
        self._slots = dict.fromkeys(types, most)
        self._most = most
        self._ended: list[Completion] = []

    async def step(self) -> int:
        """Complete what the last step claimed, claim again in the same call, and return how many came."""
        request = ClaimRequest(_WORKER, f"bench.{next(_numbers)}", self._slots, self._most, _LEASE_MS)
        _, claim = await self._store.complete(self._ended, request)
        assert claim is not None, "one was asked for"
        self._ended = [Completion(task.id, task.token, _RESULT) for task in claim.tasks]
        return len(self._ended)

    async def finish(self) -> None:
        """Complete what the last step claimed."""
        await self._store.complete(self._ended)
        self._ended = []

    async def take_all(self) -> int:
        """Step until nothing is left, and return how many tasks there were."""
        total = 0
        while came := await self.step():
            total += came
        return total
