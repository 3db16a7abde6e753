"""The verbs of workers: claim, complete, fail, release, extend, and the messages that reach them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from taskqueue.codec import encode_error
from taskqueue.errors import ServerUnavailable, ServerUnsuitable
from taskqueue.store.base import STRENGTH, StoreBase
from taskqueue.store.replies import (
    Claim,
    ClaimedTask,
    ClaimRequest,
    Completion,
    Ended,
    Extension,
    Failure,
    Release,
)
from taskqueue.task import Durability, TaskError

logger = logging.getLogger("taskqueue.store")

CANCELLED = encode_error(TaskError("TASK_CANCELLED", "cancelled on request"))
"""The error of a task whose cancellation was asked for, where no handler gives another one."""

_CONFIRM_COMPLETION_MS = 500
"""How long the confirmation of a completion may hold up the worker; unconfirmed it stands all the same."""

CALLS_AT_ONCE = 2
"""Claims that a worker may have under way."""

_LATE = 2.0
"""Seconds by which the answer to a blocking command may be late, before its connection counts as lost."""

_MOST_REPORTS = 1000
_CLAIM_FIELDS = 3


class WorkerVerbs(StoreBase):
    """What workers ask of the server. Every verb may be repeated with the same arguments."""

    async def claim(self, request: ClaimRequest, *, patience: float | None = None) -> Claim:
        """Borrow the best tasks of some types, in exact order; promotes first what is due."""
        reply = await self._run(
            "claim",
            patience=patience,
            claims=self.keys.claims(request.worker, request.number),
            worker=request.worker,
            request=request.request,
            lease=request.lease_ms,
            limit=request.limit,
            types=_slots(request),
        )
        return _read_claim(reply, request)

    async def complete(
        self,
        completions: Sequence[Completion],
        claim: ClaimRequest | None = None,
        *,
        patience: float | None = None,
    ) -> tuple[list[Ended], Claim | None]:
        """End tasks as COMPLETED and, in the same call, claim for the slots that this frees.

        Returns:
            One word for each completion, and the claim if one was asked for.
        """
        if claim is not None and not completions:
            return [], await self.claim(claim, patience=patience)
        # All but the last portion only report; the claim belongs to the last.
        words: list[Ended] = []
        starts = range(0, max(len(completions), 1), _MOST_REPORTS)
        portions = [completions[at : at + _MOST_REPORTS] for at in starts]
        claimed: Claim | None = None
        for number, portion in enumerate(portions, start=1):
            rest: list[Any] = []
            for done in portion:
                rest += (done.id, done.token, done.result, done.bill)
            asked = claim if number == len(portions) else None
            if asked is not None:
                rest += (asked.worker, asked.request, asked.lease_ms, asked.limit, *_slots(asked))
            reply, missing = await self._run_durably(
                "complete",
                await self._level_of(portion),
                confirm_ms=_CONFIRM_COMPLETION_MS,
                patience=patience,
                claims=self.keys.claims(asked.worker, asked.number) if asked else self.keys.claims("-"),
                count=len(portion),
                rest=rest,
            )
            if missing is not None:
                # The completion stands; should it get lost, its task runs again.
                logger.warning("%d completions: %d of %d confirmations in time", len(portion), *missing[::-1])
            words.extend(_words(reply[0]))
            claimed = _read_claim(reply[1], asked) if asked is not None else None
        return words, claimed

    async def _level_of(self, completions: Sequence[Completion]) -> Durability:
        """Return the level of the most demanding task, or what the server can still give."""
        level = max(
            (done.durability for done in completions), key=STRENGTH.__getitem__, default=Durability.MEMORY
        )
        try:
            await self._ensure_level(level)
        except ServerUnsuitable as error:
            # The server was changed since the task was accepted: better reported than run again.
            logger.warning("completions are reported at level memory: %s", error)
            return Durability.MEMORY
        return level

    async def fail(self, failures: Sequence[Failure], *, patience: float | None = None) -> list[Ended]:
        """End attempts that did not succeed: back to the queue after a backoff, FAILED or CANCELLED."""
        words: list[Ended] = []
        for at in range(0, len(failures), _MOST_REPORTS):
            rest: list[Any] = []
            for failure in failures[at : at + _MOST_REPORTS]:
                rest += (failure.id, failure.token, failure.error, _what_follows(failure))
            words.extend(_words(await self._run("fail", patience=patience, rest=rest)))
        return words

    async def release(self, releases: Sequence[Release], *, patience: float | None = None) -> list[Ended]:
        """Give tasks back to their old places, their attempts not spent."""
        words: list[Ended] = []
        for at in range(0, len(releases), _MOST_REPORTS):
            rest: list[Any] = []
            for release in releases[at : at + _MOST_REPORTS]:
                rest += (release.id, release.token, release.delay_ms)
            words.extend(_words(await self._run("release", patience=patience, error=CANCELLED, rest=rest)))
        return words

    async def extend(
        self, worker: str, leases: Sequence[tuple[str, str]], lease_ms: int, *, patience: float | None = None
    ) -> Extension:
        """Lengthen leases, given as (id, token), and give the worker's sign of life."""
        extension = Extension([], [])
        for at in range(0, max(len(leases), 1), _MOST_REPORTS):
            reply = await self._run(
                "extend",
                patience=patience,
                leased=self.keys.leased,
                workers=self.keys.workers,
                worker=worker,
                lease=lease_ms,
                rest=[text for lease in leases[at : at + _MOST_REPORTS] for text in lease],
            )
            extension.lost.extend(_words(reply[0]))
            extension.cancelled.extend(_words(reply[1]))
        return extension

    async def progress(self, task_id: str, token: str, value: bytes) -> bool:
        """Store what a running handler says; False if the lease is no longer its own."""
        reply = await self._run("progress", run=self.keys.run(task_id), token=token, value=value)
        return bool(reply[0] == b"stored")

    async def wait_wake(self, types: Sequence[str], timeout: float) -> bool:
        """Wait until one of the types may have work, at most *timeout* seconds.

        Whoever is woken must claim, if only with no slots: that passes the marker on.

        Raises:
            ServerUnavailable: At once, when the connection is lost.
        """
        keys = [self.keys.wake(name) for name in types]
        wait = partial(self._waits.call, "BLPOP", *keys, timeout)
        try:
            woken = await self._caller.persist(wait, "waiting for work", 0, timeout + _LATE)
        except ServerUnavailable as error:
            if isinstance(error.__cause__, TimeoutError):
                # The network went silent. The connection for calls was idle as well, and the claim that
                # follows would find out by a time-out of its own.
                self._caller.wire.cut()
            raise
        return woken is not None

    async def listen(self, owner: str, timeout: float) -> list[str]:
        """Wait for messages in the inbox *owner*, at most *timeout* seconds, and take them.

        Raises:
            ServerUnavailable: At once, when the connection is lost; messages may be lost with it.
        """
        inbox = self.keys.inbox(owner)
        waits = self._waits

        async def take() -> list[bytes]:
            first = await waits.call("BLPOP", inbox, timeout)
            if first is None:
                return []
            return [first[1], *(await waits.call("LPOP", inbox, _MOST_REPORTS) or [])]

        within = timeout + _LATE
        messages: list[bytes] = await self._caller.persist(take, "waiting for messages", 0, within)
        return [message.decode() for message in messages]

    async def forget_worker(self, worker: str) -> None:
        """Remove a worker that has ended from the list of workers."""

        async def remove() -> None:
            await self._caller.wire.call("ZREM", self.keys.workers, worker)
            claims = (self.keys.claims(worker, number) for number in range(CALLS_AT_ONCE))
            await self._caller.wire.call("DEL", *claims, self.keys.inbox(worker))

        await self._caller.persist(remove, "forget_worker", None)


def _slots(request: ClaimRequest) -> list[Any]:
    chains = request.chains
    triples = ((type_, free, " ".join(chains.get(type_, ()))) for type_, free in request.slots.items())
    values: list[Any] = [value for triple in triples for value in triple]
    return values if request.lowest is None else ["", request.lowest, "", *values]


def _what_follows(failure: Failure) -> str:
    if failure.cancelled:
        return "cancelled"
    return "dead" if failure.retry_in_ms is None else f"retry:{failure.retry_in_ms}"


def _words(reply: Sequence[bytes]) -> list[Any]:
    return [word.decode() for word in reply]


def _read_claim(reply: Sequence[Any], request: ClaimRequest) -> Claim:
    now, due, more = reply[1], reply[2], reply[3]
    columns = (reply[first::_CLAIM_FIELDS] for first in range(4, 4 + _CLAIM_FIELDS))
    name = request.request
    first_token = f"1-{name}"
    tasks = [
        _read_run(id_.decode(), run.decode(), record, name)
        if run
        else ClaimedTask(id_.decode(), first_token, 1, 1, 0, record, None)
        for id_, run, record in zip(*columns, strict=True)
    ]
    best = more - 1 if more and request.lowest is not None else None
    return Claim(tasks, seconds_until(due, now), more > 0, best)


def _read_run(task_id: str, run: str, record: bytes, request: str) -> ClaimedTask:
    deliveries, attempt, crashes, provider = run.split(" ", 3)
    token = f"{deliveries}-{request}"
    return ClaimedTask(task_id, token, int(attempt), int(deliveries), int(crashes), record, provider or None)


def seconds_until(due: bytes, now: int) -> float | None:
    """Return how long it is from *now* (epoch ms) until *due*; None if nothing is due."""
    return max(0.0, (float(due) - now) / 1000) if due else None
