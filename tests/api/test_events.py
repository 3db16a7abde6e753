"""One task as a stream of events, over a real HTTP server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from scheduler import Context
from taskqueue import ServerUnavailable, TaskQueue
from tests.api.conftest import PROMPT, TASK, Client, Working, error_of
from tests.api.live import served

Event = tuple[str, Any]


@pytest.fixture
def options() -> dict[str, Any]:
    """Quick looks, and few streams."""
    return {"stream_poll": 0.02, "heartbeat": 0.1, "max_streams_per_tenant": 2, "max_streams": 3}


@pytest.fixture
async def base(app: FastAPI) -> AsyncIterator[str]:
    """Where the service answers."""
    async with served(app) as url:
        yield url


@pytest.fixture
async def live(base: str, client: Client) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the same tenant, over the network."""
    authorization = {"Authorization": client.headers["Authorization"]}
    async with httpx.AsyncClient(base_url=base, headers=authorization, timeout=10) as made:
        yield made


async def _events(response: httpx.Response) -> AsyncIterator[Event]:
    name = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
        elif line.startswith(":"):
            yield "comment", line


async def _create(client: httpx.AsyncClient) -> str:
    task_id: str = (await client.post("/v1/async/task", json=TASK)).json()["task"]["id"]
    return task_id


async def test_a_whole_life(live: httpx.AsyncClient, working: Working) -> None:
    """The state at once, its changes, progress, the result; then the stream ends."""
    task_id = await _create(live)

    async def handler(_: Any, context: Context) -> dict[str, Any]:
        await context.progress({"page": 1})
        await seen.wait()
        return {"text": "line\nbreak"}

    seen, found = asyncio.Event(), []
    async with live.stream("GET", f"/v1/async/task/{task_id}/events") as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["x-ratelimit-limit"] == "1000"
        assert response.headers["x-request-id"]
        events = _events(response)
        found.append(await anext(events))
        async with working(CHATGPT=handler):
            async for event in events:
                if event[0] == "progress":
                    seen.set()
                if event[0] != "comment":
                    found.append(event)

    assert [name for name, _ in found] == ["task", "task", "progress", "result"]
    assert [found[at][1]["task"]["status"] for at in (0, 1, 3)] == ["QUEUED", "PROCESSING", "COMPLETED"]
    assert found[2][1] == {"progress": {"page": 1}}
    assert found[3][1] == (await live.get(f"/v1/async/task/{task_id}")).json()


async def test_a_finished_task_ends_at_once(client: Client, queue: TaskQueue) -> None:
    """One event; also for a task that is named by its key."""
    task_id = (await client.post("/v1/async/task", json={**TASK, "idempotencyKey": "k"})).json()["task"]["id"]
    await queue.cancel(task_id)

    text = (await client.get("/v1/async/task/k/events")).text

    assert text.count("event: ") == 1
    assert "event: result\ndata: {" in text


async def test_a_task_that_is_cleared(live: httpx.AsyncClient) -> None:
    """The stream says so and ends."""
    task_id = await _create(live)
    async with live.stream("GET", f"/v1/async/task/{task_id}/events") as response:
        events = _events(response)
        assert (await anext(events))[0] == "task"
        await live.delete("/v1/async/queue")
        found = [event async for event in events if event[0] != "comment"]

    assert found == [("gone", {"id": task_id})]


async def test_a_silent_stream_has_comments(live: httpx.AsyncClient) -> None:
    """So that no proxy takes it for dead."""
    task_id = await _create(live)
    async with live.stream("GET", f"/v1/async/task/{task_id}/events") as response:
        events = _events(response)
        assert (await anext(events))[0] == "task"

        assert (await anext(events))[0] == "comment"


async def test_streams_are_bounded_and_end_with_their_clients(
    app: FastAPI, live: httpx.AsyncClient, stranger: Client
) -> None:
    """429 to the third of a tenant; when a client goes, its place is free."""
    task_id, place = await _create(live), "/v1/async/task/{}/events"
    opened = [live.stream("GET", place.format(task_id)) for _ in range(2)]
    for each in opened:
        await each.__aenter__()
    third = await live.get(place.format(task_id))
    assert error_of(third) == (429, "CONCURRENCY_LIMIT_EXCEEDED", "Concurrency limit exceeded", {"limit": 2})
    assert app.state.service.metrics.streams == 2

    for each in opened:
        await each.__aexit__(None, None, None)

    while app.state.service.metrics.streams:
        await asyncio.sleep(0.01)
    assert not app.state.service.streams
    assert (await stranger.get(place.format(task_id))).status_code == 404


async def test_streams_end_when_the_service_stops(app: FastAPI, live: httpx.AsyncClient) -> None:
    """They must not hold up its end."""
    task_id = await _create(live)
    async with live.stream("GET", f"/v1/async/task/{task_id}/events") as response:
        events = _events(response)
        await anext(events)
        app.state.service.stop()

        assert [event async for event in events if event[0] != "comment"] == []
    assert (await live.get(f"/v1/async/task/{task_id}/events")).status_code == 503


async def test_a_client_that_goes_is_noticed(base: str, client: Client, queue: TaskQueue) -> None:
    """A synchronous request over the network: its task is cancelled while it is queued."""
    async with httpx.AsyncClient(base_url=base, headers=dict(client.headers)) as live:
        with pytest.raises(httpx.ReadTimeout):
            await live.post("/v1/monitor/chatgpt", json=PROMPT, timeout=0.3)

    while (await queue.stats(tenant="acme")).queued:
        await asyncio.sleep(0.01)


async def test_the_wire(base: str, live: httpx.AsyncClient) -> None:
    """Over the network too: an id, a latency, the limits, exactly one length; no body after HEAD."""
    good = await live.post("/v1/async/task", json=TASK)
    bad = await live.post("/v1/async/task", content=b"{")
    head = await live.head("/v1/async/status")

    for response in (good, bad, head):
        assert {"x-request-id", "x-latency-ms", "x-ratelimit-remaining"} <= set(response.headers)
        assert len(response.headers.get_list("content-length")) == 1
    assert (head.status_code, head.content) == (200, b"")


async def test_a_long_body_over_the_wire(base: str, live: httpx.AsyncClient) -> None:
    """413 before all of it has come, and the connection is closed."""

    async def flood() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 65_536

    try:
        response = await live.post("/v1/async/task", content=flood())
    except (httpx.WriteError, httpx.ReadError):
        return  # closed while it was still sent: the client may see only that
    assert response.status_code == 413


async def test_what_has_come_so_far_is_told_at_once(live: httpx.AsyncClient, working: Working) -> None:
    """A stream that is opened late begins with the state and the progress."""
    told, go = asyncio.Event(), asyncio.Event()

    async def handler(_: Any, context: Context) -> dict[str, Any]:
        await context.progress({"page": 1})
        told.set()
        await go.wait()
        return {}

    async with working(CHATGPT=handler):
        task_id = await _create(live)
        await asyncio.wait_for(told.wait(), 10)
        async with live.stream("GET", f"/v1/async/task/{task_id}/events") as response:
            events = _events(response)
            state, progress = await anext(events), await anext(events)
            go.set()

    assert (state[0], state[1]["task"]["status"]) == ("task", "PROCESSING")
    assert progress == ("progress", {"progress": {"page": 1}})


@pytest.mark.parametrize("call", ["get", "wait"])
async def test_a_stream_ends_when_the_server_is_away(
    live: httpx.AsyncClient, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """In order, and with no word of the task, of which nothing is known: the client opens another one."""
    task_id, away = await _create(live), asyncio.Event()
    real = getattr(queue, call)

    async def answer(*args: Any, **named: Any) -> Any:
        if call == "wait":
            await away.wait()
        if away.is_set():
            raise ServerUnavailable("gone")
        return await real(*args, **named)

    monkeypatch.setattr(queue, call, answer)
    async with live.stream("GET", f"/v1/async/task/{task_id}/events") as response:
        events = _events(response)
        assert (await anext(events))[0] == "task"
        away.set()

        assert [event async for event in events if event[0] != "comment"] == []


async def test_a_stream_that_goes_wrong_is_broken_off(
    live: httpx.AsyncClient, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot pass for one that has ended."""
    task_id = await _create(live)

    async def fail(*_: Any, **__: Any) -> None:
        raise ValueError("a bug")

    async with live.stream("GET", f"/v1/async/task/{task_id}/events") as response:
        events = _events(response)
        assert (await anext(events))[0] == "task"
        monkeypatch.setattr(queue, "get", fail)

        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in events:
                pass


async def test_the_end_is_told_once(
    live: httpx.AsyncClient, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the one who waits for it, also if somebody who looks sees it first."""
    task_id, tell, seen = await _create(live), asyncio.Event(), asyncio.Event()
    get, wait = queue.get, queue.wait

    async def look(task_id: str, **named: Any) -> Any:
        if (task := await get(task_id, **named)) is not None and task.state.is_finished:
            asyncio.get_running_loop().call_later(0.05, seen.set)
        return task

    async def late(task_id: str, timeout: float | None = None) -> Any:
        await tell.wait()
        return await wait(task_id, timeout)

    monkeypatch.setattr(queue, "get", look)
    monkeypatch.setattr(queue, "wait", late)
    async with live.stream("GET", f"/v1/async/task/{task_id}/events") as response:
        events = _events(response)
        assert (await anext(events))[0] == "task"
        await queue.cancel(task_id)
        await asyncio.wait_for(seen.wait(), 10)
        tell.set()
        found = [event async for event in events if event[0] != "comment"]

    assert [name for name, _ in found] == ["result"]
