"""What the store's verbs take and give: plain data, in the words of the design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, NamedTuple

from taskqueue.codec import decode_task
from taskqueue.ranking import Order
from taskqueue.task import Durability, Task, TaskState

Ended = Literal["completed", "failed", "cancelled", "retried", "released", "stale"]
"""What became of a claim. `stale`: a reap or another claim had taken the task before."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What a queue was made with, as its key `meta` has it.

    Attributes:
        order: Strict, or bounded by a stride.
        policy: Name of the policy that ranks its lanes.
        schema: Version of the keys' layout.
        dataset: Random name of the data: another one means that the data is not what it was.
        retention: How long records are kept, counted from acceptance.
    """

    order: Order
    policy: str
    schema: int
    dataset: str
    retention: timedelta


class Accepted(NamedTuple):
    """A task that the server has stored: its place, and when it was accepted (epoch ms)."""

    sequence: int
    created_ms: int
    not_before_ms: int | None = None


@dataclass(slots=True)
class ClaimRequest:
    """What a worker asks for.

    Attributes:
        worker: Names the worker; unique for each run of a scheduler.
        request: Names this request; the same again returns the same tasks again.
        slots: Free slots of each type; 0 only passes the wake marker on.
        limit: Free slots over all, at most 1,000.
        lease_ms: For how long the tasks are lent.
        chains: Of types that are sent to providers, their names: the first that has room gets the task.
        lowest: Take no task of a lower priority, and say what the best is that is left; for queues of
            strict order. None takes any.
        number: Of this call among those that the worker has under way at once; the server remembers the
            last claim of each.
    """

    worker: str
    request: str
    slots: dict[str, int]
    limit: int
    lease_ms: int
    chains: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lowest: int | None = None
    number: int = 0


@dataclass(slots=True)
class ClaimedTask:
    """A task lent to a worker, as it came from the server.

    Attributes:
        id: Of the task.
        token: Proves the lease; complete, fail, release, extend and progress must show it.
        attempt: Counts from 1.
        deliveries: How often it was claimed; never lowered.
        crashes: How often its worker died with it.
        record: The stored record; `task()` decodes it.
        provider: Where it is to be sent; None if its type has no chain.
    """

    id: str
    token: str
    attempt: int
    deliveries: int
    crashes: int
    record: bytes
    provider: str | None = None

    @property
    def type(self) -> str:
        """Type of the task, read from the header of its record; empty if the record has none."""
        found = self.record.split(b"|", 4)[3:4]
        return found[0].decode(errors="replace") if found else ""

    def task(self) -> Task:
        """Decode the record, payload included.

        Raises:
            QueueCorrupt: If no version of this package wrote it, or a newer one did.
        """
        task = decode_task(self.id, self.record)
        task.state = TaskState.PROCESSING
        task.attempt = self.attempt
        task.deliveries = self.deliveries
        task.crashes = self.crashes
        task.provider = self.provider
        return task


@dataclass(slots=True)
class Claim:
    """The answer to a claim.

    Attributes:
        tasks: In the order in which they must start.
        next_in: Seconds until the earliest delayed task of the queue is due, or a provider opens by
            itself that tasks wait for; None if nothing of that is known.
        more: Whether tasks of the wanted types could still run.
        best: The highest priority among those that could and have slots, where the request named a
            lowest one; None if there are none, or it did not.
    """

    tasks: list[ClaimedTask]
    next_in: float | None
    more: bool
    best: int | None = None


@dataclass(slots=True)
class Completion:
    """A task that succeeded.

    Attributes:
        id: Of the task.
        token: Of the claim.
        result: msgpack.
        durability: The level of its task.
        charge: Credits; None charges its price. Never more than it held.
        tokens: What its provider says that it used, of the tokens that it allows in a minute.
    """

    id: str
    token: str
    result: bytes
    durability: Durability = Durability.MEMORY
    charge: int | None = None
    tokens: int = 0

    @property
    def bill(self) -> str:
        """Charge and tokens, as complete.lua reads them."""
        charge = "" if self.charge is None else str(self.charge)
        return f"{charge}:{self.tokens}" if self.tokens else charge


@dataclass(slots=True)
class Failure:
    """An attempt that did not succeed.

    Attributes:
        id: Of the task.
        token: Of the claim.
        error: msgpack of a `TaskError`.
        retry_in_ms: Backoff; None ends the task as FAILED.
        cancelled: End it as CANCELLED instead.
    """

    id: str
    token: str
    error: bytes
    retry_in_ms: int | None = None
    cancelled: bool = False


@dataclass(slots=True)
class Release:
    """A task that goes back to its old place, its attempt not spent, at once or after `delay_ms`."""

    id: str
    token: str
    delay_ms: int = 0


@dataclass(slots=True)
class Extension:
    """Ids whose lease is gone, and ids whose cancellation was asked for."""

    lost: list[str]
    cancelled: list[str]


@dataclass(slots=True)
class Promoted:
    """How many delayed tasks became ready, whether more are due, and when the next one is."""

    count: int
    more: bool
    next_in: float | None


@dataclass(slots=True)
class Reaped:
    """Tasks taken back from workers that fell silent.

    `holding_ms` above zero: nothing was taken, so that workers cut off by an outage get that long to
    extend their leases.
    """

    requeued: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    holding_ms: int = 0
    more: bool = False


@dataclass(slots=True)
class Purged:
    """How many entries were trimmed; `cursor` "0" when every tenant was visited."""

    count: int
    cursor: str


@dataclass(slots=True)
class Repaired:
    """Lanes looked at and entries that had to be mended; `cursor` "0" when the walk is complete."""

    checked: int
    changed: int
    cursor: str


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of a type or a tenant may run.

    Attributes:
        scope: `type` or `tenant`.
        name: Of the type or the tenant.
        concurrency: Most tasks that may run at once over all workers; None for no limit.
        used: How many run now; for a tenant, slots held by reserved tasks included.
        paused: Whether claims pass it over.
        weight: Share under the fair policies.
    """

    scope: Literal["type", "tenant"]
    name: str
    concurrency: int | None
    used: int
    paused: bool
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Balance:
    """The credits of a metered tenant.

    Attributes:
        granted: All that it ever got, less what was taken back.
        spent: What its completed tasks were charged.
        held: What its PROCESSING tasks may still be charged.
    """

    granted: int
    spent: int
    held: int

    @property
    def remaining(self) -> int:
        """What is left; tasks that run may still take what is held of it."""
        return self.granted - self.spent


@dataclass(frozen=True, slots=True)
class Stats:
    """A count of a queue, a type, a tenant, or a type of a tenant.

    Attributes:
        queued: QUEUED tasks, delayed ones and those in their backoff included.
        processing: PROCESSING tasks.
        delayed: How many of the queued wait for an instant.
        by_priority: Queued tasks of each priority that has any, highest first.
        oldest_age: Age of the oldest task that could run now; None if there is none. Of a tenant it
            is exact in strict order; else the heads of the first and last lanes stand for all.
        limits: Of the types and the tenant looked at.
    """

    queued: int
    processing: int
    delayed: int
    by_priority: dict[int, int]
    oldest_age: timedelta | None
    limits: tuple[Limit, ...]
