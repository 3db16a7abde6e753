"""OpenAI-compatible services that fail: by a status, inside an answer, or by saying what makes no sense."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from scheduler.errors import GiveUp, Misconfigured, RateLimited, Rejected, Retry, Unavailable
from scheduler.providers import LooseCall
from scheduler.providers.openai import OpenAi
from scheduler.providers.openai.answer import ChatReader, ErrorInside, ResponsesReader
from scheduler.providers.openai.errors import error_inside, told_by
from scheduler.providers.openai.settings import OpenAiSettings
from scheduler.providers.results import checked_result
from scheduler.providers.tools.transport import BoundedTransport
from tests.providers.asking import asked, opened
from tests.providers.openai_shapes import begun, chat_events, chunk, response, streamed
from tests.providers.servers import (
    REFUSALS,
    Answer,
    holds,
    resets,
    says,
    says_json,
    says_packed,
    seconds_of,
    service,
    writes,
)

KEY = "sk-a-key-that-nobody-may-see-0123456789"
PROMPT = {"prompt": "Where do penguins live?", "country": "US"}


async def error_after(answer: Answer, call: LooseCall | None = None, **given: Any) -> Exception:
    """Return what is raised for an answer; the service was asked once, and the key is not in the error."""
    async with service(answer) as served:
        options = {"base_url": f"{served.url}/v1", "model": "m", "api_key": SecretStr(KEY), "timeout": 5.0}
        async with opened(OpenAi, **{**options, **given}) as provider:
            with pytest.raises((Retry, RateLimited, GiveUp)) as raised:
                await asked(provider, "CHATGPT", PROMPT, call)
    assert len(served.asked) == 1
    assert KEY not in f"{raised.value!r} {vars(raised.value)} {raised.value.__cause__!r}"
    return raised.value


# -------------------------------------------------------------------------------------- by a status


@pytest.mark.parametrize(("status", "headers", "kind", "after"), REFUSALS)
async def test_a_status_says_how_the_task_goes_on(
    status: int, headers: tuple[str, ...], kind: type[Exception], after: float | None
) -> None:
    """The message of the service is told; it is asked once, because the engine tries again."""
    body = {"error": {"message": f"no: {KEY}", "type": "some_error", "param": None, "code": None}}
    error = await error_after(says_json(body, status, *headers), cooldown=2.0)

    assert type(error) is kind
    assert seconds_of(error) == (2.0 if kind is RateLimited and after is None else after)
    assert str(error).startswith(f"the service answered {status}: no: [hidden]")


SAID = [
    pytest.param(
        429,
        {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": None}},
        RateLimited,
        300,
        id="openai-quota",
    ),
    pytest.param(402, {"detail": "Payment required"}, RateLimited, 300, id="payment"),
    pytest.param(
        403,
        {
            "code": "permission-denied",
            "error": "Your team has either used all available credits or reached ...",
        },
        RateLimited,
        300,
        id="xai-credits",
    ),
    pytest.param(
        404,
        {"error": {"message": "The model `m` does not exist", "code": "model_not_found"}},
        Misconfigured,
        None,
        id="model",
    ),
    pytest.param(
        404,
        {"error": {"message": 'model "m" not found, try pulling it first', "type": "api_error"}},
        Misconfigured,
        None,
        id="ollama-model",
    ),
    pytest.param(
        400,
        {"error": {"message": "Invalid model 'm'.", "type": "invalid_model", "code": 400}},
        Misconfigured,
        None,
        id="perplexity-model",
    ),
    pytest.param(
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***ab."},
        Misconfigured,
        None,
        id="xai-key",
    ),
    pytest.param(
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "X",
                }
            }
        ],
        Misconfigured,
        None,
        id="gemini-key",
    ),
    pytest.param(
        400,
        {
            "error": {
                "message": "Unsupported parameter: 'max_tokens'",
                "type": "invalid_request_error",
                "param": "max_tokens",
                "code": "unsupported_parameter",
            }
        },
        Misconfigured,
        None,
        id="parameter",
    ),
    pytest.param(
        400,
        {"error": {"message": "Invalid value: 'webx'", "param": "tools[0].type", "code": "invalid_value"}},
        Misconfigured,
        None,
        id="value",
    ),
    pytest.param(
        400,
        {"error": {"message": "Invalid value", "param": "messages[1].content", "code": "invalid_value"}},
        Rejected,
        None,
        id="prompt",
    ),
    pytest.param(
        400,
        {"error": {"message": "Too long", "param": "messages", "code": "context_length_exceeded"}},
        Rejected,
        None,
        id="context",
    ),
    pytest.param(
        400,
        {"error": {"message": "the request exceeds the available context size", "type": "x", "code": 400}},
        Rejected,
        None,
        id="llama-context",
    ),
    pytest.param(
        400,
        {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400},
        Rejected,
        None,
        id="vllm-context",
    ),
    pytest.param(
        403,
        {
            "code": "The caller does not have permission ...",
            "error": "Content violates usage guidelines. Team: x",
        },
        Rejected,
        None,
        id="xai-forbidden",
    ),
    pytest.param(
        400,
        {"error": {"message": "Refused", "param": None, "code": "image_content_policy_violation"}},
        Rejected,
        None,
        id="policy",
    ),
    pytest.param(409, {"error": {"message": "still under way"}}, Retry, None, id="conflict"),
    pytest.param(400, [], Rejected, None, id="no-words"),
]


@pytest.mark.parametrize(("status", "body", "kind", "after"), SAID)
async def test_a_body_tells_apart_what_one_status_says(
    status: int, body: Any, kind: type[Exception], after: float | None
) -> None:
    """One tenant's prompt closes no provider, and an operator's mistake fails no task for good."""
    error = await error_after(says_json(body, status))

    assert (type(error), seconds_of(error)) == (kind, after)


async def test_a_quota_that_is_used_up_is_left_alone_for_long() -> None:
    """Even where the service says "at once": its credit does not come back by itself."""
    body = {"error": {"message": "no", "code": "insufficient_quota"}}
    error = await error_after(says_json(body, 429, "Retry-After: 1"), quota_cooldown=1_000)

    assert seconds_of(error) == 1_000


async def test_a_prompt_that_an_error_repeats_turns_it_into_no_other() -> None:
    """The words for a used-up quota in a 400 are the prompt's, and cool nobody."""
    body = {"error": {"message": "Invalid prompt: 'what does a spending limit mean?'", "code": None}}

    assert type(await error_after(says_json(body, 400))) is Rejected


@pytest.mark.parametrize("body", [7, None, True, [], [7]])
async def test_a_refusal_that_says_nothing_is_judged_by_its_status(body: Any) -> None:
    """JSON it is, and no error that anybody could read."""
    assert type(await error_after(says_json(body, 503))) is Unavailable
    assert type(await error_after(says_json(body, 401))) is Misconfigured


async def test_a_refusal_that_is_no_json_is_shown_as_it_is() -> None:
    """A gateway's page: its beginning, on one line."""
    error = await error_after(says("<html>\n<h1>Bad gateway</h1>", 502, kind="text/html"))

    assert str(error) == "the service answered 502: <html> <h1>Bad gateway</h1>"


# --------------------------------------------------------------------------------- inside an answer


INSIDE = [
    ({"error": {"message": "overloaded", "type": "server_error", "code": None}}, Unavailable, None),
    ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, RateLimited, 5),
    ({"error": {"message": "slow down", "code": 429}}, RateLimited, 5),
    ({"error": {"message": "no credit", "code": "insufficient_quota"}}, RateLimited, 300),
    ({"error": {"message": "who?", "code": "invalid_api_key"}}, Misconfigured, None),
    ({"error": {"message": "too long", "type": "exceed_context_size_error"}}, Rejected, None),
    ({"error": "it broke"}, Unavailable, None),
    ({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, Rejected, None),
]


@pytest.mark.parametrize(("body", "kind", "after"), INSIDE)
async def test_an_error_inside_a_stream_is_what_its_status_would_be(
    body: dict[str, Any], kind: type[Exception], after: float | None
) -> None:
    """The answer began as a success, and then the service says what is wrong."""
    error = await error_after(streamed(chunk({"content": "On "}), body))

    assert (type(error), seconds_of(error)) == (kind, after)
    assert str(error).startswith("the service broke off with an error: ")


@pytest.mark.parametrize(("body", "kind", "after"), INSIDE)
async def test_an_error_in_the_place_of_an_answer_is_the_same(
    body: dict[str, Any], kind: type[Exception], after: float | None
) -> None:
    """A 200 that is none."""
    error = await error_after(says_json(body), stream=False)

    assert (type(error), seconds_of(error)) == (kind, after)


@pytest.mark.parametrize(
    ("event", "kind", "after"),
    [
        (
            {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None},
            RateLimited,
            5,
        ),
        ({"type": "error", "error": {"type": "server_error", "message": "it broke"}}, Unavailable, None),
        (
            {
                "type": "response.failed",
                "response": response(
                    status="failed", error={"code": "server_error", "message": "it broke"}, usage=None
                ),
            },
            Unavailable,
            None,
        ),
        (
            {
                "type": "response.failed",
                "response": response(status="failed", error={"code": "bio_policy", "message": "no"}),
            },
            Rejected,
            None,
        ),
        ({"type": "response.failed", "response": response(status="failed")}, Unavailable, None),
    ],
)
async def test_an_error_event_of_the_other_api_is_the_same(
    event: dict[str, Any], kind: type[Exception], after: float | None
) -> None:
    """As an event of its own, or as the end of the response."""
    error = await error_after(streamed(event, is_marked=False), api="responses")

    assert (type(error), seconds_of(error)) == (kind, after)


# ------------------------------------------------------------------------------- what makes no sense


BROKEN = [
    pytest.param(resets(begun(chunk({"content": "On "}))), {}, "the connection broke", id="reset"),
    pytest.param(resets(), {}, "the connection broke", id="reset-at-once"),
    pytest.param(
        streamed(chunk({"content": "On "}), ends=False), {}, "the connection broke", id="no-end-of-http"
    ),
    pytest.param(
        writes(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{}"),
        {"stream": False},
        "the connection broke",
        id="cut",
    ),
    pytest.param(
        writes(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{}"),
        {},
        "the connection broke",
        id="cut-in-place-of-a-stream",
    ),
    pytest.param(streamed(chunk({"content": "On "})), {}, "its end is missing", id="no-finish"),
    pytest.param(
        streamed(chunk({"content": "On "}), is_marked=False), {}, "its end is missing", id="no-mark"
    ),
    pytest.param(
        streamed({"type": "response.output_text.delta", "delta": "On"}, is_marked=False),
        {"api": "responses"},
        "its end is missing",
        id="no-end-of-response",
    ),
    pytest.param(streamed(b'data: {"choices": [{"del\n\n'), {}, "is no JSON", id="cut-event"),
    pytest.param(streamed(b"data: \xff\xfe\n\n"), {}, "is no JSON", id="encoding"),
    pytest.param(streamed(b"data: " + b"[" * 100_000 + b"\n\n"), {}, "is no JSON", id="deep-event"),
    pytest.param(says("", kind="text/event-stream"), {}, "its end is missing", id="empty-stream"),
    pytest.param(says("<h1>Log in</h1>", kind="text/html"), {}, "text/html: <h1>Log in</h1>", id="html"),
    pytest.param(
        says("<h1>Log in</h1>", kind="text/html"), {"stream": False}, "text/html: <h1>Log in", id="html-whole"
    ),
    pytest.param(says(""), {"stream": False}, "it is empty", id="empty"),
    pytest.param(says("[" * 100_000), {"stream": False}, "is no JSON", id="deep"),
    pytest.param(says('{"choices": NaN}'), {"stream": False}, "is no JSON", id="nan"),
    pytest.param(says("[1, 2]"), {"stream": False}, "no JSON object", id="list"),
    pytest.param(says('{"choices": {"0": true}}'), {"stream": False}, "the answer is empty", id="types"),
    pytest.param(says_json({}), {"api": "responses", "stream": False}, "its end is missing", id="nothing"),
    pytest.param(
        streamed(b'data: null\n\ndata: 7\n\ndata: [1]\n\ndata: {"choices": [null, {"delta": 5}]}\n\n'),
        {},
        "its end is missing",
        id="odd-events",
    ),
    pytest.param(
        streamed(b"data: null\n\ndata: 7\n\ndata: [1]\n\n", is_marked=False),
        {"api": "responses"},
        "its end is missing",
        id="odd-events-of-a-response",
    ),
    pytest.param(
        streamed(*chat_events("x" * 5_000)), {"largest_response": 2_000}, "longer than 2,000 bytes", id="long"
    ),
    pytest.param(streamed(*chat_events("x" * 400_001)), {}, "longer than 400,000 characters", id="long-text"),
    pytest.param(
        says_packed(b"", packed=gzip.compress(b" " * 50_000_000)),
        {"stream": False},
        "longer than 4,194,304 bytes",
        id="bomb",
    ),
]


@pytest.mark.parametrize(("answer", "given", "what"), BROKEN)
async def test_an_answer_that_makes_no_sense_counts_against_the_service(
    answer: Answer, given: dict[str, Any], what: str
) -> None:
    """The next of the chain gets the task; why is told in a few words."""
    error = await error_after(answer, **given)

    assert type(error) is Unavailable
    assert what in str(error)
    assert len(str(error)) < 300


async def test_a_service_that_falls_silent_is_left() -> None:
    """It began to answer, and says nothing more: the call ends by its own timeout, and so the connection."""
    async with (
        service(holds(begun(chunk({"content": "On "})))) as served,
        opened(OpenAi, base_url=f"{served.url}/v1", model="m", timeout=0.2) as provider,
    ):
        with pytest.raises(Unavailable) as raised:
            await asked(provider, "CHATGPT", PROMPT)
        async with asyncio.timeout(5):
            await served.left.wait()

    assert "0.2 s" in str(raised.value)


async def test_a_service_that_is_not_there_is_unavailable() -> None:
    """Nobody listens at its address."""
    async with service(says("")) as served:
        url = served.url
    async with opened(OpenAi, base_url=f"{url}/v1", model="m") as provider:
        with pytest.raises(Unavailable, match="it cannot be reached"):
            await asked(provider, "CHATGPT", PROMPT)


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("stream", "beginning"), [(True, begun(chunk({"content": "On "}))), (True, b""), (False, b"")]
)
async def test_a_cancelled_call_ends_on_the_wire(api: str, stream: bool, beginning: bytes) -> None:
    """In the midst of its answer, or before it: the service sees that nobody listens any more."""
    async with service(holds(beginning)) as served:
        given = {"base_url": f"{served.url}/v1", "model": "m", "api": api, "stream": stream}
        async with opened(OpenAi, **given) as provider:
            asking = asyncio.create_task(asked(provider, "CHATGPT", PROMPT))
            async with asyncio.timeout(5):
                await served.arrived.wait()
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                await served.left.wait()


async def test_an_error_half_way_ends_the_call_on_the_wire() -> None:
    """The service said what is wrong and would go on: nobody listens to that."""
    beginning = begun(chunk({"content": "On "}), {"object": "error", "message": "it broke"})
    async with (
        service(holds(beginning)) as served,
        opened(OpenAi, base_url=f"{served.url}/v1", model="m") as provider,
    ):
        with pytest.raises(Unavailable, match="it broke"):
            await asked(provider, "CHATGPT", PROMPT)
        async with asyncio.timeout(5):
            await served.left.wait()


@pytest.mark.parametrize("key", ["sk-\u00e4", "sk-a\nX-Other: b"])
async def test_a_key_that_no_header_may_have_is_a_mistake_of_the_configuration(key: str) -> None:
    """And is not shown."""
    async with service(says("")) as served:
        with pytest.raises(Misconfigured) as raised:
            async with opened(OpenAi, base_url=served.url, model="m", api_key=SecretStr(key)) as provider:
                await asked(provider, "CHATGPT", PROMPT)

    assert served.asked == []
    assert "sk-" not in f"{raised.value!r} {raised.value.__cause__!r}"


async def test_a_provider_that_is_not_open_says_so() -> None:
    """Before open() and after close(), which may be called twice."""
    provider = OpenAi("tested", OpenAiSettings(base_url="http://127.0.0.1:1", model="m"))
    for _ in range(2):
        with pytest.raises(Unavailable, match="is not open"):
            await asked(provider, "CHATGPT", PROMPT)
        await provider.open()
        await provider.close()
        await provider.close()


async def test_whatever_breaks_below_the_library_is_a_broken_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told by its name alone: its text may be anything."""

    async def breaks(*_: object) -> None:
        raise ssl.SSLError(KEY)

    monkeypatch.setattr(BoundedTransport, "handle_async_request", breaks)
    async with opened(OpenAi, base_url="http://127.0.0.1:1", model="m") as provider:
        with pytest.raises(Unavailable) as raised:
            await asked(provider, "CHATGPT", PROMPT)

    assert str(raised.value) == "the connection broke: SSLError"


async def test_tokens_that_were_told_before_the_end_are_counted() -> None:
    """The connection broke; what the service had counted until then was used."""
    call = LooseCall("CHATGPT")
    await error_after(resets(begun(chunk({"content": "On "}, usage={"total_tokens": 7}))), call)

    assert call.tokens == 7


# ----------------------------------------------------------------------------- anything whatever

_WORDS = st.sampled_from(
    [
        *("choices", "delta", "message", "content", "text", "refusal", "tool_calls", "function", "name"),
        *("annotations", "url_citation", "url", "title", "snippet", "citations", "search_results", "results"),
        *("output", "type", "action", "query", "queries", "sources", "response", "phase", "status"),
        *("incomplete_details", "reason", "index", "finish_reason", "usage", "total_tokens", "model"),
        *("error", "code", "object"),
    ]
)
_SAID = st.sampled_from(
    [
        *("message", "output_text", "web_search_call", "url_citation", "search_results", "function_call"),
        *("response.completed", "response.output_text.delta", "response.output_item.done", "error"),
        *("stop", "length", "completed", "failed", "incomplete", "commentary", "refusal"),
        *("https://example.org/", "0", "", "\ud83d"),
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _SAID | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=6),
    max_leaves=25,
)


@settings(max_examples=400)
@given(events=st.lists(_JSON, max_size=5), whole=_JSON, is_chat=st.booleans())
def test_whatever_is_said_becomes_an_answer_or_a_known_error(
    events: list[Any], whole: Any, is_chat: bool
) -> None:
    """Any JSON in any order: nothing of it breaks the reader, and what it makes of it can be stored."""
    reader: ChatReader | ResponsesReader = ChatReader() if is_chat else ResponsesReader()
    reader.answer.raw.is_wanted = True
    given = OpenAiSettings(model="m")
    try:
        for each in events:
            reader.read_event(each)
        reader.read_whole(whole)
    except ErrorInside as error:
        made = error_inside(error.body, settings=given, secrets=(KEY,))
        assert isinstance(made, Retry | RateLimited | Rejected)
        json.dumps(told_by(error.body).message)
        return

    answer = reader.answer
    assert isinstance(answer.ended, str)
    result = {
        "text": answer.text or "x",
        "sources": answer.sources,
        "model": answer.model,
        "searchQueries": list(answer.queries),
        "rawResponse": answer.raw.parts,
    }
    stored = json.dumps(checked_result("CHATGPT", result), allow_nan=False, ensure_ascii=False)
    assert stored.encode()
