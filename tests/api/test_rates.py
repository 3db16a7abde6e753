"""The rate of API keys over HTTP: exact, looked at first, and counted by the call that does the work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi import FastAPI

from taskqueue import TaskQueue, TaskSpec
from taskqueue.accounts import Accounts
from taskqueue.api import ApiOptions, create_app
from taskqueue.api.counting import SHORT_BODY, _is_short
from taskqueue.api.service import Service
from taskqueue.keys import Keys
from taskqueue.testing import FakeClock
from tests.api.conformance import checked_client
from tests.api.conftest import PROMPT, SECRET, TASK, Client, ClientOf, Working, echo, error_of
from tests.audit import dump
from tests.servers import RealServer

ROOM = 700
SECOND = timedelta(seconds=1)
CREATE, BATCH, CHATGPT, CREDITS = (
    "/v1/async/task",
    "/v1/async/task/batch",
    "/v1/monitor/chatgpt",
    "/v1/credits",
)
RATE_EXCEEDED = (429, "RATE_LIMIT_EXCEEDED", "API key rate limit exceeded", None)
PADDED = json.dumps(TASK).encode() + b" " * SHORT_BODY

# Requests of each kind of counting, and how many tasks each of them makes.
CALLS: dict[str, tuple[str, str, Any, int]] = {
    "create": ("POST", CREATE, {"json": TASK}, 1),
    "long": ("POST", CREATE, {"content": PADDED}, 1),
    "batch": ("POST", BATCH, {"json": [TASK, TASK]}, 2),
    "monitor": ("POST", CHATGPT, {"json": PROMPT}, 1),
    "credits": ("GET", CREDITS, {}, 0),
    "status": ("GET", "/v1/async/status", {}, 0),
    "list": ("GET", "/v1/async/tasks", {}, 0),
    "countries": ("GET", "/v1/countries", {}, 0),
    "clear": ("DELETE", "/v1/async/queue", {}, 0),
}


class Process(NamedTuple):
    """One process of the service."""

    queue: TaskQueue
    accounts: Accounts
    app: FastAPI

    def client(self, key: str) -> Client:
        """Return a client with an API key, whose answers are checked."""
        return checked_client(self.app, key)

    def takes_turns(self) -> None:
        """Send few requests with each call, so that no process has a second for itself."""
        self.accounts._admitting._most_entries = 3
        self.app.state.service.submissions._enqueuing._most_entries = 3


@asynccontextmanager
async def process(url: str, name: str, **options: Any) -> AsyncIterator[Process]:
    """Open one process of the service; *options* are those of its queue."""
    async with (
        TaskQueue.connect(url, name=name, max_queued=ROOM, **options) as queue,
        Accounts(queue, SECRET) as accounts,
    ):
        yield Process(queue, accounts, create_app(queue, accounts, ApiOptions(max_queued=ROOM)))


@pytest.fixture
async def queue(url: str, queue_name: str, clock: FakeClock) -> AsyncIterator[TaskQueue]:
    """The test's queue; its seconds end when the test says so."""
    async with TaskQueue.connect(url, name=queue_name, clock=clock, max_queued=ROOM, patience=2.0) as opened:
        yield opened


@pytest.fixture
def options() -> dict[str, Any]:
    """Bodies that are too long are not very long."""
    return {"max_task_bytes": 200_000, "max_queued": ROOM, "types": ["CHATGPT", "GOOGLE"]}


@pytest.fixture
async def pair(url: str, queue_name: str, clock: FakeClock) -> AsyncIterator[list[Process]]:
    """Two processes of one service."""
    async with AsyncExitStack() as stack:
        opening = (process(url, queue_name, clock=clock) for _ in range(2))
        yield [await stack.enter_async_context(each) for each in opening]


def told(response: httpx.Response) -> tuple[int, int]:
    """Return the rate and what is left of it, as the headers tell."""
    limit, remaining = (int(response.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining"))
    return limit, remaining


async def let_in(client: Client, count: int, method: str, path: str, request: Any) -> list[int]:
    """Make so many requests at once; return what was left for each that was let in."""
    replies = await asyncio.gather(*(client.request(method, path, **request) for _ in range(count)))
    over = [reply for reply in replies if reply.status_code != 200]
    assert {error_of(reply) for reply in over} <= {RATE_EXCEEDED}
    assert {told(reply)[1] for reply in over} <= {0}
    return [told(reply)[1] for reply in replies if reply.status_code == 200]


def tasks_ever(server: RealServer, name: str) -> int:
    """Return how many tasks were ever accepted."""
    with server.client() as client:
        return int(client.get(Keys(name).seq) or 0)


# Exact ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
async def test_the_rate_is_exact_over_two_processes(
    *, server: RealServer, queue_name: str, pair: list[Process], queue: TaskQueue, working: Working, call: str
) -> None:
    """Of 60 requests in one second 12 are let in, each told another number left; the others do nothing."""
    method, path, request, tasks = CALLS[call]
    key = (await pair[0].accounts.create_key("acme", rate=12)).key
    for each in pair:
        each.takes_turns()

    async with AsyncExitStack() as stack:
        if call == "monitor":
            await stack.enter_async_context(working(CHATGPT=echo))
        clients = [await stack.enter_async_context(each.client(key)) for each in pair]
        found = await asyncio.gather(*(let_in(client, 30, method, path, request) for client in clients))

    assert sorted(number for each in found for number in each) == list(range(12))
    # Batches share no call: those of one process may all be there before the other's.
    assert call == "batch" or all(found), "they did not take turns"
    assert tasks_ever(server, queue_name) == 12 * tasks


async def test_a_second_is_one_of_the_servers_clock(url: str, queue_name: str, server: RealServer) -> None:
    """No clock is passed: what begins and ends in one second of the server is counted in it."""

    async def in_one_second() -> list[list[int]]:
        """Make 50 requests, again with another key if a second ended meanwhile."""
        for _ in range(20):
            key = (await one.accounts.create_key("acme", rate=10)).key
            async with one.client(key) as first, other.client(key) as second:
                began: Any = looking.time()
                found = await asyncio.gather(*(let_in(each, 25, *call) for each in (first, second)))
                ended: Any = looking.time()
            if began[0] == ended[0]:
                return found
        raise AssertionError("no try was short enough")

    call = CALLS["create"][:3]
    async with process(url, queue_name) as one, process(url, queue_name) as other:
        with server.client() as looking:
            found = await in_one_second()

    assert sorted(number for each in found for number in each) == list(range(10))


async def test_two_batches_race_for_the_last_room(pair: list[Process], queue: TaskQueue) -> None:
    """Two of 500, room for 700: one is stored whole, of the other there is nothing."""
    key = (await pair[0].accounts.create_key("acme")).key

    async with pair[0].client(key) as first, pair[1].client(key) as second:
        batches = (client.post(BATCH, json=[TASK] * 500) for client in (first, second))
        stored, refused = sorted(await asyncio.gather(*batches), key=lambda reply: reply.status_code)

    assert stored.json()["summary"] == {"total": 500, "succeeded": 500, "failed": 0}
    assert error_of(refused)[:2] == (429, "QUEUE_LIMIT_EXCEEDED")
    assert {told(stored), told(refused)} == {(1000, 999), (1000, 998)}
    assert (await queue.stats(tenant="acme")).queued == 500


# First ---------------------------------------------------------------------------------------------

Setup = Callable[[Service], Awaitable[Any]]


async def nothing(service: Service) -> None:
    """Leave the queue as it is."""


async def full(service: Service) -> None:
    """Fill the tenant's queue."""
    await service.queue.enqueue_many(TaskSpec(type="GROK", payload={}, tenant="acme") for _ in range(ROOM))


async def poor(service: Service) -> None:
    """Leave the tenant one credit."""
    await service.queue.grant("acme", 1)


async def taken(service: Service) -> None:
    """Use the idempotency key `k`."""
    await service.queue.enqueue("GROK", {}, tenant="acme", idempotency_key="k")


async def busy(service: Service) -> None:
    """Leave the tenant no slot."""
    await service.queue.set_limit(tenant="acme", concurrency=0)


async def stopping(service: Service) -> None:
    """Tell the service to stop."""
    service.stop()


TEXT = {"Content-Type": "text/plain"}
ZIPPED = {"Content-Encoding": "gzip"}
REFUSED: list[tuple[str, str, Any, Setup, int, str]] = [
    ("POST", CREATE, {"content": b""}, nothing, 400, "VALIDATION_ERROR"),
    ("POST", CREATE, {"content": b"{"}, nothing, 400, "VALIDATION_ERROR"),
    ("POST", CREATE, {"content": b"{}", "headers": TEXT}, nothing, 415, "VALIDATION_ERROR"),
    ("POST", CREATE, {"content": b"{}", "headers": ZIPPED}, nothing, 415, "VALIDATION_ERROR"),
    ("POST", CREATE, {"content": b" " * 200_001}, nothing, 413, "VALIDATION_ERROR"),
    ("POST", CREATE, {"json": [TASK]}, nothing, 400, "VALIDATION_ERROR"),
    ("POST", CREATE, {"json": {**TASK, "priority": 0}}, nothing, 400, "VALIDATION_ERROR"),
    ("POST", CREATE, {"json": {**TASK, "priority": 0}}, full, 429, "QUEUE_LIMIT_EXCEEDED"),
    ("POST", CREATE, {"json": TASK}, full, 429, "QUEUE_LIMIT_EXCEEDED"),
    ("POST", CREATE, {"json": TASK}, poor, 403, "INSUFFICIENT_CREDITS"),
    ("POST", CREATE, {"json": {**TASK, "idempotencyKey": "k"}}, taken, 409, "RESOURCE_ALREADY_EXISTS"),
    ("POST", BATCH, {"content": b"["}, nothing, 400, "VALIDATION_ERROR"),
    ("POST", BATCH, {"json": TASK}, nothing, 400, "VALIDATION_ERROR"),
    ("POST", BATCH, {"json": [TASK, 1]}, nothing, 400, "VALIDATION_ERROR"),
    ("POST", BATCH, {"json": [TASK] * 501}, nothing, 400, "VALIDATION_ERROR"),
    ("POST", BATCH, {"json": [TASK]}, full, 429, "QUEUE_LIMIT_EXCEEDED"),
    ("POST", BATCH, {"json": [{}, {}]}, full, 429, "QUEUE_LIMIT_EXCEEDED"),
    ("POST", BATCH, {"json": [{}, TASK]}, poor, 200, ""),
    ("POST", BATCH, {"json": [{}, {}]}, nothing, 200, ""),
    ("POST", CHATGPT, {"json": {}}, nothing, 400, "VALIDATION_ERROR"),
    ("POST", CHATGPT, {"json": PROMPT}, poor, 403, "INSUFFICIENT_CREDITS"),
    ("POST", CHATGPT, {"json": PROMPT}, busy, 429, "CONCURRENCY_LIMIT_EXCEEDED"),
    ("POST", CHATGPT, {"json": PROMPT}, stopping, 503, "SERVICE_UNAVAILABLE"),
    ("POST", "/v1/monitor/gemini", {"json": PROMPT}, nothing, 404, "RESOURCE_NOT_FOUND"),
    ("POST", "/v1/monitor/google/goto", {"json": {}}, nothing, 400, "VALIDATION_ERROR"),
    ("GET", f"{CREATE}/unknown", {}, nothing, 404, "RESOURCE_NOT_FOUND"),
    ("GET", f"{CREATE}/unknown/events", {}, nothing, 404, "RESOURCE_NOT_FOUND"),
    ("DELETE", f"{CREATE}/unknown", {}, nothing, 404, "RESOURCE_NOT_FOUND"),
    ("GET", f"{CREDITS}?x=1", {}, nothing, 400, "VALIDATION_ERROR"),
    ("GET", "/v1/async/tasks?limit=0", {}, nothing, 400, "VALIDATION_ERROR"),
    ("GET", "/v1/countries?model=x", {}, nothing, 400, "VALIDATION_ERROR"),
    ("GET", "/v1/nope", {}, nothing, 404, "RESOURCE_NOT_FOUND"),
    ("PUT", CREATE, {"json": TASK}, nothing, 405, "RESOURCE_NOT_FOUND"),
]


@pytest.mark.parametrize(("method", "path", "request_", "setup", "status", "code"), REFUSED)
async def test_the_rate_goes_before_every_other_refusal(
    *,
    app: FastAPI,
    client_of: ClientOf,
    clock: FakeClock,
    method: str,
    path: str,
    request_: Any,
    setup: Setup,
    status: int,
    code: str,
) -> None:
    """Whatever is wrong, the request is counted, once; the next one hears of the rate and nothing else."""
    client = await client_of("acme", rate=1)
    await setup(app.state.service)

    for _ in range(2):
        first = await client.request(method, path, **request_)
        over = await client.request(method, path, **request_)

        assert (first.status_code, first.json().get("error", {}).get("code", "")) == (status, code)
        assert error_of(over) == RATE_EXCEEDED
        assert told(first) == told(over) == (1, 0)
        clock.advance(SECOND)


@pytest.mark.parametrize("call", ["create", "long", "batch", "monitor", "clear"])
async def test_a_refused_request_leaves_nothing_behind(
    *,
    server: RealServer,
    queue_name: str,
    client_of: ClientOf,
    clock: FakeClock,
    queue: TaskQueue,
    working: Working,
    call: str,
) -> None:
    """Every key of the queue is as it was, the count too; in the next second the same request passes."""
    method, path, request, _ = CALLS[call]
    client = await client_of("acme", rate=1)
    async with working(CHATGPT=echo):
        assert (await client.request(method, path, **request)).status_code == 200
        while (await queue.stats()).processing or (await queue.stats()).queued:
            await asyncio.sleep(0.01)
    await queue.enqueue("GROK", {}, tenant="acme")
    await used(queue)

    with server.client() as looking:
        before = dump(looking, queue_name).values
        assert error_of(await client.request(method, path, **request)) == RATE_EXCEEDED
        assert dump(looking, queue_name).values == before

    clock.advance(SECOND)
    async with working(CHATGPT=echo):
        assert (await client.request(method, path, **request)).status_code == 200


async def used(queue: TaskQueue) -> None:
    """Wait until the use of the tenant's API key is noted, which happens behind a request."""
    async with asyncio.timeout(10), Accounts(queue, SECRET) as accounts:
        while not all(key.last_used_at for key in await accounts.keys()):
            await asyncio.sleep(0.01)


# Long bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CREATE, BATCH, CHATGPT])
@pytest.mark.parametrize("length", [None, SHORT_BODY + 1, SHORT_BODY], ids=["untold", "long", "short"])
async def test_a_long_body_is_read_only_if_its_request_is_let_in(
    client_of: ClientOf, path: str, length: int | None
) -> None:
    """Also one of no told length; a short one costs no call of its own, and so is read first."""
    client, pulled = await client_of("acme", rate=1), list[int]()

    async def body() -> AsyncIterator[bytes]:
        for number in range(SHORT_BODY // 1024):
            pulled.append(number)
            yield b" " * 1024
        yield b" " * ((length or SHORT_BODY) - SHORT_BODY)

    headers = {} if length is None else {"Content-Length": str(length)}
    for is_over in (False, True):
        pulled.clear()
        response = await client.post(path, content=body(), headers=headers)

        assert error_of(response)[0] == (429 if is_over else 400)
        assert told(response) == (1, 0)
        assert bool(pulled) is (not is_over or length == SHORT_BODY)


@pytest.mark.parametrize(
    ("headers", "short"),
    [
        ([(b"content-length", b"0")], True),
        ([(b"content-length", b"%d" % SHORT_BODY)], True),
        ([(b"content-length", b"%d" % (SHORT_BODY + 1))], False),
        ([(b"content-length", b"9" * 5000)], False),
        ([(b"content-length", b"-1")], False),
        ([(b"content-length", b"")], False),
        ([(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], False),
        ([(b"transfer-encoding", b"chunked")], False),
        ([], False),
    ],
)
def test_a_body_is_short_if_it_says_so(headers: list[tuple[bytes, bytes]], short: bool) -> None:
    """What tells nothing may have no end."""
    assert _is_short(headers) is short
