"""Replies that are lost: what the official client's own repeats make of them, and the engine's.

The client sends a POST up to three times by itself. Whoever gave an idempotency key has one task then,
whatever was lost; whoever gave none has one for each time that it was sent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import cloro
import pytest
from fastapi import FastAPI

from taskqueue import Task, TaskQueue
from taskqueue.accounts import Accounts
from taskqueue.api import ApiOptions, create_app
from taskqueue.connect.wire import Wire
from tests.api.conftest import PROMPT, SECRET, Working
from tests.api.live import served
from tests.api.losing import LOSSES, LosingProxy, Loss, losing
from tests.servers import RealServer

CREATE = b"POST /v1/async/task HTTP/1.1\r\n"
BATCH = b"POST /v1/async/task/batch HTTP/1.1\r\n"
MONITOR = b"POST /v1/monitor/chatgpt HTTP/1.1\r\n"
REPEATS = 2
Ask = Callable[..., Any]

every_loss = pytest.mark.parametrize("how", LOSSES)


@pytest.fixture
async def proxy(app: FastAPI) -> AsyncIterator[LosingProxy]:
    """The service, behind a proxy."""
    async with served(app) as url, losing(urlsplit(url).port or 0) as standing:
        yield standing


@pytest.fixture
async def official(
    proxy: LosingProxy, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[cloro.Cloro]:
    """The client as its users make it, with its two repeats; only its pauses and its patience are short."""
    key = (await accounts.create_key("acme")).key
    monkeypatch.setattr("cloro._client._backoff", lambda attempt: 0.01 * attempt)
    with cloro.Cloro(api_key=key, base_url=f"http://127.0.0.1:{proxy.port}", timeout=20) as client:
        assert client.max_retries == REPEATS
        yield client


async def ask(call: Ask, *arguments: Any, **options: Any) -> Any:
    """Make a call of the client, which blocks, beside the service."""
    return await asyncio.to_thread(call, *arguments, **options)


def lose(client: cloro.Cloro, proxy: LosingProxy, count: int, how: Loss, asked: bytes) -> None:
    """Lose replies; a client to which nothing comes gives up soon."""
    if how == "stall":
        client._client.timeout = 2.0 / count
    proxy.lose(count, how, asked)


async def stored(queue: TaskQueue) -> list[Task]:
    """Return all tasks that there are, past the service and its proxy."""
    return [task async for task in queue.tasks(tenant="acme")]


# Between the client and the service --------------------------------------------------------------


@every_loss
async def test_a_key_makes_one_task_of_all_repeats(
    official: cloro.Cloro, proxy: LosingProxy, queue: TaskQueue, how: Loss
) -> None:
    """The repeat is told of a conflict; by the key the task is found, and waited for like any other."""
    lose(official, proxy, 1, how, CREATE)

    with pytest.raises(cloro.ConflictError) as caught:
        await ask(official.async_tasks.create, "CHATGPT", PROMPT, idempotency_key="k")

    assert proxy.lost == 1
    assert caught.value.body["error"]["details"] == {"field": "idempotencyKey", "value": "k"}
    [task] = await stored(queue)
    found = await ask(official.async_tasks.retrieve, "k")
    assert (found["task"]["id"], found["task"]["idempotencyKey"]) == (task.id, "k")


@pytest.mark.parametrize("how", ["close", "stall"])
async def test_a_key_makes_one_task_though_no_reply_comes_through(
    official: cloro.Cloro, proxy: LosingProxy, queue: TaskQueue, how: Loss
) -> None:
    """The client gives up after three requests; asked once more, it finds what the first one made."""
    lose(official, proxy, 1 + REPEATS, how, CREATE)

    with pytest.raises(cloro.APITimeoutError if how == "stall" else cloro.APIConnectionError):
        await ask(official.async_tasks.create, "CHATGPT", PROMPT, idempotency_key="k")

    assert proxy.lost == 1 + REPEATS
    [task] = await stored(queue)
    with pytest.raises(cloro.ConflictError):
        await ask(official.async_tasks.create, "CHATGPT", PROMPT, idempotency_key="k")
    assert (await ask(official.async_tasks.retrieve, "k"))["task"]["id"] == task.id
    assert len(await stored(queue)) == 1


@every_loss
async def test_without_a_key_every_repeat_is_a_task(
    official: cloro.Cloro, proxy: LosingProxy, queue: TaskQueue, how: Loss
) -> None:
    """As the documents say: the client knows one of the two, and both are run and charged."""
    await queue.grant("acme", 100)
    lose(official, proxy, 1, how, CREATE)

    handle = await ask(official.async_tasks.create, "CHATGPT", PROMPT)

    assert proxy.lost == 1
    tasks = await stored(queue)
    assert len(tasks) == 2
    assert handle.id in {task.id for task in tasks}
    assert [task.cost for task in tasks] == [5, 5]


@every_loss
async def test_a_batch_makes_one_task_of_each_key(
    official: cloro.Cloro, proxy: LosingProxy, queue: TaskQueue, how: Loss
) -> None:
    """The repeat has a conflict in the place of each task with a key; those without are there twice."""
    tasks = [
        {"task_type": "CHATGPT", "payload": PROMPT, "idempotency_key": "first"},
        {"task_type": "GROK", "payload": PROMPT},
        {"task_type": "GEMINI", "payload": PROMPT, "idempotency_key": "third"},
    ]
    lose(official, proxy, 1, how, BATCH)

    results = await ask(official.async_tasks.create_batch, tasks)

    assert proxy.lost == 1
    assert [item["success"] for item in results] == [False, True, False]
    for item, key in ((results[0], "first"), (results[2], "third")):
        assert item["error"]["code"] == "RESOURCE_ALREADY_EXISTS"
        assert item["error"]["details"] == {"field": "idempotencyKey", "value": key}
        assert (await ask(official.async_tasks.retrieve, key))["task"]["status"] == "QUEUED"
    assert Counter(task.type for task in await stored(queue)) == {"CHATGPT": 1, "GROK": 2, "GEMINI": 1}


async def test_a_synchronous_request_is_run_again(
    official: cloro.Cloro, proxy: LosingProxy, queue: TaskQueue, working: Working
) -> None:
    """It has no key: a result that is lost on its way was made, and charged, and is made again."""
    runs: list[str] = []

    def count(payload: dict[str, Any]) -> dict[str, Any]:
        runs.append(payload["prompt"])
        return {"text": str(len(runs))}

    await queue.grant("acme", 100)
    proxy.lose(1, "close", MONITOR)

    async with working(CHATGPT=count):
        found = await ask(official.monitor.chatgpt, **PROMPT)

    assert (proxy.lost, found["result"]) == (1, {"text": "2"})
    balance = await queue.balance("acme")
    assert balance is not None
    assert balance.spent == 14


async def test_what_changes_nothing_is_repeated_without_a_trace(
    official: cloro.Cloro, proxy: LosingProxy, queue: TaskQueue
) -> None:
    """A look, and a cancel, whose replies are lost."""
    handle = await ask(official.async_tasks.create, "CHATGPT", PROMPT)
    for method in ("GET", "DELETE", "DELETE"):
        proxy.lose(1, "close", f"{method} /v1/async/task/".encode())
        reply = await ask(official.request, method, f"/v1/async/task/{handle.id}")

        assert reply["task"]["status"] == ("QUEUED" if method == "GET" else "FAILED")
    assert proxy.lost == 3
    assert len(await stored(queue)) == 1


# Between the service and its queue ---------------------------------------------------------------


@pytest.fixture(scope="module")
def far_server() -> Any:
    """A server that is reached by TCP."""
    with RealServer(tcp=True) as running:
        yield running


class Far:
    """A service whose queue is behind a proxy; its client is not."""

    def __init__(self, queue: TaskQueue, proxy: LosingProxy, client: cloro.Cloro) -> None:
        self.queue, self.proxy, self.client = queue, proxy, client

    def lose(self, count: int, how: Loss) -> None:
        """Lose the replies to the next calls that store tasks: they name the counter of places."""
        self.proxy.lose(count, how, self.queue.store.keys.seq.encode())


@pytest.fixture
async def make_far(
    far_server: RealServer, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[float], Any]]:
    """Open the service over a queue with a given patience. A reply that stalls is given up soon."""
    monkeypatch.setattr("taskqueue.store.calling.Wire", partial(Wire, reply_timeout=0.3))
    monkeypatch.setattr("cloro._client._backoff", lambda attempt: 0.01 * attempt)

    async def make(patience: float) -> Any:
        async with (
            losing(far_server.port or 0) as proxy,
            TaskQueue.connect(
                f"redis://127.0.0.1:{proxy.port}", name=queue_name, patience=patience, max_queued=50
            ) as queue,
            Accounts(queue, SECRET) as accounts,
            served(create_app(queue, accounts, ApiOptions(retry_after=0))) as url,
        ):
            key = (await accounts.create_key("acme")).key
            with cloro.Cloro(api_key=key, base_url=url, timeout=20) as client:
                # The key is known from here on, and every script is on the server.
                first = await ask(client.async_tasks.create, "CHATGPT", PROMPT)
                await ask(client.request, "DELETE", "/v1/async/queue")
                assert await queue.get(first.id) is None
                yield Far(queue, proxy, client)

    made: list[Any] = []

    async def enter(patience: float) -> Far:
        made.append(make(patience))
        far: Far = await anext(made[-1])
        return far

    yield enter
    for each in made:
        await each.aclose()
    with far_server.client() as client:
        client.flushall()


@every_loss
@pytest.mark.parametrize("key", ["k", None])
async def test_the_engine_repeats_without_a_second_task(
    make_far: Callable[[float], Any], how: Loss, key: str | None
) -> None:
    """Replies to the call that stores it are lost twice: one task, one answer, no conflict."""
    far = await make_far(30)
    far.lose(2, how)

    handle = await ask(far.client.async_tasks.create, "CHATGPT", PROMPT, idempotency_key=key)

    assert far.proxy.lost == 2
    [task] = await stored(far.queue)
    assert (task.id, task.idempotency_key) == (handle.id, key)


async def test_the_engine_repeats_a_batch_without_second_tasks(make_far: Callable[[float], Any]) -> None:
    """With keys and without: each task once, all of them accepted."""
    far = await make_far(30)
    tasks: list[dict[str, Any]] = [
        {"task_type": "CHATGPT", "payload": PROMPT, "idempotency_key": f"k{number}" if number % 2 else None}
        for number in range(20)
    ]
    far.lose(1, "close")

    results = await ask(far.client.async_tasks.create_batch, tasks)

    assert far.proxy.lost == 1
    assert [item["success"] for item in results] == [True] * 20
    assert {item["task"]["id"] for item in results} == {task.id for task in await stored(far.queue)}


@pytest.mark.parametrize(("key", "tasks"), [("k", 1), (None, 2)])
async def test_a_503_leaves_open_what_was_stored(
    make_far: Callable[[float], Any], key: str | None, tasks: int
) -> None:
    """Replies are lost for as long as the queue is patient; then the client repeats, as after any 503."""
    far = await make_far(0.2)
    far.lose(1, "stall")

    if key is None:
        await ask(far.client.async_tasks.create, "CHATGPT", PROMPT)
    else:
        with pytest.raises(cloro.ConflictError):
            await ask(far.client.async_tasks.create, "CHATGPT", PROMPT, idempotency_key=key)
        assert (await ask(far.client.async_tasks.retrieve, key))["task"]["status"] == "QUEUED"

    assert far.proxy.lost == 1
    assert len(await stored(far.queue)) == tasks
