"""Several worker processes under one supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler import processes
from scheduler.processes import Supervisor
from taskqueue import TaskQueue, TaskSpec
from taskqueue.errors import InvalidSetting
from tests.servers import wait_until

ROOT = Path(__file__).resolve().parents[2]

SUPERVISOR = """
import asyncio, logging, sys
from scheduler.processes import Supervisor

logging.basicConfig(level="INFO", stream=sys.stderr)
supervisor = Supervisor(sys.argv[2:], int(sys.argv[1]), command=[sys.executable])
sys.exit(asyncio.run(supervisor.run()))
"""

WORKER = """
import asyncio, os, sys, pathlib
from scheduler import Scheduler

folder = pathlib.Path(sys.argv[3])
scheduler = Scheduler(sys.argv[1], name=sys.argv[2], concurrency=3)

@scheduler.handler("T")
async def handle(payload: dict) -> int:
    (folder / f"ran-{payload['n']}").write_text(str(os.getpid()))
    await asyncio.sleep(payload["seconds"])
    return os.getpid()

(folder / f"worker-{os.getpid()}").touch()
asyncio.run(scheduler.run(burst="--burst" in sys.argv))
"""


class Program:
    """A supervisor in a process of its own, and the folder in which its workers leave their traces."""

    def __init__(self, folder: Path, count: int, *arguments: str) -> None:
        self.folder = folder
        (folder / "supervisor.py").write_text(SUPERVISOR)
        (folder / "worker.py").write_text(WORKER)
        command = [sys.executable, str(folder / "supervisor.py"), str(count), str(folder / "worker.py")]
        self.process = subprocess.Popen(
            [*command, *arguments],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def workers(self) -> list[int]:
        """Return the process ids of all workers that have begun."""
        return sorted(int(path.name.partition("-")[2]) for path in self.folder.glob("worker-*"))

    def living(self) -> list[int]:
        """Return the process ids of the workers that live."""
        return [pid for pid in self.workers() if is_alive(pid)]

    def end(self) -> tuple[int, str]:
        """Return the exit status and what was logged."""
        _, logged = self.process.communicate(timeout=20)
        return self.process.returncode, logged


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def supervisor(tmp_path: Path, url: str, queue_name: str) -> Iterator[Callable[..., Program]]:
    """Starts supervisors, and ends with everything that a failing test leaves behind."""
    programs: list[Program] = []

    def start(count: int, *arguments: str) -> Program:
        programs.append(Program(tmp_path, count, url, queue_name, str(tmp_path), *arguments))
        return programs[-1]

    yield start
    for program in programs:
        if program.process.poll() is None:
            program.process.kill()
            program.process.wait()
        assert program.process.stderr is not None
        program.process.stderr.close()
        for pid in program.living():
            os.kill(pid, signal.SIGKILL)


async def test_workers_share_the_work_and_end_well(
    queue: TaskQueue, supervisor: Callable[..., Program]
) -> None:
    """A burst ends by itself, and nobody is started again."""
    tasks = await queue.enqueue_many(TaskSpec(type="T", payload={"n": n, "seconds": 0.05}) for n in range(60))
    # Until both are there: one that starts late would find nothing left.
    await queue.pause()

    program = supervisor(2, "--burst")
    async with asyncio.timeout(20):
        while len(await queue.workers()) < 2:
            await asyncio.sleep(0.01)
    await queue.resume()
    status, logged = await asyncio.to_thread(program.end)

    assert status == 0, logged
    assert len(program.workers()) == 2
    results = {(await queue.wait(task.id, timeout=5)).result for task in tasks}
    assert results == set(program.workers())


@pytest.mark.parametrize("send", [os.kill, os.killpg])
async def test_a_signal_is_passed_on_and_all_end_well(
    queue: TaskQueue, supervisor: Callable[..., Program], send: Callable[[int, int], None]
) -> None:
    """Each worker gets it once, also where a terminal sends it to all; it finishes what it runs."""
    tasks = await queue.enqueue_many(TaskSpec(type="T", payload={"n": n, "seconds": 0.5}) for n in range(6))
    program = supervisor(2)
    wait_until(lambda: len(list(program.folder.glob("ran-*"))) == 6, "all tasks have begun")

    send(program.process.pid, signal.SIGINT)
    status, logged = await asyncio.to_thread(program.end)

    assert status == 0, logged
    assert all([(await queue.wait(task.id, timeout=5)).result for task in tasks])
    assert program.living() == []


async def test_a_worker_that_dies_is_started_again(
    queue: TaskQueue, supervisor: Callable[..., Program]
) -> None:
    """After a pause; the other goes on."""
    program = supervisor(2)
    wait_until(lambda: len(program.workers()) == 2, "both workers have begun")
    first = program.workers()

    os.kill(first[0], signal.SIGKILL)
    wait_until(lambda: len(program.workers()) == 3, "another worker has begun")

    assert first[1] in program.living()
    program.process.send_signal(signal.SIGTERM)
    status, logged = await asyncio.to_thread(program.end)
    assert "ended with status 137; starting it again" in logged
    assert status == 0, logged


async def test_a_second_signal_kills_the_workers(
    queue: TaskQueue, supervisor: Callable[..., Program]
) -> None:
    """Whatever they do."""
    await queue.enqueue("T", {"n": 1, "seconds": 60})
    program = supervisor(2)
    wait_until((program.folder / "ran-1").exists, "the task has begun")

    def insist() -> bool:
        # Two signals that come too fast count as one.
        if program.process.poll() is None:
            program.process.send_signal(signal.SIGTERM)
        return program.process.poll() is not None

    wait_until(insist, "the second signal ends the supervisor")

    assert program.end()[0] == 128 + signal.SIGTERM
    wait_until(lambda: not program.living(), "the workers are gone")


async def test_workers_stop_when_their_supervisor_was_killed(
    queue: TaskQueue, supervisor: Callable[..., Program]
) -> None:
    """Nobody would ever stop them, and a new supervisor would start as many again."""
    task = await queue.enqueue("T", {"n": 1, "seconds": 0.5})
    program = supervisor(2)
    wait_until((program.folder / "ran-1").exists, "the task has begun")

    program.process.kill()
    program.process.wait()
    wait_until(lambda: not program.living(), "the workers have ended")

    assert (await queue.wait(task.id, timeout=5)).result in program.workers()


# ------------------------------------------------------------------------ without any scheduler


def python(*lines: str) -> tuple[list[str], list[str]]:
    """Return the command and the arguments of a worker that is a line of Python."""
    return [sys.executable, "-c"], ["\n".join(lines)]


async def test_a_usage_error_is_not_repeated() -> None:
    """It would be the same for ever; the other workers are stopped, and the status is passed on."""
    command, arguments = python("raise SystemExit(2)")

    assert await asyncio.wait_for(Supervisor(arguments, 3, command=command).run(), 20) == 2


async def test_a_stop_ends_the_wait_for_a_new_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits out a pause of many seconds."""

    class Patient:
        def delay(self, attempt: int, random: Any) -> timedelta:
            return timedelta(seconds=60)

    monkeypatch.setattr(processes, "_RESTART", Patient())
    command, arguments = python("raise SystemExit(3)")
    supervisor = Supervisor(arguments, 1, command=command)

    running = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(10):
        while "starting it again in 60.0 s" not in caplog.text:
            await asyncio.sleep(0.01)
    supervisor.stop()

    assert await asyncio.wait_for(running, 5) == 3


async def test_a_worker_that_ends_badly_when_asked_to_end_is_told_by_the_status(tmp_path: Path) -> None:
    """It is not started again; the others, who were asked too, are asked once."""
    command, arguments = python(
        "import os, pathlib, signal, time",
        "folder, signals = pathlib.Path(os.environ['FOLDER']), []",
        "signal.signal(signal.SIGTERM, lambda *_: signals.append(1))",
        "(folder / f'{os.getpid()}.begun').touch()",
        "while not signals: time.sleep(0.01)",
        "try: (folder / 'first').mkdir()",
        "except FileExistsError: pass",
        "else: raise SystemExit(5)",
        "while not (folder / 'go-on').exists(): time.sleep(0.01)",
        "(folder / 'signals').write_text(str(len(signals)))",
    )
    supervisor = Supervisor(arguments, 2, command=command, environment={"FOLDER": str(tmp_path)})
    running = asyncio.create_task(supervisor.run(handle_signals=False))
    async with asyncio.timeout(20):
        while len(list(tmp_path.glob("*.begun"))) < 2:
            await asyncio.sleep(0.01)
        supervisor.stop()
        while len(supervisor._children) > 1:
            await asyncio.sleep(0.01)
    (tmp_path / "go-on").touch()

    assert await asyncio.wait_for(running, 10) == 5
    assert (tmp_path / "signals").read_text() == "1"
    assert len(list(tmp_path.glob("*.begun"))) == 2


async def test_a_stop_takes_no_exit_status_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker may end at that moment: the system says once how it ended, and somebody waits for that."""
    command, arguments = python("import time", "time.sleep(60)")
    supervisor = Supervisor(arguments, 1, command=command)
    running = asyncio.create_task(supervisor.run(handle_signals=False))
    async with asyncio.timeout(20):
        while not supervisor._children:
            await asyncio.sleep(0.01)

    asked: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "poll", asked.append)
        supervisor.stop()

    assert await asyncio.wait_for(running, 20) == 0
    assert asked == []


async def test_a_stop_reaches_a_worker_that_is_still_being_started() -> None:
    """It came too early to be sent; the worker is asked to end as soon as it is there."""
    command, arguments = python("import time", "time.sleep(60)")
    supervisor = Supervisor(arguments, 2, command=command)
    running = asyncio.create_task(supervisor.run(handle_signals=False))
    await asyncio.sleep(0)
    supervisor.stop()

    assert await asyncio.wait_for(running, 20) == 0


async def test_endless_work_is_taken_up_again(tmp_path: Path) -> None:
    """A worker that somebody else asked to end is replaced, until the end is asked for here."""
    count = "import pathlib, os, sys; (pathlib.Path(os.environ['FOLDER']) / str(os.getpid())).touch()"
    command, arguments = python(count)
    supervisor = Supervisor(
        arguments, 1, command=command, environment={"FOLDER": str(tmp_path)}, endless=True
    )

    running = asyncio.create_task(supervisor.run(handle_signals=False))
    async with asyncio.timeout(20):
        while len(list(tmp_path.iterdir())) < 2:
            await asyncio.sleep(0.01)
    assert not running.done()
    supervisor.stop()

    assert await asyncio.wait_for(running, 5) == 0


async def test_on_hold_nobody_is_replaced_and_nobody_is_asked_to_end(tmp_path: Path) -> None:
    """What else has to end first may still need the workers."""
    command, arguments = python(
        "import os, pathlib, time",
        "folder = pathlib.Path(os.environ['FOLDER'])",
        "(folder / f'{os.getpid()}.begun').touch()",
        "while not (folder / 'go-on').exists(): time.sleep(0.01)",
    )
    supervisor = Supervisor(
        arguments, 2, command=command, environment={"FOLDER": str(tmp_path)}, endless=True
    )
    running = asyncio.create_task(supervisor.run(handle_signals=False))
    async with asyncio.timeout(20):
        while len(found := list(tmp_path.glob("*.begun"))) < 2:
            await asyncio.sleep(0.01)

    supervisor.hold()
    pids = [int(path.stem) for path in found]
    assert all(is_alive(pid) for pid in pids)
    (tmp_path / "go-on").touch()

    assert await asyncio.wait_for(running, 10) == 0
    assert len(list(tmp_path.glob("*.begun"))) == 2


async def test_a_worker_that_cannot_be_started_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """For want of processes or memory, which passes: the others, and whoever supervises, go on."""
    supervisor = Supervisor([], 1, command=[str(tmp_path / "nothing")])

    running = asyncio.create_task(supervisor.run(handle_signals=False))
    async with asyncio.timeout(10):
        while "starting it again" not in caplog.text:
            await asyncio.sleep(0.01)
    supervisor.stop()

    assert "worker 1 cannot be started: " in caplog.text
    assert await asyncio.wait_for(running, 5) == os.EX_OSERR


async def test_a_child_of_a_worker_takes_no_pipe_for_the_supervisors(
    monkeypatch: pytest.MonkeyPatch, url: str, queue_name: str
) -> None:
    """It inherits the variable, but whatever has that number in it is something else."""
    from scheduler import Scheduler

    scheduler = Scheduler(url, name=queue_name)
    scheduler.handler("T")(lambda payload: None)
    reading, writing = os.pipe()
    os.close(writing)
    try:
        for text in ("", "x", "9999:1", f"{reading}:1", f"{reading}"):
            monkeypatch.setenv("TASKQUEUE_SUPERVISOR", text)
            running = asyncio.create_task(scheduler.run())
            await asyncio.sleep(0.1)
            assert not running.done()
            scheduler.stop()
            await asyncio.wait_for(running, 5)
    finally:
        os.close(reading)


@pytest.mark.parametrize("count", [0, -1, 257, 1.5, "2", True])
def test_a_bad_number_of_processes_is_refused(count: Any) -> None:
    """With the rule."""
    with pytest.raises(InvalidSetting, match="processes"):
        Supervisor([], count)
