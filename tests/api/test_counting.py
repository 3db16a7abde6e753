"""What counting a request costs, and what becomes of it when something else ends the request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from fastapi import FastAPI

from taskqueue import TaskQueue
from taskqueue.accounts import Accounts
from taskqueue.errors import ServerUnavailable
from taskqueue.keys import Keys
from taskqueue.testing import FakeClock
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


@pytest.fixture
async def queue(url: str, queue_name: str, clock: FakeClock) -> AsyncIterator[TaskQueue]:
    """The test's queue; all of a test is one second."""
    async with TaskQueue.connect(url, name=queue_name, clock=clock, max_queued=100, patience=2.0) as opened:
        yield opened


# Round trips ---------------------------------------------------------------------------------------


async def sent_during(server: RealServer, work: Awaitable[Any]) -> list[str]:
    """Return the commands that clients send while *work* is done; what scripts call is left out."""
    with server.client() as asking, server.client() as looking:
        asking.ping()  # has said hello by now
        with looking.monitor() as seen:
            await work
            asking.echo("that was all")
            found = list(until_told("that was all", seen))
    return [each["command"] for each in found[:-1] if each["client_type"] != "lua"]


def scripts_of(sent: list[str]) -> int:
    """Return how many scripts these commands call, which must be all of them."""
    assert {command.split()[0] for command in sent} <= {"EVALSHA", "FCALL"}
    return len(sent)


@pytest.mark.parametrize("call", ["create", "batch"])
async def test_tasks_are_counted_and_stored_by_one_call(
    server: RealServer, queue_name: str, client: Client, queue: TaskQueue, call: str
) -> None:
    """One command in all, which has the key of the rate and those of the tasks."""
    method, path, request, tasks = CALLS[call]
    await client.request(method, path, **request)
    await used(queue)

    sent = await sent_during(server, client.request(method, path, **request))

    assert scripts_of(sent) == 1
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
    *,
    server: RealServer,
    queue_name: str,
    client: Client,
    queue: TaskQueue,
    method: str,
    path: str,
    request_: Any,
) -> None:
    """Never by two."""
    await client.request(method, path, **request_)
    await used(queue)

    sent = await sent_during(server, client.request(method, path, **request_))

    counting = [command for command in sent if Keys(queue_name).rate("") in command]
    assert scripts_of(counting) == 1
    assert Keys(queue_name).task("") not in counting[0]


@pytest.mark.parametrize(
    ("path", "body"), [(CREATE, {**TASK, "priority": 0}), (CREATE, {}), (BATCH, [{}, {}]), (BATCH, {})]
)
async def test_who_is_over_the_rate_costs_one_call(
    server: RealServer, client_of: ClientOf, queue: TaskQueue, path: str, body: Any
) -> None:
    """The room in the queue, which would be told before other mistakes, is not asked for."""
    client = await client_of("acme", rate=1)
    await client.post(path, json=body)
    await used(queue)

    sent = await sent_during(server, client.post(path, json=body))

    assert scripts_of(sent) == 1


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


async def test_what_was_counted_is_told_though_the_server_went_away(
    client_of: ClientOf, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task was stored and its request counted; waiting for the result failed."""

    async def lost(task_id: str) -> None:
        raise ServerUnavailable("gone")

    client = await client_of("acme", rate=7)
    monkeypatch.setattr(queue, "wait", lost)

    response = await client.post(CHATGPT, json=PROMPT)

    assert error_of(response)[:2] == (503, "SERVICE_UNAVAILABLE")
    assert told(response) == (7, 6)


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


async def test_a_client_that_leaves_a_real_server_leaves_nothing_running(
    app: FastAPI, client: Client, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server tells nobody: the request goes on to its end, which nobody hears of."""
    began, go = asyncio.Event(), asyncio.Event()

    async def slow(tenant: str) -> None:
        began.set()
        await go.wait()

    monkeypatch.setattr(queue, "balance", slow)
    request = f"GET {CREDITS} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}\r\n\r\n"

    async with served(app) as address:
        before = asyncio.all_tasks()
        _, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write(request.encode())
        await began.wait()
        writer.close()
        await writer.wait_closed()
        go.set()
        await nothing_left(before)

    assert app.state.service.metrics.in_flight == 0


async def test_a_refused_request_is_not_worked_on_any_more(
    client_of: ClientOf, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer does not wait for what it asked for."""
    client, reading = await client_of("acme", rate=1), Endless()
    await client.get(CREDITS)
    monkeypatch.setattr(queue, "balance", reading)
    before = asyncio.all_tasks()

    over = await client.get(CREDITS)

    assert error_of(over) == RATE_EXCEEDED
    assert reading.began.is_set(), "it was read beside the count"
    assert reading.was_stopped
    await nothing_left(before)


@pytest.mark.parametrize("path", [CREATE, BATCH, CHATGPT])
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_counted(
    app: FastAPI, client_of: ClientOf, queue: TaskQueue, path: str
) -> None:
    """Else leaving early would be a way around the rate; one that is over it hears of that."""
    client = await client_of("acme", rate=1)

    assert await leave(app, client, path) == (499, b"0")
    assert await leave(app, client, path) == (429, b"0")


async def leave(app: FastAPI, client: Client, path: str) -> tuple[int, bytes]:
    """Send a part of a body and go; return the status and what was left of the rate."""
    request = client.build_request("POST", path, json=TASK)
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"{", "more_body": True}]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])[b"x-ratelimit-remaining"]


@pytest.mark.parametrize("call", ["create", "long", "batch", "credits", "countries"])
async def test_a_service_that_ends_answers_503(client: Client, accounts: Accounts, call: str) -> None:
    """Where it cannot count any more; no work is begun that nobody waits for."""
    method, path, request, _ = CALLS[call]
    await client.request(method, path, **request)
    await accounts.close()

    response = await client.request(method, path, **request)

    # Tasks that are counted by the call that stores them still may come in.
    assert response.status_code == (200 if call in {"create", "batch"} else 503)
    gc.collect()
