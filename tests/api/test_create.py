"""POST /v1/async/task: what is accepted, what is refused, and in which order."""

from __future__ import annotations

import re
from typing import Any

import pytest

from taskqueue import TaskQueue, TaskSpec
from tests.api.conftest import MAX_QUEUED, PROMPT, TASK, Client, error_of

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TYPES = '"AIMODE"|"GOOGLE"|"GOOGLE_NEWS"|"GEMINI"|"CHATGPT"|"COPILOT"|"PERPLEXITY"|"GROK"'


async def test_a_plain_task_is_accepted(client: Client) -> None:
    """The answer is the contract's example, field by field."""
    response = await client.post("/v1/async/task", json=TASK)

    assert response.status_code == 200
    body = response.json()
    task = body.pop("task")
    assert body == {"success": True, "credits": {"creditsToCharge": 5, "creditsCharged": None}}
    assert UUID.fullmatch(task.pop("id"))
    assert INSTANT.fullmatch(task.pop("createdAt"))
    assert task == {
        "taskType": "CHATGPT",
        "status": "QUEUED",
        "priority": 1,
        "latencyMs": None,
        "idempotencyKey": None,
    }


async def test_what_was_sent_is_echoed_and_stored(client: Client, queue: TaskQueue) -> None:
    """Priority, key, webhook and price reach the engine; the payload arrives normalized."""
    payload = {"prompt": "  hi ", "country": "US", "state": "ny", "include": {"ads": True}}
    url = "https://example.com/hook"
    document = {
        "taskType": "CHATGPT",
        "payload": payload,
        "priority": 7,
        "idempotencyKey": "k 1/ü",
        "webhook": {"url": url},
    }

    body = (await client.post("/v1/async/task", json=document)).json()

    assert (body["task"]["priority"], body["task"]["idempotencyKey"]) == (7, "k 1/ü")
    assert body["credits"]["creditsToCharge"] == 9
    task = await queue.get(body["task"]["id"])
    assert task is not None
    assert (task.tenant, task.priority, task.cost, task.webhook) == ("acme", 7, 9, {"url": url})
    assert task.payload == {"prompt": "hi", "country": "US", "state": "NY", "include": {"ads": True}}


async def test_a_price_may_rise_with_the_result(client: Client, queue: TaskQueue) -> None:
    """AI Mode's products are paid for when they came: the estimate leaves them out."""
    payload = {**PROMPT, "include": {"expandProducts": True}}

    body = (await client.post("/v1/async/task", json={"taskType": "AIMODE", "payload": payload})).json()

    assert body["credits"] == {"creditsToCharge": 4, "creditsCharged": None}


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"taskType": None}, "taskType", f"Invalid option: expected one of {TYPES}"),
        ({"taskType": "chatgpt"}, "taskType", f"Invalid option: expected one of {TYPES}"),
        ({"taskType": ["CHATGPT"]}, "taskType", f"Invalid option: expected one of {TYPES}"),
        ({"taskType": "_webhook"}, "taskType", f"Invalid option: expected one of {TYPES}"),
        ({"payload": None}, "payload", "Invalid input: expected object, received null"),
        ({"payload": "x"}, "payload", "Invalid input: expected object, received string"),
        ({"payload": {"prompt": "", "country": "US"}}, "payload.prompt", "Prompt cannot be empty"),
        ({"payload": {**PROMPT, "more": 1}}, "payload.more", 'Unrecognized key: "more"'),
        ({"priority": 0}, "priority", "Too small: expected number to be >=1"),
        ({"priority": 11}, "priority", "Too big: expected number to be <=10"),
        ({"priority": 1e300}, "priority", "Too big: expected number to be <=10"),
        ({"priority": -1e300}, "priority", "Too small: expected number to be >=1"),
        ({"priority": 1.5}, "priority", "Invalid input: expected int, received number"),
        ({"priority": True}, "priority", "Invalid input: expected number, received boolean"),
        ({"priority": "5"}, "priority", "Invalid input: expected number, received string"),
        ({"priority": None}, "priority", "Invalid input: expected number, received null"),
        ({"priority": 10**400}, "priority", "Too big: expected number to be <=10"),
        ({"idempotencyKey": ""}, "idempotencyKey", "It must have 1 to 255 printable characters"),
        ({"idempotencyKey": "k" * 256}, "idempotencyKey", "It must have 1 to 255 printable characters"),
        ({"idempotencyKey": "a\nb"}, "idempotencyKey", "It must have 1 to 255 printable characters"),
        ({"idempotencyKey": 5}, "idempotencyKey", "Invalid input: expected string, received number"),
        ({"idempotencyKey": None}, "idempotencyKey", "Invalid input: expected string, received null"),
        ({"webhook": "https://x.com"}, "webhook", "Invalid input: expected object, received string"),
        ({"webhook": None}, "webhook", "Invalid input: expected object, received null"),
        ({"webhook": {}}, "webhook.url", "Invalid input: expected string, received undefined"),
        ({"webhook": {"url": "https://x.com", "a": 1}}, "webhook.a", 'Unrecognized key: "a"'),
        ({"tenant": "globex"}, "tenant", 'Unrecognized key: "tenant"'),
        ({"cost": 0}, "cost", 'Unrecognized key: "cost"'),
    ],
)
async def test_a_bad_field_is_named(client: Client, change: dict[str, Any], field: str, message: str) -> None:
    """400, with the path of the field and the contract's message, and nothing was stored."""
    response = await client.post("/v1/async/task", json={**TASK, **change})

    details = [{"field": field, "message": message}]
    assert error_of(response) == (400, "VALIDATION_ERROR", "Request validation failed", details)
    assert (await client.get("/v1/async/status")).json()["queuedTasks"] == 0


@pytest.mark.parametrize(
    "address",
    [
        "",
        "x",
        "ftp://example.com",
        "https://",
        "https://user:pass@example.com",
        "https://example.com/a b",
        "https://example.com\\x",
        "https://example.com:0",
        "https://example.com/\r\nX: y",
        "https://" + "a" * 2100,
    ],
)
async def test_a_bad_address_is_refused(client: Client, address: str) -> None:
    """No address that two programs could read differently is stored."""
    response = await client.post("/v1/async/task", json={**TASK, "webhook": {"url": address}})

    status, code, _, details = error_of(response)
    assert (status, code, [detail["field"] for detail in details]) == (
        400,
        "VALIDATION_ERROR",
        ["webhook.url"],
    )


async def test_all_bad_fields_are_named_at_once(client: Client) -> None:
    """A client mends its request in one go."""
    document = {"taskType": "CHATGPT", "payload": {"prompt": "x"}, "priority": 99, "other": 1}

    response = await client.post("/v1/async/task", json=document)

    fields = [detail["field"] for detail in response.json()["error"]["details"]]
    assert sorted(fields) == ["other", "payload.country", "priority"]


async def test_a_missing_field_is_named(client: Client) -> None:
    """Type and payload are required."""
    response = await client.post("/v1/async/task", json={})

    fields = [detail["field"] for detail in response.json()["error"]["details"]]
    assert fields == ["taskType", "payload"]


async def test_a_whole_float_is_an_integer(client: Client) -> None:
    """JSON has one kind of number: 5.0 is 5."""
    response = await client.post("/v1/async/task", json={**TASK, "priority": 5.0})

    assert response.json()["task"]["priority"] == 5


async def test_a_used_key_is_refused_whatever_the_body(client: Client) -> None:
    """409, with the field and the key; the old task is not told."""
    await client.post("/v1/async/task", json={**TASK, "idempotencyKey": "k"})

    for document in (TASK, {"taskType": "GOOGLE", "payload": {"query": "x", "country": "US"}}):
        response = await client.post("/v1/async/task", json={**document, "idempotencyKey": "k"})

        details = {"field": "idempotencyKey", "value": "k"}
        assert error_of(response) == (409, "RESOURCE_ALREADY_EXISTS", "Task already exists", details)


async def test_a_balance_that_does_not_cover_the_price_is_refused(client: Client, queue: TaskQueue) -> None:
    """403, and nothing is queued; nothing is reserved by what was accepted before."""
    await queue.grant("acme", 5)
    first = await client.post("/v1/async/task", json=TASK)
    second = await client.post("/v1/async/task", json=TASK)
    await queue.grant("acme", -1)

    response = await client.post("/v1/async/task", json=TASK)

    assert (first.status_code, second.status_code) == (200, 200)
    assert error_of(response) == (403, "INSUFFICIENT_CREDITS", "Insufficient credits", None)
    assert (await client.get("/v1/async/status")).json()["queuedTasks"] == 2


async def _fill(queue: TaskQueue) -> None:
    room = MAX_QUEUED - (await queue.stats(tenant="acme")).queued
    await queue.enqueue_many(TaskSpec(type="CHATGPT", payload=PROMPT, tenant="acme") for _ in range(room))


async def test_a_full_queue_refuses_more(client: Client, stranger: Client, queue: TaskQueue) -> None:
    """429 with the limit, for this organization only."""
    await _fill(queue)

    response = await client.post("/v1/async/task", json=TASK)

    message = f"Queue limit exceeded. Maximum {MAX_QUEUED} queued tasks allowed per organization"
    assert error_of(response) == (429, "QUEUE_LIMIT_EXCEEDED", message, {"limit": MAX_QUEUED})
    assert (await stranger.post("/v1/async/task", json=TASK)).status_code == 200


async def test_the_order_of_refusals(client: Client, queue: TaskQueue) -> None:
    """Shape, then room, then validation, then the key, then credits."""
    keyed = {**TASK, "idempotencyKey": "k"}
    assert (await client.post("/v1/async/task", json=keyed)).status_code == 200
    await queue.grant("acme", 0)
    assert (await client.post("/v1/async/task", json={**keyed, "priority": 0})).status_code == 400
    assert (await client.post("/v1/async/task", json=keyed)).status_code == 409
    assert (await client.post("/v1/async/task", json=TASK)).status_code == 403
    await _fill(queue)
    assert (await client.post("/v1/async/task", json=[])).status_code == 400
    assert (await client.post("/v1/async/task", json={**keyed, "priority": 0})).status_code == 429
    assert (await client.post("/v1/async/task", json=keyed)).status_code == 429


async def test_a_refused_task_does_not_use_up_its_key(client: Client, queue: TaskQueue) -> None:
    """After 400 and 403 the same key is free."""
    keyed = {**TASK, "idempotencyKey": "k"}
    await client.post("/v1/async/task", json={**keyed, "priority": 0})
    await queue.grant("acme", 1)
    assert (await client.post("/v1/async/task", json=keyed)).status_code == 403
    await queue.grant("acme", 100)

    assert (await client.post("/v1/async/task", json=keyed)).status_code == 200
