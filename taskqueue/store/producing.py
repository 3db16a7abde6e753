"""The verbs of producers: enqueue, and reading what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any

from taskqueue.codec import Entry, decode_task
from taskqueue.errors import (
    DurabilityNotReached,
    IdempotencyConflict,
    InsufficientCredits,
    LimitReached,
    QueueFull,
    ServerUnsuitable,
    TaskQueueError,
)
from taskqueue.keys import Keys
from taskqueue.store.base import STRENGTH, StoreBase
from taskqueue.store.rates import RateExceeded, RateRequest, RateTicket, Whole, passes_of
from taskqueue.store.replies import Accepted
from taskqueue.task import Durability, Task

MOST_TASKS = 1000
MOST_BYTES = 4 * 2**20
_WATCH_TTL_MS = 60_000

_make_accepted: Callable[[Iterable[Any]], Accepted] = partial(tuple.__new__, Accepted)


def portions(entries: Sequence[Entry]) -> Iterable[Sequence[Entry]]:
    """Split *entries* into what one call may carry: 1,000 tasks, 4 MiB. Keeps the order."""
    start, size = 0, 0
    for index, entry in enumerate(entries):
        length = len(entry.blob)
        if index > start and (index - start >= MOST_TASKS or size + length > MOST_BYTES):
            yield entries[start:index]
            start, size = index, 0
        size += length
    if start < len(entries):
        yield entries[start:]


class ProducerVerbs(StoreBase):
    """What producers ask of the server."""

    async def enqueue(
        self,
        entries: Sequence[Entry],
        *,
        atomic: bool = False,
        together: bool = False,
        max_queued: int | None = None,
        tickets: Sequence[RateTicket | None] = (),
        whole: Whole | None = None,
    ) -> list[Accepted | TaskQueueError]:
        """Store tasks, in this order, and say of each what became of it.

        A call carries at most 1,000 tasks and 4 MiB; more are split into several. A task whose id is
        stored already with the same fingerprint is accepted again as it was: so a call whose reply
        was lost can be repeated.

        Requests can be counted against the rates of their API keys by the call that stores their
        tasks: one by one with *tickets*, many tasks at once with *whole*. One that stored something is
        not counted again when a lost reply is asked for; one that stored nothing may be, so that
        fewer are let in, never more.

        Args:
            entries: Checked and encoded tasks.
            atomic: One refusal refuses all tasks of its call.
            together: A tenant's balance must cover the tasks of a call one after the other; else
                each of them by itself.
            max_queued: QUEUED tasks that each tenant may have.
            tickets: For each entry what its request is counted by; None, or none at all, counts
                nothing. They are filled in.
            whole: The one request that all entries are of, in place of tickets. If its rate or the room
                in the queue does not allow it, nothing of it is stored; the first call decides, and
                what follows needs no room any more.

        Returns:
            For each entry `Accepted`, or the refusal as an exception (not raised).

        Raises:
            RateExceeded: If *whole* was refused for its rate.
            QueueFull: If there is no room for all of *whole*.
        """
        outcomes: list[Accepted | TaskQueueError] = []
        for portion in portions(entries):
            at = len(outcomes)
            level = max({entry.head.durability for entry in portion}, key=STRENGTH.__getitem__)
            options = {
                "atomic": int(atomic),
                "together": int(together),
                "max_queued": "" if max_queued is None else max_queued,
                "whole": "" if whole is None else whole.total,
            }
            counted = _UNCOUNTED
            if tickets or whole:
                counted = _Counted(tickets[at : at + len(portion)], whole)
            outcomes.extend(await self._enqueue_portion(portion, level, options, counted))
            if whole is not None:
                whole = max_queued = None
        return outcomes

    async def _enqueue_portion(
        self, entries: Sequence[Entry], level: Durability, options: Mapping[str, Any], counted: _Counted
    ) -> list[Accepted | TaskQueueError]:
        keys = self.keys
        named = {
            "seq": keys.seq,
            "types": keys.types,
            "tenants": keys.tenants,
            "due": keys.due,
            **options,
            **_packed(entries, keys, counted),
        }
        reply, missing = await self._run_durably("enqueue", level, **named)
        if reply[0] == b"exhausted":
            raise self._exhausted()
        if reply[0] == b"refused":
            raise counted.refusal(reply, entries[0])
        outcomes = _outcomes(entries, reply)
        counted.settle(outcomes, reply)
        if missing is None:
            return outcomes
        wanted, reached = missing
        for index, entry in enumerate(entries):
            if isinstance(outcomes[index], Accepted) and entry.head.durability is not Durability.MEMORY:
                outcomes[index] = DurabilityNotReached(
                    str(entry.head.durability), wanted, reached, (entry.id,)
                )
        return outcomes

    def _exhausted(self) -> ServerUnsuitable:
        return ServerUnsuitable(
            f"queue {self.keys.name!r} has used up its sequence; continue under another name"
        )

    async def fetch(self, ids: Sequence[str]) -> list[Task | None]:
        """Read tasks; None for what is unknown or purged."""
        return await self.look([(task_id, "") for task_id in ids])

    async def look(self, wanted: Sequence[tuple[str, str]]) -> list[Task | None]:
        """Read tasks, each by its id and the tenant that it must be of, "" for any.

        None stands for what is unknown, purged or another tenant's; the server does the same for each.
        """
        if not wanted:
            return []
        replies = await self._run("fetch", tasks=[part for pair in wanted for part in pair])
        return self._tasks([task_id for task_id, _ in wanted], replies)

    async def watch(self, ids: Sequence[str], inbox: str) -> list[Task | None]:
        """Read tasks, and have *inbox* told `finished <id>` when those that are not finished end.

        The registration lasts 60 s: call again within that time.
        """
        if not ids:
            return []
        return self._tasks(ids, await self._run("watch", inbox=inbox, ttl=_WATCH_TTL_MS, ids=ids))

    @staticmethod
    def _tasks(ids: Sequence[str], replies: Sequence[Any]) -> list[Task | None]:
        tasks: list[Task | None] = []
        for task_id, reply in zip(ids, replies, strict=True):
            if reply[0] != b"task":
                tasks.append(None)
                continue
            _, record, due, run = reply
            fields = dict(zip(run[::2], run[1::2], strict=True))
            tasks.append(decode_task(task_id, record, fields, int(float(due)) if due else None))
        return tasks


class _Counted:
    """What one call counts besides storing tasks; mostly nothing.

    Args:
        tickets: One a task, or none at all.
        whole: The one request that all tasks are of.

    Attributes:
        rates: What is asked of the server, each once, by its number.
    """

    def __init__(self, tickets: Sequence[RateTicket | None], whole: Whole | None) -> None:
        self._tickets = tickets if any(tickets) else ()
        self._whole = None if whole is None else whole.ticket
        asked = (self._whole, *self._tickets)
        self.rates: dict[RateRequest, int] = {}
        for ticket in asked:
            if ticket is not None:
                self.rates.setdefault(ticket.request, len(self.rates) + 1)

    @property
    def columns(self) -> Sequence[int]:
        """For each task the number of its rate, 0 for none; empty if tasks are not counted one by one."""
        return [0 if ticket is None else self.rates[ticket.request] for ticket in self._tickets]

    def settle(self, outcomes: Sequence[Accepted | TaskQueueError], reply: Sequence[Any]) -> None:
        """Fill the tickets in from the end of a reply."""
        if not self.rates:
            return
        passes = passes_of(self.rates, reply[-2 * len(self.rates) :])
        if self._whole is not None:
            self._whole.remaining = passes[self._whole.request].take_again()
        for ticket, outcome in zip(self._tickets, outcomes, strict=False):
            if ticket is not None:
                was_refused = isinstance(outcome, RateExceeded)
                ticket.remaining = 0 if was_refused else passes[ticket.request].take_again()

    def refusal(self, reply: Sequence[Any], entry: Entry) -> TaskQueueError:
        """Return why the whole request was refused, and fill its ticket in."""
        self.settle((), reply)
        limit = int(reply[2])
        return RateExceeded(limit) if reply[1] == b"limited" else QueueFull(entry.head.tenant, limit)


_UNCOUNTED = _Counted((), None)


def _packed(entries: Sequence[Entry], keys: Keys, counted: _Counted) -> dict[str, Any]:
    """Return the arguments `bands`, `width`, `rates`, `rest` and `task` of enqueue.lua."""
    bands: dict[tuple[str, str, int], int] = {}
    tasks: list[Any] = []
    ids = [entry.id for entry in entries]
    # Mostly there is neither a key nor a delay, and each argument costs the server time.
    is_plain = len(set(ids)) == len(ids) and not any(
        entry.idem or entry.delay_ms is not None or entry.not_before_ms is not None for entry in entries
    )
    columns = counted.columns
    is_plain = is_plain and not columns
    column = ((number,) for number in columns)
    for entry in entries:
        band = entry.head.band
        number = bands.get(band)
        if number is None:
            number = bands[band] = len(bands) + 1
        if is_plain:
            tasks += (number, entry.blob)
        else:
            tasks += (number, _due_text(entry), entry.idem, *next(column, ()), entry.blob)
    rates, prefix = counted.rates, keys.task("")
    return {
        "bands": len(bands),
        "width": 5 if columns else 2 if is_plain else 4,
        "rates": len(rates),
        "rest": [
            *(value for band in bands for value in band),
            *(value for rate in rates for value in (rate.endpoint, rate.limit)),
            *tasks,
        ],
        "task": [*(prefix + task_id for task_id in ids), *(keys.rate(rate.key_id) for rate in rates)],
    }


def _due_text(entry: Entry) -> str:
    if entry.delay_ms is not None:
        return f"+{entry.delay_ms}"
    return "" if entry.not_before_ms is None else str(entry.not_before_ms)


def _due(entry: Entry, now: int) -> int | None:
    if entry.delay_ms is not None:
        return now + entry.delay_ms
    due = entry.not_before_ms
    return due if due is not None and due > now else None


def _outcomes(entries: Sequence[Entry], reply: Any) -> list[Accepted | TaskQueueError]:
    now = int(reply[1])
    if reply[0] == b"all":
        first = int(reply[2])
        dues = (
            [_due(entry, now) for entry in entries]
            if any(entry.delay_ms is not None or entry.not_before_ms is not None for entry in entries)
            else repeat(None)
        )
        # A tuple's own constructor takes a third of the time that the class takes.
        return list(
            map(_make_accepted, zip(range(first, first + len(entries)), repeat(now), dues, strict=False))
        )
    places = range(2, 2 + 4 * len(entries), 4)
    return [_outcome(entry, *reply[at : at + 4]) for entry, at in zip(entries, places, strict=True)]


def _outcome(entry: Entry, word: bytes, a: Any, b: Any, c: Any) -> Accepted | TaskQueueError:
    match word:
        case b"accepted":
            return Accepted(int(a), int(b), int(float(c)) if c else None)
        case b"limited":
            return RateExceeded(int(a))
        case b"taken":
            key = entry.spec.idempotency_key if c == b"key" else None
            return IdempotencyConflict(a.decode(), same_payload=int(b) == 1, key=key)
        case b"full":
            return QueueFull(entry.head.tenant, int(a))
        case b"poor":
            return InsufficientCredits(entry.head.tenant, needed=int(a), balance=int(b))
        case b"no_slot":
            return LimitReached(entry.head.tenant, int(a))
        case _:
            return Withheld("not stored, because another task of the same call was refused")


class Withheld(TaskQueueError):
    """A task that was fine by itself, in an atomic call that was refused."""
