"""Two tenants: whatever one does, it neither sees, counts, changes nor guesses what is the other's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import pytest

from taskqueue import TaskQueue
from taskqueue.accounts import apikeys
from taskqueue.api.routes import ROUTES
from taskqueue.testing import FakeClock
from tests.api.conftest import PROMPT, TASK, Client, Working, echo
from tests.api.worlds import CANARY, CASES, NAME, World, essence, foreign_names, world
from tests.servers import RealServer

NAMED = [spec for spec in ROUTES if "{task_id" in spec.path]
NAMING = [spec for spec in ROUTES if spec in NAMED or NAME in str(CASES[spec.name].body)]


@pytest.fixture
async def shared(server: RealServer, queue_name: str, clock: FakeClock) -> AsyncIterator[World]:
    """The service with both tenants."""
    async with world(server, f"{queue_name}-shared", clock, with_acme=True, running=True) as opened:
        yield opened


@pytest.fixture
async def alone(server: RealServer, queue_name: str, clock: FakeClock) -> AsyncIterator[World]:
    """The service with globex alone."""
    async with world(server, f"{queue_name}-alone", clock, with_acme=False, running=True) as opened:
        yield opened


def test_every_route_has_a_case() -> None:
    """A new route needs one, so that everything below is said of it too."""
    assert CASES.keys() == {spec.name for spec in ROUTES}


@pytest.mark.parametrize("spec", ROUTES, ids=lambda spec: spec.name)
async def test_no_route_shows_or_changes_what_is_anothers(shared: World, spec: Any) -> None:
    """Asked with every name that acme has for something; its keys are the same bytes before and after."""
    before = shared.of("acme")
    assert len(before) > 20

    names = [name for name, _ in foreign_names(shared).values()]
    for name in names if spec in NAMING else names[:1]:
        reply = await shared.ask(spec, name)

        # What globex sent itself comes back to it; nothing else does.
        told = f"{reply.text} {reply.headers}".replace(name, "").replace(unquote(name), "")
        assert not re.search(f"acme(?! corp)|{CANARY} of acme", told, re.IGNORECASE)
        if spec in NAMED:
            assert reply.status_code == 404
    assert shared.of("acme") == before


# /metrics is for those who run the service, and counts the whole queue.
@pytest.mark.parametrize(
    "spec", [spec for spec in ROUTES if spec.name != "metrics"], ids=lambda spec: spec.name
)
async def test_every_route_answers_as_if_nobody_else_were_there(
    shared: World, alone: World, spec: Any
) -> None:
    """With acme and without: the same status, the same headers, the same bytes."""
    names = ["globex-done", "globex-queued", "globex-running", "globex-key", "unknown"]

    for name in names if spec in NAMED else names[-1:]:
        told = [essence(await each.ask(spec, name), name) for each in (shared, alone)]

        assert told[0] == told[1]
    assert shared.of("globex").keys() == alone.of("globex").keys()


@pytest.mark.parametrize("spec", NAMING, ids=lambda spec: spec.name)
async def test_what_is_anothers_and_what_is_not_there_are_answered_alike(shared: World, spec: Any) -> None:
    """Ids in every state, idempotency keys, a delivery: the same but for the name itself."""
    for foreign, unknown in foreign_names(shared).values():
        told = [essence(await shared.ask(spec, name), name) for name in (foreign, unknown)]

        assert told[0] == told[1]


async def test_a_key_of_anothers_and_one_that_nobody_has_are_refused_alike(shared: World) -> None:
    """The id of acme's API key with another secret, and a key that looks right."""
    made = apikeys.make_key().key
    checked = shared.key[: len("sk_live_") + 12] + made[len("sk_live_") + 12 : -6]
    told = []
    for key in (made, checked + apikeys._checksum(checked)):
        headers = {"Authorization": f"Bearer {key}"}
        told.append(essence(await shared.stranger.get("/v1/async/status", headers=headers), key))

    assert told[0] == told[1]
    assert told[0][0] == 401
    headers = {"Authorization": f"Bearer {shared.key}"}
    assert (await shared.stranger.get("/v1/async/status", headers=headers)).status_code == 200


async def test_a_cursor_of_anothers_opens_nothing(shared: World) -> None:
    """Nor does one for another filter, or one that was changed; acme's own goes on."""
    acme = {"Authorization": f"Bearer {shared.key}"}

    async def page(headers: dict[str, str] | None = None, **query: Any) -> Any:
        return await shared.stranger.get("/v1/async/tasks", params={"limit": 2, **query}, headers=headers)

    cursor = (await page(acme)).json()["nextCursor"]
    assert "acme" not in cursor
    replies = [await page(cursor=cursor), await page(acme, cursor=cursor, status="QUEUED")]
    replies.append(await page(acme, cursor=cursor, taskType="GROK"))
    for place in range(len(cursor)):
        other = "A" if cursor[place] != "A" else "B"
        replies.append(await page(acme, cursor=cursor[:place] + other + cursor[place + 1 :]))

    assert {reply.status_code for reply in replies} == {400}
    assert len({str(essence(reply, cursor)) for reply in replies}) == 1
    assert (await page(acme, cursor=cursor)).json()["tasks"]


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
