"""How a scheduler starts and ends: options, embedding, signals, shutdown, crashes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scheduler import Exponential, Handlers, Scheduler, Summary
from scheduler.service import until_ended
from scheduler.worker import Worker, new_worker_name
from taskqueue import TaskQueue, TaskSpec, TaskState
from taskqueue.errors import InvalidSetting, QueueCorrupt, QueueMismatch, ServerUnavailable
from taskqueue.keys import Keys
from taskqueue.store import Store
from tests.servers import RealServer, wait_until

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = '''
"""A worker as a user writes it; says on standard output what its handlers do."""
import asyncio, logging, sys, threading, time
from scheduler import Context, Scheduler

logging.basicConfig(level="INFO", stream=sys.stderr)
scheduler = Scheduler(sys.argv[1], name=sys.argv[2], concurrency=10, grace=float(sys.argv[3]))

def say(word):
    print(word, flush=True)

@scheduler.handler("SLEEP")
async def sleep(payload: dict) -> str:
    say("started")
    await asyncio.sleep(payload["seconds"])
    say("finished")
    return "slept"

@scheduler.handler("BLOCK")
async def block(payload: dict) -> None:
    say("started")
    time.sleep(payload["seconds"])

@scheduler.handler("THREAD")
def thread(payload: dict, context: Context) -> None:
    say("started")
    time.sleep(payload["seconds"])

if __name__ == "__main__":
    if sys.argv[4] == "uvloop":
        import uvloop
        summary = uvloop.run(scheduler.run())
    else:
        summary = asyncio.run(scheduler.run())
    say(f"ended {summary.completed} {summary.released}")
'''


class Program:
    """A worker in a process of its own."""

    def __init__(self, script: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def line(self) -> str:
        """Return the next word that the worker says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, timeout: float = 15) -> tuple[int, str, str]:
        """Return the exit status and what was said since, on both streams."""
        said, logged = self.process.communicate(timeout=timeout)
        return self.process.returncode, said, logged


@pytest.fixture
def worker(tmp_path: Path, url: str, queue_name: str) -> Iterator[Callable[..., Program]]:
    """Starts workers, and ends those that a failing test leaves behind."""
    script = tmp_path / "worker.py"
    script.write_text(PROGRAM)
    programs: list[Program] = []

    def start(grace: float = 10, loop: str = "asyncio") -> Program:
        programs.append(Program(script, url, queue_name, str(grace), loop))
        return programs[-1]

    yield start
    for program in programs:
        if program.process.poll() is None:
            program.process.kill()
            program.process.communicate()


# ------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_tasks_finish_and_exits_with_0(
    queue: TaskQueue, worker: Callable[..., Program], number: int, loop: str
) -> None:
    """Nothing more is claimed; what ran is finished and reported."""
    program = worker(loop=loop)
    running = await queue.enqueue("SLEEP", {"seconds": 0.5})
    assert program.line() == "started"

    program.signal(number)
    status, said, logged = program.end()

    assert (status, said) == (0, "finished\nended 1 0\n"), logged
    assert f"{signal.Signals(number).name}: stopping; a second signal exits at once" in logged
    task = await queue.get(running.id)
    assert task is not None
    assert (task.state, task.result) == (TaskState.COMPLETED, "slept")


async def test_what_does_not_finish_in_time_is_released_with_its_attempt_unspent(
    queue: TaskQueue, worker: Callable[..., Program]
) -> None:
    """It stands where it stood, and another worker runs it at once."""
    program = worker(grace=0.2)
    long = await queue.enqueue("SLEEP", {"seconds": 60})
    assert program.line() == "started"

    program.signal(signal.SIGTERM)
    status, said, logged = program.end()

    assert (status, said) == (0, "ended 0 1\n"), logged
    task = await queue.get(long.id)
    assert task is not None
    assert (task.state, task.attempt, task.deliveries, task.crashes) == (TaskState.QUEUED, 0, 1, 0)


@pytest.mark.parametrize("type_", ["SLEEP", "BLOCK", "THREAD"])
async def test_a_second_signal_exits_at_once(
    queue: TaskQueue, worker: Callable[..., Program], type_: str
) -> None:
    """Whatever the handlers do, even if one blocks the event loop; the lease brings the task back."""
    program = worker(grace=60)
    await queue.enqueue(type_, {"seconds": 60})
    assert program.line() == "started"

    def insist() -> bool:
        # Two signals that come too fast count as one.
        if program.process.poll() is None:
            program.signal(signal.SIGTERM)
            time.sleep(0.05)
        return program.process.poll() is not None

    wait_until(insist, "the second signal ends the process", 5)
    status, _, logged = program.end()

    assert status == 128 + signal.SIGTERM
    assert "exiting at once" in logged


async def test_a_thread_that_hangs_does_not_keep_the_process(
    queue: TaskQueue, worker: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left to its lease, and the process ends well."""
    program = worker(grace=0.1)
    await queue.enqueue("THREAD", {"seconds": 60})
    assert program.line() == "started"

    program.signal(signal.SIGTERM)
    status, _, logged = program.end()

    assert status == 0, logged
    assert "1 handlers did not stop" in logged


async def test_signal_handlers_are_put_back(url: str, queue_name: str) -> None:
    """As they were before; and left alone where nobody asked for them."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("T")(nothing)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    await scheduler.run(burst=True)
    assert {number: signal.getsignal(number) for number in before} == before

    with interval(signal.SIGINT, scheduler) as seen:
        await scheduler.run(burst=True, handle_signals=False)
    assert seen == [before[signal.SIGINT]]


@contextmanager
def interval(number: signal.Signals, scheduler: Scheduler) -> Iterator[list[Any]]:
    """Note which handler a signal has while the scheduler is starting."""
    seen: list[Any] = []
    opened = scheduler._opened

    def note() -> Any:
        seen.append(signal.getsignal(number))
        return opened()

    scheduler._opened = note  # type: ignore[method-assign]
    yield seen


async def test_a_scheduler_runs_outside_of_the_main_thread(url: str, queue_name: str) -> None:
    """There Python handles no signals, and none are touched."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("T")(nothing)

    summary = await asyncio.to_thread(lambda: asyncio.run(scheduler.run(burst=True)))

    assert summary == Summary()


# ------------------------------------------------------------------------------------ stopping


async def nothing(payload: dict[str, Any]) -> None:
    """Do nothing."""


@pytest.mark.parametrize("from_thread", [True, False])
async def test_stop_lets_run_return(url: str, queue_name: str, queue: TaskQueue, from_thread: bool) -> None:
    """From a handler, or from any thread; and more than once."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.stop()

    @scheduler.handler("STOP")
    async def stop(payload: dict[str, Any]) -> None:
        if from_thread:
            await asyncio.to_thread(scheduler.stop)
        scheduler.stop()
        scheduler.stop()

    await queue.enqueue_many(TaskSpec(type="STOP", payload={}) for _ in range(3))

    summary = await asyncio.wait_for(scheduler.run(), 10)

    assert summary.completed >= 1
    scheduler.stop()


async def test_cancelling_run_gives_its_tasks_back(url: str, queue_name: str, queue: TaskQueue) -> None:
    """At once, without the grace period; the cancel goes on its way."""
    started = asyncio.Event()
    scheduler = Scheduler(url, name=queue_name, grace=60)

    @scheduler.handler("LONG")
    async def long(payload: dict[str, Any]) -> None:
        started.set()
        await asyncio.sleep(60)

    task = await queue.enqueue("LONG", {})
    running = asyncio.create_task(scheduler.run())
    await asyncio.wait_for(started.wait(), 5)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)
    found = await queue.get(task.id)
    assert found is not None
    assert (found.state, found.attempt) == (TaskState.QUEUED, 0)


async def test_a_worker_that_ended_is_forgotten(url: str, queue_name: str, queue: TaskQueue) -> None:
    """It is listed while it runs; no key of it stays."""
    scheduler = Scheduler(url, name=queue_name, lease=0.3)
    scheduler.handler("T")(nothing)

    async with scheduler:
        async with asyncio.timeout(5):
            while not await queue.workers():
                await asyncio.sleep(0.01)

    assert not await queue.workers()


async def test_no_thread_outlives_its_scheduler(url: str, queue_name: str, queue: TaskQueue) -> None:
    """Neither the background's nor the handlers'."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("T")(lambda payload: None)
    await queue.enqueue("T", {})
    before = set(threading.enumerate())

    await scheduler.run(burst=True)

    wait_until(lambda: set(threading.enumerate()) <= before, "the scheduler's threads have ended")


# ------------------------------------------------------------------------------------ embedding


async def test_a_scheduler_runs_inside_of_a_service(url: str, queue_name: str, queue: TaskQueue) -> None:
    """In the background of the same loop; at the end it finishes what runs."""
    scheduler = Scheduler(url, name=queue_name)
    has_begun = asyncio.Event()

    @scheduler.handler("T")
    async def handle(payload: dict[str, Any]) -> int:
        if "seconds" in payload:
            has_begun.set()
            await asyncio.sleep(payload["seconds"])
        if "fail" in payload:
            raise ValueError
        return 1

    async with scheduler as entered:
        assert entered is scheduler
        first = await queue.enqueue("T", {})
        bad = await queue.enqueue("T", {"fail": True}, max_attempts=1)
        assert (await queue.wait(first.id, timeout=5)).result == 1
        assert (await queue.wait(bad.id, timeout=5)).state is TaskState.FAILED
        last = await queue.enqueue("T", {"seconds": 0.2})
        async with asyncio.timeout(5):
            await has_begun.wait()
    done = await queue.get(last.id)
    assert done is not None
    assert done.state is TaskState.COMPLETED


async def test_one_queue_can_be_shared_with_the_service(queue: TaskQueue) -> None:
    """It is not closed with the scheduler."""
    scheduler = Scheduler(queue=queue)
    scheduler.handler("T")(nothing)

    async with scheduler:
        task = await queue.enqueue("T", {})
        await queue.wait(task.id, timeout=5)

    assert (await queue.stats()).queued == 0


async def test_an_error_of_the_service_is_not_hidden(url: str, queue_name: str) -> None:
    """The scheduler stops in order, and the error goes on."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("T")(nothing)

    with pytest.raises(ZeroDivisionError):
        async with scheduler:
            raise ZeroDivisionError


async def test_a_scheduler_can_run_again_after_it_has_ended(
    url: str, queue_name: str, queue: TaskQueue
) -> None:
    """One way or the other, with more handlers if need be."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("A")(nothing)
    await queue.enqueue_many([TaskSpec(type="A", payload={}), TaskSpec(type="B", payload={})])

    assert (await scheduler.run(burst=True)).completed == 1
    scheduler.handler("B")(nothing)
    assert (await scheduler.run(burst=True)).completed == 1
    async with scheduler:
        pass


async def test_a_crash_inside_of_a_service_surfaces(
    url: str, queue_name: str, keys: Keys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The service is cancelled where it is, and the error is raised at its end: it must not go on."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("T")(nothing)

    async def corrupt(*arguments: Any, **named: Any) -> Any:
        raise QueueCorrupt("a key is of another type")

    async def service() -> None:
        async with scheduler:
            monkeypatch.setattr(Store, "complete", corrupt)
            monkeypatch.setattr(Store, "wait_wake", corrupt)
            await asyncio.sleep(30)

    with pytest.raises(QueueCorrupt):
        await service()

    assert "the scheduler crashed" in caplog.text
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_a_cancel_of_the_service_goes_before_a_crash(
    url: str, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cancelled the service must see it cancelled; the crash is in the log."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("T")(nothing)
    crashing = asyncio.Event()

    async def crash(*arguments: Any) -> None:
        await crashing.wait()
        raise ZeroDivisionError

    async def service() -> None:
        async with scheduler:
            crashing.set()
            try:
                await asyncio.sleep(30)
            finally:
                current = asyncio.current_task()
                assert current is not None
                current.cancel()

    monkeypatch.setattr("scheduler.worker._is_in_process", lambda queue: True)
    monkeypatch.setattr("scheduler.worker.repeat", crash)
    running = asyncio.create_task(service())
    await asyncio.wait([running], timeout=10)

    assert running.cancelled()


async def test_a_background_that_crashes_ends_the_run(
    url: str, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it leases would run out unnoticed."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("T")(nothing)

    async def crash(*arguments: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("scheduler.worker.repeat", crash)

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(scheduler.run(), 5)


async def test_a_goodbye_that_nobody_hears_is_no_error(
    url: str, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of workers forgets by itself those that fall silent."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("T")(nothing)

    async def unheard(*arguments: Any) -> None:
        raise ServerUnavailable("no answer")

    monkeypatch.setattr(Store, "forget_worker", unheard)

    assert await scheduler.run(burst=True) == Summary()


async def test_a_service_that_is_cancelled_stops_the_scheduler_at_once(
    url: str, queue_name: str, queue: TaskQueue
) -> None:
    """The cancel of the service comes through, and tasks are given back."""
    started = asyncio.Event()
    scheduler = Scheduler(url, name=queue_name, grace=0.1)

    @scheduler.handler("LONG")
    async def long(payload: dict[str, Any]) -> None:
        started.set()
        await asyncio.sleep(60)

    async def service() -> None:
        async with scheduler:
            await asyncio.sleep(60)

    await queue.enqueue("LONG", {})
    running = asyncio.create_task(service())
    await asyncio.wait_for(started.wait(), 5)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)
    assert (await queue.stats()).queued == 1


async def test_a_cancel_that_comes_as_a_worker_ends_stops_nothing_any_more() -> None:
    """There is nothing left to stop; the cancel comes through all the same."""
    stopped: list[float | None] = []
    go_on = asyncio.Event()

    async def work() -> Summary:
        await go_on.wait()
        return Summary(completed=1)

    running = asyncio.create_task(work())
    worker = cast("Worker", SimpleNamespace(stop=lambda grace=None: stopped.append(grace)))
    waiting = asyncio.create_task(until_ended(running, worker))
    await asyncio.sleep(0)
    running.add_done_callback(lambda _: waiting.cancel())
    go_on.set()
    await asyncio.wait([waiting], timeout=5)

    assert waiting.cancelled()
    assert running.result() == Summary(completed=1)
    assert stopped == []


async def test_a_start_that_is_cancelled_leaves_nothing_behind(url: str, queue_name: str) -> None:
    """At whatever moment; the next start works."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("T")(nothing)

    for turns in range(8):
        entering = asyncio.create_task(scheduler.__aenter__())
        for _ in range(turns * 3):
            await asyncio.sleep(0)
        entering.cancel()
        await asyncio.wait([entering])
        if not entering.cancelled():
            await scheduler.__aexit__(None, None, None)

    async with scheduler:
        pass


# ------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("concurrency", 0),
        ("concurrency", 1.5),
        ("lease", 0.05),
        ("lease", timedelta(hours=2)),
        ("lease", "15s"),
        ("heartbeat", 8),
        ("heartbeat", 0),
        ("grace", -1),
        ("grace", float("nan")),
        ("timeout", 0),
        ("timeout", None),
        ("max_attempts", 0),
        ("backoff", "exponential"),
        ("backoff", Exponential),
        ("middleware", [print]),
        ("middleware", [lambda context, call_next: None]),
        ("lifespan", "text"),
        ("name", ""),
        ("name", "a b"),
    ],
)
def test_a_bad_option_is_refused_with_its_name_and_rule(option: str, value: Any) -> None:
    """When the scheduler is made, not when it runs."""
    with pytest.raises(InvalidSetting, match=option):
        Scheduler("memory://", **{option: value})


async def test_a_scheduler_can_be_pointed_elsewhere_before_it_runs(
    url: str, queue_name: str, queue: TaskQueue
) -> None:
    """A command line does so with the scheduler that it found in a module; None leaves what was said."""
    scheduler = Scheduler("memory://", name="other", concurrency=5)
    scheduler.handler("T")(nothing)
    await queue.enqueue("T", {})

    scheduler.configure(url=url, name=queue_name, concurrency=1)
    scheduler.configure()

    assert scheduler.name == queue_name
    assert (await scheduler.run(burst=True)).completed == 1
    for bad in ({"concurrency": 0}, {"name": ""}):
        with pytest.raises(InvalidSetting):
            scheduler.configure(**bad)
    async with scheduler:
        with pytest.raises(InvalidSetting, match="before it runs"):
            scheduler.configure(concurrency=2)


async def test_a_scheduler_that_shares_a_queue_cannot_be_pointed_elsewhere(queue: TaskQueue) -> None:
    """The queue is open already."""
    scheduler = Scheduler(queue=queue)

    scheduler.configure(concurrency=3)
    with pytest.raises(InvalidSetting, match="left out"):
        scheduler.configure(url="memory://")

    assert scheduler.name == queue.name


def test_partitions_go_with_no_policy() -> None:
    """What is fair over several servers nobody could say: a partitioned queue is strict."""
    with pytest.raises(InvalidSetting, match=r"policy.*a partitioned queue is strict"):
        Scheduler("memory://", partitions=3, policy="fair_tenants")


def test_a_lifespan_must_be_a_context_manager() -> None:
    """The commonest slip: the decorator is missing."""

    async def without_decorator() -> Any:
        yield

    with pytest.raises(InvalidSetting, match="@asynccontextmanager"):
        Scheduler(lifespan=without_decorator)


async def test_a_shared_queue_is_given_alone(queue: TaskQueue) -> None:
    """It has a server, a name and a policy of its own."""
    for more in ({"url": "memory://"}, {"name": "other"}, {"policy": "strict"}):
        with pytest.raises(InvalidSetting, match="given alone"):
            Scheduler(queue=queue, **more)  # type: ignore[arg-type]


async def test_a_scheduler_without_handlers_is_refused(url: str, queue_name: str) -> None:
    """With what to do."""
    scheduler = Scheduler(url, name=queue_name)

    with pytest.raises(InvalidSetting, match=r"@scheduler\.handler\('TYPE'\), or include a group"):
        await scheduler.run()
    with pytest.raises(InvalidSetting, match="at least one"):
        async with scheduler:
            raise AssertionError


async def test_a_running_scheduler_takes_no_handlers_and_does_not_run_twice(
    url: str, queue_name: str
) -> None:
    """Both would be half true."""
    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("T")(nothing)
    group = Handlers()
    group.handler("G")(nothing)

    async with scheduler:
        with pytest.raises(InvalidSetting, match="has started: register its handlers before"):
            scheduler.handler("LATE")
        with pytest.raises(InvalidSetting, match="has started: register its handlers before"):
            scheduler.include(group)
        with pytest.raises(InvalidSetting, match="run once at a time"):
            await scheduler.run()


async def test_an_unreachable_server_is_an_error_at_the_start(tmp_path: Path) -> None:
    """What was tried, and for how long."""
    scheduler = Scheduler(f"unix://{tmp_path}/none.sock")
    scheduler.handler("T")(nothing)

    with pytest.raises(ServerUnavailable, match=r"none\.sock within \d\.\d s"):
        await scheduler.run()


async def test_another_policy_than_the_queues_is_refused(url: str, queue_name: str, queue: TaskQueue) -> None:
    """The two would not agree on the order."""
    scheduler = Scheduler(url, name=queue_name, policy="fair_tenants")
    scheduler.handler("T")(nothing)

    with pytest.raises(QueueMismatch, match="policy"):
        await scheduler.run()


def test_every_run_has_a_name_of_its_own() -> None:
    """It tells where it runs, and goes into keys."""
    names = {new_worker_name() for _ in range(100)}

    assert len(names) == 100
    assert all(f"-{os.getpid()}-" in name and " " not in name for name in names)


# -------------------------------------------------------------------------------------- memory


async def test_a_scheduler_works_on_a_server_in_memory(queue_name: str) -> None:
    """For unit tests of handlers: everything in one event loop."""
    async with TaskQueue.connect("memory://lifecycle", name=queue_name) as queue:
        scheduler = Scheduler("memory://lifecycle", name=queue_name)

        @scheduler.handler("DOUBLE")
        async def double(payload: dict[str, Any]) -> int:
            return int(payload["n"]) * 2

        task = await queue.enqueue("DOUBLE", {"n": 21})
        assert (await scheduler.run(burst=True)).completed == 1
        assert (await queue.wait(task.id, timeout=1)).result == 42

        async with scheduler:
            task = await queue.enqueue("DOUBLE", {"n": 1})
            assert (await queue.wait(task.id, timeout=5)).result == 2
        assert not [each for each in threading.enumerate() if each.name == "scheduler-background"]


async def test_memory_is_one_server_per_name_for_a_scheduler_too(server: RealServer) -> None:
    """Another name is another server."""
    scheduler = Scheduler("memory://somewhere-else")
    scheduler.handler("T")(nothing)

    async with TaskQueue.connect("memory://here") as queue:
        await queue.enqueue("T", {})
        assert await scheduler.run(burst=True) == Summary()
