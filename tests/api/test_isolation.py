"""Two tenants: whatever one does, it neither sees nor changes what is the other's."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from taskqueue import TaskQueue
from taskqueue.api.routes import ROUTES
from tests.api.conftest import PROMPT, TASK, Client, Working, echo

CANARY = "canary-of-acme"
KEYED: dict[str, Any] = {
    "taskType": "CHATGPT",
    "payload": {**PROMPT, "prompt": CANARY},
    "idempotencyKey": CANARY,
    "webhook": {"url": f"https://example.com/{CANARY}"},
}
BODIES: dict[str, Any] = {
    "createTask": KEYED,
    "createTaskBatch": [KEYED],
    "resolveGoto": {"url": "https://www.google.com/url?q=https%3A%2F%2Fexample.com"},
    "monitorGoogle": {"query": "x", "country": "US"},
    "monitorGoogleNews": {"query": "x", "country": "US"},
}
FOREIGN_ID = {"getTask", "cancelTask", "streamTask", "getTaskOldPath"}
MONITORS = sorted(spec.name for spec in ROUTES if spec.name.startswith("monitor"))


async def _everything(client: Client, tasks: list[str]) -> str:
    """Return all that a tenant can read, as text; nothing in it changes by itself."""
    parts = [(await client.get(f"/v1/async/task/{task}")).text for task in tasks]
    parts.append((await client.get(f"/v1/async/task/{CANARY}")).text)
    parts += [(await client.get(f"/v1/async/{place}")).text for place in ("tasks", "status")]
    parts.append((await client.get("/v1/credits")).text)
    return "\n".join(parts)


@pytest.mark.parametrize("spec", ROUTES, ids=lambda spec: spec.name)
async def test_no_route_shows_or_changes_what_is_anothers(
    spec: Any, client: Client, stranger: Client, queue: TaskQueue, working: Working
) -> None:
    """Every route, called by a stranger with the other's ids and key, before and after their end."""
    await queue.grant("acme", 1000)
    await queue.set_limit(tenant="acme", concurrency=5)
    done = (await client.post("/v1/async/task", json={**KEYED, "idempotencyKey": "done"})).json()["task"][
        "id"
    ]
    async with working(CHATGPT=lambda payload: {"text": payload["prompt"]}):
        await queue.wait(done, 10)
    queued = (await client.post("/v1/async/task", json=KEYED)).json()["task"]["id"]
    before = await _everything(client, [done, queued])
    assert CANARY in before
    path = spec.path.replace(":path", "")

    replies: list[httpx.Response] = []
    async with working(
        **dict.fromkeys(("GOOGLE", "GOOGLE_NEWS", "GEMINI", "PERPLEXITY", "COPILOT", "GROK", "AIMODE"), echo)
    ):
        for name in [done, queued, CANARY] if "{task_id}" in path else [""]:
            if spec.name == "monitorChatgpt":
                continue  # its worker would run the other's task as well: another test
            body = BODIES.get(spec.name, PROMPT if spec.method == "POST" else None)
            place = path.replace("{task_id}", name)
            replies.append(await stranger.request(spec.method, place, json=body))

    for reply in replies:
        # What a stranger sent itself comes back to it; nothing else does.
        assert CANARY not in reply.text.replace(f'"idempotencyKey":"{CANARY}"', "").replace(
            f'"id":"{CANARY}"', ""
        )
        assert done not in reply.text.replace(f'"id":"{done}"', "")
        if spec.name in FOREIGN_ID:
            assert reply.status_code == 404
    assert await _everything(client, [done, queued]) == before


async def test_a_foreign_task_and_an_unknown_one_look_the_same(client: Client, stranger: Client) -> None:
    """The same status, the same words, the same headers but for ids and times."""
    task_id = (await client.post("/v1/async/task", json=TASK)).json()["task"]["id"]
    unknown = "b27a21e1-7c39-4aa2-a347-23e828c426f9"

    for method in ("GET", "DELETE"):
        foreign_reply = await stranger.request(method, f"/v1/async/task/{task_id}")
        unknown_reply = await stranger.request(method, f"/v1/async/task/{unknown}")

        first, second = foreign_reply.json()["error"], unknown_reply.json()["error"]
        assert (first["code"], first["message"]) == (second["code"], second["message"])
        assert (first["details"], second["details"]) == ({"id": task_id}, {"id": unknown})
        assert set(foreign_reply.headers) == set(unknown_reply.headers)


async def test_a_key_is_free_for_every_tenant(client: Client, stranger: Client) -> None:
    """One cannot find out by it what another has."""
    mine = await client.post("/v1/async/task", json={**TASK, "idempotencyKey": "k"})
    theirs = await stranger.post("/v1/async/task", json={**TASK, "idempotencyKey": "k"})

    assert (mine.status_code, theirs.status_code) == (200, 200)
    for each, reply in ((client, mine), (stranger, theirs)):
        found = (await each.get("/v1/async/task/k")).json()
        assert found["task"]["id"] == reply.json()["task"]["id"]


async def test_credits_and_slots_are_of_one_tenant(
    client: Client, stranger: Client, queue: TaskQueue, working: Working
) -> None:
    """Another's empty purse and full slots are no trouble."""
    await queue.grant("acme", 0)
    await queue.set_limit(tenant="acme", concurrency=0)
    async with working(CHATGPT=echo):
        mine = await client.post("/v1/monitor/chatgpt", json=PROMPT)
        theirs = await stranger.post("/v1/monitor/chatgpt", json=PROMPT)

    assert mine.status_code in {403, 429}
    assert theirs.json() == {"success": True, "result": {"text": PROMPT["prompt"]}}


async def test_synchronous_tasks_are_not_shown(client: Client, queue: TaskQueue, working: Working) -> None:
    """They have no id in the contract; a list does not show them, and an id that leaked opens nothing."""
    seen: list[str] = []

    async def note(payload: dict[str, Any], context: Any) -> dict[str, Any]:
        seen.append(context.task.id)
        return {}

    async with working(CHATGPT=note):
        await client.post("/v1/monitor/chatgpt", json=PROMPT)

    assert (await client.get("/v1/async/tasks")).json()["tasks"] == []
    assert (await client.get(f"/v1/async/task/{seen[0]}")).status_code == 404
