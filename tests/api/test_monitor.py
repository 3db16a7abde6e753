"""POST /v1/monitor/*: run now, answer with the result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI

from scheduler import GiveUp
from taskqueue import Task, TaskQueue, TaskState
from taskqueue.api.routes.monitor import ENGINES
from tests.api.conftest import PROMPT, TASK, Client, Working, echo, error_of

CHATGPT = "/v1/monitor/chatgpt"


@pytest.fixture
def options() -> dict[str, Any]:
    """A wait that a test can sit out."""
    return {"sync_timeout": 1.5, "max_waiting": 3}


@pytest.mark.parametrize(("path", "task_type"), [(path, task_type) for path, _, task_type in ENGINES])
async def test_every_engine_answers(client: Client, working: Working, path: str, task_type: str) -> None:
    """The bare result in the envelope; the credits in the headers, two more than asynchronously."""
    body = {"query": "x", "country": "US"} if task_type.startswith("GOOGLE") else PROMPT
    prices = {"CHATGPT": 7, "COPILOT": 7, "GOOGLE": 5, "GOOGLE_NEWS": 5}

    async with working(**{task_type: echo}):
        response = await client.post(path, json=body)

    assert response.status_code == 200
    assert response.json() == {"success": True, "result": {"text": body.get("prompt", body.get("query"))}}
    assert response.headers["x-credits-charged"] == str(prices.get(task_type, 6))


async def test_the_headers_of_slots_and_credits(client: Client, queue: TaskQueue, working: Working) -> None:
    """Slots as the request found them; credits as it left them."""
    await queue.grant("acme", 100)
    await queue.set_limit(tenant="acme", concurrency=5)
    await queue.enqueue("GROK", PROMPT, tenant="acme", reserve=True)

    async with working(CHATGPT=echo):
        headers = (await client.post(CHATGPT, json=PROMPT)).headers

    assert (headers["x-concurrency-limit"], headers["x-concurrency-current"]) == ("5", "1")
    assert headers["x-concurrency-remaining"] == "4"
    assert (headers["x-credits-charged"], headers["x-credits-remaining"]) == ("7", "93")


async def test_it_overtakes_everything_that_is_queued(client: Client, working: Working) -> None:
    """A synchronous request runs before the highest priority."""
    order: list[str] = []

    async def note(payload: dict[str, Any]) -> dict[str, Any]:
        order.append(payload["prompt"])
        return {}

    for _ in range(3):
        await client.post("/v1/async/task", json={**TASK, "priority": 10})
    request = asyncio.create_task(client.post(CHATGPT, json={**PROMPT, "prompt": "now"}))
    while (await client.get("/v1/async/status")).json()["processingTasks"] == 0:
        await asyncio.sleep(0.01)
    async with working(CHATGPT=note):
        await request

    assert order[0] == "now"


async def test_no_free_slot(client: Client, queue: TaskQueue, working: Working) -> None:
    """429 at once, with the limit in details and headers; nothing is queued. Asynchronously it is."""
    await queue.set_limit(tenant="acme", concurrency=1)
    await queue.enqueue("GROK", PROMPT, tenant="acme", reserve=True)

    async with working(CHATGPT=echo):
        response = await client.post(CHATGPT, json=PROMPT)

    message = "Concurrency limit exceeded"
    assert error_of(response) == (429, "CONCURRENCY_LIMIT_EXCEEDED", message, {"limit": 1})
    assert [response.headers[f"x-concurrency-{name}"] for name in ("limit", "current", "remaining")] == [
        "1",
        "1",
        "0",
    ]
    assert "x-credits-charged" not in response.headers
    assert (await client.post("/v1/async/task", json=TASK)).status_code == 200


async def test_no_credits(client: Client, queue: TaskQueue, working: Working) -> None:
    """403; the balance must cover the dearer price."""
    await queue.grant("acme", 6)

    response = await client.post(CHATGPT, json=PROMPT)

    assert error_of(response) == (403, "INSUFFICIENT_CREDITS", "Insufficient credits", None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "prompt"),
        ({"prompt": "x", "country": "us"}, "country"),
        ({**PROMPT, "taskType": "CHATGPT"}, "taskType"),
        ({**PROMPT, "include": {"html": 1}}, "include.html"),
        ({**PROMPT, "idempotencyKey": "k"}, "idempotencyKey"),
    ],
)
async def test_a_bad_request(client: Client, body: dict[str, Any], field: str) -> None:
    """400 with bare paths, no headers of slots, and no slot taken."""
    response = await client.post(CHATGPT, json=body)

    status, code, _, details = error_of(response)
    assert (status, code) == (400, "VALIDATION_ERROR")
    assert field in [detail["field"] for detail in details]
    assert "x-concurrency-limit" not in response.headers


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("canary"), "HANDLER_ERROR"),
        (GiveUp("canary-free"), "GIVEN_UP"),
        (GiveUp("x", code="OWN"), None),
    ],
)
async def test_a_failure(
    client: Client, queue: TaskQueue, working: Working, error: Exception, reason: str | None
) -> None:
    """500 in the contract's words after all attempts; nothing is charged."""

    async def broken(_: Any) -> None:
        raise error

    await queue.grant("acme", 100)
    async with working(CHATGPT=broken):
        response = await client.post(CHATGPT, json=PROMPT)

    status, code, message, details = error_of(response)
    assert (status, code, message) == (500, "INTERNAL_SERVER_ERROR", "Maximum retries exceeded")
    assert "canary" not in response.text
    assert (details or {}).get("reason") == reason
    assert (await client.get("/v1/credits")).json()["remaining"] == 100


async def test_a_request_that_takes_too_long(client: Client, queue: TaskQueue, working: Working) -> None:
    """500; the handler is stopped, so that it is not charged."""
    ended = asyncio.Event()

    async def slow(_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await queue.grant("acme", 100)
    async with working(CHATGPT=slow):
        response = await client.post(CHATGPT, json=PROMPT)
        await asyncio.wait_for(ended.wait(), 10)

    message = "Maximum timeout (1.5 seconds) exceeded"
    assert error_of(response) == (500, "INTERNAL_SERVER_ERROR", message, None)
    assert (await client.get("/v1/credits")).json()["remaining"] == 100


async def test_too_many_that_wait(client: Client, queue: TaskQueue) -> None:
    """503 to the fourth, since this process holds three; the three are sent home when it stops."""
    requests = [asyncio.create_task(client.post(CHATGPT, json=PROMPT)) for _ in range(3)]
    while (await queue.stats(tenant="acme")).queued < 3:
        await asyncio.sleep(0.01)

    fourth = await client.post(CHATGPT, json=PROMPT)

    assert error_of(fourth)[:2] == (503, "SERVICE_UNAVAILABLE")
    for reply in await asyncio.gather(*requests):
        assert error_of(reply)[:2] == (500, "INTERNAL_SERVER_ERROR")
    assert (await queue.stats(tenant="acme")).queued == 0


async def test_a_service_that_stops(app: FastAPI, client: Client, queue: TaskQueue) -> None:
    """503 for those that no worker runs yet, and for new ones; their tasks are cancelled."""
    request = asyncio.create_task(client.post(CHATGPT, json=PROMPT))
    while (await queue.stats(tenant="acme")).queued < 1:
        await asyncio.sleep(0.01)

    app.state.service.stop()

    assert error_of(await request)[:2] == (503, "SERVICE_UNAVAILABLE")
    assert error_of(await client.post(CHATGPT, json=PROMPT))[:2] == (503, "SERVICE_UNAVAILABLE")
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/healthz")).status_code == 200
    assert (await queue.stats(tenant="acme")).queued == 0


async def test_what_runs_may_end_when_the_service_stops(
    app: FastAPI, client: Client, working: Working
) -> None:
    """Its result is worth waiting for, as long as the server waits."""
    started, go = asyncio.Event(), asyncio.Event()

    async def hold(_: Any) -> dict[str, Any]:
        started.set()
        await go.wait()
        return {"text": "done"}

    async with working(CHATGPT=hold):
        request = asyncio.create_task(client.post(CHATGPT, json=PROMPT))
        await asyncio.wait_for(started.wait(), 10)
        app.state.service.stop()
        asyncio.get_running_loop().call_later(0.1, go.set)
        response = await request

    assert response.json() == {"success": True, "result": {"text": "done"}}


async def test_a_queue_that_is_emptied(client: Client, queue: TaskQueue) -> None:
    """The synchronous request that waits in it is told so."""
    request = asyncio.create_task(client.post(CHATGPT, json=PROMPT))
    while (await queue.stats(tenant="acme")).queued < 1:
        await asyncio.sleep(0.01)
    await client.delete("/v1/async/queue")

    assert error_of(await request)[:2] == (499, "REQUEST_CANCELED")


async def _queued(queue: TaskQueue) -> str:
    """Wait until the tenant has a queued task, and return its id."""
    while not (found := [task.id async for task in queue.tasks(tenant="acme")]):
        await asyncio.sleep(0.01)
    return found[0]


async def test_a_task_that_is_cancelled(client: Client, queue: TaskQueue) -> None:
    """By somebody else, who took it off the queue: the request that waits is told so."""
    request = asyncio.create_task(client.post(CHATGPT, json=PROMPT))
    await queue.cancel(await _queued(queue))

    assert error_of(await request)[:2] == (499, "REQUEST_CANCELED")


async def test_credits_that_are_taken_back_while_it_is_queued(
    client: Client, queue: TaskQueue, working: Working
) -> None:
    """403: the balance must cover the price when it starts, too."""
    await queue.grant("acme", 7)
    request = asyncio.create_task(client.post(CHATGPT, json=PROMPT))
    await _queued(queue)
    await queue.grant("acme", -7)

    async with working(CHATGPT=echo):
        response = await request

    assert error_of(response) == (403, "INSUFFICIENT_CREDITS", "Insufficient credits", None)


async def test_a_task_that_completes_when_time_is_up(
    client: Client, queue: TaskQueue, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it could be stopped: it is charged, so its result is the answer."""
    cancel, go = queue.cancel, asyncio.Event()

    async def hold(_: Any) -> dict[str, Any]:
        await go.wait()
        return {"text": "done"}

    async def late(task_id: str) -> Task:
        go.set()
        await queue.wait(task_id, 10)
        return await cancel(task_id)

    monkeypatch.setattr(queue, "cancel", late)
    async with working(CHATGPT=hold):
        response = await client.post(CHATGPT, json=PROMPT)

    assert response.json() == {"success": True, "result": {"text": "done"}}
    assert response.headers["x-credits-charged"] == "7"


async def test_a_queue_that_is_emptied_when_time_is_up(
    client: Client, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the task could be stopped: there is none any more."""
    cancel = queue.cancel

    async def late(task_id: str) -> Task:
        assert await queue.clear(tenant="acme") == 1
        return await cancel(task_id)

    monkeypatch.setattr(queue, "cancel", late)

    assert error_of(await client.post(CHATGPT, json=PROMPT))[:2] == (499, "REQUEST_CANCELED")


Call = Callable[[Any, Any], Awaitable[None]]


async def _call_and_leave(app: FastAPI, client: Client, leave: asyncio.Event) -> list[Any]:
    """Call the service as a server does whose client goes away; return what it sent."""
    body, sent = client.build_request("POST", CHATGPT, json=PROMPT), []
    messages = [{"type": "http.request", "body": body.content, "more_body": False}]
    scope = {
        "type": "http",
        "method": "POST",
        "path": CHATGPT,
        "raw_path": CHATGPT.encode(),
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in body.headers.raw],
    }

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_a_client_that_leaves_while_it_is_queued(
    app: FastAPI, client: Client, queue: TaskQueue
) -> None:
    """499, and the task is cancelled: its slot is free."""
    await queue.set_limit(tenant="acme", concurrency=1)
    leave = asyncio.Event()
    call = asyncio.create_task(_call_and_leave(app, client, leave))
    while (await queue.stats(tenant="acme")).queued < 1:
        await asyncio.sleep(0.01)
    leave.set()

    sent = await call

    assert sent[0]["status"] == 499
    assert (await client.get("/v1/async/status")).json()["concurrency"] == {"used": 0, "max": 1}


async def test_a_client_that_leaves_while_it_runs(
    app: FastAPI, client: Client, queue: TaskQueue, working: Working
) -> None:
    """The attempt goes on, and is charged if it completes."""
    await queue.grant("acme", 100)
    started, go, leave = asyncio.Event(), asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    async def hold(_: Any, context: Any) -> dict[str, Any]:
        seen.append(context.task.id)
        started.set()
        await go.wait()
        return {}

    async with working(CHATGPT=hold):
        call = asyncio.create_task(_call_and_leave(app, client, leave))
        await asyncio.wait_for(started.wait(), 10)
        leave.set()
        await call
        go.set()
        task = await queue.wait(seen[0], 10)

    assert (task.state, task.charged) == (TaskState.COMPLETED, 7)
