"""Waiting for the end of tasks, by message and not by asking again and again.

The first look at a task either finds it finished, or registers this process's inbox with it; the
script that ends the task leaves a word in every registered inbox. One connection listens to the
inbox, for as long as anybody waits. A word can be lost with a connection, and a registration can
end, so every few seconds one batched call looks at all tasks that are waited for.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from taskqueue.batching import Batcher, cancelled, copy_of, isolated
from taskqueue.errors import ServerUnavailable, TaskNotFound, TaskQueueError, WaitTimeout
from taskqueue.ids import new_id

if TYPE_CHECKING:
    from taskqueue.store import Store
    from taskqueue.task import Task

LOOK_AGAIN_AFTER = 5.0
"""Seconds between two looks at everything that is waited for."""

LISTEN_FOR = 5.0
"""Seconds that one call listens; when nobody waits any more, the listener ends after it."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0  # seconds between two attempts to listen

_log = logging.getLogger("taskqueue.queue")


class Waiting:
    """Everything that one process waits for in one queue.

    Args:
        store: The queue's store.
        look_again_after: Seconds between two looks at everything that is waited for.
    """

    def __init__(self, store: Store, *, look_again_after: float = LOOK_AGAIN_AFTER) -> None:
        self._store = store
        self._look_again_after = look_again_after
        self._inbox = new_id()
        self._watch: Batcher[str, Task | None] = Batcher(partial(isolated, self._ask))
        self._waiters: dict[str, set[asyncio.Future[Task]]] = {}
        self._looking: set[str] = set()
        self._told_meanwhile: set[str] = set()
        self._listener: asyncio.Task[None] | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def wait(self, task_id: str, timeout: float | None) -> Task:
        """Return the task once it has finished, whatever its end.

        Args:
            task_id: Its id.
            timeout: Seconds; 0 looks once, None waits for as long as it takes.

        Raises:
            WaitTimeout: If it had not finished by then.
            TaskNotFound: If there is no such task, or none any more.
            ServerUnavailable: If the server could not be asked for longer than the queue's patience.
            TaskQueueError: If the queue was closed meanwhile.
        """
        if self._is_closed:
            raise TaskQueueError("the queue is closed")
        if timeout is not None and timeout <= 0:
            return await self._look_once(task_id)
        future: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(task_id, set())
        waiters.add(future)
        if len(waiters) == 1:
            self._look(task_id)
            self._start()
        try:
            await asyncio.wait([future], timeout=timeout)
            if future.done():
                return await future
        finally:
            self._leave(task_id, future)
        raise WaitTimeout(task_id, timeout or 0.0)

    async def close(self) -> None:
        """Wake everybody who waits with an error, and stop listening."""
        self._is_closed = True
        if self._next_look is not None:
            self._next_look.cancel()
        for task_id in list(self._waiters):
            self._fail(task_id, TaskQueueError(f"the queue was closed while task {task_id} was waited for"))
        if self._listener is not None:
            await cancelled(self._listener)
        await self._watch.close(drain=False)

    async def _ask(self, ids: Sequence[str]) -> list[Task | None]:
        return await self._store.watch(ids, self._inbox)

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._listener is None or self._listener.done():
            self._listener = loop.create_task(self._listen())
        if self._next_look is None:
            self._next_look = loop.call_later(self._look_again_after, self._look_at_all)

    async def _look_once(self, task_id: str) -> Task:
        [task] = await self._store.fetch([task_id])
        if task is None:
            raise TaskNotFound(task_id)
        if not task.state.is_finished:
            raise WaitTimeout(task_id, 0.0)
        return task

    def _leave(self, task_id: str, future: asyncio.Future[Task]) -> None:
        waiters = self._waiters.get(task_id)
        if waiters is not None:
            waiters.discard(future)
            if not waiters:
                del self._waiters[task_id]

    async def _listen(self) -> None:
        failures = 0
        while self._waiters:
            try:
                messages = await self._store.listen(self._inbox, LISTEN_FOR)
            except ServerUnavailable as problem:
                failures += 1
                if failures == 1:
                    _log.warning("cannot listen for finished tasks, trying again: %s", problem)
                    # A message may have been lost with the connection. The look asks the server for
                    # as long as patience lasts, so it has its answer as soon as there is one.
                    self._look_at_all()
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**failures)
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret
                continue
            if failures:
                _log.info("listening for finished tasks again")
                failures = 0
            for message in messages:
                word, _, task_id = message.partition(" ")
                if word == "finished":
                    self._look(task_id)

    def _look_at_all(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        for task_id in self._waiters:
            self._look(task_id)
        if self._waiters:
            self._start()

    def _look(self, task_id: str) -> None:
        """Ask for a task that somebody waits for; what comes back goes to all who do."""
        if task_id not in self._waiters:
            return
        if task_id in self._looking:
            # The look that is under way may have been too early.
            self._told_meanwhile.add(task_id)
            return
        self._looking.add(task_id)
        self._watch.submit(task_id).add_done_callback(lambda found: self._seen(task_id, found))

    def _seen(self, task_id: str, found: asyncio.Future[Task | None]) -> None:
        self._looking.discard(task_id)
        told = task_id in self._told_meanwhile
        self._told_meanwhile.discard(task_id)
        if (problem := found.exception()) is not None:
            self._fail(task_id, problem)
        elif (task := found.result()) is not None and task.state.is_finished:
            for future in self._waiters.pop(task_id, ()):
                future.set_result(task)
        elif told:
            self._look(task_id)
        elif task is None:
            self._fail(task_id, TaskNotFound(task_id))

    def _fail(self, task_id: str, problem: BaseException) -> None:
        for future in self._waiters.pop(task_id, ()):
            future.set_exception(copy_of(problem) if isinstance(problem, Exception) else problem)
