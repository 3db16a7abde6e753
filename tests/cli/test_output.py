"""How things are written: durations, instants, bytes, control characters, logs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta, timezone

import pytest

from taskqueue.cli.logs import JsonLines, Lines, Warnings, showing_warnings
from taskqueue.cli.output import counted, json_text, plain, span, utc


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0004, "0 ms"),
        (0.85, "850 ms"),
        (2.44, "2.4 s"),
        (59.9, "59.9 s"),
        (303, "5 min 3 s"),
        (7_500, "2 h 5 min"),
        (47 * 3_600, "47 h 0 min"),
        (76 * 3_600, "3 d 4 h"),
        (timedelta(seconds=2), "2.0 s"),
    ],
)
def test_durations_are_written_for_people(seconds: float | timedelta, text: str) -> None:
    """In the two units that matter."""
    assert span(seconds) == text
    assert span(None) is None


def test_instants_are_written_as_in_the_contract() -> None:
    """UTC, milliseconds, Z."""
    instant = datetime(2026, 4, 9, 17, 0, 0, 999, tzinfo=timezone(timedelta(hours=2)))

    assert utc(instant) == "2026-04-09T15:00:00.000Z"
    assert utc(None) is None


def test_json_carries_bytes_and_instants() -> None:
    """Neither of which JSON has."""
    assert json_text({"a": b"\xff", "b": datetime(2026, 1, 1, tzinfo=UTC), "ü": 1}) == (
        '{"a": {"base64": "/w=="}, "b": "2026-01-01T00:00:00.000Z", "ü": 1}'
    )
    with pytest.raises(TypeError, match="set cannot be written as JSON"):
        json_text({1})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 😀", "plain ü 😀"),
        ("a\nb\tc", "a\nb\tc"),
        ("\x1b[2J\x07\r\x00\x9b", "\\x1b[2J\\x07\\r\\x00\\x9b"),
        ("\u202eabc", "\\u202eabc"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_shown(text: str, shown: str) -> None:
    """Escapes, bells, and marks that turn the direction of text."""
    assert plain(text) == shown


def test_one_thing_is_not_many() -> None:
    """In words for people."""
    assert [counted(number, "task") for number in (0, 1, 2_000)] == ["0 tasks", "1 task", "2,000 tasks"]


def record(message: str, *, fails: bool = False) -> logging.LogRecord:
    """Return a log record, with an exception if it fails."""
    raised = ValueError(message)
    error = (ValueError, raised, None) if fails else None
    return logging.LogRecord("scheduler.loop", logging.WARNING, __file__, 1, "%s", (message,), error)


def test_log_lines_are_for_people() -> None:
    """Time, level, logger, message; a traceback below."""
    first, *rest = Lines().format(record("task \x1b failed", fails=True)).splitlines()

    assert first.endswith("Z WARNING scheduler.loop: task \\x1b failed")
    assert rest[-1] == "ValueError: task \\x1b failed"
    assert Warnings().format(record("careful")) == "taskqueue: warning: careful"


def test_log_lines_are_for_machines() -> None:
    """One object a line, whatever is in it."""
    line = JsonLines().format(record("two\nlines", fails=True))
    document = json.loads(line)

    assert "\n" not in line
    assert (document["level"], document["logger"], document["message"]) == (
        "WARNING",
        "scheduler.loop",
        "two\nlines",
    )
    assert "ValueError: two\nlines" in document["error"]
    assert document["at"].endswith("Z")


def test_warnings_are_shown_only_inside(capsys: pytest.CaptureFixture[str]) -> None:
    """Information is not a warning, and the handler goes with its command."""
    logger = logging.getLogger("taskqueue.queue")
    with showing_warnings():
        logger.info("nothing")
        logger.warning("the server forgets")
    logger.warning("nobody asked")

    assert capsys.readouterr().err == "taskqueue: warning: the server forgets\n"
