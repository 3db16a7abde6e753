"""`taskqueue pause`, `resume`, `clear` and `limits`."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable

import pytest

from tests.cli.conftest import Run, Work, enqueue


def answer(payload: object) -> str:
    """A handler that works."""
    return "done"


def status(cli: Run, task_id: str) -> str:
    """Return the state of a task."""
    state: str = cli("get", task_id, "--json").json["status"]
    return state


@pytest.mark.parametrize("scope", [("--type", "CHATGPT"), ("--tenant", "default"), ()])
def test_what_is_paused_is_not_run_until_it_is_resumed(cli: Run, work: Work, scope: tuple[str, ...]) -> None:
    """A task of another type or tenant shows that the worker works."""
    task_id = enqueue(cli)
    other = ["enqueue", "-", "--json", "--tenant", "other"]
    other_id = cli(*other, stdin='{"taskType": "GROK", "payload": {}}').json["task"]["id"]

    paused = cli("pause", *scope)
    assert paused.code == 0
    assert paused.out == f"paused: {' '.join(scope).lstrip('-') or 'the whole queue'}\n"
    if scope:
        work(answer, "GROK")
        assert status(cli, other_id) == "COMPLETED"
    assert status(cli, task_id) == "QUEUED"

    resumed = cli("resume", *scope, "--json")
    assert (resumed.code, resumed.json["resumed"]) == (0, True)
    work(answer)
    assert status(cli, task_id) == "COMPLETED"


def test_a_pause_is_of_a_type_or_of_a_tenant(cli: Run) -> None:
    """Not of both at once: exit code 2."""
    result = cli("pause", "--type", "A", "--tenant", "b")

    assert result.code == 2
    assert "tenant: 'b' is not accepted; it must be left out where a type is given" in result.err


@pytest.mark.parametrize(
    ("scope", "cleared"), [((), 3), (("--type", "GROK"), 1), (("--tenant", "default"), 3)]
)
def test_clear_removes_what_is_queued(cli: Run, scope: tuple[str, ...], cleared: int) -> None:
    """Of the whole queue, a type or a tenant; the records are gone."""
    ids = [enqueue(cli), enqueue(cli), enqueue(cli, taskType="GROK")]

    result = cli("clear", "--yes", "--json", *scope)

    assert (result.code, result.json) == (0, {"cleared": cleared})
    assert cli("clear", "--yes", *scope).out == "0 queued tasks removed\n"
    assert [cli("get", task_id).code for task_id in ids].count(1) == cleared


def test_clear_asks_first_and_a_script_has_nobody_to_ask(cli: Run) -> None:
    """Exit code 2, and nothing was removed."""
    task_id = enqueue(cli)

    result = cli("clear")

    assert result.code == 2
    assert "Remove every queued task of the whole queue? Nobody is here to ask: say --yes" in result.err
    assert status(cli, task_id) == "QUEUED"


@pytest.mark.parametrize(("typed", "code", "found"), [("n", 2, 0), ("", 2, 0), ("y", 0, 1)])
def test_clear_goes_on_only_after_a_yes(
    cli: Run, program: Callable[..., subprocess.Popen[str]], typed: str, code: int, found: int
) -> None:
    """At a terminal; the question is on stderr, where it spoils no output."""
    task_id = enqueue(cli)
    ours, theirs = pty.openpty()
    running = program("clear", "--json", stdin=theirs)
    os.close(theirs)
    os.write(ours, f"{typed}\n".encode())

    out, err = running.communicate(timeout=30)

    os.close(ours)
    assert running.returncode == code
    assert "Remove every queued task of the whole queue?" in err
    assert out == ('{"cleared": 1}\n' if typed == "y" else "")
    assert cli("get", task_id).code == found


def test_limits_are_set_and_shown(cli: Run) -> None:
    """Of a type and of a tenant, with a tenant's share; none lifts a limit."""
    assert cli("limits", "show").err == "no limits are set\n"
    assert cli("limits", "set", "--type", "CHATGPT", "--concurrency", "3").out == "changed: type CHATGPT\n"
    assert cli("limits", "set", "--tenant", "acme", "--concurrency", "2", "--weight", "5", "--json").code == 0

    shown = cli("limits", "show", "--json").json
    assert shown == [
        {"tenant": "acme", "concurrency": 2, "used": 0, "paused": False, "weight": 5},
        {"type": "CHATGPT", "concurrency": 3, "used": 0, "paused": False, "weight": 1},
    ]
    table = cli("limits", "show").out
    assert "CHATGPT" in table
    assert "acme" in table

    cli("limits", "set", "--type", "CHATGPT", "--concurrency", "none")
    assert [limit["concurrency"] for limit in cli("limits", "show", "--json").json if "type" in limit] in (
        [],
        [None],
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--concurrency", "3"), "either --type or --tenant"),
        (("--type", "A", "--tenant", "b", "--concurrency", "3"), "either --type or --tenant"),
        (("--type", "A"), "nothing to change"),
        (("--type", "A", "--concurrency", "-1"), "--concurrency: '-1' is not accepted"),
        (("--type", "A", "--concurrency", "2.5"), "--concurrency: '2.5' is not accepted"),
        (("--type", "A", "--concurrency", "all"), "a whole number, or none"),
        (("--type", "A", "--concurrency", "9" * 30), "a whole number, or none"),
        (("--type", "A", "--concurrency", "9" * 15), "concurrency: 999999999999999 is not accepted"),
        (("--type", "A", "--weight", "2"), "only tenants have one"),
        (("--tenant", "a", "--weight", "0"), "weight: 0 is not accepted"),
        (("--type", "not a type", "--concurrency", "3"), "type: 'not a type' is not accepted"),
    ],
)
def test_a_wrong_limit_is_bad_input(cli: Run, arguments: tuple[str, ...], message: str) -> None:
    """Exit code 2, one sentence, nothing changed."""
    result = cli("limits", "set", *arguments)

    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert cli("limits", "show", "--json").json == []
