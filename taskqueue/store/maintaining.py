"""The verbs of maintenance: promote, reap, purge, repair. Each call does a bounded amount of work."""

from __future__ import annotations

from taskqueue.codec import encode_error
from taskqueue.store.base import StoreBase
from taskqueue.store.replies import Promoted, Purged, Reaped, Repaired
from taskqueue.store.working import CANCELLED, seconds_until
from taskqueue.task import TaskError

CRASHES_ALLOWED = 3
"""A task whose worker died this often is a dead letter."""

WORKER_SILENCE_MS = 60_000
"""A worker without a beat for so long is no longer listed."""

_CRASHED = encode_error(
    TaskError("CRASHED", f"{CRASHES_ALLOWED} workers died while they ran this task; `worker` names the last")
)


class MaintenanceVerbs(StoreBase):
    """What keeps a queue in order; every scheduler does it, none leads."""

    async def promote(self, limit: int = 500) -> Promoted:
        """Make delayed tasks ready that are due."""
        _, now, count, more, due = await self._run("promote", limit=limit)
        return Promoted(int(count), more == 1, seconds_until(due, int(now)))

    async def reap(self, lease_ms: int, limit: int = 100) -> Reaped:
        """Take back tasks whose lease has run out, unless the queue itself was away for a while."""
        reply = await self._run(
            "reap",
            leased=self.keys.leased,
            lease=lease_ms,
            limit=limit,
            crashes=CRASHES_ALLOWED,
            dead=_CRASHED,
            cancelled=CANCELLED,
        )
        if reply[0] == b"holding":
            return Reaped(holding_ms=int(reply[1]))
        requeued, dead, cancelled = ([task_id.decode() for task_id in ids] for ids in reply[2:])
        return Reaped(requeued, dead, cancelled, more=reply[1] == 1)

    async def purge(self, cursor: str = "0", limit: int = 500) -> Purged:
        """Trim the indexes of what has expired, of some tenants from *cursor* on."""
        keys = self.keys
        _, count, following = await self._run(
            "purge",
            dead=keys.dead,
            workers=keys.workers,
            virtual=keys.virtual,
            tenants=keys.tenants,
            limit=limit,
            cursor=cursor,
            silence=WORKER_SILENCE_MS,
        )
        return Purged(int(count), following.decode())

    async def repair(self, cursor: str = "0", limit: int = 100) -> Repaired:
        """Hold some tenants' lanes against what they should be, and mend what differs."""
        _, checked, changed, following = await self._run(
            "repair", tenants=self.keys.tenants, due=self.keys.due, limit=limit, cursor=cursor
        )
        return Repaired(int(checked), int(changed), following.decode())
