"""`taskqueue enqueue`: what is right is queued, what is wrong is named, line by line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Result, Run
from tests.servers import RealServer, wait_until

SEED = Path(__file__).parents[2] / "taskqueue" / "cli" / "demo" / "tasks.jsonl"


def lines(*documents: Any) -> str:
    """Return JSON Lines; text is taken as it is."""
    return "".join((d if isinstance(d, str) else json.dumps(d)) + "\n" for d in documents)


def task(**fields: Any) -> dict[str, Any]:
    """Return a task in the contract's shape."""
    return {"taskType": "CHATGPT", "payload": {"prompt": "hello"}, **fields}


def queued(cli: Run) -> int:
    """Return how many tasks the test's queue holds."""
    count: int = cli("stats", "--json").json["queuedTasks"]
    return count


def test_the_documented_example_is_stored_as_it_was_sent(cli: Run) -> None:
    """Its type, priority, key, webhook and payload come back from the server."""
    document = {
        "taskType": "CHATGPT",
        "priority": 5,
        "idempotencyKey": "your-custom-identifier-123",
        "webhook": {"url": "https://your-app.com/webhook-handler"},
        "payload": {"prompt": "What is the weather in New York?", "country": "US"},
    }

    sent = cli("enqueue", "-", "--json", stdin=json.dumps(document, indent=2))
    stored = cli("get", sent.json["task"]["id"], "--json").json

    assert sent.code == 0
    assert {name: stored[name] for name in document} == document
    assert stored["status"] == "QUEUED"
    assert stored["createdAt"].endswith("Z")


@pytest.mark.parametrize("form", ["lines", "array", "document"])
def test_a_file_may_be_lines_an_array_or_one_document(cli: Run, tmp_path: Path, form: str) -> None:
    """All three hold the same kind of document."""
    file = tmp_path / "tasks.json"
    documents = [task(priority=priority) for priority in (1, 9)]
    written = {
        "lines": lines(*documents),
        "array": json.dumps(documents),
        "document": json.dumps(documents[0], indent=1),
    }
    file.write_text(written[form])

    result = cli("enqueue", str(file))

    expected = 1 if form == "document" else 2
    assert (result.code, result.out, result.err) == (0, f"{expected} enqueued\n", "")
    assert queued(cli) == expected


@pytest.mark.parametrize(
    ("line", "field", "rule"),
    [
        *[(task(priority=bad), "priority", "a whole number from 1") for bad in (0, 11, 2.5, True, "5")],
        (task(taskType=""), "taskType", "a letter"),
        (task(taskType="x" * 65), "taskType", "a letter"),
        (task(taskType="GROK 4"), "taskType", "a letter"),
        (task(idempotencyKey=""), "idempotencyKey", "1 to 255"),
        (task(idempotencyKey="k" * 256), "idempotencyKey", "1 to 255"),
        (task(idempotencyKey="a\tb"), "idempotencyKey", "1 to 255"),
        (task(payload=[1]), "payload", "a mapping"),
        (task(payload={"a": [2**64]}), "payload.a[0]", "64 bits"),
        (task(payload={"prompt": "x" * 1_100_000}), "payload", "at most 1,048,576 bytes"),
        (task(payload="text"), "payload", "a mapping"),
        (task(webhook={"url": "ftp://example.org"}), "webhook.url", "http"),
        (task(prioritty=3), "prioritty", "one of the fields"),
        ('{"taskType": "A", "payload": {"a": NaN}}', None, "NaN is not a JSON number"),
        ('{"taskType": "A", "payload": {"a": "\\ud800"}}', None, "half of a surrogate pair"),
        ("not json", None, "not JSON: Expecting value at column 1"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_queued(
    cli: Run, line: Any, field: str | None, rule: str
) -> None:
    """Its number, its field and the rule, on stderr and in the JSON; exit code 2."""
    result = cli("enqueue", "-", "--json", stdin=lines(task(), line, task()))

    assert result.code == 2
    assert result.err.startswith("stdin:2: ")
    assert rule in result.err
    good, bad, other = result.json_lines
    assert (good["line"], good["success"], other["line"], other["success"]) == (1, True, 3, True)
    assert (bad["line"], bad["success"], bad["error"]["code"]) == (2, False, "VALIDATION_ERROR")
    if field is not None:
        assert bad["error"]["details"]["field"] == field
        assert field in result.err
    assert queued(cli) == 2


@pytest.mark.parametrize("source", ["pipe", "file"])
def test_strict_queues_nothing_if_a_line_is_bad(cli: Run, tmp_path: Path, source: str) -> None:
    """Every bad line is named; when they are mended, the whole file goes in."""
    file = tmp_path / "tasks.jsonl"

    def send(text: str) -> Result:
        file.write_text(text)
        name = "-" if source == "pipe" else str(file)
        return cli("enqueue", "--strict", name, stdin=text)

    bad = send(lines(task(), task(priority=11), "x", task(priority=0)))
    assert (bad.code, bad.out) == (2, "0 enqueued, 3 invalid\n")
    assert [line.split(":")[1] for line in bad.err.splitlines()] == ["2", "3", "4"]
    assert queued(cli) == 0

    good = send(lines(task(), task()))
    assert (good.code, good.out) == (0, "2 enqueued\n")


def test_a_key_that_is_taken_is_refused_with_its_holder(cli: Run) -> None:
    """Exit code 1; the JSON says who has it and whether it is the same task."""
    first = cli("enqueue", "-", "--json", stdin=lines(task(idempotencyKey="k"))).json["task"]["id"]

    result = cli(
        "enqueue",
        "-",
        "--json",
        stdin=lines(task(idempotencyKey="k"), task(idempotencyKey="k", payload={"prompt": "other"}), task()),
    )

    same, other, accepted = result.json_lines
    assert result.code == 1
    assert same["error"]["code"] == other["error"]["code"] == "RESOURCE_ALREADY_EXISTS"
    assert same["error"]["details"] == {
        "field": "idempotencyKey",
        "value": "k",
        "id": first,
        "samePayload": True,
    }
    assert other["error"]["details"]["samePayload"] is False
    assert accepted["success"] is True


def test_a_rerun_of_a_file_can_be_told_that_repeats_are_fine(cli: Run) -> None:
    """A script that enqueues its file again after a failure ends with 0; another payload is still refused."""
    file = lines(*(task(idempotencyKey=f"k{number}") for number in range(3)))

    assert cli("enqueue", "-", stdin=file).code == 0
    assert cli("enqueue", "-", stdin=file).code == 1
    again = cli("enqueue", "-", "--allow-repeats", stdin=file)
    assert (again.code, again.out) == (0, "0 enqueued, 3 enqueued before\n")
    changed = lines(task(idempotencyKey="k0", payload={"prompt": "other"}))
    assert cli("enqueue", "-", "--allow-repeats", stdin=changed).code == 1


def test_a_bad_line_weighs_more_than_a_duplicate(cli: Run) -> None:
    """Exit code 2: the input has to be mended."""
    text = lines(task(idempotencyKey="k"), task(idempotencyKey="k"), task(priority=11))

    assert cli("enqueue", "-", stdin=text).code == 2


def test_tasks_are_those_of_the_tenant_that_is_named(cli: Run) -> None:
    """The contract's shape does not say whose a task is; the option does."""
    result = cli("enqueue", "-", "--json", "--tenant", "acme", stdin=lines(task()))

    assert cli("get", result.json["task"]["id"], "--json").json["tenant"] == "acme"


def test_a_bad_tenant_is_refused_for_every_line(cli: Run) -> None:
    """Exit code 2, with the field's name."""
    result = cli("enqueue", "-", "--tenant", "a b", stdin=lines(task()))

    assert result.code == 2
    assert "tenant: 'a b' is not accepted" in result.err


def test_order_in_the_file_is_order_of_submission(cli: Run) -> None:
    """Over the border of the pieces in which a file is sent."""
    text = lines(*(task(payload={"number": number}) for number in range(2_500)))

    sent = [line["task"]["id"] for line in cli("enqueue", "-", "--json", stdin=text).json_lines]
    first, last = (cli("get", task_id, "--json").json for task_id in (sent[0], sent[-1]))

    assert len(set(sent)) == 2_500
    assert (first["payload"], last["payload"]) == ({"number": 0}, {"number": 2_499})


@pytest.mark.parametrize(
    ("file", "message"),
    [("missing.jsonl", "No such file or directory"), ("/", "Is a directory")],
)
def test_a_file_that_cannot_be_read_is_bad_input(cli: Run, file: str, message: str) -> None:
    """One sentence, exit code 2."""
    result = cli("enqueue", file)

    assert (result.code, result.out) == (2, "")
    assert result.err == f"taskqueue: cannot read {file}: {message}\n"


def test_an_empty_file_is_no_mistake(cli: Run) -> None:
    """There was nothing to do."""
    assert cli("enqueue", "-", stdin="").out == "0 enqueued\n"


def test_a_pipe_is_queued_while_it_is_written(
    cli: Run, program: Callable[..., subprocess.Popen[str]]
) -> None:
    """A producer that writes a line now and then does not wait for its thousandth."""
    running = program("enqueue", "-", "--json", stdin=subprocess.PIPE)
    assert running.stdin is not None
    assert running.stdout is not None
    for number in range(3):
        running.stdin.write(json.dumps(task(payload={"number": number})) + "\n")
        running.stdin.flush()
        assert json.loads(running.stdout.readline())["line"] == number + 1
    wait_until(lambda: queued(cli) == 3, "all three are queued while the pipe is open")
    running.stdin.close()

    assert running.wait(20) == 0


def test_control_characters_of_a_file_do_not_reach_the_terminal(cli: Run) -> None:
    """A value is shown escaped: a terminal would obey it."""
    result = cli("enqueue", "-", stdin=lines(task(priority="\x1b[2J"), '{"\x1b[31m": 1}'))

    assert result.code == 2
    assert "\x1b" not in result.err


def test_the_packaged_tasks_are_what_they_should_be(cli: Run) -> None:
    """The demo's file: 211 lines, one of them invalid, one with a key that is taken."""
    result = cli("enqueue", str(SEED))

    assert (result.code, result.out) == (2, "209 enqueued, 1 refused, 1 invalid\n")


def test_a_server_that_is_full_stops_it_and_says_how_far_it_came(cli: Run) -> None:
    """Exit code 3; what was enqueued before stays enqueued."""
    text = lines(*(task(payload={"prompt": "x" * 10_000}) for _ in range(2_000)))
    with RealServer(appendonly="yes", appendfsync="no", maxmemory="8mb") as small:
        result = cli("enqueue", "-", "--url", small.url, stdin=text)
        with small.client() as client:
            # Whatever connections have given back meanwhile: it is full.
            client.config_set("maxmemory", "1mb")
        stats = cli("stats", "--url", small.url, "--json").json

    assert (result.code, result.out) == (3, "")
    assert "the server has reached its memory limit" in result.err
    assert f"stdin: stopped; so far {stats['queuedTasks']:,} enqueued" in result.err
    assert 0 < stats["queuedTasks"] < 2_000


def test_a_warning_of_the_server_is_shown(cli: Run) -> None:
    """What is enqueued on a server that forgets may be lost: said on stderr, and accepted."""
    with RealServer() as forgetful:
        result = cli("enqueue", "-", "--url", forgetful.url, stdin=lines(task()))

    assert (result.code, result.out) == (0, "1 enqueued\n")
    assert result.err.startswith("taskqueue: warning: ")
    assert "THE APPEND-ONLY FILE IS OFF" in result.err
