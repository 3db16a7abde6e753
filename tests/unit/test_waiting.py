"""Waiting: what one process hears of finished tasks, and what it does about messages that get lost."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import pytest

from taskqueue.errors import QueueCorrupt, ServerUnavailable, TaskNotFound, TaskQueueError, WaitTimeout
from taskqueue.queue.waiting import Waiting
from taskqueue.store import Store
from taskqueue.task import Task, TaskState


class Server:
    """Has tasks, an inbox and a switch: what the store shows of a server to those who wait."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.inbox: asyncio.Queue[str] = asyncio.Queue()
        self.looks: dict[str, int] = defaultdict(int)
        self.calls = 0
        self.listening = 0
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()

    def add(self, task_id: str = "t") -> None:
        self.tasks[task_id] = Task(
            id=task_id, type="T", tenant="default", priority=1, sequence=1, payload={}, created_ms=1
        )

    def finish(self, task_id: str = "t", *, tell: bool = True) -> None:
        self.tasks[task_id].state = TaskState.COMPLETED
        if tell:
            self.inbox.put_nowait(f"finished {task_id}")

    def _answer(self, task_id: str) -> Task | None:
        if task_id == "corrupt":
            raise QueueCorrupt("task corrupt")
        task = self.tasks.get(task_id)
        if task is None:
            return None
        snapshot = Task(
            id=task_id, type="T", tenant="default", priority=1, sequence=1, payload={}, created_ms=1
        )
        snapshot.state = task.state
        return snapshot

    async def fetch(self, ids: Sequence[str]) -> list[Task | None]:
        return [self._answer(task_id) for task_id in ids]

    async def watch(self, ids: Sequence[str], inbox: str) -> list[Task | None]:
        assert inbox
        self.calls += 1
        for task_id in ids:
            self.looks[task_id] += 1
        if self.is_away:
            raise ServerUnavailable("gone")
        found = [self._answer(task_id) for task_id in ids]
        await self.gate.wait()
        return found

    async def listen(self, owner: str, timeout: float) -> list[str]:
        if self.is_away:
            raise ServerUnavailable("gone")
        self.listening += 1
        try:
            return [await self.inbox.get()]
        finally:
            self.listening -= 1


@pytest.fixture
def server() -> Server:
    """A server with one task, `t`."""
    made = Server()
    made.add()
    return made


@pytest.fixture
async def waiting(server: Server) -> AsyncIterator[Waiting]:
    """Somebody who waits, and looks again by itself only after an hour."""
    made = Waiting(cast("Store", server), look_again_after=3600)
    yield made
    await made.close()


async def until(predicate: Callable[[], Any]) -> None:
    """Return when it is so."""
    async with asyncio.timeout(5):
        while not predicate():
            await asyncio.sleep(0.001)


async def test_a_message_ends_the_wait(server: Server, waiting: Waiting) -> None:
    """Nobody looks again until the word comes, and then once."""
    waiter = asyncio.create_task(waiting.wait("t", None))
    await until(lambda: server.listening)

    server.finish()

    assert (await waiter).state is TaskState.COMPLETED
    assert server.looks["t"] == 2


async def test_many_waiters_of_one_task_share_the_looks(server: Server, waiting: Waiting) -> None:
    """Fifty wait, two looks are made, all get the same task."""
    waiters = [asyncio.create_task(waiting.wait("t", None)) for _ in range(50)]
    await until(lambda: server.listening)

    server.finish()

    found = await asyncio.gather(*waiters)
    assert len({id(task) for task in found}) == 1
    assert server.looks["t"] == 2


async def test_waits_for_many_tasks_share_calls(server: Server, waiting: Waiting) -> None:
    """A hundred tasks are looked at in one call."""
    for number in range(100):
        server.add(str(number))
    waiters = [asyncio.create_task(waiting.wait(str(number), None)) for number in range(100)]
    await until(lambda: server.listening)
    assert server.calls == 1

    for number in range(100):
        server.finish(str(number))

    assert len(await asyncio.gather(*waiters)) == 100


async def test_a_word_that_comes_during_a_look_is_not_forgotten(server: Server, waiting: Waiting) -> None:
    """The look found the task unfinished; before its answer is back, the task ends and says so."""
    server.gate.clear()
    waiter = asyncio.create_task(waiting.wait("t", None))
    await until(lambda: server.looks["t"] == 1)

    server.finish()
    await until(server.inbox.empty)
    server.gate.set()

    assert (await waiter).state is TaskState.COMPLETED


async def test_a_lost_message_is_made_up_for_by_looking_again(server: Server) -> None:
    """The task ends and no word comes; every few milliseconds, here, somebody looks."""
    waiting = Waiting(cast("Store", server), look_again_after=0.01)
    waiter = asyncio.create_task(waiting.wait("t", None))
    await until(lambda: server.looks["t"] > 2)

    server.finish(tell=False)

    assert (await waiter).state is TaskState.COMPLETED
    await waiting.close()


async def test_nobody_looks_when_nobody_waits(server: Server) -> None:
    """The last waiter has gone: the timer ends, and starts again with the next one."""
    waiting = Waiting(cast("Store", server), look_again_after=0.01)
    with pytest.raises(WaitTimeout):
        await waiting.wait("t", 0.05)
    await until(lambda: waiting._next_look is None)

    looks = server.looks["t"]
    waiter = asyncio.create_task(waiting.wait("t", None))
    await until(lambda: server.looks["t"] > looks + 2)
    server.finish()
    await waiter
    await waiting.close()


async def test_the_listener_goes_with_the_last_waiter_and_comes_with_the_next(
    server: Server, waiting: Waiting
) -> None:
    """It holds no connection that nobody needs."""
    with pytest.raises(WaitTimeout):
        await waiting.wait("t", 0.01)
    server.inbox.put_nowait("finished something else")
    await until(lambda: not server.listening)

    waiter = asyncio.create_task(waiting.wait("t", None))
    await until(lambda: server.listening)
    server.finish()
    assert (await waiter).state is TaskState.COMPLETED


async def test_after_a_lost_connection_everything_is_looked_at(server: Server, waiting: Waiting) -> None:
    """The task ended while the connection was gone, and its message went with it."""
    waiter = asyncio.create_task(waiting.wait("t", None))
    await until(lambda: server.listening)

    async def lost(owner: str, timeout: float) -> list[str]:
        raise ServerUnavailable("connection lost")

    server.finish(tell=False)
    server.listen = lost  # type: ignore[method-assign]
    server.inbox.put_nowait("finished something else")

    assert (await waiter).state is TaskState.COMPLETED


async def test_a_connection_that_is_lost_when_nobody_waits_any_more(server: Server) -> None:
    """Nothing is looked at, and nobody listens again until somebody waits."""
    waiting = Waiting(cast("Store", server), look_again_after=0.01)
    lose = asyncio.Event()

    async def lost(owner: str, timeout: float) -> list[str]:
        await lose.wait()
        raise ServerUnavailable("connection lost")

    server.listen = lost  # type: ignore[method-assign]
    with pytest.raises(WaitTimeout):
        await waiting.wait("t", 0.05)
    await until(lambda: waiting._next_look is None)
    looks, listener = server.looks["t"], waiting._listener
    assert listener is not None
    lose.set()

    await asyncio.wait_for(listener, 5)

    assert server.looks["t"] == looks
    await waiting.close()


async def test_a_word_that_is_not_known_is_passed_over(server: Server, waiting: Waiting) -> None:
    """A later version may say more: here it is no reason to look."""
    waiter = asyncio.create_task(waiting.wait("t", None))
    await until(lambda: server.listening)
    server.inbox.put_nowait("started t")
    await until(lambda: server.inbox.empty() and server.listening)
    assert server.looks["t"] == 1

    server.finish()

    assert (await waiter).state is TaskState.COMPLETED


async def test_a_server_that_stays_away_is_an_error_for_everybody(server: Server, waiting: Waiting) -> None:
    """The looks run out of patience; nobody is left hanging, each gets an exception of its own."""
    server.is_away = True

    first, second = await asyncio.gather(
        waiting.wait("t", None), waiting.wait("t", 5), return_exceptions=True
    )

    assert isinstance(first, ServerUnavailable)
    assert isinstance(second, ServerUnavailable)
    assert first is not second


async def test_a_task_that_vanishes_is_reported(server: Server, waiting: Waiting) -> None:
    """It was cleared while it was waited for: a look finds nothing."""
    waiter = asyncio.create_task(waiting.wait("t", None))
    await until(lambda: server.listening)

    del server.tasks["t"]
    server.inbox.put_nowait("finished t")

    with pytest.raises(TaskNotFound):
        await waiter


async def test_a_damaged_task_concerns_its_own_waiter(server: Server, waiting: Waiting) -> None:
    """The other one, looked at in the same call, is served."""
    waiters = asyncio.gather(waiting.wait("corrupt", 5), waiting.wait("t", 5), return_exceptions=True)
    await until(lambda: server.listening)
    server.finish()

    damaged, sound = await waiters
    assert isinstance(damaged, QueueCorrupt)
    assert isinstance(sound, Task)


async def test_a_redriven_task_is_waited_for_again(server: Server, waiting: Waiting) -> None:
    """The word came, but when somebody looks the task is queued once more."""
    waiter = asyncio.create_task(waiting.wait("t", None))
    await until(lambda: server.listening)
    server.inbox.put_nowait("finished t")
    await until(lambda: server.looks["t"] == 2)
    assert not waiter.done()

    server.finish()

    assert (await waiter).state is TaskState.COMPLETED


async def test_closing_wakes_everybody_even_during_a_look(server: Server) -> None:
    """One has been looked at, the look at the other hangs."""
    server.add("other")
    waiting = Waiting(cast("Store", server))
    first = asyncio.create_task(waiting.wait("t", None))
    await until(lambda: server.listening)
    server.gate.clear()
    second = asyncio.create_task(waiting.wait("other", None))
    await until(lambda: server.looks["other"])

    async with asyncio.timeout(2):
        await waiting.close()

    for waiter in (first, second):
        with pytest.raises(TaskQueueError, match="closed"):
            await waiter
    with pytest.raises(TaskQueueError, match="closed"):
        await waiting.wait("t", None)
    assert server.listening == 0
