"""`taskqueue serve`: a first try works as it is printed, and it ends as it should."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.conftest import Run
from tests.servers import wait_until

Program = Callable[..., subprocess.Popen[str]]

SECRET = "5f" * 16 + "0123456789abcdef" * 2
MODULE = """
from scheduler import Scheduler

scheduler = Scheduler()
other = Scheduler()

@scheduler.handler("CHATGPT")
async def answer(payload, context):
    return {"text": payload["prompt"].upper(), "sources": []}

@other.handler("MAIL")
async def mail(payload, context):
    return {}
"""


@contextmanager
def serving(program: Program, *arguments: str, **options: Any) -> Iterator[tuple[httpx.Client, str]]:
    """Start the service; yield a client with the first key, and the line that it printed to try."""
    running = program("serve", "--port", "0", *arguments, **options)
    assert running.stdout is not None
    line = running.stdout.readline()
    assert line, running.communicate(timeout=10)[1]
    words = shlex.split(line)
    address = next(word for word in words if word.startswith("http://"))
    key = next(word for word in words if word.startswith("Authorization: "))
    headers = {"Authorization": key.partition(": ")[2]}
    with httpx.Client(base_url=address.partition("/v1")[0], headers=headers) as client:
        yield client, line
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 0, err
    assert "the service has ended" in err


def finished(client: httpx.Client, task_id: str) -> dict[str, Any]:
    """Wait for a task as a client would, and return what GET says of it."""
    found: dict[str, Any] = {}

    def is_finished() -> bool:
        found.update(client.get(f"/v1/async/task/{task_id}").json())
        return found["task"]["status"] in {"COMPLETED", "FAILED"}

    wait_until(is_finished, "the task has finished")
    return found


def submit(client: httpx.Client, **fields: Any) -> str:
    """Submit a task and return its id."""
    task = {"taskType": "CHATGPT", "payload": {"prompt": "hello", "country": "US"}, **fields}
    answer = client.post("/v1/async/task", json=task)
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["task"]["id"]
    return task_id


def test_the_demo_needs_nothing_and_leaves_nothing(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of its own, every type served, results that say they are made up."""
    for variable in ("TASKQUEUE_URL", "TASKQUEUE_NAME"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("TMPDIR", "/tmp")
    with serving(program, "--demo", env=None) as (client, line):
        tried = json.loads(shlex.split(line)[-1])
        task_id = submit(client, **tried)
        ended = finished(client, task_id)
        health = client.get("/healthz").json()
        docs = client.get("/docs")

    assert ended["task"]["status"] == "COMPLETED"
    assert "simulated" in json.dumps(ended["response"]).lower()
    assert ended["credits"]["creditsCharged"] == ended["credits"]["creditsToCharge"]
    assert health == {"status": "ok", "demo": True}
    assert docs.status_code == 200
    assert list(tmp_path.iterdir()) == []


def test_handlers_of_a_module_do_the_work(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Types without a handler are refused at the door; the key of the first time is not made again."""
    monkeypatch.setenv("TASKQUEUE_SECRET", SECRET)
    (tmp_path / "served.py").write_text(MODULE)
    with serving(program, "served:scheduler") as (client, _):
        ended = finished(client, submit(client))
        refused = client.post("/v1/async/task", json={"taskType": "GROK", "payload": {"prompt": "x"}})

    assert ended["response"] == {"text": "HELLO", "sources": []}
    assert refused.status_code == 400
    assert refused.json()["error"]["details"][0]["field"] == "taskType"

    again = program("serve", "--port", "0", "served:scheduler")
    said = again.stderr
    assert said is not None
    wait_until(lambda: "have their keys" in said.readline(), "it is ready")
    again.send_signal(signal.SIGTERM)
    assert again.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "who runs the tasks"),
        (("--demo", "--api-only"), "who runs the tasks"),
        (("no_such_module:scheduler",), "no module"),
        (("served:other",), "MAIL"),
        (("--api-only", "--host", "256.1.1.1"), "cannot listen on 256.1.1.1"),
        (("--api-only", "--port", "70000"), "65535"),
    ],
)
def test_bad_input_is_one_sentence(
    cli: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    what: str,
) -> None:
    """Exit code 2, what was wrong, and nothing started."""
    monkeypatch.setenv("TASKQUEUE_SECRET", SECRET)
    monkeypatch.setattr("taskqueue.cli.serve.configure_logging", lambda *_, **__: None)
    monkeypatch.setattr("taskqueue.cli.serve.collect_garbage_seldom", lambda: None)
    (tmp_path / "served.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    result = cli("serve", *arguments)

    assert result.code == 2, result.err
    assert what in result.err
    assert len(re.findall(r"^taskqueue: ", result.err, re.MULTILINE)) == 1


def test_a_port_in_use_is_said(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the port, and the option that chooses another."""
    monkeypatch.setenv("TASKQUEUE_SECRET", SECRET)
    monkeypatch.setattr("taskqueue.cli.serve.configure_logging", lambda *_, **__: None)
    monkeypatch.setattr("taskqueue.cli.serve.collect_garbage_seldom", lambda: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        result = cli("serve", "--api-only", "--port", str(port))

    assert result.code == 2
    assert f"port {port}" in result.err
    assert "--port" in result.err
