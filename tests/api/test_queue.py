"""The queue as a whole, credits, countries and states."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from taskqueue import TaskQueue
from taskqueue.accounts import Accounts
from taskqueue.contract import countries, states
from tests.api.conftest import PROMPT, TASK, Client, Working, error_of


async def test_status_of_an_empty_queue(client: Client) -> None:
    """Zeros; no slots are told of where there is no limit."""
    body = (await client.get("/v1/async/status")).json()

    assert body == {"queuedTasks": 0, "processingTasks": 0, "priorityBreakdown": [], "concurrency": None}


async def test_status_counts_by_priority_and_slots(
    client: Client, queue: TaskQueue, working: Working
) -> None:
    """Highest priority first, only those that have tasks; a synchronous request holds a slot."""
    await queue.set_limit(tenant="acme", concurrency=1)
    started, go = asyncio.Event(), asyncio.Event()

    async def hold(_: Any) -> dict[str, Any]:
        started.set()
        await go.wait()
        return {}

    async with working(CHATGPT=hold):
        request = asyncio.create_task(client.post("/v1/monitor/chatgpt", json=PROMPT))
        await asyncio.wait_for(started.wait(), 10)
        for priority in (3, 1, 3):
            await client.post("/v1/async/task", json={**TASK, "priority": priority})
        body = (await client.get("/v1/async/status")).json()
        await client.delete("/v1/async/queue")
        go.set()
        await request

    assert body == {
        "queuedTasks": 3,
        "processingTasks": 1,
        "priorityBreakdown": [{"priority": 3, "count": 2}, {"priority": 1, "count": 1}],
        "concurrency": {"used": 1, "max": 1},
    }


async def test_a_synchronous_request_without_a_worker_counts_as_processing(
    client: Client, queue: TaskQueue
) -> None:
    """It is not queued in the contract's sense: it holds its slot from its arrival."""
    await queue.set_limit(tenant="acme", concurrency=3)
    await queue.enqueue("CHATGPT", PROMPT, tenant="acme", reserve=True)

    body = (await client.get("/v1/async/status")).json()

    assert (body["queuedTasks"], body["processingTasks"], body["priorityBreakdown"]) == (0, 1, [])
    assert body["concurrency"] == {"used": 1, "max": 3}


async def test_clear_removes_what_is_queued(client: Client, queue: TaskQueue, working: Working) -> None:
    """Its ids are unknown and its keys free after that; what has run stays; a repeat clears nothing."""
    done = (await client.post("/v1/async/task", json=TASK)).json()["task"]["id"]
    async with working(CHATGPT=lambda _: {}):
        await queue.wait(done, 10)
    ids = []
    for key in ("a", "b"):
        created = await client.post("/v1/async/task", json={**TASK, "idempotencyKey": key})
        ids.append(created.json()["task"]["id"])

    first = await client.delete("/v1/async/queue")
    second = await client.delete("/v1/async/queue")

    assert first.json() == {"success": True, "cleared": 2}
    assert second.json() == {"success": True, "cleared": 0}
    assert [(await client.get(f"/v1/async/task/{each}")).status_code for each in [*ids, done]] == [
        404,
        404,
        200,
    ]
    assert (await client.post("/v1/async/task", json={**TASK, "idempotencyKey": "a"})).status_code == 200


async def test_credits_without_an_account(client: Client) -> None:
    """Who is not metered is told the largest number that every client keeps."""
    body = (await client.get("/v1/credits")).json()

    assert body == {"remaining": 2**53 - 1, "perCycle": None, "cycleResetsAt": None}


async def test_credits_with_a_plan(
    client: Client, queue: TaskQueue, accounts: Accounts, working: Working
) -> None:
    """The balance counts what has completed; the plan's facts are told."""
    await queue.grant("acme", 100)
    resets_at = datetime(2026, 8, 10, 17, 35, 27, tzinfo=UTC)
    await accounts.set_plan("acme", per_cycle=1_562_500, resets_at=resets_at)
    task_id = (await client.post("/v1/async/task", json=TASK)).json()["task"]["id"]
    before = (await client.get("/v1/credits")).json()
    async with working(CHATGPT=lambda _: {}):
        await queue.wait(task_id, 10)

    after = (await client.get("/v1/credits")).json()

    assert before["remaining"] == 100
    assert after == {"remaining": 95, "perCycle": 1_562_500, "cycleResetsAt": "2026-08-10T17:35:27.000Z"}


async def test_countries(client: Client) -> None:
    """A bare array, of all or of those that a model answers from."""
    every = (await client.get("/v1/countries")).json()
    grok = (await client.get("/v1/countries", params={"model": "grok"})).json()

    assert every == countries()
    assert len(every) == 250
    assert grok == countries("grok")
    assert "CN" not in grok


@pytest.mark.parametrize(
    "query", ["model=google_news", "model=", "model=GROK", "modell=grok", "model=a&model=b"]
)
async def test_an_unknown_model_is_refused(client: Client, query: str) -> None:
    """400, as every wrong parameter."""
    assert error_of(await client.get(f"/v1/countries?{query}"))[:2] == (400, "VALIDATION_ERROR")


async def test_states(client: Client) -> None:
    """51 of the US, which is also what is meant when no country is named; none of others."""
    named = (await client.get("/v1/states", params={"country": "US"})).json()

    assert named == (await client.get("/v1/states")).json()
    assert named == [{"code": state.code, "name": state.name} for state in states("US")]
    assert len(named) == 51
    assert (await client.get("/v1/states", params={"country": "DE"})).json() == []


@pytest.mark.parametrize("country", ["us", "USA", "", "U1", "US\n", "ÄÖ"])
async def test_a_bad_country_is_refused(client: Client, country: str) -> None:
    """Two capital letters."""
    response = await client.get("/v1/states", params={"country": country})

    assert error_of(response)[3][0]["field"] == "country"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/async/status"),
        ("GET", "/v1/credits"),
        ("DELETE", "/v1/async/queue"),
        ("GET", "/v1/async/task/x"),
    ],
)
async def test_unknown_parameters_are_refused(client: Client, method: str, path: str) -> None:
    """A mistyped filter must not be dropped without a word: `DELETE /v1/async/queue?priority=1`."""
    response = await client.request(method, f"{path}?priority=1")

    assert error_of(response)[3] == [{"field": "priority", "message": 'Unrecognized key: "priority"'}]
