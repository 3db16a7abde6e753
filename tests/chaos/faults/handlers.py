"""Handlers that do what no handler should: their tasks end, and those of others go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

from taskqueue import Task, TaskQueue, TaskState, WaitTimeout
from tests.chaos.evidence import EVERYONE
from tests.chaos.faults.fault import Fault
from tests.chaos.laboratory import QUEUE, Laboratory, Setup
from tests.chaos.processes import LaboratoryError

_LATE = 30.0  # seconds


async def exit_process(laboratory: Laboratory, dice: Random) -> None:
    """A handler ends its process; after the third one its task is a dead letter."""
    begin = time.monotonic()
    async with _poison(laboratory, "exit", 0.0) as (queue, task):
        ended = await _ended(laboratory, queue, task)
    laboratory.fault("exit", begin, repeats=[EVERYONE])
    _expect(ended, "CRASHED")


async def hold_interpreter(laboratory: Laboratory, dice: Random) -> None:
    """A handler keeps all threads of its process from running for two leases, and so loses its task."""
    begin = time.monotonic()
    async with _poison(laboratory, "hold the interpreter", 2 * laboratory.setup.lease) as (queue, task):
        await _ended(laboratory, queue, task)
    # The task may have ended on another worker, long before the one that it holds comes to.
    await laboratory.all_at_work()
    laboratory.fault("hold", begin, repeats=[EVERYONE])


async def block_loop(laboratory: Laboratory, dice: Random) -> None:
    """A handler blocks the event loop for two leases: the heartbeat goes on, and nothing runs twice."""
    async with _poison(laboratory, "block", 2 * laboratory.setup.lease) as (queue, task):
        ended = await _ended(laboratory, queue, task)
    if (ended.state, ended.deliveries) != (TaskState.COMPLETED, 1):
        raise LaboratoryError(f"a blocking task is {ended.state} after {ended.deliveries} deliveries")


async def ignore_cancel(laboratory: Laboratory, dice: Random) -> None:
    """A handler goes on although its task was cancelled: what it did counts, since it came first."""
    async with _poison(laboratory, "ignore", 2.0) as (queue, task):
        await laboratory.goes_on(10)
        await laboratory.cancel(queue, task.id)
        await _ended(laboratory, queue, task)


async def use_up_memory(laboratory: Laboratory, dice: Random) -> None:
    """A handler takes all the memory that its process may have."""
    async with _poison(laboratory, "leak", 0.0) as (queue, task):
        _expect(await _ended(laboratory, queue, task), "HANDLER_ERROR")


async def misbehave(laboratory: Laboratory, dice: Random) -> None:
    """One of them after the other, in any order."""
    for poison in dice.sample([exit_process, hold_interpreter, block_loop, ignore_cancel, use_up_memory], 5):
        await poison(laboratory, dice)


@asynccontextmanager
async def _poison(laboratory: Laboratory, what: str, seconds: float) -> AsyncIterator[tuple[TaskQueue, Task]]:
    async with TaskQueue.connect(laboratory.place.direct_url, name=QUEUE) as queue:
        payload = {"do": what, "seconds": seconds}
        yield queue, await laboratory.offer(queue, "POISON", payload)


async def _ended(laboratory: Laboratory, queue: TaskQueue, task: Task) -> Task:
    """Return the task when it has ended; workers that die of it are replaced."""
    deadline = time.monotonic() + _LATE + 6 * laboratory.setup.lease
    while time.monotonic() < deadline:
        for worker in [each for each in laboratory.workers.values() if not each.is_running]:
            laboratory.kill_worker(worker)
            await laboratory.add_worker()
        try:
            return await queue.wait(task.id, timeout=0.5)
        except WaitTimeout:
            await asyncio.sleep(0.05)
    raise LaboratoryError(f"{task.payload} has not ended")


def _expect(task: Task, code: str) -> None:
    if task.state is not TaskState.FAILED or task.error is None or task.error.code != code:
        raise LaboratoryError(f"{task.payload} ended as {task.state} with {task.error}, and not with {code}")


def _poisonous(setup: Setup) -> Setup:
    return replace(setup, working=("--types=NOTE,OTHER,POISON", "--memory=400"))


HANDLERS = (Fault("F24", "handlers that exit, block, hog or ignore", misbehave, adapt=_poisonous),)
