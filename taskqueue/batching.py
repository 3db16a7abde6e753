"""Coalesces concurrent calls of one event loop into few calls of the store.

The first call of an idle batcher goes out in the same pass of the event loop, with all that were
made in that pass; it never waits for company. While it is on its way, later ones gather, and go
out together when it is back. Where two batches may be under way, many go out as two, one behind the
other: while the server works on one of them, the callers of the other go on. They are sent in the
order in which their entries were handed in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from taskqueue.errors import QueueCorrupt, ServerUnsuitable, TaskQueueError

EntryT = TypeVar("EntryT")
ResultT = TypeVar("ResultT")
ErrorT = TypeVar("ErrorT", bound=Exception)

MOST_ENTRIES = 1000
"""Entries that one call of a script may carry."""

MOST_BYTES = 4 * 1024 * 1024
"""Bytes that one call of a script may carry."""

_MANY = 16
"""Entries that are worth a batch while another one is under way."""

_CANCEL_AGAIN_AFTER = 0.05  # seconds


class Batcher(Generic[EntryT, ResultT]):
    """Hands entries of many callers to one function, and each result to its caller.

    It belongs to the event loop in which it is first used.

    Args:
        send: Takes up to *most_entries* entries and returns as many results, in the same order.
            A result that is a `TaskQueueError` is raised for its caller alone; an exception that
            *send* itself raises is raised, as a copy, for every caller of that batch.
        size: Bytes of an entry; None where they do not matter.
        most_entries: Entries of one batch.
        most_bytes: Bytes of one batch. An entry that is larger goes alone.
        in_two: Whether two batches may be under way.
    """

    def __init__(
        self,
        send: Callable[[Sequence[EntryT]], Awaitable[Sequence[ResultT | TaskQueueError]]],
        *,
        size: Callable[[EntryT], int] | None = None,
        most_entries: int = MOST_ENTRIES,
        most_bytes: int = MOST_BYTES,
        in_two: bool = False,
    ) -> None:
        self._send = send
        self._in_two = in_two
        self._size = size
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._waiting: deque[tuple[EntryT, asyncio.Future[ResultT]]] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._is_under_way = False
        self._is_closed = False

    def submit(self, entry: EntryT) -> asyncio.Future[ResultT]:
        """Return a future of the result of *entry*.

        Cancelling it concerns no other caller. If the entry has not gone out yet, it does not;
        if it has, it may well take effect.

        Raises:
            TaskQueueError: If the batcher was closed.
        """
        if self._is_closed:
            raise TaskQueueError("the queue is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        self._waiting.append((entry, future))
        if not self._senders:
            # Its first step runs after every callback that is ready now, so all that they submit
            # goes out in the first batch.
            self._start(loop)
        elif self._may_have_another and self._is_under_way and len(self._waiting) == _MANY:
            self._start(loop)
        return future

    @property
    def _may_have_another(self) -> bool:
        return self._in_two and len(self._senders) == 1

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._senders.add(loop.create_task(self._send_all()))

    async def close(self, *, drain: bool = True) -> None:
        """Refuse new entries, and finish with those that were handed in.

        Args:
            drain: Whether to wait for their results; else their callers get a `TaskQueueError`.
        """
        self._is_closed = True
        if drain:
            while under_way := [sender for sender in self._senders if not sender.done()]:
                await asyncio.wait(under_way)
        else:
            for sender in list(self._senders):
                await cancelled(sender)
            # They have not done so themselves if they were cancelled before their first step.
            self._senders.clear()
            _break_off(self._waiting)
            self._waiting.clear()

    async def _send_all(self) -> None:
        loop, own = asyncio.get_running_loop(), asyncio.current_task()
        assert own is not None
        try:
            while self._waiting:
                batch = self._take(halve=self._may_have_another)
                if self._may_have_another and len(self._waiting) >= _MANY:
                    self._start(loop)
                if batch:
                    self._is_under_way = True
                    await self._send_batch(batch)
        finally:
            self._senders.discard(own)
            self._is_under_way = bool(self._senders)
            if not self._senders:
                # Only cancelled senders leave some.
                _break_off(self._waiting)
                self._waiting.clear()

    def _take(self, *, halve: bool) -> list[tuple[EntryT, asyncio.Future[ResultT]]]:
        """Return the next entries whose callers still wait, as many as one batch may have.

        Args:
            halve: Leave one half of many to a second batch.
        """
        batch: list[tuple[EntryT, asyncio.Future[ResultT]]] = []
        room, most = self._most_bytes, self._most_entries
        if halve and len(self._waiting) >= 2 * _MANY:
            most = min(most, len(self._waiting) // 2)
        while self._waiting and len(batch) < most:
            entry, future = self._waiting[0]
            if not future.done():
                if self._size is not None:
                    room -= self._size(entry)
                    if room < 0 and batch:
                        break
                batch.append((entry, future))
            self._waiting.popleft()
        return batch

    async def _send_batch(self, batch: list[tuple[EntryT, asyncio.Future[ResultT]]]) -> None:
        try:
            results = await self._send([entry for entry, _ in batch])
            pairs = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the callers
            for _, future in batch:
                if not future.done():
                    future.set_exception(copy_of(error))
            return
        except BaseException:
            _break_off(batch)
            raise
        for (_, future), result in pairs:
            if future.done():
                continue
            if isinstance(result, TaskQueueError):
                future.set_exception(result)
            else:
                future.set_result(result)


def _break_off(left: Iterable[tuple[EntryT, asyncio.Future[ResultT]]]) -> None:
    """Raise for callers whose results nobody waits for any more; they were not cancelled themselves."""
    for _, future in left:
        if not future.done():
            future.set_exception(TaskQueueError("the queue was closed before the answer came"))


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancel *task* and return when it has ended.

    Once may not be enough: up to Python 3.11 `asyncio.wait_for`, with which redis-py sends, loses a
    cancellation that comes just when it has finished (python/cpython#86296).
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN_AFTER)


async def isolated(
    send: Callable[[Sequence[EntryT]], Awaitable[Sequence[ResultT]]], entries: Sequence[EntryT]
) -> Sequence[ResultT | TaskQueueError]:
    """Call *send* so that what is wrong with one entry is the trouble of its caller alone.

    A call that fails for good, for a damaged record or for a promise that the server cannot keep,
    is made again for each half of its entries. Nothing is lost by that: such calls have done
    nothing, or may be repeated.
    """
    try:
        return await send(entries)
    except (QueueCorrupt, ServerUnsuitable) as error:
        if len(entries) == 1:
            return [error]
        middle = len(entries) // 2
        return [*await isolated(send, entries[:middle]), *await isolated(send, entries[middle:])]


def copy_of(error: ErrorT) -> ErrorT:
    """Return an exception like *error*, so that each of several callers raises one of its own.

    Raising one object in many places makes its traceback grow into a tangle of all of them.
    """
    twin = type(error).__new__(type(error), *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    twin.__cause__ = error.__cause__ or error
    return twin
