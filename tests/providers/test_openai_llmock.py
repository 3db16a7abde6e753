"""The provider against LLMock, a server by others that imitates OpenAI, Perplexity and xAI, and fails."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from scheduler.errors import GiveUp, Misconfigured, RateLimited, Rejected, Retry, Unavailable
from scheduler.providers import LooseCall
from scheduler.providers.openai import OpenAi
from taskqueue import TaskQueue, TaskState
from tests.providers.asking import asked, opened, ran
from tests.providers.llmock_server import LlmockServer, llmock_server
from tests.providers.servers import seconds_of

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "local_llm.md"
PROMPT = {"prompt": "Where do penguins live?", "country": "US"}
APIS = ["chat", "responses"]


@pytest.fixture(scope="module")
def running() -> Iterator[LlmockServer]:
    """One server for all of these tests."""
    with llmock_server() as server:
        yield server


@pytest.fixture
def llmock(running: LlmockServer) -> LlmockServer:
    """The same, as if it had just been started."""
    running.reset()
    return running


async def answer_of(
    llmock: LlmockServer, *, path: str = "/v1", call: LooseCall | None = None, **settings: Any
) -> dict[str, Any]:
    """What is stored of its answer to the prompt."""
    given = {"model": "gpt-4o-mini", "api_key": SecretStr("any"), "timeout": 5.0, **settings}
    async with opened(OpenAi, base_url=llmock.url + path, **given) as provider:
        return await asked(provider, "CHATGPT", PROMPT, call)


async def error_of(llmock: LlmockServer, **settings: Any) -> Exception:
    """What is raised in the place of an answer."""
    with pytest.raises((Retry, RateLimited, GiveUp)) as raised:
        await answer_of(llmock, **settings)
    return raised.value


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("stream", [True, False])
async def test_both_apis_are_understood(llmock: LlmockServer, api: str, *, stream: bool) -> None:
    """With a stream and without: the text, the model, the tokens; nothing is tried twice."""
    llmock.behaves({"type": "reply", "text": "On the ice."})
    call = LooseCall("CHATGPT")

    result = await answer_of(llmock, api=api, stream=stream, call=call)

    assert result == {"text": "On the ice.", "sources": [], "model": "gpt-4o-mini"}
    assert call.partials == (["On ", "On the ", "On the ice."] if stream else [])
    assert call.tokens > 0
    (request,) = llmock.requests
    assert (request["stream"], request["status"], request["completed"]) == (stream, 200, True)
    assert llmock.verdict["findings"] == []


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, Misconfigured),
        (402, RateLimited),
        (403, Misconfigured),
        (404, Misconfigured),
        (422, Rejected),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_its_refusals_are_told_apart(
    llmock: LlmockServer, api: str, status: int, kind: type[Exception]
) -> None:
    """One call, one refusal: trying again is the engine's."""
    llmock.behaves({"type": "fail", "status": status, "times": 5})

    assert type(await error_of(llmock, api=api)) is kind
    assert len(llmock.requests) == 1


async def test_its_pauses_are_kept(llmock: LlmockServer) -> None:
    """As long as it asks for; for a quota that is used up, as long as configured."""
    llmock.behaves({"type": "fail", "status": 429, "retry_after": 7})
    llmock.behaves({"type": "fail", "status": 429, "code": "insufficient_quota", "retry_after": 7})
    llmock.behaves({"type": "fail", "status": 503, "retry_after": 9})

    errors = [await error_of(llmock) for _ in range(3)]

    assert [(type(error), seconds_of(error)) for error in errors] == [
        (RateLimited, 7),
        (RateLimited, 300),
        (Unavailable, 9),
    ]


async def test_a_prompt_that_is_too_long_for_it_fails_the_task_alone(llmock: LlmockServer) -> None:
    """By its code for that."""
    llmock.behaves({"type": "fail", "status": 400, "code": "context_length_exceeded"})

    assert type(await error_of(llmock)) is Rejected


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
async def test_a_stream_that_breaks_is_no_answer(llmock: LlmockServer, api: str, kind: str) -> None:
    """Cut off, ended early as if it were over, or no JSON: half an answer is taken for none."""
    llmock.behaves({"type": "stream_fault", "kind": kind, "after_chunks": 6})

    assert type(await error_of(llmock, api=api)) is Unavailable


async def test_a_stream_that_stalls_ends_by_the_timeout(llmock: LlmockServer) -> None:
    """The server would go on after half a minute."""
    llmock.behaves({"type": "stream_fault", "kind": "stall", "after_chunks": 3, "stall_seconds": 30})

    async with asyncio.timeout(10):
        assert type(await error_of(llmock, timeout=0.5)) is Unavailable


@pytest.mark.parametrize("api", APIS)
async def test_a_function_that_it_wants_called_is_a_mistake_of_the_configuration(
    llmock: LlmockServer, api: str
) -> None:
    """Nobody here calls functions."""
    llmock.behaves({"type": "reply", "tool_calls": [{"name": "look_up", "arguments": {}}]})

    error = await error_of(llmock, api=api)

    assert (type(error), "look_up" in str(error)) == (Misconfigured, True)


@pytest.mark.parametrize(("finish", "kind"), [("length", None), ("content_filter", Rejected)])
async def test_the_end_of_an_answer_is_heeded(
    llmock: LlmockServer, finish: str, kind: type[Exception] | None
) -> None:
    """What was cut is kept, what was filtered is not."""
    llmock.behaves({"type": "reply", "text": "On i", "finish_reason": finish})

    if kind is None:
        assert (await answer_of(llmock))["text"] == "On i"
    else:
        assert type(await error_of(llmock)) is kind


async def test_the_sources_of_its_perplexity_are_found(llmock: LlmockServer) -> None:
    """As that service gives them when it does not stream."""
    parameters = {"return_citations": True}
    result = await answer_of(
        llmock, path="/perplexity/v1", model="sonar", stream=False, parameters=parameters, instructions=""
    )

    (source,) = result["sources"]
    assert source["position"] == 1
    assert source["url"].startswith("https://example.com/mock-search/")
    assert source["label"].startswith("Mock result for")
    assert source["description"].startswith("Synthetic search snippet")


@pytest.mark.parametrize("stream", [True, False])
async def test_its_grok_is_understood(llmock: LlmockServer, *, stream: bool) -> None:
    """XAI's errors have another shape."""
    llmock.behaves({"type": "reply", "text": "On the ice."})
    llmock.behaves({"type": "fail", "status": 429, "retry_after": 3})

    error = await error_of(llmock, path="/xai/v1", model="grok-4", stream=stream)
    result = await answer_of(llmock, path="/xai/v1", model="grok-4", stream=stream)

    assert (type(error), seconds_of(error)) == (RateLimited, 3)
    assert result["text"] == "On the ice."


async def test_a_task_survives_its_failures(llmock: LlmockServer, queue: TaskQueue, tmp_path: Path) -> None:
    """Three calls fail in three ways; each attempt is one call, and the server finds no fault with us.

    It has measured that we left it alone for as long as it asked.
    """
    llmock.behaves(
        {"type": "fail", "status": 429, "retry_after": 0.5},
        {"type": "stream_fault", "kind": "disconnect", "after_chunks": 2},
        {"type": "fail", "status": 500},
        {"type": "reply", "text": "On the ice.", "times": None},
    )
    toml = f"""
        [providers.mock]
        kind = "openai"
        base_url = "{llmock.url}/v1"
        model = "gpt-4o-mini"

        [types]
        CHATGPT = ["mock"]
    """

    task = await ran(queue, tmp_path, toml, "CHATGPT", PROMPT)

    assert (task.state, task.attempt) == (TaskState.COMPLETED, 3)
    assert task.result["text"] == "On the ice."
    assert [request["status"] for request in llmock.requests] == [429, 500, 200, 200]
    assert [found["code"] for found in llmock.verdict["findings"] if found["severity"] == "error"] == []


async def test_the_example_does_what_it_says(llmock: LlmockServer, queue: TaskQueue, tmp_path: Path) -> None:
    """Its configuration, what it tells the mock server, and what it says will come of that."""
    text = EXAMPLE.read_text()
    (toml,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (told,) = re.findall(r"_llmock/scenario -d '(.*?)'\n```", text, re.DOTALL)
    assert "http://127.0.0.1:8080/v1" in toml
    llmock.behaves(*json.loads(told)["behaviors"])

    task = await ran(queue, tmp_path, toml.replace("http://127.0.0.1:8080", llmock.url), "CHATGPT", PROMPT)

    assert (task.state, task.attempt) == (TaskState.COMPLETED, 2)
    assert task.result["text"].startswith("Penguins live on the ice")
    assert [request["status"] for request in llmock.requests] == [429, 200, 200]
