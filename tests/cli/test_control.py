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


def test_a_provider_is_limited_and_shown(cli: Run) -> None:
    """Each option alone and together; none takes one away, and what is left out stays."""
    first = ("--concurrency", "9", "--lowest", "2", "--rate", "60", "--period", "10s", "--tokens", "1000")
    assert cli("limits", "set", "--provider", "openai", *first).out == "changed: provider openai\n"
    assert cli("limits", "set", "--provider", "openai", "--breaker", "3", "--json").json == {
        "type": None,
        "tenant": None,
        "provider": "openai",
        "changed": True,
    }

    assert cli("limits", "show", "--json").json == [
        {
            "provider": "openai",
            "condition": "ready",
            "opensInSeconds": None,
            "used": 0,
            "allowed": 9,
            "failures": 0,
            "waitingTypes": [],
            "concurrency": 9,
            "lowest": 2,
            "rate": 60,
            "periodSeconds": 10.0,
            "tokens": 1000,
            "breaker": 3,
        }
    ]
    [row] = [line for line in cli("limits", "show").out.splitlines() if "openai" in line]
    assert " ".join(row.split()) == "openai ready - 0 9 2 to 9 60 in 10.0 s 1000 0 of 3 -"

    cli("limits", "set", "--provider", "openai", "--concurrency", "none", "--rate", "5", "--tokens", "none")
    [shown] = cli("limits", "show", "--json").json
    assert (shown["concurrency"], shown["lowest"], shown["allowed"]) == (None, None, None)
    assert (shown["rate"], shown["periodSeconds"], shown["tokens"]) == (5, 60.0, None)


def test_what_was_learned_about_a_provider_is_forgotten(cli: Run) -> None:
    """And the provider itself, when nothing is set any more."""
    cli("limits", "set", "--provider", "openai", "--rate", "5")

    assert cli("limits", "set", "--provider", "openai", "--rate", "none").code == 0
    assert len(cli("limits", "show", "--json").json) == 1
    assert cli("limits", "set", "--provider", "openai", "--reset").code == 0
    assert cli("limits", "show", "--json").json == []


def test_a_provider_is_paused_and_resumed(cli: Run) -> None:
    """As types and tenants are."""
    assert cli("pause", "--provider", "openai").out == "paused: provider openai\n"
    assert [one["condition"] for one in cli("limits", "show", "--json").json] == ["paused"]

    resumed = cli("resume", "--provider", "openai", "--json").json
    assert resumed == {"resumed": True, "type": None, "tenant": None, "provider": "openai"}
    assert [one["condition"] for one in cli("limits", "show", "--json").json] == ["ready"]
    refused = cli("pause", "--provider", "openai", "--type", "GROK")
    assert refused.code == 2
    assert "provider: 'openai' is not accepted; it must be left out where a type" in refused.err


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
        (("--type", "A", "--provider", "b", "--concurrency", "3"), "--type or --tenant or --provider"),
        (("--provider", "b"), "nothing to change"),
        (("--provider", "b c", "--rate", "3"), "provider: 'b c' is not accepted"),
        (("--provider", "b", "--rate", "-3"), "--rate: '-3' is not accepted"),
        (("--provider", "b", "--period", "3s"), "period: datetime.timedelta(seconds=3) is not accepted"),
        (("--provider", "b", "--rate", "3", "--period", "soon"), "--period: 'soon' is not accepted"),
        (("--provider", "b", "--lowest", "2"), "lowest: 2 is not accepted; it must be given together"),
        (("--provider", "b", "--concurrency", "1", "--lowest", "2"), "at most the concurrency"),
        (("--provider", "b", "--weight", "2"), "left out for a provider: only tenants have one"),
        (("--type", "A", "--tokens", "2"), "tokens: 2 is not accepted; it must be left out for a type"),
        (("--tenant", "a", "--reset"), "only about providers something is learned"),
    ],
)
def test_a_wrong_limit_is_bad_input(cli: Run, arguments: tuple[str, ...], message: str) -> None:
    """Exit code 2, one sentence, nothing changed."""
    result = cli("limits", "set", *arguments)

    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert cli("limits", "show", "--json").json == []
