"""Histories are read as they were written, also those of processes that were killed in the middle of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.history import NEVER, Follower, Recorder, read_history
from tests.chaos.made_up import MadeUp
from tests.chaos.measures import waits_for_killed


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """What a process named `worker` writes down."""
    return Recorder(tmp_path, "worker")


def test_a_call_has_its_answer_and_its_instants(recorder: Recorder, tmp_path: Path) -> None:
    """One is answered, one refused; both know what they were given."""
    for outcome in ("ok", "refused"):
        number = recorder.invoke("claim", request=outcome)
        recorder.end(number, outcome, tasks=[])

    first, second = read_history(tmp_path).called("claim")

    assert first.start < first.end < second.start < second.end
    assert (first.process, first.given, first.answer) == ("worker", {"request": "ok"}, {"tasks": []})
    assert [first.outcome, second.outcome] == ["ok", "refused"]


def test_a_call_that_was_not_answered_never_ends(recorder: Recorder, tmp_path: Path) -> None:
    """One timed out; during the other one the process was killed."""
    recorder.end(recorder.invoke("claim"), "unknown")
    recorder.invoke("claim")

    calls = read_history(tmp_path).calls

    assert [(call.outcome, call.end) for call in calls] == [("unknown", NEVER)] * 2


def test_half_a_line_is_left_for_later(recorder: Recorder, tmp_path: Path) -> None:
    """Somebody looks while a line is being written; a follower gets each note once."""
    follower = Follower(tmp_path)
    recorder.note("start", task="a")
    path = tmp_path / "worker.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-5])

    assert len(read_history(tmp_path).notes) == 1
    assert [note.details["task"] for note in follower.new_notes("start")] == ["a"]

    path.write_bytes(whole + whole)

    assert [note.details["task"] for note in follower.new_notes("start")] == ["a"]
    assert follower.new_notes("start") == []


def test_the_wait_of_a_killed_workers_task_is_measured() -> None:
    """It had two tasks: one had been reported, the other one runs again three seconds later."""
    made = MadeUp()
    second = 1e9
    for task in ("done", "lost"):
        made.enqueue(task, 0)
        made.claim("w", 1 * second, task)
        made.run("w", 2 * second, task)
    made.report("w", 3 * second, "done")
    made.killed("w", 4 * second)
    made.claim("v", 6 * second, "lost/2")
    made.run("v", 7 * second, "lost/2")

    assert waits_for_killed(made.history) == [3.0]
