"""The command line as a whole: help, exit codes, errors, and what it does not import."""

from __future__ import annotations

import asyncio
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from taskqueue import (
    DurabilityNotReached,
    IdempotencyConflict,
    InvalidTask,
    QueueFull,
    ServerUnavailable,
    ServerUnsuitable,
    TaskNotFound,
    TaskQueueError,
    WaitTimeout,
)
from taskqueue.cli.doctor import version_of
from taskqueue.cli.exits import ExitCode, code_of
from taskqueue.cli.runtime import run
from taskqueue.errors import InvalidSetting, QueueCorrupt, QueueMismatch, TaskNotFinished
from tests.cli.conftest import ROOT, Result, Run

COMMANDS = [
    "demo",
    "doctor",
    "enqueue",
    "worker",
    "get",
    "wait",
    "stats",
    "top",
    "cancel",
    "pause",
    "resume",
    "clear",
    "limits show",
    "limits set",
    "dead list",
    "dead show",
    "dead redrive",
    "dead purge",
]


def test_help_names_every_command_and_every_exit_code(cli: Run) -> None:
    """And ends with 0."""
    result = cli("--help")

    assert (result.code, result.err) == (0, "")
    for command in COMMANDS:
        assert f" {command.split()[0]} " in result.out
    words = " ".join(result.out.split())
    for code in ExitCode:
        assert f" {int(code)} " in words


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli: Run, command: str) -> None:
    """With a sentence of its own, and with --json."""
    result = cli(*command.split(), "--help")

    assert result.code == 0
    assert f"taskqueue {command}" in result.out
    assert "--json" in result.out


@pytest.mark.parametrize("command", [*COMMANDS, "limits", "dead"])
def test_every_command_is_in_the_manual(command: str) -> None:
    """docs/cli.md has a word on each."""
    assert f"`taskqueue {command}" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_the_manual_has_every_exit_code() -> None:
    """With its number in a table."""
    manual = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

    for code in ExitCode:
        assert f"| {int(code)} |" in manual


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "taskqueue: No such command 'fly'"),
        (["get"], "taskqueue: Missing argument 'ID'"),
        (["get", "a", "--fast"], "taskqueue: No such option: --fast"),
        (["wait", "a", "--timeout", "soon"], "taskqueue: Invalid value for '--timeout'"),
        (["wait", "a", "--timeout", "-1"], "taskqueue: Invalid value for '--timeout'"),
        (["worker", "a:b", "--processes", "0"], "taskqueue: Invalid value for '--processes'"),
    ],
)
def test_a_mistyped_command_line_is_bad_input(cli: Run, arguments: list[str], message: str) -> None:
    """Exit code 2, a sentence and where help is; no box, no traceback."""
    result = cli(*arguments)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(message)
    assert result.err.endswith("--help'.\n")


def test_nothing_is_bad_input_but_gets_help(cli: Run) -> None:
    """Exit code 2, as a script that forgot its command should see."""
    result = cli()

    assert result.code == 2
    assert "enqueue" in result.out + result.err


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "_a\n"])
def test_a_wrong_queue_name_is_bad_input(cli: Run, name: str) -> None:
    """Exit code 2; it names the setting and the rule."""
    result = cli("stats", "--queue", name)

    assert (result.code, result.out) == (2, "")
    assert "name: " in result.err
    assert "1 to 64" in result.err


def test_a_wrong_variable_of_the_environment_is_bad_input(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named as it is spelled there."""
    monkeypatch.setenv("TASKQUEUE_NAME", "a b")

    result = cli("stats")

    assert result.code == 2
    assert "TASKQUEUE_NAME: 'a b' is not accepted" in result.err


def test_an_unreachable_server_is_exit_code_3(cli: Run, tmp_path: Path) -> None:
    """What was tried and for how long, without the password."""
    url = f"unix://me:secret-word@{tmp_path}/none.sock"

    result = cli("stats", "--url", url)

    assert (result.code, result.out) == (3, "")
    assert "no usable answer from unix://" in result.err
    assert "secret-word" not in result.err
    assert len(result.err.splitlines()) == 1


def test_debug_shows_where_an_error_comes_from(cli: Run) -> None:
    """The traceback, before the sentence."""
    result = cli("--debug", "get", "nobody")

    assert result.code == 1
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("taskqueue: no task 'nobody'")
    assert "Traceback" not in cli("get", "nobody").err


def test_a_mistake_of_ours_is_one_sentence_too(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an exit code of its own."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("never seen before")

    monkeypatch.setattr("taskqueue.cli.tasks.show_task", broken)
    monkeypatch.setattr("taskqueue.cli.tasks.run", lambda coroutine: coroutine.close())

    result = cli("get", "some-task")

    assert result.code == 70
    assert (
        result.err
        == "taskqueue: unexpected RuntimeError: never seen before (taskqueue --debug shows where)\n"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidTask("a", 1, "b"), 2),
        (InvalidSetting("a", 1, "b"), 2),
        (TaskNotFound("a"), 1),
        (TaskNotFinished("a", "QUEUED"), 1),
        (IdempotencyConflict("a", same_payload=True), 1),
        (QueueFull("a", 1), 1),
        (ServerUnavailable("a"), 3),
        (ServerUnsuitable("a"), 3),
        (QueueMismatch("a", "b", 1, 2), 3),
        (QueueCorrupt("a"), 3),
        (DurabilityNotReached("fsync", 1, 0), 3),
        (WaitTimeout("a", 1), 4),
        (TaskQueueError("a"), 1),
    ],
)
def test_every_error_has_its_exit_code(error: TaskQueueError, code: int) -> None:
    """What a script may branch on."""
    assert code_of(error) == code


def test_help_waits_for_nothing_heavy() -> None:
    """Neither for a Redis client nor for pydantic, Rich's tables or the user's scheduler."""
    heavy = ["redis", "pydantic", "msgpack", "uvloop", "rich.table", "scheduler", "importlib.metadata"]
    code = f"import json, sys, taskqueue.cli; print(json.dumps([m for m in {heavy} if m in sys.modules]))"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=30)

    assert json.loads(done.stdout) == []


def test_the_program_is_also_a_module() -> None:
    """`python -m taskqueue`."""
    command = [sys.executable, "-m", "taskqueue", "--help"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)

    assert "Usage: taskqueue" in done.stdout


def test_a_child_that_imports_the_program_does_not_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiprocessing does so, under another name, in every process that it spawns."""
    monkeypatch.setattr(sys, "argv", ["taskqueue", "--help"])

    runpy.run_module("taskqueue.__main__", run_name="__mp_main__")
    with pytest.raises(SystemExit):
        runpy.run_module("taskqueue.__main__", run_name="__main__")


def test_a_reader_that_goes_away_is_no_error() -> None:
    """As in `taskqueue --help | head -1`: no traceback."""
    command = f"{sys.executable} -m taskqueue --help | head -1"

    done = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )

    assert "Traceback" not in done.stderr


def test_the_version_is_told(cli: Run) -> None:
    """Of the distribution, if it is installed and not just lying there."""
    result = cli("--version")

    assert result.code == 0
    assert result.out == f"taskqueue {version_of('taskqueue-engine') or '(not installed)'}\n"


def test_an_interrupt_has_its_exit_code(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever way it arrives: 130, and no words."""

    def interrupted(error: type[BaseException]) -> Callable[..., None]:
        def command(*_: object, **__: object) -> None:
            raise error

        return command

    for error in (KeyboardInterrupt, typer.Abort):
        monkeypatch.setattr("taskqueue.cli.app.app", interrupted(error))
        assert cli("stats") == Result(130, "", "")


async def test_a_platform_without_uvloop_has_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""

    async def loop_module() -> str:
        return type(asyncio.get_running_loop()).__module__

    with_uvloop = await asyncio.to_thread(lambda: run(loop_module()))
    monkeypatch.setitem(sys.modules, "uvloop", None)
    without = await asyncio.to_thread(lambda: run(loop_module()))

    assert with_uvloop.startswith("uvloop")
    assert without.startswith("asyncio")
