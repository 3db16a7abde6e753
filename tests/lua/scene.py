"""Short verbs for what the scenes of the scripts do again and again.

Everything goes through the store, one script a call, under a clock that stands still. What a scene
then looks at, it reads from the server itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import redis

from taskqueue.codec import Entry, encode_entry, encode_error, encode_value
from taskqueue.errors import TaskQueueError
from taskqueue.keys import Keys
from taskqueue.store import (
    Accepted,
    Claim,
    ClaimedTask,
    ClaimRequest,
    Completion,
    Ended,
    Failure,
    Reaped,
    Release,
    Store,
)
from taskqueue.task import Task, TaskError, TaskSpec
from taskqueue.testing import FakeClock

LEASE_MS = 15_000
BOOM = encode_error(TaskError("BOOM", "it went wrong"))


@dataclass(frozen=True)
class Stored:
    """What one key holds: its value, and when it goes (epoch ms, -1: never).

    `data` brings the value back. It is not compared: the server may order the members of a set anew.
    """

    value: Any
    expires: int
    data: bytes = field(repr=False, compare=False)


Snapshot = dict[bytes, Stored]

# One call instead of three a key: tests of all scripts take thousands of snapshots.
_READ_ALL = """
local readers = {
  string = function(key) return redis.call("GET", key) end,
  hash = function(key) return { "hash", redis.call("HGETALL", key) } end,
  set = function(key) return { "set", redis.call("SMEMBERS", key) } end,
  list = function(key) return { "list", redis.call("LRANGE", key, 0, -1) } end,
  zset = function(key) return { "zset", redis.call("ZRANGE", key, 0, -1, "WITHSCORES") } end,
}
local found = {}
for _, key in ipairs(redis.call("KEYS", ARGV[1])) do
  local value = readers[redis.call("TYPE", key)["ok"]](key)
  found[#found + 1] = { key, value, redis.call("PEXPIRETIME", key), redis.call("DUMP", key) }
end
return found
"""


class Scene:
    """A queue on a real server.

    Args:
        store: Opened.
        clock: The store's.
        client: A blocking client of the same server, for looking and meddling.
    """

    def __init__(self, store: Store, clock: FakeClock, client: redis.Redis) -> None:
        self.store = store
        self.clock = clock
        # Any: redis-py declares replies for both of its modes, text and bytes.
        self.client: Any = client
        self.keys: Keys = store.keys
        self._requests = (f"request-{number}" for number in itertools.count(1))

    # Verbs ---------------------------------------------------------------------------------------

    def entry(self, task_id: str | None = None, **fields: Any) -> Entry:
        """Return an encoded task of type GROK."""
        spec = TaskSpec(**({"type": "GROK", "payload": {"text": "hello"}, "id": task_id} | fields))
        return encode_entry(spec, order=self.store.settings.order)

    async def enqueue(self, *ids: str, **fields: Any) -> list[Accepted]:
        """Enqueue tasks that must be accepted, in one call."""
        outcomes = await self.offer(*(self.entry(task_id, **fields) for task_id in ids))
        for outcome in outcomes:
            assert isinstance(outcome, Accepted), outcome
        return outcomes  # type: ignore[return-value]  # checked above

    async def offer(
        self, *entries: Entry, atomic: bool = False, max_queued: int | None = None
    ) -> list[Accepted | TaskQueueError]:
        """Enqueue tasks that may be refused, in one call."""
        return await self.store.enqueue(entries, atomic=atomic, max_queued=max_queued)

    def request(
        self,
        slots: Mapping[str, int] | Iterable[str] = ("GROK",),
        *,
        limit: int = 1000,
        worker: str = "worker-1",
        request: str | None = None,
        lease_ms: int = LEASE_MS,
        chains: Mapping[str, Sequence[str]] | None = None,
        lowest: int | None = None,
        number: int = 0,
    ) -> ClaimRequest:
        """Return a request for a claim: types with their slots, or types with 1,000 slots each."""
        wanted = dict(slots) if isinstance(slots, Mapping) else dict.fromkeys(slots, 1000)
        name = request or next(self._requests)
        return ClaimRequest(worker, name, wanted, limit, lease_ms, chains or {}, lowest, number)

    async def claim(self, slots: Mapping[str, int] | Iterable[str] = ("GROK",), **options: Any) -> Claim:
        """Claim; see `request` for the options."""
        return await self.store.claim(self.request(slots, **options))

    async def claimed_ids(
        self, slots: Mapping[str, int] | Iterable[str] = ("GROK",), **options: Any
    ) -> list[str]:
        """Claim, and return only the ids."""
        return [task.id for task in (await self.claim(slots, **options)).tasks]

    async def claim_one(self, **options: Any) -> ClaimedTask:
        """Claim exactly one task of type GROK."""
        [claimed] = (await self.claim(limit=1, **options)).tasks
        return claimed

    async def complete(self, *claimed: ClaimedTask, result: Any = None) -> list[Ended]:
        """Complete claimed tasks in one call."""
        data = encode_value(result, field="result", max_bytes=1000)
        words, _ = await self.store.complete([Completion(each.id, each.token, data) for each in claimed])
        return words

    async def fail(self, *claimed: ClaimedTask, retry_in_ms: int | None = None) -> list[Ended]:
        """Fail claimed tasks in one call: for good, unless a backoff is given."""
        return await self.store.fail([Failure(each.id, each.token, BOOM, retry_in_ms) for each in claimed])

    async def release(self, *claimed: ClaimedTask, delay_ms: int = 0) -> list[Ended]:
        """Release claimed tasks in one call."""
        return await self.store.release([Release(each.id, each.token, delay_ms) for each in claimed])

    async def lose(self) -> Reaped:
        """Let the leases of now run out while reaps go on as they should; return what was reaped."""
        reaped = Reaped()
        for _ in range(4):
            reaped = await self.store.reap(LEASE_MS)
            if reaped.requeued or reaped.dead or reaped.cancelled:
                return reaped
            self.advance(5001)
        return await self.store.reap(LEASE_MS)

    def advance(self, ms: int) -> None:
        """Move the clock."""
        self.clock.advance(timedelta(milliseconds=ms))

    async def task(self, task_id: str) -> Task:
        """Return a task that is known."""
        [task] = await self.store.fetch([task_id])
        assert task is not None, f"{task_id} is unknown"
        return task

    # Looks ---------------------------------------------------------------------------------------

    def ready(self, type_: str = "GROK", group: str = "default") -> list[str]:
        """Return the ids of a lane, the first to run first."""
        return self._members(self.keys.ready(type_, group))

    def lanes(self, type_: str = "GROK") -> list[str]:
        """Return the groups of a type that may run, the first to run first."""
        return self._members(self.keys.lanes(type_))

    def delayed(self, tenant: str = "default") -> dict[str, int]:
        """Return the delayed tasks of a tenant, and when they are due, in ms from now."""
        return self._from_now(self.keys.delayed(tenant))

    def due(self) -> dict[str, int]:
        """Return the tenants with delayed tasks, and when the first is due, in ms from now."""
        return self._from_now(self.keys.due)

    def leased(self) -> dict[str, int]:
        """Return the ids of leased tasks, and when their leases end, in ms from now."""
        return self._from_now(self.keys.leased)

    def dead(self) -> set[str]:
        """Return the ids of the dead letters."""
        return set(self._members(self.keys.dead))

    def finished(self, tenant: str = "default") -> set[str]:
        """Return the ids in the finished index of a tenant."""
        return set(self._members(self.keys.finished(tenant)))

    def run(self, task_id: str) -> dict[str, Any]:
        """Return the run hash of a task."""
        return {name.decode(): value for name, value in self.client.hgetall(self.keys.run(task_id)).items()}

    def hash(self, key: str) -> dict[str, str]:
        """Return a hash of texts."""
        return {name.decode(): value.decode() for name, value in self.client.hgetall(key).items()}

    def is_awake(self, type_: str = "GROK") -> bool:
        """Whether the type has its wake marker; there is never more than one."""
        markers = self.client.llen(self.keys.wake(type_))
        assert markers in {0, 1}, f"{markers} markers"
        return bool(markers)

    def inbox(self, owner: str) -> list[str]:
        """Return the messages of an inbox, and leave them there."""
        return [message.decode() for message in self.client.lrange(self.keys.inbox(owner), 0, -1)]

    def expires(self, key: str) -> int | None:
        """Return in how many ms from the clock's now a key goes; None if it stays."""
        at = self.client.pexpiretime(key)
        assert at != -2, f"{key} does not exist"
        return None if at == -1 else int(at) - self.clock()

    def calls_since(self, before: dict[str, Any]) -> dict[str, int]:
        """Return how often the server ran each command since *before*, an `INFO commandstats`."""
        now = self.client.info("commandstats")
        calls = {name: each["calls"] - before.get(name, {"calls": 0})["calls"] for name, each in now.items()}
        return {name: count for name, count in calls.items() if count and "info" not in name}

    def names(self) -> set[bytes]:
        """Return all keys of the queue."""
        pattern = self.keys.prefix.replace("{", "\\{") + "*"
        return set(self.client.scan_iter(match=pattern, count=10_000))

    def snapshot(self) -> Snapshot:
        """Return every key of the queue, byte for byte, with the instant at which it goes."""
        found = self.client.eval(_READ_ALL, 0, self.keys.prefix.replace("{", "\\{") + "*")
        return {name: Stored(_comparable(value), expires, data) for name, value, expires, data in found}

    def restore(self, snapshot: Snapshot) -> None:
        """Make the queue exactly what it was at the time of the snapshot."""
        with self.client.pipeline(transaction=True) as pipeline:
            pipeline.delete(self.keys.meta, *self.names())
            for name, stored in snapshot.items():
                pipeline.restore(name, max(stored.expires, 0), stored.data, absttl=stored.expires > 0)
            pipeline.execute()

    def _members(self, key: str) -> list[str]:
        return [member.decode() for member in self.client.zrevrange(key, 0, -1)]

    def _from_now(self, key: str) -> dict[str, int]:
        members = self.client.zrange(key, 0, -1, withscores=True)
        return {member.decode(): int(score) - self.clock() for member, score in members}


def _comparable(value: Any) -> Any:
    """Return what a key holds without an order that the server may change: of a hash's fields, of a set."""
    match value:
        case [b"hash", fields]:
            return dict(zip(fields[::2], fields[1::2], strict=True))
        case [b"set", members]:
            return set(members)
        case _:
            return value
