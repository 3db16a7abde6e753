"""`taskqueue stats` and `top`."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable

from tests.cli.conftest import Run, enqueue


def test_an_empty_queue_has_zeros(cli: Run) -> None:
    """And no oldest task."""
    counts = cli("stats", "--json").json

    assert counts == {
        "queuedTasks": 0,
        "processingTasks": 0,
        "delayedTasks": 0,
        "priorityBreakdown": [],
        "oldestAgeMs": None,
        "limits": [],
        "providers": [],
    }
    assert cli("stats").code == 0


def test_tasks_are_counted_by_priority(cli: Run) -> None:
    """The highest first, as in the contract."""
    for priority in (1, 9, 9, 5):
        enqueue(cli, priority=priority)

    counts, table = cli("stats", "--json").json, cli("stats").out

    assert counts["queuedTasks"] == 4
    assert counts["priorityBreakdown"] == [
        {"priority": 9, "count": 2},
        {"priority": 5, "count": 1},
        {"priority": 1, "count": 1},
    ]
    assert counts["oldestAgeMs"] >= 0
    assert [line.split() for line in table.splitlines() if line.strip().startswith("9")] == [["9", "2"]]


def test_what_runs_is_counted(cli: Run, claimed: Callable[[], None]) -> None:
    """Against its limit."""
    cli("limits", "set", "--type", "CHATGPT", "--concurrency", "7")
    enqueue(cli)
    claimed()

    counts, table = cli("stats", "--json").json, cli("stats").out

    assert (counts["queuedTasks"], counts["processingTasks"]) == (0, 1)
    assert [line.split()[:4] for line in table.splitlines() if "CHATGPT" in line] == [
        ["type", "CHATGPT", "7", "1"]
    ]


def test_providers_are_shown_with_the_whole_queue(cli: Run) -> None:
    """What they are at; a type or a tenant has none of its own."""
    cli("limits", "set", "--provider", "openai", "--concurrency", "7")
    cli("pause", "--provider", "openai")

    for command in (("stats",), ("top", "--once")):
        [shown] = cli(*command, "--json").json["providers"]
        assert (shown["provider"], shown["condition"], shown["concurrency"]) == ("openai", "paused", 7)
        assert [line.split()[:5] for line in cli(*command).out.splitlines() if "openai" in line] == [
            ["openai", "paused", "-", "0", "7"]
        ]
    assert "providers" not in cli("stats", "--tenant", "acme", "--json").json
    assert "openai" not in cli("stats", "--type", "GROK").out


def test_a_type_and_a_tenant_can_be_counted_alone(cli: Run) -> None:
    """Each with what is theirs."""
    enqueue(cli)
    enqueue(cli, taskType="GROK")
    text = '{"taskType": "GROK", "payload": {}}'
    cli("enqueue", "-", "--tenant", "acme", stdin=text)

    def queued(*scope: str) -> int:
        found: int = cli("stats", "--json", *scope).json["queuedTasks"]
        return found

    assert queued() == 3
    assert queued("--type", "GROK") == 2
    assert queued("--tenant", "acme") == 1
    assert queued("--tenant", "default", "--type", "GROK") == 1


def test_top_shows_one_look_and_ends(cli: Run, claimed: Callable[[], None]) -> None:
    """Types, priorities and workers."""
    enqueue(cli)
    claimed()
    enqueue(cli, taskType="GROK", priority=4)

    look, screen = cli("top", "--once", "--json").json, cli("top", "--once").out

    assert look["queuedTasks"] == 1
    assert [each["taskType"] for each in look["byType"]] == ["CHATGPT", "GROK"]
    assert [each["processingTasks"] for each in look["byType"]] == [1, 0]
    assert [each["worker"] for each in look["workers"]] == ["silent"]
    for word in ("GROK", "CHATGPT", "silent", "priority"):
        assert word in screen


def test_top_looks_again_until_it_is_interrupted(
    cli: Run, program: Callable[..., subprocess.Popen[str]]
) -> None:
    """With --json a line each time; Ctrl-C ends it with 130, and says nothing."""
    running = program("top", "--json", "--interval", "0.1")
    assert running.stdout is not None
    first = json.loads(running.stdout.readline())
    enqueue(cli)
    looks = iter(running.stdout.readline, "")
    later = next(look for look in map(json.loads, looks) if look["queuedTasks"] == 1)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)

    assert first["queuedTasks"] == 0
    assert later["takenAt"] > first["takenAt"]
    assert (running.returncode, err) == (130, "")


def test_top_writes_look_after_look_into_a_pipe(
    cli: Run, program: Callable[..., subprocess.Popen[str]]
) -> None:
    """Where nobody looks, nothing is painted over."""
    enqueue(cli, taskType="GROK")
    running = program("top", "--interval", "0.1")
    assert running.stdout is not None
    rows = (line for line in running.stdout if "GROK" in line)
    first, second = next(rows), next(rows)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)

    assert "\x1b" not in first + second
    assert running.returncode == 130


def test_top_paints_over_itself_at_a_terminal(
    cli: Run, program: Callable[..., subprocess.Popen[str]]
) -> None:
    """A second look takes the place of the first."""
    enqueue(cli, taskType="GROK")
    ours, theirs = pty.openpty()
    running = program("top", "--interval", "0.1", stdout=theirs)
    os.close(theirs)
    seen = b""
    while seen.count(b"GROK") < 3:
        seen += os.read(ours, 65_536)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    os.close(ours)

    assert b"\x1b[1A" in seen
    assert running.returncode == 130
