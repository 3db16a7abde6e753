"""Runs the command line in this process, or as the program that users start."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scheduler import Scheduler
from taskqueue import TaskQueue
from taskqueue.cli import main
from taskqueue.store import ClaimRequest
from tests.servers import RealServer

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """The JSON documents on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Result]
Work = Callable[..., None]


@pytest.fixture(scope="session")
def server() -> Iterator[RealServer]:
    """A server with nothing to warn of: what a command says is all that is on stderr."""
    with RealServer(appendonly="yes", appendfsync="no") as running:
        yield running


@pytest.fixture
def environment(url: str, queue_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names the test's server and queue, as that of a user would."""
    monkeypatch.setenv("TASKQUEUE_URL", url)
    monkeypatch.setenv("TASKQUEUE_NAME", queue_name)


@pytest.fixture
def cli(environment: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command line in this process."""

    def call(*arguments: str, stdin: str | bytes = b"") -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(int(ended.value.code), out, err)

    return call


@pytest.fixture
def program(environment: None, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line as a process of its own, in an empty folder; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        settings: dict[str, Any] = {
            "cwd": tmp_path,
            "env": os.environ | {"PYTHONPATH": str(ROOT)},
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        command = [sys.executable, "-m", "taskqueue", *arguments]
        started.append(subprocess.Popen(command, text=True, **settings | options))
        return started[-1]

    yield start
    for running in started:
        running.kill()
        with running:  # closes its pipes and waits for its end
            pass


def enqueue(cli: Run, **fields: Any) -> str:
    """Enqueue one task through the command line and return its id."""
    document = {"taskType": "CHATGPT", "payload": {"prompt": "hello"}, **fields}
    result = cli("enqueue", "-", "--json", stdin=json.dumps(document))
    assert result.code == 0, result.err
    task_id: str = result.json["task"]["id"]
    return task_id


@pytest.fixture
def work(url: str, queue_name: str) -> Work:
    """Run everything that is queued through one handler, for one type of task."""

    def run(handler: Callable[[Any], Any], type_: str = "CHATGPT", **options: Any) -> None:
        scheduler = Scheduler(url, name=queue_name)
        scheduler.handler(type_, **options)(handler)
        asyncio.run(scheduler.run(burst=True, handle_signals=False))

    return run


@pytest.fixture
def claimed(url: str, queue_name: str) -> Callable[[], None]:
    """Let a worker that never reports take what is queued of CHATGPT."""

    async def claim() -> None:
        async with TaskQueue.connect(url, name=queue_name) as queue:
            found = await queue.store.claim(ClaimRequest("silent", "first", {"CHATGPT": 100}, 100, 60_000))
            assert found.tasks
            await queue.store.extend("silent", [], 60_000)

    return lambda: asyncio.run(claim())
