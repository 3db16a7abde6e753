"""`taskqueue demo`: the main job end to end, and a check that can say no."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taskqueue import IdempotencyConflict, InvalidTask, Task, TaskError, TaskState
from taskqueue.cli.demo import play, promises
from taskqueue.cli.demo.scene import ALWAYS_FAILS_KEY, FAILS_TWICE_KEY, SEED_KEY, Refusal, Scene
from taskqueue.cli.demo.summary import percentile, summarize
from tests.cli.conftest import Run

Program = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the program takes for temporary files, with a short name as sockets need it."""
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.delenv("TASKQUEUE_URL")
    return folder


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of processes that have something to do with *folder*."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


def test_everything_comes_out_as_promised_and_nothing_stays(program: Program, temporary: Path) -> None:
    """As JSON: counts, promises, refusals; within 15 seconds; no file and no process is left."""
    began = time.monotonic()
    running = program("demo", "--json")
    out, err = running.communicate(timeout=50)
    seconds = time.monotonic() - began

    summary = json.loads(out)
    assert running.returncode == 0, out
    assert seconds < 15
    assert summary["ok"] is True
    assert summary["simulated"] is True
    assert summary["accepted"] == 209
    assert len(summary["byType"]) == 8
    assert [each["priority"] for each in summary["byPriority"]] == [10, 8, 5, 3, 1]
    assert sum(each["count"] for each in summary["byPriority"]) == 209
    waits = [each["waitP50Ms"] for each in summary["byPriority"]]
    assert waits == sorted(waits)
    assert [each["line"] for each in summary["refused"]] == [121, 161]
    assert [each["idempotencyKey"] for each in summary["failed"]] == ["demo-always-fails"]
    assert all(each["kept"] for each in summary["promises"])
    assert len(summary["promises"]) == 6
    assert "209 tasks are queued" in err
    assert list(temporary.iterdir()) == []
    assert processes_in(temporary) == []


def test_people_get_bars_tables_and_what_to_do_next(program: Program, temporary: Path) -> None:
    """At a terminal; it says that the providers are simulated."""
    ours, theirs = pty.openpty()
    running = program("demo", stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            read = os.read(ours, 65_536)
        except OSError:  # how the end of a terminal is told
            break
        if not read:
            break
        shown += read
    out, _ = running.communicate(timeout=50)
    os.close(ours)

    assert running.returncode == 0, out
    assert b"simulated providers" in shown
    assert b"priority 10" in shown
    for word in ("wait p50", "wait p99", "PERPLEXITY", "all answers are simulated", "next:"):
        assert word in out
    assert sum(line.startswith("kept ") for line in out.splitlines()) == 6
    assert "BROKEN" not in out
    assert out.count("        taskqueue ") == 3


def test_an_interrupted_demo_leaves_nothing(program: Program, temporary: Path) -> None:
    """Ctrl-C in the middle: exit code 130, no traceback, no file, no process."""
    running = program("demo")
    assert running.stderr is not None
    next(line for line in running.stderr if "finished" in line)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)

    assert (running.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert list(temporary.iterdir()) == []
    assert processes_in(temporary) == []


def test_a_demo_that_does_not_end_is_given_up(
    cli: Run, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, and nothing is left."""
    monkeypatch.setattr(play, "TIME_LIMIT", 0.5)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    result = cli("demo", "--json")

    assert (result.code, result.out) == (1, "")
    assert "the demo did not end within 0.5 s" in result.err
    assert list(temporary.iterdir()) == []
    assert processes_in(temporary) == []


def submitted(key: str, sequence: int, priority: int, *, due: int | None = None, type_: str = "GROK") -> Task:
    """Return a task as it was accepted."""
    return Task(
        id=f"id-{sequence}",
        type=type_,
        tenant="default",
        priority=priority,
        sequence=sequence,
        payload={},
        created_ms=1_000,
        not_before_ms=due,
        idempotency_key=key,
    )


def story() -> tuple[Scene, dict[str, Task], list[tuple[str, int]]]:
    """Return a small demo that went well: six tasks, two refusals."""
    seed = replace(
        submitted(SEED_KEY, 3, 5, type_="CHATGPT"),
        payload=promises.SEED_PAYLOAD,
        webhook=promises.SEED_WEBHOOK,
    )
    accepted = [
        submitted("low", 1, 1),
        submitted(FAILS_TWICE_KEY, 2, 5),
        seed,
        submitted(ALWAYS_FAILS_KEY, 4, 9),
        submitted("late", 5, 3, due=1_450),
        submitted("lower", 6, 1),
    ]
    refused = [
        Refusal(7, IdempotencyConflict("id-3", same_payload=False, key=SEED_KEY)),
        Refusal(8, InvalidTask("priority", 11, "1 to 10")),
    ]
    starts = [("id-4", 1), ("id-2", 1), ("id-3", 1), ("id-1", 1), ("id-5", 1), ("id-6", 1)]
    ended = {
        task.id: replace(
            task,
            state=TaskState.COMPLETED,
            attempt=1,
            started_ms=1_100 + 100 * place,
            finished_ms=1_150 + 100 * place,
            result={"simulated": True},
            not_before_ms=None,
        )
        for place, task in enumerate(sorted(accepted, key=lambda task: starts.index((task.id, 1))))
    }
    ended["id-2"] = replace(ended["id-2"], attempt=3)
    ended["id-4"] = replace(
        ended["id-4"], attempt=4, state=TaskState.FAILED, result=None, error=TaskError("HANDLER_ERROR", "no")
    )
    starts += [("id-2", 2), ("id-2", 3), ("id-4", 2), ("id-4", 3), ("id-4", 4)]
    return Scene(accepted, refused, frozenset({"id-5"})), ended, starts


def broken(scene: Scene, ended: dict[str, Task], starts: list[tuple[str, int]]) -> list[str]:
    """Return the details of the promises that were not kept."""
    return [each.detail for each in promises.check_all(scene, ended, starts, 4) if not each.kept]


def test_a_demo_that_went_well_kept_every_promise() -> None:
    """The story that the next tests spoil."""
    assert broken(*story()) == []


def test_one_task_started_out_of_order_is_found() -> None:
    """Of two with the same priority the later came first."""
    scene, ended, starts = story()
    starts[1], starts[2] = starts[2], starts[1]

    assert broken(scene, ended, starts) == [
        f"start 2 was {SEED_KEY}, priority 5, number 3; due was {FAILS_TWICE_KEY}, priority 5, number 2"
    ]


def test_a_task_that_was_never_started_is_found() -> None:
    """It is missing at the end of the order, so nothing is out of place."""
    scene, ended, starts = story()
    starts.remove(("id-6", 1))

    assert "4 first starts of 5 tasks" in broken(scene, ended, starts)


@pytest.mark.parametrize(
    ("started", "others", "detail"),
    [
        (1_449, {}, "late was due at 1450 and started at 1449"),
        (1_500, {"id-6": 1_470}, "lower started before late"),
    ],
)
def test_a_delayed_task_out_of_its_time_or_place_is_found(
    started: int, others: dict[str, int], detail: str
) -> None:
    """Too early, or after one that should have let it go first."""
    scene, ended, starts = story()
    for task_id, instant in {"id-5": started, **others}.items():
        ended[task_id] = replace(ended[task_id], started_ms=instant)

    assert len(found := broken(scene, ended, starts)) == 1
    assert detail in found[0]


@pytest.mark.parametrize(
    ("task_id", "change", "detail"),
    [
        ("id-1", {"state": TaskState.FAILED}, "low is FAILED, COMPLETED was expected"),
        ("id-1", {"result": None}, "low has no result of a simulated provider"),
        ("id-1", {"attempt": 2}, "11 calls of handlers for 12 attempts"),
        ("id-2", {"attempt": 1}, "demo-fails-twice: COMPLETED at attempt 1"),
        ("id-4", {"error": None}, "demo-always-fails: FAILED after 4 attempts"),
        ("id-3", {"payload": {"prompt": "other"}}, "CHATGPT, priority 5"),
        ("id-3", {"webhook": None}, "CHATGPT, priority 5"),
    ],
)
def test_an_outcome_that_differs_is_found(task_id: str, change: dict[str, Any], detail: str) -> None:
    """One record is spoiled."""
    scene, ended, starts = story()
    ended[task_id] = replace(ended[task_id], **change)

    assert any(detail in each for each in broken(scene, ended, starts))


@pytest.mark.parametrize(
    "refused",
    [
        [],
        [Refusal(8, InvalidTask("priority", 11, "1 to 10"))],
        [
            Refusal(7, IdempotencyConflict("id-1", same_payload=False, key=SEED_KEY)),
            Refusal(8, InvalidTask("priority", 11, "1 to 10")),
        ],
        [
            Refusal(7, IdempotencyConflict("id-3", same_payload=False, key=SEED_KEY)),
            Refusal(8, InvalidTask("priority", 12, "1 to 10")),
        ],
    ],
)
def test_another_refusal_than_the_expected_ones_is_found(refused: list[Refusal]) -> None:
    """One is missing, or names somebody else."""
    scene, ended, starts = story()

    assert len(broken(replace(scene, refused=refused), ended, starts)) == 1


def test_a_seed_that_was_not_accepted_is_found() -> None:
    """The example request of the contract is missing; so is its duplicate's holder."""
    scene, ended, starts = story()
    accepted = [task for task in scene.accepted if task.idempotency_key != SEED_KEY]

    assert "it was not accepted" in broken(replace(scene, accepted=accepted), ended, starts[:2] + starts[3:])


def test_waits_are_counted_from_when_a_task_could_run() -> None:
    """A delayed task has not waited before it was due."""
    scene, ended, _ = story()

    found = summarize(scene.accepted, ended, lambda task: task.priority)

    assert (found[3].count, found[3].wait_p50) == (1, 0.05)
    assert (found[1].count, found[1].wait_p99, found[1].failed) == (2, 0.6, 0)
    assert (found[9].failed, found[9].run_p50) == (1, 0.05)


def test_percentiles_are_values_that_were_measured() -> None:
    """Nearest rank."""
    values = [float(value) for value in range(1, 101)]

    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) == 0.0
