"""Threads: those for handlers, and the one for what must go on while a handler blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest

from scheduler.background import Background
from scheduler.ending import end
from scheduler.threads import DaemonThreads
from tests.servers import wait_until


def no_crash(error: BaseException) -> None:
    """Fail: nothing should have crashed."""
    raise error


def threads_named(prefix: str) -> list[threading.Thread]:
    """Return the living threads of a pool."""
    return [each for each in threading.enumerate() if each.name.startswith(prefix)]


def test_a_pool_grows_with_the_work_up_to_its_size() -> None:
    """An idle thread is used before a new one is made; what is too much waits."""
    pool = DaemonThreads(2, "test-grow")
    gate, done = threading.Event(), SimpleQueue[int]()

    pool.submit(lambda: done.put(0))
    assert done.get(timeout=5) == 0
    wait_until(lambda: pool._busy == 0, "the thread is idle")
    pool.submit(lambda: done.put(1))
    assert done.get(timeout=5) == 1
    assert len(threads_named("test-grow")) == 1

    def wait_at_gate(number: int) -> None:
        gate.wait(5)
        done.put(number)

    for number in range(4):
        pool.submit(partial(wait_at_gate, number))
    assert len(threads_named("test-grow")) == 2
    assert all(each.daemon for each in threads_named("test-grow"))
    gate.set()
    assert sorted(done.get(timeout=5) for _ in range(4)) == [0, 1, 2, 3]

    pool.close()
    wait_until(lambda: not threads_named("test-grow"), "the threads end")


def test_a_closed_pool_finishes_what_it_was_given() -> None:
    """Nobody waits for it."""
    pool, done = DaemonThreads(1, "test-close"), SimpleQueue[int]()
    pool.submit(partial(time.sleep, 0.01))
    pool.submit(lambda: done.put(1))
    pool.submit(lambda: done.put(2))
    pool.close()

    assert [done.get(timeout=5), done.get(timeout=5)] == [1, 2]


@pytest.mark.parametrize("threaded", [True, False])
async def test_a_background_runs_until_it_is_stopped(threaded: bool) -> None:
    """In a thread with a loop of its own, or in the caller's."""
    loops: list[asyncio.AbstractEventLoop] = []
    ended = threading.Event()

    async def serve(ready: Callable[[], None], stopping: asyncio.Event) -> None:
        loops.append(asyncio.get_running_loop())
        ready()
        await stopping.wait()
        ended.set()

    background = Background(serve, no_crash, threaded=threaded)
    await background.start()
    assert (loops[0] is asyncio.get_running_loop()) == (not threaded)
    await background.stop()

    assert ended.is_set()
    await background.stop()


@pytest.mark.parametrize("threaded", [True, False])
async def test_what_keeps_a_background_from_starting_is_raised(threaded: bool) -> None:
    """By start()."""

    async def serve(ready: Callable[[], None], stopping: asyncio.Event) -> None:
        raise ConnectionError("no server")

    background = Background(serve, no_crash, threaded=threaded)

    with pytest.raises(ConnectionError, match="no server"):
        await background.start()
    await background.stop()


@pytest.mark.parametrize("threaded", [True, False])
async def test_a_background_that_crashes_says_so(threaded: bool) -> None:
    """In the caller's loop; nobody would see it else."""
    crash: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def serve(ready: Callable[[], None], stopping: asyncio.Event) -> None:
        ready()
        raise ZeroDivisionError

    background = Background(serve, crash.set_result, threaded=threaded)
    await background.start()

    assert isinstance(await asyncio.wait_for(crash, 5), ZeroDivisionError)
    await background.stop()


async def test_a_background_that_never_started_is_stopped_at_once() -> None:
    """And one that is stopped while it starts ends."""
    served: list[str] = []

    async def serve(ready: Callable[[], None], stopping: asyncio.Event) -> None:
        served.append("begun")
        await stopping.wait()

    background = Background(serve, no_crash)
    await background.stop()
    assert served == []

    starting = asyncio.create_task(background.start())
    await asyncio.sleep(0)
    await asyncio.wait_for(background.stop(), 5)
    starting.cancel()


async def test_a_background_whose_thread_comes_too_late_serves_nothing() -> None:
    """It was stopped before its thread had done anything."""
    served: list[str] = []
    go_on = threading.Event()

    async def serve(ready: Callable[[], None], stopping: asyncio.Event) -> None:
        served.append("begun")

    class Late(Background):
        def _run_thread(self) -> None:
            go_on.wait(5)
            super()._run_thread()

    background = Late(serve, no_crash)
    starting = asyncio.create_task(background.start())
    await asyncio.sleep(0)
    stopping = asyncio.create_task(background.stop())
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait_for(stopping, 5)
    starting.cancel()

    assert served == []


async def test_a_start_that_is_cancelled_leaves_a_background_to_be_stopped() -> None:
    """It becomes ready all the same; nobody waits for that any more, and nobody is told of an error."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    begun, go_on = threading.Event(), threading.Event()

    async def serve(ready: Callable[[], None], stopping: asyncio.Event) -> None:
        begun.set()
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        ready()
        await stopping.wait()

    background = Background(serve, no_crash)
    starting = asyncio.create_task(background.start())
    async with asyncio.timeout(5):
        while not begun.is_set():
            await asyncio.sleep(0.001)
    starting.cancel()
    await asyncio.wait([starting])
    go_on.set()
    await asyncio.wait_for(background.stop(), 5)

    assert starting.cancelled()
    assert told == []


async def test_a_task_that_loses_a_cancel_is_cancelled_again() -> None:
    """Tasks of our own end for sure, whatever the library below them does."""
    cancels = 0

    async def loses_one() -> None:
        nonlocal cancels
        while cancels < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancels += 1

    task = asyncio.create_task(loses_one())
    await asyncio.sleep(0)
    await asyncio.wait_for(end([task]), 5)

    assert (task.done(), cancels) == (True, 2)


async def test_a_background_beats_while_the_callers_loop_is_blocked() -> None:
    """This is what it is for."""
    beats = 0

    async def serve(ready: Callable[[], None], stopping: asyncio.Event) -> None:
        nonlocal beats
        ready()
        while not stopping.is_set():
            await asyncio.sleep(0.005)
            beats += 1

    background = Background(serve, no_crash)
    await background.start()
    before, deadline = beats, time.monotonic() + 10
    while beats - before < 5 and time.monotonic() < deadline:
        time.sleep(0.01)  # blocks this loop, on purpose
    assert beats - before >= 5
    await background.stop()
