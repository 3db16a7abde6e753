"""`taskqueue get`, `wait` and `cancel`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from scheduler import Context, GiveUp
from tests.cli.conftest import Run, Work, enqueue


def answer(payload: Any) -> dict[str, Any]:
    """A handler that works."""
    return {"text": f"hello {payload['prompt']}", "raw": b"\x00"}


def refuse(payload: Any) -> None:
    """A handler that does not."""
    raise GiveUp("the provider closed the account", code="CLOSED", details={"since": 2026})


def test_a_queued_task_is_shown(cli: Run) -> None:
    """Exit code 0: nothing is wrong with it."""
    task_id = enqueue(cli, priority=7, idempotencyKey="k")

    result = cli("get", task_id)

    assert result.code == 0
    for word in (task_id, "CHATGPT", "QUEUED", "7", "k", '{"prompt": "hello"}'):
        assert word in result.out


def test_a_completed_task_has_its_result(cli: Run, work: Work) -> None:
    """As a table and as JSON; bytes are shown as base64."""
    task_id = enqueue(cli)
    work(answer)

    as_json, table = cli("get", task_id, "--json"), cli("get", task_id)

    assert (as_json.code, table.code) == (0, 0)
    assert as_json.json["status"] == "COMPLETED"
    assert as_json.json["result"] == {"text": "hello hello", "raw": {"base64": "AA=="}}
    assert isinstance(as_json.json["latencyMs"], int)
    assert "error" not in as_json.json
    assert "hello hello" in table.out


def test_a_failed_task_is_exit_code_1_and_says_why(cli: Run, work: Work) -> None:
    """The error's code, message and details."""
    task_id = enqueue(cli)
    work(refuse)

    as_json, table = cli("get", task_id, "--json"), cli("get", task_id)

    assert (as_json.code, table.code) == (1, 1)
    assert as_json.json["error"] == {
        "code": "CLOSED",
        "message": "the provider closed the account",
        "details": {"since": 2026},
    }
    assert "CLOSED: the provider closed the account" in table.out


@pytest.mark.parametrize("command", ["get", "wait", "cancel"])
@pytest.mark.parametrize("task_id", ["b27a21e1-7c39-4aa2-a347-23e828c426f9", "not an id"])
def test_an_unknown_task_is_exit_code_1(cli: Run, command: str, task_id: str) -> None:
    """One sentence on stderr, nothing on stdout."""
    result = cli(command, task_id)

    assert (result.code, result.out) == (1, "")
    assert f"no task '{task_id}'" in result.err
    assert len(result.err.splitlines()) == 1


def test_waiting_ends_with_the_tasks(cli: Run, work: Work) -> None:
    """One line a task; 0 if all were COMPLETED."""
    ids = [enqueue(cli) for _ in range(3)]
    work(answer)

    result = cli("wait", *ids, "--timeout", "10")

    assert result.code == 0
    assert sorted(line.split()[0] for line in result.out.splitlines()) == sorted(ids)
    assert all(" COMPLETED " in line for line in result.out.splitlines())


def test_waiting_for_a_task_that_failed_is_exit_code_1(cli: Run, work: Work) -> None:
    """Its reason is on the line."""
    task_id = enqueue(cli)
    work(refuse)

    result = cli("wait", task_id, "--json", "--timeout", "10")

    assert result.code == 1
    assert result.json["error"]["code"] == "CLOSED"


def test_waiting_has_a_time_limit(cli: Run) -> None:
    """Exit code 4, and what goes on is said."""
    task_id = enqueue(cli)

    result = cli("wait", task_id, "--timeout", "0.05")

    assert (result.code, result.out) == (4, "")
    assert result.err == f"task {task_id} had not finished after 0.05 s; it goes on\n"


def test_a_failure_weighs_more_than_a_task_that_goes_on(cli: Run, work: Work) -> None:
    """Exit code 1 of several."""
    failed = enqueue(cli)
    work(refuse)
    waiting = enqueue(cli)

    assert cli("wait", failed, waiting, "--timeout", "0.05").code == 1


def test_a_queued_task_is_cancelled_at_once(cli: Run) -> None:
    """And says so when it is asked for again."""
    task_id = enqueue(cli)

    assert cli("cancel", task_id).out == f"task {task_id} is cancelled\n"
    assert cli("cancel", task_id, "--json").json["status"] == "CANCELLED"
    shown = cli("get", task_id, "--json")
    assert (shown.code, shown.json["status"]) == (0, "CANCELLED")


@pytest.mark.parametrize("flag", [(), ("--json",)])
def test_a_task_that_has_ended_cannot_be_cancelled(cli: Run, work: Work, flag: tuple[str, ...]) -> None:
    """Exit code 1: it did not become what was asked for."""
    task_id = enqueue(cli)
    work(answer)

    result = cli("cancel", task_id, *flag)

    assert result.code == 1
    said = json.loads(result.out)["status"] if flag else result.err
    assert "COMPLETED" in said


def test_a_running_task_is_asked_to_stop(cli: Run, claimed: Callable[[], None]) -> None:
    """It is still PROCESSING: its handler decides when it has stopped."""
    task_id = enqueue(cli)
    claimed()

    result = cli("cancel", task_id)

    assert result.code == 0
    assert "is running and was asked to stop" in result.out


def test_progress_is_shown(cli: Run, work: Work) -> None:
    """What a handler last told."""
    task_id = enqueue(cli)

    def halfway(payload: Any, context: Context) -> None:
        context.progress({"percent": 50})

    work(halfway)

    assert cli("get", task_id, "--json").json["progress"] == {"percent": 50}
    assert '{"percent": 50}' in cli("get", task_id).out


def test_text_of_others_cannot_speak_to_the_terminal(cli: Run) -> None:
    """Payloads, errors and keys are shown without their control characters, and never as markup."""
    task_id = enqueue(cli, payload={"prompt": "[red]\x1b]0;title\x07"})

    shown = cli("get", task_id).out

    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[red]" in shown
