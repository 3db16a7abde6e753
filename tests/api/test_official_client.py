"""The contract's official Python client, unchanged, against the service over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import cloro
import pytest
from fastapi import FastAPI

from taskqueue import TaskQueue, TaskSpec
from taskqueue.accounts import Accounts
from tests.api.conftest import MAX_QUEUED, PROMPT, Working, echo
from tests.api.live import served

PATIENT = {"poll_interval": 0.02, "timeout": 10.0}
Ask = Callable[..., Any]


@pytest.fixture
async def base(app: FastAPI) -> AsyncIterator[str]:
    """Where the service answers."""
    async with served(app) as url:
        yield url


@pytest.fixture
async def official(base: str, accounts: Accounts) -> AsyncIterator[cloro.Cloro]:
    """The client as its users make it; it does not try again, so that tests do not wait."""
    key = (await accounts.create_key("acme")).key
    with cloro.Cloro(api_key=key, base_url=base + "/", timeout=20, max_retries=0) as client:
        yield client


async def ask(call: Ask, *arguments: Any, **options: Any) -> Any:
    """Make a call of the client, which blocks, beside the service."""
    return await asyncio.to_thread(call, *arguments, **options)


async def test_create_retrieve_wait(official: cloro.Cloro, working: Working) -> None:
    """A handle, a pending status, and the result."""
    tasks = official.async_tasks
    handle = await ask(
        tasks.create,
        "CHATGPT",
        PROMPT,
        priority=5,
        idempotency_key="k",
        webhook={"url": "https://example.com"},
    )

    assert (handle.status, handle.task_type, handle.priority) == ("QUEUED", "CHATGPT", 5)
    pending = await ask(tasks.retrieve, handle)
    assert pending["task"]["status"] == "QUEUED"
    assert "response" not in pending
    async with working(CHATGPT=echo):
        done = await ask(tasks.wait, handle, **PATIENT)
    assert done["response"] == {"text": PROMPT["prompt"]}
    assert done["credits"] == {"creditsToCharge": 5, "creditsCharged": 5}


async def test_run(official: cloro.Cloro, working: Working) -> None:
    """Create and wait in one call."""
    async with working(GOOGLE=echo):
        done = await ask(official.async_tasks.run, "GOOGLE", {"query": "x", "country": "US"}, **PATIENT)

    assert done["response"] == {"text": "x"}


async def test_batch(official: cloro.Cloro) -> None:
    """Good ones, one in camel case, and one that its user left empty."""
    results = await ask(
        official.async_tasks.create_batch,
        [
            {"task_type": "CHATGPT", "payload": PROMPT, "priority": 3},
            {"taskType": "GROK", "payload": PROMPT},
            {},
        ],
    )

    assert [item["success"] for item in results] == [True, True, False]
    assert results[0]["task"]["id"]
    assert results[2]["error"]["message"] == "Invalid task at index 2"


async def test_status(official: cloro.Cloro) -> None:
    """The numbers of the queue."""
    await ask(official.async_tasks.create, "CHATGPT", PROMPT)

    status = await ask(official.async_tasks.status)

    assert status["queuedTasks"] == 1
    assert status["priorityBreakdown"] == [{"priority": 1, "count": 1}]


async def test_countries_and_states(official: cloro.Cloro) -> None:
    """Bare arrays; the client sends no country with states."""
    assert len(await ask(official.countries)) == 250
    assert "CN" not in await ask(official.countries, "chatgpt")
    assert len(await ask(official.states)) == 51


@pytest.mark.parametrize("engine", ["chatgpt", "gemini", "perplexity", "copilot", "aimode"])
async def test_monitor_of_an_answer_engine(official: cloro.Cloro, working: Working, engine: str) -> None:
    """A prompt, with what is to be included."""
    async with working(**{engine.upper(): echo}):
        found = await ask(
            getattr(official.monitor, engine), prompt="hi", country="US", include={"markdown": True}
        )

    assert found == {"success": True, "result": {"text": "hi"}}


async def test_monitor_of_google(official: cloro.Cloro, working: Working) -> None:
    """Searches and news."""
    async with working(GOOGLE=echo, GOOGLE_NEWS=echo):
        search = await ask(
            official.monitor.google, query="q", country="US", device="mobile", pages=2, include={"html": True}
        )
        news = await ask(official.monitor.google_news, query="n", country="US")

    assert (search["result"], news["result"]) == ({"text": "q"}, {"text": "n"})


async def test_400(official: cloro.Cloro) -> None:
    """A priority of 0 is sent as it is."""
    with pytest.raises(cloro.BadRequestError) as caught:
        await ask(official.async_tasks.create, "CHATGPT", PROMPT, priority=0)

    assert caught.value.message == "Request validation failed"
    assert caught.value.body["error"]["details"][0]["field"] == "priority"


async def test_401(base: str) -> None:
    """A key of another form."""
    with (
        cloro.Cloro(api_key="sk_test", base_url=base, max_retries=0) as client,
        pytest.raises(cloro.AuthenticationError) as caught,
    ):
        await ask(client.countries)

    assert caught.value.message == "Invalid API key format"


async def test_403(official: cloro.Cloro, queue: TaskQueue) -> None:
    """An empty balance."""
    await queue.grant("acme", 1)

    with pytest.raises(cloro.PermissionDeniedError) as caught:
        await ask(official.async_tasks.create, "CHATGPT", PROMPT)

    assert caught.value.body["error"]["code"] == "INSUFFICIENT_CREDITS"


async def test_404(official: cloro.Cloro) -> None:
    """No such task."""
    with pytest.raises(cloro.NotFoundError):
        await ask(official.async_tasks.retrieve, "nope")


async def test_409(official: cloro.Cloro) -> None:
    """A key that was used."""
    await ask(official.async_tasks.create, "CHATGPT", PROMPT, idempotency_key="k")

    with pytest.raises(cloro.ConflictError) as caught:
        await ask(official.async_tasks.create, "CHATGPT", PROMPT, idempotency_key="k")

    assert caught.value.body["error"]["details"] == {"field": "idempotencyKey", "value": "k"}


async def test_429(official: cloro.Cloro, queue: TaskQueue) -> None:
    """A full queue."""
    await queue.enqueue_many(
        TaskSpec(type="CHATGPT", payload=PROMPT, tenant="acme") for _ in range(MAX_QUEUED)
    )

    with pytest.raises(cloro.RateLimitError) as caught:
        await ask(official.async_tasks.create, "CHATGPT", PROMPT)

    assert caught.value.body["error"]["code"] == "QUEUE_LIMIT_EXCEEDED"


async def test_500(official: cloro.Cloro, working: Working) -> None:
    """A synchronous request whose attempts are used up."""

    async def broken(_: Any) -> None:
        raise RuntimeError

    async with working(CHATGPT=broken):
        with pytest.raises(cloro.InternalServerError) as caught:
            await ask(official.monitor.chatgpt, prompt="hi", country="US")

    assert caught.value.message == "Maximum retries exceeded"


async def test_503(official: cloro.Cloro, app: FastAPI) -> None:
    """A service that stops; the client waits as long as it is told, then tries again."""
    official.max_retries = 1
    app.state.service.stop()

    with pytest.raises(cloro.InternalServerError) as caught:
        await ask(official.monitor.chatgpt, prompt="hi", country="US")

    assert caught.value.status_code == 503
    assert caught.value.response.headers["retry-after"] == "1"


async def test_a_failed_task_ends_the_wait(official: cloro.Cloro, working: Working) -> None:
    """The client's own error, with the whole answer; a cancelled task counts as failed."""

    async def broken(_: Any) -> None:
        raise RuntimeError

    handle = await ask(official.async_tasks.create, "CHATGPT", PROMPT)
    cancelled = await ask(official.async_tasks.create, "GROK", PROMPT)
    await ask(official.request, "DELETE", f"/v1/async/task/{cancelled.id}")
    async with working(CHATGPT=broken):
        with pytest.raises(cloro.TaskFailedError) as caught:
            await ask(official.async_tasks.wait, handle, **PATIENT)

    assert caught.value.response is not None
    assert caught.value.response["response"]["error"]["code"] == "INTERNAL_SERVER_ERROR"
    with pytest.raises(cloro.TaskFailedError):
        await ask(official.async_tasks.wait, cancelled, **PATIENT)


async def test_a_task_that_does_not_end(official: cloro.Cloro) -> None:
    """The client gives up; the task goes on."""
    handle = await ask(official.async_tasks.create, "CHATGPT", PROMPT)

    with pytest.raises(cloro.TaskTimeoutError):
        await ask(official.async_tasks.wait, handle, poll_interval=0.02, timeout=0.1)


async def test_a_service_that_is_away() -> None:
    """The client's own error for a connection that cannot be made."""
    with (
        cloro.Cloro(api_key="sk_live_x", base_url="http://127.0.0.1:9", max_retries=0) as client,
        pytest.raises(cloro.APIConnectionError),
    ):
        await ask(client.countries)
