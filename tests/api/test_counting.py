"""What counting a request costs, and what becomes of it when something else ends the request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable
from typing import Any

import pytest
from fastapi import FastAPI

from taskqueue import TaskQueue
from taskqueue.accounts import Accounts
from taskqueue.keys import Keys
from tests.api.conftest import PROMPT, TASK, Client, ClientOf, error_of
from tests.api.live import served
from tests.api.test_rates import (
    BATCH,
    CALLS,
    CHATGPT,
    CREATE,
    CREDITS,
    PADDED,
    RATE_EXCEEDED,
    process,
    told,
    used,
)
from tests.integration.test_accounts import until_told
from tests.servers import RealServer

# Round trips ---------------------------------------------------------------------------------------


async def sent_during(server: RealServer, work: Awaitable[Any]) -> list[str]:
    """Return the commands that clients send while *work* is done; what scripts call is left out."""
    with server.client() as looking, looking.monitor() as seen:  # type: ignore[no-untyped-call]  # of redis-py
        await work
        looking.echo("that was all")
        found = [each for each in until_told("that was all", seen) if each["client_type"] != "lua"]
    return [each["command"] for each in found if each["command"] != "ECHO that was all"]


@pytest.mark.parametrize("call", ["create", "batch"])
async def test_tasks_are_counted_and_stored_by_one_call(
    server: RealServer, queue_name: str, client: Client, queue: TaskQueue, call: str
) -> None:
    """One command in all, which has the key of the rate and those of the tasks."""
    method, path, request, tasks = CALLS[call]
    await client.request(method, path, **request)
    await used(queue)

    sent = await sent_during(server, client.request(method, path, **request))

    assert [command.split()[0] for command in sent] == ["EVALSHA"]
    assert sent[0].count(f" {Keys(queue_name).task('')}") == tasks
    assert sent[0].count(f" {Keys(queue_name).rate('')}") == 1


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        ("POST", CREATE, {"content": PADDED}),
        ("POST", CREATE, {"content": b"{"}),
        ("GET", CREDITS, {}),
        ("GET", "/v1/countries", {}),
    ],
    ids=["long", "malformed", "beside", "first"],
)
async def test_other_requests_are_counted_by_one_call_more(
    server: RealServer, queue_name: str, client: Client, queue: TaskQueue, method: str, path: str, request_: Any
) -> None:
    """Never by two."""
    await client.request(method, path, **request_)
    await used(queue)

    sent = await sent_during(server, client.request(method, path, **request_))

    counting = [command for command in sent if Keys(queue_name).rate("") in command]
    assert [command.split()[0] for command in counting] == ["EVALSHA"]
    assert Keys(queue_name).task("") not in counting[0]


# Servers that are away -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "request_", "scripts"),
    [
        ("POST", CREATE, {"json": TASK}, ["enqueue"]),
        ("POST", BATCH, {"json": [TASK]}, ["enqueue"]),
        ("POST", CREATE, {"content": b"{"}, ["admit"]),
        ("POST", CREATE, {"content": PADDED}, ["admit"]),
        ("POST", CHATGPT, {"json": PROMPT}, ["stats"]),
        ("GET", "/v1/countries", {}, ["admit"]),
        ("GET", "/v1/async/status", {}, ["admit", "stats"]),
    ],
)
async def test_a_server_that_is_away_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, request_: Any, scripts: list[str]
) -> None:
    """503, with nothing left of the rate, since nobody knows; no second call waits for the same."""
    called: list[str] = []
    with RealServer() as server:
        async with process(server.url, "away", patience=0.2) as one:
            key = (await one.accounts.create_key("acme", rate=7)).key
            async with one.client(key) as client:
                await client.get("/v1/async/status")
                await used(one.queue)
                run = one.queue.store._caller.run

                async def noted(name: str, /, **named: Any) -> Any:
                    called.append(name)
                    return await run(name, **named)

                monkeypatch.setattr(one.queue.store._caller, "run", noted)
                server.kill9()
                response = await client.request(method, path, **request_)

    assert error_of(response)[:2] == (503, "SERVICE_UNAVAILABLE")
    assert told(response) == (7, 0)
    assert sorted(called) == scripts


# Requests that end otherwise -------------------------------------------------------------------------


class Endless:
    """A read that never ends, unless it is stopped."""

    def __init__(self) -> None:
        self.began, self.was_stopped = asyncio.Event(), False

    async def __call__(self, tenant: str) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.was_stopped = True


@pytest.fixture
def endless(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> Endless:
    """The balance, which `GET /v1/credits` asks for, cannot be read to its end."""
    reading = Endless()
    monkeypatch.setattr(queue, "balance", reading)
    return reading


async def nothing_left(before: set[asyncio.Task[Any]]) -> None:
    """Wait until all tasks of the event loop that were not there before have ended."""
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not yet counted"])
async def test_a_client_that_goes_away_leaves_nothing_running(
    client: Client, accounts: Accounts, endless: Endless, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    """What it asked for is read beside the count: both end with the request."""
    asked: list[asyncio.Future[int | None]] = []
    if not counted:

        def ask(_: object) -> asyncio.Future[int | None]:
            asked.append(asyncio.get_running_loop().create_future())
            return asked[0]

        monkeypatch.setattr(accounts, "ask", ask)
    before = asyncio.all_tasks()

    asking = asyncio.create_task(client.get(CREDITS))
    await endless.began.wait()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking

    assert endless.was_stopped
    assert all(each.cancelled() for each in asked)
    await nothing_left(before)


async def test_a_refused_request_is_not_worked_on_any_more(
    client_of: ClientOf, endless: Endless, queue: TaskQueue
) -> None:
    """The count is known first: the answer does not wait for what was asked for."""
    client = await client_of("acme", rate=1)
    before = asyncio.all_tasks()
    first = asyncio.create_task(client.get(CREDITS))
    await endless.began.wait()
    await asyncio.sleep(0)

    over = await client.get(CREDITS)

    assert error_of(over) == RATE_EXCEEDED
    first.cancel()
    await nothing_left(before)
