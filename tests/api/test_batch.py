"""POST /v1/async/task/batch: the whole, then each task by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskqueue import TaskQueue, TaskSpec
from tests.api.conftest import MAX_QUEUED, PROMPT, TASK, Client, error_of


@pytest.fixture
def options() -> dict[str, Any]:
    """Room for bodies as small as the tests need them."""
    return {"max_body_bytes": 1_000_000}


async def _outcomes(client: Client, documents: list[Any]) -> list[str]:
    response = await client.post("/v1/async/task/batch", json=documents)
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [result["index"] for result in results] == list(range(len(documents)))
    return ["ok" if result["success"] else result["error"]["code"] for result in results]


async def test_good_and_bad_tasks_in_their_order(client: Client) -> None:
    """200; a result for each, with its index; a summary."""
    documents = [{**TASK, "idempotencyKey": "a"}, {"taskType": "CHATGPT", "payload": {"prompt": "x"}}, TASK]

    body = (await client.post("/v1/async/task/batch", json=documents)).json()

    assert body["success"] is True
    assert body["summary"] == {"total": 3, "succeeded": 2, "failed": 1}
    first, second, third = body["results"]
    assert (first["success"], first["index"], first["task"]["idempotencyKey"]) == (True, 0, "a")
    assert first["credits"] == {"creditsToCharge": 5, "creditsCharged": None}
    assert (third["success"], third["index"], third["task"]["status"]) == (True, 2, "QUEUED")
    error = second["error"]
    assert error.pop("timestamp")
    assert second == {"success": False, "index": 1, "error": error}
    message = "Invalid input: expected string, received undefined"
    details = {"errors": [{"field": "payload.country", "message": message}]}
    assert error == {"code": "VALIDATION_ERROR", "message": "Invalid task at index 1", "details": details}


async def test_an_item_without_anything_fails_alone(client: Client) -> None:
    """An official client sends nulls for what its user left out."""
    assert await _outcomes(client, [{"taskType": None, "payload": None}, TASK]) == ["VALIDATION_ERROR", "ok"]


async def test_every_item_may_fail(client: Client) -> None:
    """It is 200 all the same."""
    assert await _outcomes(client, [{}, {}]) == ["VALIDATION_ERROR"] * 2


async def test_keys_are_unique_in_the_batch_and_beside_it(client: Client) -> None:
    """The first of a batch wins; one that was used before wins over all; the details name it."""
    await client.post("/v1/async/task", json={**TASK, "idempotencyKey": "old"})
    documents = [{**TASK, "idempotencyKey": key} for key in ("new", "old", "new")]

    body = (await client.post("/v1/async/task/batch", json=documents)).json()

    assert [result["success"] for result in body["results"]] == [True, False, False]
    error = body["results"][2]["error"]
    assert error["code"] == "RESOURCE_ALREADY_EXISTS"
    assert error["details"] == {"field": "idempotencyKey", "value": "new"}


async def test_an_invalid_task_does_not_use_up_its_key(client: Client) -> None:
    """The next of the same key in the batch is the first that counts."""
    documents = [{**TASK, "idempotencyKey": "k", "priority": 0}, {**TASK, "idempotencyKey": "k"}]

    assert await _outcomes(client, documents) == ["VALIDATION_ERROR", "ok"]


async def test_credits_run_out_inside_of_a_batch(client: Client, queue: TaskQueue) -> None:
    """Each task needs a balance that covers it and those before it; a refused one needs none."""
    await queue.grant("acme", 12)
    search = {"taskType": "GOOGLE", "payload": {"query": "x", "country": "US"}}
    documents = [TASK, {**TASK, "priority": 0}, TASK, TASK, {**TASK, "idempotencyKey": "k"}]

    outcomes = await _outcomes(client, documents)

    poor = "INSUFFICIENT_CREDITS"
    assert outcomes == ["ok", "VALIDATION_ERROR", "ok", poor, poor]
    assert await _outcomes(client, [search, {**search, "idempotencyKey": "k"}]) == ["ok", "ok"]


async def test_a_used_key_is_told_before_a_lack_of_credits(client: Client, queue: TaskQueue) -> None:
    """The order of the contract: validation, key, credits."""
    await client.post("/v1/async/task", json={**TASK, "idempotencyKey": "k"})
    await queue.grant("acme", 1)
    bad = {**TASK, "idempotencyKey": "k", "priority": 0}

    outcomes = await _outcomes(client, [bad, {**TASK, "idempotencyKey": "k"}, TASK])

    assert outcomes == ["VALIDATION_ERROR", "RESOURCE_ALREADY_EXISTS", "INSUFFICIENT_CREDITS"]


async def test_room_is_for_all_or_for_none(client: Client, queue: TaskQueue) -> None:
    """What counts is the length of the array, before any task of it is looked at."""
    await queue.enqueue_many(
        TaskSpec(type="CHATGPT", payload=PROMPT, tenant="acme") for _ in range(MAX_QUEUED - 2)
    )

    response = await client.post("/v1/async/task/batch", json=[TASK, {}, {}])

    message = f"Queue limit exceeded. Maximum {MAX_QUEUED} queued tasks allowed per organization"
    assert error_of(response) == (429, "QUEUE_LIMIT_EXCEEDED", message, {"limit": MAX_QUEUED})
    assert (await queue.stats(tenant="acme")).queued == MAX_QUEUED - 2
    assert await _outcomes(client, [TASK, TASK]) == ["ok", "ok"]


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "", "Invalid input: expected array, received object"),
        (None, "", "Invalid input: expected array, received null"),
        ([], "", "Too small: expected array to have >=1 items"),
        ([TASK] * 501, "", "Too big: expected array to have <=500 items"),
        ([TASK, 1], "[1]", "Invalid input: expected object, received number"),
        ([[TASK]], "[0]", "Invalid input: expected object, received array"),
    ],
)
async def test_what_is_no_batch_is_refused_as_a_whole(
    client: Client, body: Any, field: str, message: str
) -> None:
    """400, and nothing was stored."""
    response = await client.post("/v1/async/task/batch", content=json.dumps(body))

    details = [{"field": field, "message": message}]
    assert error_of(response) == (400, "VALIDATION_ERROR", "Request validation failed", details)
    assert (await client.get("/v1/async/status")).json()["queuedTasks"] == 0


async def test_the_order_of_a_batch_is_kept(client: Client, queue: TaskQueue) -> None:
    """First in, first out, inside of a priority."""
    documents = [
        {"taskType": "CHATGPT", "payload": {**PROMPT, "prompt": str(n)}, "priority": 1 + n % 2}
        for n in range(10)
    ]

    body = (await client.post("/v1/async/task/batch", json=documents)).json()

    tasks = [await queue.get(result["task"]["id"]) for result in body["results"]]
    places = [task.sequence for task in tasks if task is not None]
    assert places == sorted(places)
    assert len(places) == 10
