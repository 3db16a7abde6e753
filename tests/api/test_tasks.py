"""Looking at tasks: by id and by key, one and many; cancelling them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from scheduler import Context, GiveUp
from taskqueue import Task, TaskQueue
from taskqueue.api.listing import CURSOR
from tests.api.conftest import PROMPT, TASK, Client, Working, echo, error_of


async def _create(client: Client, **more: Any) -> str:
    response = await client.post("/v1/async/task", json={**TASK, **more})
    assert response.status_code == 200, response.text
    task_id: str = response.json()["task"]["id"]
    return task_id


async def test_a_queued_task_has_no_response(client: Client) -> None:
    """Task and credits, nothing else, also with a webhook."""
    task_id = await _create(client, webhook={"url": "https://example.com"})

    body = (await client.get(f"/v1/async/task/{task_id}")).json()

    assert set(body) == {"task", "credits"}
    assert (body["task"]["status"], body["task"]["latencyMs"]) == ("QUEUED", None)


async def test_a_completed_task_has_its_bare_result(
    client: Client, queue: TaskQueue, working: Working
) -> None:
    """The result as it is, what it cost, how long it took, and the state of its webhook."""
    await queue.grant("acme", 100)
    task_id = await _create(client, webhook={"url": "https://example.com/x"})
    async with working(CHATGPT=echo):
        await queue.wait(task_id, 10)

    body = (await client.get(f"/v1/async/task/{task_id}")).json()

    assert body["response"] == {"text": PROMPT["prompt"]}
    assert body["credits"] == {"creditsToCharge": 5, "creditsCharged": 5}
    assert body["webhook"] == {"url": "https://example.com/x", "deliveredAt": None, "delivered": False}
    assert body["task"]["status"] == "COMPLETED"
    assert isinstance(body["task"]["latencyMs"], int)
    await queue.store.delivered(task_id)
    webhook = (await client.get(f"/v1/async/task/{task_id}")).json()["webhook"]
    assert webhook["delivered"] is True
    assert webhook["deliveredAt"].endswith("Z")


async def test_a_failed_task_says_nothing_of_our_insides(
    client: Client, queue: TaskQueue, working: Working
) -> None:
    """The contract's code and message; no text, no traceback of the exception; nothing is charged."""

    async def broken(_: Any) -> None:
        raise RuntimeError("canary-secret")

    await queue.grant("acme", 100)
    task_id = await _create(client)
    async with working(CHATGPT=broken):
        await queue.wait(task_id, 10)

    response = await client.get(f"/v1/async/task/{task_id}")

    assert "canary" not in response.text
    body = response.json()
    assert (body["task"]["status"], body["credits"]["creditsCharged"]) == ("FAILED", 0)
    details = {"reason": "HANDLER_ERROR", "attempts": 2}
    message = "Task failed after max retries"
    assert body["response"] == {
        "error": {"code": "INTERNAL_SERVER_ERROR", "message": message, "details": details}
    }


async def test_a_handler_that_gives_up_is_heard(client: Client, queue: TaskQueue, working: Working) -> None:
    """Its reason is meant for people; a code of its own reaches them too."""

    async def unwilling(payload: dict[str, Any]) -> None:
        if payload["prompt"] == "own":
            raise GiveUp("no such place", code="NO_PLACE", details={"place": "x"})
        raise GiveUp("the prompt is empty of sense")

    plain = await _create(client)
    own = await _create(client, payload={**PROMPT, "prompt": "own"})
    async with working(CHATGPT=unwilling):
        await queue.wait(plain, 10)
        await queue.wait(own, 10)

    plain_error = (await client.get(f"/v1/async/task/{plain}")).json()["response"]["error"]
    own_error = (await client.get(f"/v1/async/task/{own}")).json()["response"]["error"]
    assert (plain_error["code"], plain_error["message"]) == (
        "INTERNAL_SERVER_ERROR",
        "the prompt is empty of sense",
    )
    assert own_error == {"code": "NO_PLACE", "message": "no such place", "details": {"place": "x"}}


async def test_a_charge_of_the_handler_is_shown(client: Client, queue: TaskQueue, working: Working) -> None:
    """AI Mode's products: charged more than was estimated."""

    async def shop(_: Any, context: Context) -> dict[str, Any]:
        context.charge(7)
        return {"productResults": [{}, {}, {}]}

    await queue.grant("acme", 100)
    payload = {**PROMPT, "include": {"expandProducts": True}}
    task_id = await _create(client, taskType="AIMODE", payload=payload)
    async with working(AIMODE=shop):
        await queue.wait(task_id, 10)

    body = (await client.get(f"/v1/async/task/{task_id}")).json()

    assert body["credits"] == {"creditsToCharge": 4, "creditsCharged": 7}


async def test_credits_that_ran_out_before_the_start(
    client: Client, queue: TaskQueue, working: Working
) -> None:
    """FAILED, without a latency, with the contract's code."""
    await queue.grant("acme", 5)
    task_id = await _create(client)
    await queue.grant("acme", -5)
    async with working(CHATGPT=echo):
        await queue.wait(task_id, 10)

    body = (await client.get(f"/v1/async/task/{task_id}")).json()

    assert (body["task"]["status"], body["task"]["latencyMs"]) == ("FAILED", None)
    assert body["response"]["error"]["code"] == "INSUFFICIENT_CREDITS"


@pytest.mark.parametrize("key", ["batch-001", "with space", "a/b", "ä+%", "_webhook"])
async def test_a_task_is_found_by_its_key(client: Client, key: str) -> None:
    """As an official client does after a conflict; percent-encoded like any part of a path."""
    task_id = await _create(client, idempotencyKey=key)

    response = await client.get("/v1/async/task/" + "".join(f"%{byte:02X}" for byte in key.encode()))

    assert response.json()["task"]["id"] == task_id


async def test_the_old_path_still_works(client: Client) -> None:
    """An official client asks there."""
    task_id = await _create(client)

    assert (await client.get(f"/v1/tasks/{task_id}")).json()["task"]["id"] == task_id


@pytest.mark.parametrize("name", ["b27a21e1-7c39-4aa2-a347-23e828c426f9", "nope", "x" * 300, "a\tb", "batch"])
async def test_an_unknown_task_is_not_found(client: Client, name: str) -> None:
    """404 with what was asked for."""
    response = await client.get("/v1/async/task/" + "".join(f"%{byte:02X}" for byte in name.encode()))

    assert error_of(response) == (404, "RESOURCE_NOT_FOUND", "Task not found", {"id": name})


async def test_deliveries_are_no_tasks(client: Client, queue: TaskQueue, working: Working) -> None:
    """A webhook is delivered by a task of ours that nobody sees, whatever its name."""
    task_id = await _create(client, webhook={"url": "https://example.com"})
    async with working(CHATGPT=echo):
        await queue.wait(task_id, 10)
    hooks = [task async for task in queue.tasks(type="_webhook")]
    assert hooks

    assert (await client.get(f"/v1/async/task/{hooks[0].id}")).status_code == 404
    listed = (await client.get("/v1/async/tasks")).json()["tasks"]
    assert [each["task"]["id"] for each in listed] == [task_id]
    assert (await client.delete("/v1/async/queue")).json()["cleared"] == 0
    assert (await queue.stats(type="_webhook")).queued == 1


async def test_cancel_ends_a_queued_task(client: Client) -> None:
    """It is shown as FAILED, so that every client's polling ends; a repeat changes nothing."""
    task_id = await _create(client)

    first = await client.delete(f"/v1/async/task/{task_id}")
    second = await client.delete(f"/v1/async/task/{task_id}")

    assert first.json() == second.json()
    assert first.json()["success"] is True
    assert first.json()["task"]["status"] == "FAILED"
    assert first.json()["response"]["error"]["code"] == "TASK_CANCELLED"
    assert (await client.delete("/v1/async/task/nope")).status_code == 404


async def test_a_list_goes_page_by_page(client: Client) -> None:
    """Every task once, in the order in which they will run; the last page has no cursor."""
    made = [(-(1 + n % 3), n, await _create(client, priority=1 + n % 3)) for n in range(7)]

    found: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = (await client.get("/v1/async/tasks", params=query)).json()
        found += [each["task"]["id"] for each in page["tasks"]]
        if page["nextCursor"] is None:
            break
        assert len(page["tasks"]) == 3
        assert re.fullmatch(CURSOR, page["nextCursor"])
        query["cursor"] = page["nextCursor"]

    assert found == [task_id for _, _, task_id in sorted(made)]


async def test_a_list_begins_with_what_waits_and_ends_with_what_ended_first(
    client: Client, queue: TaskQueue, working: Working
) -> None:
    """One delayed, one ready; of those that ended the one that is forgotten last comes first."""
    ended = [await _create(client) for _ in range(3)]
    async with working(CHATGPT=echo):
        for task_id in ended:
            await queue.wait(task_id, 10)
    ready = await _create(client, taskType="GROK")
    late = await queue.enqueue("GROK", PROMPT, tenant="acme", delay=timedelta(hours=1))

    page = (await client.get("/v1/async/tasks")).json()

    found = [each["task"]["id"] for each in page["tasks"]]
    assert found[:2] == [late.id, ready]
    created = [each["task"]["createdAt"] for each in page["tasks"][2:]]
    assert created == sorted(created, reverse=True)
    assert sorted(found[2:]) == sorted(ended)


async def test_a_list_goes_on_where_it_ended_whatever_happened_meanwhile(client: Client) -> None:
    """What was listed is cancelled, what is new comes before and after: the rest is met, and met once."""
    made = [await _create(client, priority=5) for _ in range(6)]
    first = (await client.get("/v1/async/tasks", params={"limit": 3, "status": "QUEUED"})).json()
    for each in first["tasks"]:
        await client.delete(f"/v1/async/task/{each['task']['id']}")
    await _create(client, priority=9)
    later = await _create(client, priority=1)

    query = {"limit": 10, "status": "QUEUED", "cursor": first["nextCursor"]}
    rest = (await client.get("/v1/async/tasks", params=query)).json()

    assert [each["task"]["id"] for each in rest["tasks"]] == [*made[3:], later]
    assert rest["nextCursor"] is None


async def test_a_list_can_be_filtered(client: Client, queue: TaskQueue, working: Working) -> None:
    """By status, as it is shown, and by type."""
    done = await _create(client)
    async with working(CHATGPT=echo):
        await queue.wait(done, 10)
    cancelled = await _create(client)
    await client.delete(f"/v1/async/task/{cancelled}")
    search = await _create(client, taskType="GOOGLE", payload={"query": "x", "country": "US"})

    async def ids(**query: str) -> list[str]:
        page = (await client.get("/v1/async/tasks", params=query)).json()
        return [each["task"]["id"] for each in page["tasks"]]

    assert await ids(status="COMPLETED") == [done]
    assert await ids(status="FAILED") == [cancelled]
    assert await ids(status="QUEUED") == [search]
    assert await ids(status="PROCESSING") == []
    assert await ids(taskType="GOOGLE") == [search]
    assert await ids(taskType="GOOGLE", status="FAILED") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=CANCELLED", "status"),
        ("status=queued", "status"),
        ("taskType=_webhook", "taskType"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=%D9%A3", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=MTotMQ", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=" + "A" * 100, "cursor"),
        ("cursor=" + "A" * 300, "cursor"),
        ("cursor=%F0%9F%98%80", "cursor"),
        ("tenant=globex", "tenant"),
        ("limit=5&limit=6", "query"),
        ("&".join(f"a{n}=1" for n in range(50)), "query"),
    ],
)
async def test_a_bad_filter_is_refused(client: Client, query: str, field: str) -> None:
    """400 with the name of the parameter."""
    response = await client.get(f"/v1/async/tasks?{query}")

    status, code, _, details = error_of(response)
    assert (status, code, details[0]["field"]) == (400, "VALIDATION_ERROR", field)


async def test_a_task_that_is_cleared_while_it_is_cancelled_is_not_found(
    client: Client, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """404, as a moment later."""
    task_id, cancel = await _create(client), queue.cancel

    async def late(task_id: str) -> Task:
        assert await queue.clear(tenant="acme") == 1
        return await cancel(task_id)

    monkeypatch.setattr(queue, "cancel", late)

    for _ in range(2):
        response = await client.delete(f"/v1/async/task/{task_id}")
        assert error_of(response) == (404, "RESOURCE_NOT_FOUND", "Task not found", {"id": task_id})
