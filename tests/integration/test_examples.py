"""The examples do what they say: each runs as the program that a user would start."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from examples import fetch_pages
from taskqueue import TaskQueue, TaskState
from tests.integration.page_server import PAUSE, page_server
from tests.servers import RealServer

ROOT = Path(__file__).resolve().parents[2]
PAGES = 500


@pytest.fixture(scope="module")
def server() -> Iterator[RealServer]:
    """A server with nothing to warn of, for the queues that the examples name themselves."""
    with RealServer(appendonly="yes", appendfsync="no") as running:
        yield running


@pytest.fixture
def environment(url: str, queue_name: str) -> dict[str, str]:
    """What a program is started with."""
    return os.environ | {"TASKQUEUE_URL": url, "TASKQUEUE_NAME": queue_name}


async def run(*arguments: str, env: dict[str, str]) -> tuple[int | None, str, str]:
    """Run a Python program in the project's folder; return its exit code and what it wrote."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(50):
            out, err = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    return running.returncode, out.decode(), err.decode()


async def test_500_pages_are_fetched_and_every_result_is_right(
    queue: TaskQueue, environment: dict[str, str], tmp_path: Path
) -> None:
    """Small and large ones, slow ones, missing ones, redirects, busy servers and lost connections."""
    async with page_server() as pages:
        file = tmp_path / "pages.jsonl"
        with file.open("w") as lines:
            for number in range(PAGES):
                document = {
                    "taskType": "PAGE",
                    "priority": 1 + number % 10,
                    "payload": {"url": pages.url(number)},
                }
                lines.write(json.dumps(document) + "\n")

        code, out, err = await run("-m", "taskqueue", "enqueue", str(file), "--json", env=environment)
        assert (code, err) == (0, "")
        ids = [json.loads(line)["task"]["id"] for line in out.splitlines()]
        command = ("-m", "taskqueue", "worker", "examples.fetch_pages:scheduler", "--burst", "--json")
        code, out, err = await run(*command, env=environment)

        assert code == 0, err
        tasks = {number: await queue.get(task_id) for number, task_id in enumerate(ids)}
        for number, task in tasks.items():
            assert task is not None
            assert (number, task.state, task.error) == (number, TaskState.COMPLETED, task.error)
            assert task.result == pages.expected(number)
            assert task.attempt == (2 if is_retried(number) else 1)
        for number in range(13, PAGES, 50):
            first, second = pages.requests[number]
            assert second - first >= PAUSE
        assert json.loads(out)["completed"] == PAGES
        assert json.loads(out)["retried"] == sum(map(is_retried, range(PAGES)))


def is_retried(number: int) -> bool:
    """Whether a page does not answer well the first time."""
    return number % 50 in {13, 23} or number % 100 in {31, 51}


async def test_the_packaged_pages_are_tasks(environment: dict[str, str], queue: TaskQueue) -> None:
    """The file that the documentation names."""
    code, out, err = await run("-m", "taskqueue", "enqueue", "examples/pages.jsonl", env=environment)

    assert (code, out, err) == (0, "4 enqueued\n", "")
    hosts = [httpx.URL(task.payload["url"]).host async for task in queue.tasks()]
    assert all(host.startswith("example.") for host in hosts)


async def test_an_address_that_is_none_fails_at_once(environment: dict[str, str], queue: TaskQueue) -> None:
    """The payload is checked before anything is fetched."""
    task = await queue.enqueue("PAGE", {"url": "ftp://example.org/file"})
    command = ("-m", "taskqueue", "worker", "examples.fetch_pages:scheduler", "--burst")

    code, _, _ = await run(*command, env=environment)

    ended = await queue.wait(task.id, timeout=0)
    assert ended.error is not None
    assert (code, ended.state, ended.attempt, ended.error.code) == (0, TaskState.FAILED, 1, "INVALID_PAYLOAD")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 30 ", 30),
        ("99999999999999999999", 600),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        (format_datetime(datetime(2001, 1, 1, tzinfo=UTC), usegmt=True), 0),
        (format_datetime(datetime(2101, 1, 1, tzinfo=UTC), usegmt=True), 600),
        ("Fri, 31 Dec 9999 23:59:59", None),
    ],
)
def test_retry_after_may_be_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """Bounded by ten minutes; nonsense leaves it to the backoff."""
    response = httpx.Response(503, headers=[] if value is None else [(b"Retry-After", value.encode())])

    wanted = None if seconds is None else timedelta(seconds=seconds)
    assert fetch_pages.pause(response) == wanted


def test_links_and_title_are_bounded() -> None:
    """A hostile page cannot make its result large."""
    parser = fetch_pages.PageParser("http://example.org/")
    parser.feed("<title>" + "t" * 10_000 + "</title>")
    parser.feed("".join(f'<a href="/{number}">x</a>' for number in range(10_000)))

    assert len(parser.title or "") == fetch_pages.MAX_TITLE
    assert len(parser.links) == fetch_pages.MAX_LINKS


def test_a_page_may_move_the_base_of_its_links() -> None:
    """As browsers understand it."""
    parser = fetch_pages.PageParser("http://example.org/dir/page")
    parser.feed('<base href="/other/"><a href="a">x</a><a href="">self</a>')

    assert list(parser.links) == ["http://example.org/other/a"]


async def test_a_service_answers_through_tasks(environment: dict[str, str], queue: TaskQueue) -> None:
    """Three lines in, three counts out, and an orderly stop."""
    code, out, err = await run("-m", "examples.embedded_in_service", env=environment)

    assert code == 0, err
    answers = [json.loads(line.partition(" -> ")[2]) for line in out.splitlines()[:-1]]
    assert [answer["result"] for answer in answers] == [
        {"words": 1, "attempt": 1},
        {"words": 4, "attempt": 1},
        {"words": 7, "attempt": 1},
    ]
    assert out.splitlines()[-1] == "stopped"


async def test_a_script_without_async_gets_its_results(environment: dict[str, str]) -> None:
    """Its worker is a program of its own; a key that is taken is refused."""
    code, out, err = await run("-m", "examples.blocking_script", env=environment)

    assert code == 0, err
    words = ("alpha", "beta", "gamma", "delta")
    digests = [f"COMPLETED {word} {sha256(word.encode()).hexdigest()[:12]}" for word in words]
    assert out.splitlines() == ["refused: the key already names the same task", *digests]
