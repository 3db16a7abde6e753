"""What a task is: the specification that a producer hands in, and the record that comes back.

States and who moves a task out of them (docs/lifecycle.md draws it):

    QUEUED      a claim -> PROCESSING; a cancel -> CANCELLED; a clear removes it
    PROCESSING  complete -> COMPLETED; fail -> QUEUED (backoff) or FAILED; release and reap ->
                QUEUED, or FAILED after the third crash; a cancel that its handler obeyed -> CANCELLED
    COMPLETED   nobody; purged after its retention
    FAILED      redrive -> QUEUED; else purged after its retention
    CANCELLED   redrive -> QUEUED; else purged after its retention
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any


class TaskState(StrEnum):
    """Where a task is in its life. A delayed task, or one in its backoff, is QUEUED."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_finished(self) -> bool:
        """Whether the task has ended: COMPLETED, FAILED or CANCELLED."""
        return self in _FINISHED


_FINISHED = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED})

LEGAL_MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.QUEUED: frozenset({TaskState.PROCESSING, TaskState.CANCELLED}),
    TaskState.PROCESSING: frozenset(
        {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.QUEUED}
    ),
    TaskState.COMPLETED: frozenset(),
    TaskState.FAILED: frozenset({TaskState.QUEUED}),
    TaskState.CANCELLED: frozenset({TaskState.QUEUED}),
}
"""Every move that a script may make; a test walks histories against it."""


class Durability(StrEnum):
    """When a write counts as accepted; docs/guarantees.md says what each does not cover."""

    MEMORY = "memory"
    """The server has run the script and its reply arrived."""
    REPLICATED = "replicated"
    """Every replica that was connected has it too (WAIT on the same connection)."""
    FSYNC = "fsync"
    """It is on the server's disk (WAITAOF, or `appendfsync always`)."""


@dataclass(slots=True, kw_only=True)
class TaskSpec:
    """One task to enqueue. It is checked when it is enqueued, not when it is made.

    Attributes:
        type: Names the handler: a letter, then up to 63 of `A-Z a-z 0-9 _ . -`.
        payload: What the handler gets: a mapping with text keys of None, bool, int (64 bits),
            float (finite), str, bytes, lists and mappings, at most 64 deep and 1 MiB encoded.
        priority: 1 (lowest) to 10 (highest, first).
        idempotency_key: 1 to 255 printable characters; the same key again is refused for as
            long as the record of the first task lives.
        tenant: Whose task it is: 1 to 128 of `A-Z a-z 0-9 . _ @ -`.
        delay: Earliest start, counted from acceptance. Not together with *not_before*.
        not_before: Earliest start as an instant with a time zone.
        max_attempts: How often it may be tried; None leaves it to the handler (5).
        timeout: How long one attempt may take; None leaves it to the handler (300 s).
        id: Made by the caller before the first try, so that a retry after a lost answer cannot
            make a second task; None makes one here.
        webhook: Address to be told at the end, as text or as `{"url": ...}`.
        cost: Price in credits. A metered tenant's balance must cover it, when the task is
            accepted and when it starts; it is charged when the task completes.
        hold: The most that may be charged, where a handler may charge more than the cost; None is
            the cost.
        durability: When it counts as accepted; None takes the queue's.
        reserve: Take one of the tenant's concurrent slots now, or refuse with `LimitReached`;
            the task runs before every other priority.
    """

    type: str
    payload: Mapping[str, Any]
    priority: int = 1
    idempotency_key: str | None = None
    tenant: str = "default"
    delay: timedelta | None = None
    not_before: datetime | None = None
    max_attempts: int | None = None
    timeout: timedelta | None = None
    id: str | None = None
    webhook: str | Mapping[str, Any] | None = None
    cost: int = 0
    hold: int | None = None
    durability: Durability | str | None = None
    reserve: bool = False


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why a task failed, or why its last attempt did.

    Attributes:
        code: An upper-case word for programs: `HANDLER_ERROR`, `TIMEOUT`, `INVALID_PAYLOAD`,
            `INVALID_RESULT`, `GIVEN_UP`, `CRASHED`, `TASK_CANCELLED`, or a handler's own.
        message: One sentence for people.
        details: What else is known, such as the field errors of a payload; may be None.
    """

    code: str
    message: str
    details: Any = None


def instant(ms: int | None) -> datetime | None:
    """Return epoch milliseconds as a UTC datetime, None as None."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    """A snapshot of one task, as the server knew it when it was read.

    Times are UTC; the `_ms` fields hold the same instants as epoch milliseconds of the server's
    clock. `sequence` is the place by submission: it never changes, except by a redrive. `charged` is
    what it cost in credits: None until it has finished, 0 if it did not complete. `provider` is where
    it was sent, if its handler has providers: where it runs, or who answered; `tried` are those that
    it left before, each with the reason, such as `"openai:limited"`.
    """

    id: str
    type: str
    tenant: str
    priority: int
    sequence: int
    payload: dict[str, Any]
    created_ms: int
    state: TaskState = TaskState.QUEUED
    attempt: int = 0
    deliveries: int = 0
    crashes: int = 0
    started_ms: int | None = None
    finished_ms: int | None = None
    not_before_ms: int | None = None
    idempotency_key: str | None = None
    result: Any = None
    error: TaskError | None = None
    progress: Any = None
    max_attempts: int | None = None
    timeout: timedelta | None = None
    webhook: dict[str, Any] | None = None
    cost: int = 0
    charged: int | None = None
    delivered_ms: int | None = None
    durability: Durability = Durability.MEMORY
    worker: str | None = None
    reserved: bool = False
    provider: str | None = None
    tried: tuple[str, ...] = ()

    @property
    def created_at(self) -> datetime:
        """When it was accepted."""
        return datetime.fromtimestamp(self.created_ms / 1000, UTC)

    @property
    def started_at(self) -> datetime | None:
        """When it was first claimed; None before that."""
        return instant(self.started_ms)

    @property
    def finished_at(self) -> datetime | None:
        """When it ended; None before that."""
        return instant(self.finished_ms)

    @property
    def delivered_at(self) -> datetime | None:
        """When its webhook was taken; None before that, and without a webhook."""
        return instant(self.delivered_ms)

    @property
    def not_before(self) -> datetime | None:
        """Earliest next start of a delayed task or one in its backoff; None when it may run now."""
        return instant(self.not_before_ms)

    @property
    def latency(self) -> timedelta | None:
        """First claim to end, all attempts and their backoff included; None before the end."""
        if self.started_ms is None or self.finished_ms is None:
            return None
        return timedelta(milliseconds=self.finished_ms - self.started_ms)
