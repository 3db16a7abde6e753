"""`taskqueue worker`: finds a scheduler, runs it, and ends as it should."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from taskqueue.cli.exits import Stop
from taskqueue.cli.loading import load_scheduler
from tests.cli.conftest import Run, enqueue
from tests.servers import wait_until

Program = Callable[..., subprocess.Popen[str]]

MODULE = """
import os
from pathlib import Path
from threading import Event
from scheduler import Scheduler

scheduler = Scheduler()
other = Scheduler(name="elsewhere")
empty = Scheduler()
number = 7

@scheduler.handler("CHATGPT")
@other.handler("CHATGPT")
def hello(payload, context):
    Path("started").touch()
    if payload["prompt"] == "fail":
        raise ValueError("no\\x1b[2J")
    if payload["prompt"] == "slow":
        while not Path("go-on").exists():
            Event().wait(0.01)
    return {"pid": os.getpid()}
"""


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A module of a user, in the folder that programs are started in; a name that no other test imports."""
    name = f"work_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


@pytest.fixture
def here(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module, for a worker that is called in this process, which stays as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("taskqueue.cli.worker.configure_logging", lambda *_, **__: None)
    return module


def status(cli: Run, task_id: str) -> str:
    """Return the state of a task."""
    state: str = cli("get", task_id, "--json").json["status"]
    return state


def test_a_burst_ends_when_the_queue_is_empty(cli: Run, program: Program, module: str) -> None:
    """Exit code 0, also with a task that failed: that is the queue's business. The summary counts."""
    ids = [enqueue(cli) for _ in range(3)]
    failing = enqueue(cli, payload={"prompt": "fail"})

    running = program("worker", f"{module}:scheduler", "--burst", "--json", "--concurrency", "2")
    wait_until(lambda: json.loads(cli("get", failing, "--json").out)["attempt"] > 0, "it was tried")
    cli("cancel", failing)
    out, err = running.communicate(timeout=30)

    assert running.returncode == 0
    summary = json.loads(out)
    assert summary["completed"] == 3
    assert [status(cli, task_id) for task_id in ids] == ["COMPLETED"] * 3
    assert "up to 2 tasks at once" in err
    assert "\x1b" not in err


def test_the_queue_is_that_of_the_environment_unless_the_code_names_one(
    cli: Run, program: Program, module: str
) -> None:
    """A scheduler that names a queue keeps it; a flag beats both."""
    task_id = enqueue(cli)

    elsewhere = program("worker", f"{module}:other", "--burst")
    _, err = elsewhere.communicate(timeout=30)
    assert (elsewhere.returncode, status(cli, task_id)) == (0, "QUEUED")
    assert "worker ended: no task was claimed" in err

    queue = json.loads(cli("doctor", "--json").out)["findings"][1]["message"].split("'")[1]
    here = program("worker", f"{module}:other", "--burst", "--queue", queue)
    _, err = here.communicate(timeout=30)
    assert (here.returncode, status(cli, task_id)) == (0, "COMPLETED")
    assert "worker ended: 1 claimed, 1 completed" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_what_runs(
    cli: Run, program: Program, module: str, tmp_path: Path, number: int
) -> None:
    """Exit code 0; the task that was running is completed, the next one is not begun."""
    first = enqueue(cli, payload={"prompt": "slow"})
    second = enqueue(cli, payload={"prompt": "slow"})

    running = program("worker", f"{module}:scheduler", "--concurrency", "1")
    wait_until((tmp_path / "started").exists, "the handler runs")
    running.send_signal(number)
    assert running.stderr is not None
    assert any("a second signal exits at once" in line for line in running.stderr)
    (tmp_path / "go-on").touch()
    running.communicate(timeout=30)

    assert running.returncode == 0
    assert [status(cli, task_id) for task_id in (first, second)] == ["COMPLETED", "QUEUED"]


def test_several_processes_share_the_work(cli: Run, program: Program, module: str, tmp_path: Path) -> None:
    """With one slot each, two slow tasks run at the same time only in two processes."""
    ids = [enqueue(cli, payload={"prompt": "slow"}) for _ in range(2)]

    running = program("worker", f"{module}:scheduler", "--processes", "2", "--concurrency", "1", "--burst")
    wait_until(lambda: cli("stats", "--json").json["processingTasks"] == 2, "both run", timeout=20)
    (tmp_path / "go-on").touch()
    running.communicate(timeout=30)

    assert running.returncode == 0
    pids = {cli("get", task_id, "--json").json["result"]["pid"] for task_id in ids}
    assert len(pids) == 2
    assert running.pid not in pids


def test_logs_can_be_json(cli: Run, program: Program, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One object a line, with the traceback of a handler's error inside."""
    enqueue(cli)
    monkeypatch.setenv("TASKQUEUE_LOG_JSON", "true")

    running = program("worker", f"{module}:scheduler", "--burst", "--log-level", "debug")
    _, err = running.communicate(timeout=30)

    records = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert {"INFO", "DEBUG"} <= {record["level"] for record in records}
    assert all({"at", "level", "logger", "message"} <= set(record) for record in records)


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("scheduler", "'{target}' is not accepted; it must be MODULE:ATTR"),
        (":scheduler", "it must be MODULE:ATTR"),
        ("no_such_module:scheduler", "no module 'no_such_module' in "),
        ("{module}.deeper:scheduler", "no module '{module}.deeper'"),
        (
            "{module}:schedular",
            "module '{module}' has no 'schedular'; its schedulers are: scheduler, other, empty",
        ),
        ("{module}:number", "{module}:number is no Scheduler but int"),
        ("{module}:number.real.deep", "has no 'number.real.deep'"),
    ],
)
def test_a_wrong_target_is_bad_input(cli: Run, here: str, target: str, message: str, processes: str) -> None:
    """Exit code 2 and one sentence, before any process is started."""
    module = here

    result = cli("worker", target.format(module=module), "--processes", processes)

    assert (result.code, result.out) == (2, "")
    assert message.format(module=module, target=target) in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_dependency", "it needs the module 'no_such_dependency', which is missing"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(
    here: str, tmp_path: Path, source: str, message: str
) -> None:
    """In one sentence; --debug shows the traceback."""
    (tmp_path / f"{here}.py").write_text(source)

    with pytest.raises(Stop, match=f"{here} cannot be imported: .*{message}"):
        load_scheduler(f"{here}:scheduler")


def test_a_worker_without_handlers_is_bad_input(cli: Run, program: Program, module: str) -> None:
    """Exit code 2, and how to register one."""
    running = program("worker", f"{module}:empty")
    _, err = running.communicate(timeout=30)

    assert running.returncode == 2
    assert "@scheduler.handler('TYPE')" in err


def test_a_worker_without_a_server_says_so(program: Program, module: str, tmp_path: Path) -> None:
    """Exit code 3."""
    running = program("worker", f"{module}:scheduler", "--url", f"unix://{tmp_path}/none.sock")
    _, err = running.communicate(timeout=30)

    assert running.returncode == 3
    assert "no usable answer from unix://" in err


def test_without_the_packages_for_webhooks_deliveries_are_left_to_others(
    cli: Run, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is run all the same; its webhook waits for a worker that has them."""
    monkeypatch.setattr("taskqueue.cli.worker.can_deliver", lambda: False)
    monkeypatch.setattr("taskqueue.cli.worker.collect_garbage_seldom", lambda when: None)
    task_id = enqueue(cli, webhook={"url": "https://example.com/"})

    ended = cli("worker", f"{here}:scheduler", "--burst", "--json")

    assert (ended.code, ended.json["completed"]) == (0, 1)
    assert status(cli, task_id) == "COMPLETED"
    assert cli("stats", "--type", "_webhook", "--json").json["queuedTasks"] == 1
