"""One run: a queue in some place, processes that use it, and what is done to them, all written down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from taskqueue import Task, TaskQueue
from taskqueue.names import WEBHOOK_TYPE
from tests.audit import audit
from tests.chaos.checker import Final, Found
from tests.chaos.credits import Account
from tests.chaos.history import Follower, Recorder, read_history
from tests.chaos.places import Place
from tests.chaos.processes import LaboratoryError, Process
from tests.chaos.programs.producer import METERED

QUEUE = "chaos"
_WARM_UP = 20  # tasks that ran before anything is done
_DRAINING = 30.0  # seconds, added to a few leases
_LOOK = 0.1  # seconds
_STARTS = 4  # times that a worker is started again


@dataclass(frozen=True, slots=True)
class Setup:
    """How a run is made.

    Attributes:
        seed: Of everything that is left to chance.
        lease: Of the workers, in seconds.
        workers: How many there are.
        producers: How many there are.
        rate: Tasks a second of all producers together.
        concurrency: Slots of a worker.
        durability: Of the tasks.
        without: A guard that is taken away in all processes; "" for none.
        producing: More words for the producers' command line.
        working: More words for the workers' command line.
        environment: Variables of all processes.
        credits: What the metered tenant is granted at the beginning.
    """

    seed: int = 0
    lease: float = 2.0
    workers: int = 2
    producers: int = 2
    rate: float = 60.0
    concurrency: int = 4
    durability: str = "memory"
    without: str = ""
    producing: tuple[str, ...] = ()
    working: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    credits: int = 1_000_000


class Laboratory:
    """What faults are done to.

    Args:
        place: Where the queue lives.
        setup: How the run is made.
        folder: Where histories and logs go.
    """

    def __init__(self, place: Place, setup: Setup, folder: Path) -> None:
        self.place = place
        self.setup = setup
        self.folder = folder
        self.dice = Random(setup.seed)
        self.workers: dict[str, Process] = {}
        self.producers: dict[str, Process] = {}
        self.recorder = Recorder(folder, "laboratory")
        self.back: list[float] = []
        """For each time that all was well again: seconds until every worker was at work."""
        self._all: list[Process] = []
        self._numbers = {"worker": 0, "producer": 0, "offer": 0}

    async def start(self) -> None:
        """Start everything, and return when tasks run."""
        await self.place.start()
        async with TaskQueue.connect(self.place.direct_url, name=QUEUE) as queue:
            await self.grant(queue, METERED, self.setup.credits)
        await asyncio.gather(*(self.add_worker() for _ in range(self.setup.workers)))
        await asyncio.gather(*(self.add_producer() for _ in range(self.setup.producers)))
        await self.goes_on(_WARM_UP)

    async def close(self) -> None:
        """End every process that was started, and the place."""
        for process in self._all:
            if process.is_running:
                process.kill9()
        await self.place.close()
        self.recorder.close()

    async def add_worker(self, *words: str, environment: dict[str, str] | None = None) -> Process:
        """Start a worker, and return when it claims."""
        options = [f"--lease={self.setup.lease}", f"--concurrency={self.setup.concurrency}"]
        options += [*self.setup.working, *words]
        worker = await self._start("worker", options, "runs queue", environment)
        self.workers[worker.name] = worker
        await worker.ready()
        return worker

    async def supervised_worker(self, *words: str) -> Process:
        """Start a worker, again if it ends before it claims, as one does that finds no server."""
        for _ in range(_STARTS):
            with suppress(LaboratoryError):
                return await self.add_worker(*words)
            self.forget_last_worker()
        return await self.add_worker(*words)

    async def add_producer(self, *words: str, environment: dict[str, str] | None = None) -> Process:
        """Start a producer, and return when it offers tasks."""
        setup = self.setup
        options = [f"--seed={setup.seed}", f"--rate={setup.rate / setup.producers}"]
        options += [f"--durability={setup.durability}", *setup.producing, *words]
        producer = await self._start("producer", options, "offers tasks", environment)
        self.producers[producer.name] = producer
        await producer.ready()
        return producer

    async def _start(
        self, kind: str, options: list[str], ready: str, environment: dict[str, str] | None
    ) -> Process:
        self._numbers[kind] += 1
        name = f"{kind}-{self._numbers[kind]}"
        words = [await self.place.url_for(name), QUEUE, str(self.folder), name, *options]
        if self.setup.without:
            words.append(f"--without={self.setup.without}")
        variables = dict(self.setup.environment) | (environment or {})
        process = Process(kind, name, words, self.folder, environment=variables, ready=ready)
        self._all.append(process)
        return process

    async def grant(self, queue: TaskQueue, tenant: str, credits_given: int) -> None:
        """Give a tenant credits, or take some back."""
        number = self.recorder.invoke("grant", tenant=tenant, credits=credits_given)
        await queue.grant(tenant, credits_given)
        self.recorder.end(number, "ok")

    async def offer(self, queue: TaskQueue, type_: str, payload: dict[str, Any]) -> Task:
        """Have a task accepted that is no part of the load."""
        self._numbers["offer"] += 1
        task_id = f"offer-{self._numbers['offer']}"
        number = self.recorder.invoke("enqueue", task=task_id, type=type_, priority=10, plain=False)
        task = await queue.enqueue(type_, payload, id=task_id, priority=10)
        self.recorder.end(number, "ok")
        return task

    async def cancel(self, queue: TaskQueue, task_id: str) -> None:
        """Cancel a task."""
        number = self.recorder.invoke("cancel", task=task_id)
        task = await queue.cancel(task_id)
        self.recorder.end(number, "ok", state=str(task.state))

    def forget_last_worker(self) -> None:
        """Leave the worker out that was started last, and did not stay."""
        self.workers.popitem()

    def kill_worker(self, worker: Process) -> None:
        """End a worker as a crash does; its tasks are to run again."""
        worker.kill9()
        del self.workers[worker.name]
        self.recorder.note("killed", worker=worker.name)

    def fault(
        self,
        name: str,
        begin: float,
        *,
        repeats: Iterable[str] = (),
        loses: bool = False,
        rewinds: bool = False,
        disorders: bool = False,
        aftermath: float = 0.0,
    ) -> None:
        """Write down what was done since *begin* (monotonic seconds), and what may follow from it.

        Args:
            name: Of the fault.
            begin: When it began.
            repeats: Processes whose tasks may run again because of it.
            loses: Whether accepted tasks may be gone.
            rewinds: Whether the server may have gone back to what it was.
            disorders: Whether order says nothing meanwhile.
            aftermath: For how many seconds from now on it may still have these consequences.
        """
        self.recorder.note(
            "fault",
            fault=name,
            begin=begin * 1e9,
            end=(time.monotonic() + aftermath) * 1e9,
            repeats=list(repeats),
            loses=loses,
            rewinds=rewinds,
            disorders=disorders,
        )

    async def healed(self, limit: float = 30.0) -> None:
        """Note that all is as it was; measure how long it takes until every worker has started something.

        Raises:
            LaboratoryError: If a worker has not within *limit* seconds.
        """
        self.recorder.note("healed", workers=sorted(self.workers))
        since = time.monotonic()
        await self.all_at_work(limit)
        self.back.append(time.monotonic() - since)

    async def all_at_work(self, limit: float = 30.0) -> None:
        """Return when every worker has started something.

        Raises:
            LaboratoryError: If a worker has not within *limit* seconds.
        """
        since, follower = time.monotonic(), Follower(self.folder)
        silent = set(self.workers)
        while silent:
            back = {note.process for note in follower.new_notes("start") if note.at > since * 1e9}
            silent = (silent - back) & self.workers.keys()
            if silent and time.monotonic() > since + limit:
                raise LaboratoryError(f"not back at work within {limit:g} s: {sorted(silent)}")
            await asyncio.sleep(_LOOK)

    async def goes_on(self, count: int, timeout: float = 30.0) -> None:
        """Return when so many more tasks have ended in handlers."""
        follower, left = Follower(self.folder), count
        follower.new_notes("end")
        deadline = time.monotonic() + timeout
        while (left := left - len(follower.new_notes("end"))) > 0:
            if time.monotonic() > deadline:
                raise LaboratoryError(f"{left} of {count} more tasks did not run within {timeout:g} s")
            await asyncio.sleep(_LOOK)

    async def stop_producers(self) -> None:
        """Let every producer finish the calls that it is in."""
        for producer in self.producers.values():
            producer.terminate()
        for producer in self.producers.values():
            status = await producer.ended()
            if status:
                raise LaboratoryError(f"{producer.name} ended with {status}: {producer.log[-2000:]}")

    async def drained(self) -> Final:
        """Return what the server knows when nothing is queued and nothing runs any more, or time is up."""
        async with TaskQueue.connect(self.place.direct_url, name=QUEUE) as queue:
            with suppress(LaboratoryError):
                await self.nothing_left(queue, _DRAINING + 5 * self.setup.lease)
            return await self._read(queue)

    async def nothing_left(self, queue: TaskQueue, timeout: float, type_: str | None = None) -> None:
        """Return when nothing is queued and nothing runs, of a type or at all.

        Raises:
            LaboratoryError: If that is not so within *timeout* seconds.
        """
        deadline = time.monotonic() + timeout
        stats = await queue.stats(type=type_)
        while stats.queued or stats.processing:
            if time.monotonic() > deadline:
                raise LaboratoryError(f"not drained within {timeout:g} s: {stats}")
            await asyncio.sleep(_LOOK)
            stats = await queue.stats(type=type_)

    async def _read(self, queue: TaskQueue) -> Final:
        offered = {call.given["task"] for call in read_history(self.folder).called("enqueue")}
        tasks = await asyncio.gather(*(queue.get(task_id) for task_id in sorted(offered)))
        final = Final({task.id: Found(str(task.state), task.charged) for task in tasks if task is not None})
        async for task in queue.tasks():
            if task.type != WEBHOOK_TYPE:
                final.tasks.setdefault(task.id, Found(str(task.state), task.charged))
        balance = await queue.balance(METERED)
        if balance is not None:
            final.accounts[METERED] = Account(balance.granted, balance.spent, balance.held)
        return final

    def audited(self) -> list[str]:
        """Return what is wrong with the keys of the queue. Everything has been drained."""
        with self.place.holder(QUEUE) as client:
            return [*audit(client, QUEUE), *(f"refused: {each}" for each in self.place.refusals())]
