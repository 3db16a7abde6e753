"""GEMINI and AIMODE by Google's library: streams, sources, places, blocks, quotas."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from scheduler.errors import Misconfigured, RateLimited, Rejected, Retry, Unavailable
from scheduler.providers import LooseCall, Provider
from scheduler.providers.google.genai import GoogleGenai, GoogleGenaiSettings
from taskqueue import TaskQueue, TaskState
from tests.providers.asking import asked, opened, ran
from tests.providers.google_genai_server import (
    ANSWER,
    GROUNDING,
    REDIRECT,
    TEXT,
    error,
    event,
    info,
    part,
    quota,
    retry,
    stream,
    usage,
)
from tests.providers.servers import (
    REFUSALS,
    Answer,
    Asked,
    Service,
    chunk,
    chunked_head,
    chunks,
    holds,
    resets,
    says,
    says_json,
    says_packed,
    seconds_of,
    service,
)

KEY = "AIzaSyA-key-that-nobody-may-see-012345"
PROMPT = {"prompt": "Who won Euro 2024?", "country": "US"}


@pytest.fixture(autouse=True)
def silent_key(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever happens, the key is in no log, not even in those of Google's library."""
    caplog.set_level(logging.DEBUG)
    yield
    assert KEY not in caplog.text


@asynccontextmanager
async def talking(*answers: Answer, **settings: Any) -> AsyncIterator[tuple[Provider, Service]]:
    """A provider in front of a service with these answers."""
    given = {"api_key": KEY, "model": "gemini-test"} | settings
    async with service(*answers) as server, opened(GoogleGenai, base_url=server.url, **given) as provider:
        yield provider, server


async def told(*answers: Answer, call: LooseCall | None = None, **payload: Any) -> dict[str, Any]:
    """What is made of an answer."""
    async with talking(*answers) as (provider, _):
        return await asked(provider, "GEMINI", PROMPT | payload, call)


async def test_an_answer_comes_in_parts_with_what_it_leans_on() -> None:
    """Its text is told as it grows; each page is a source once, by Google's own link."""
    call = LooseCall("GEMINI")
    async with talking(stream(*ANSWER)) as (provider, server):
        result = await asked(provider, "GEMINI", PROMPT, call)

    assert result == {
        "text": TEXT,
        "sources": [
            {"position": 1, "url": f"{REDIRECT}AAA", "label": "uefa.example", "description": ""},
            {"position": 2, "url": f"{REDIRECT}BBB", "label": "sport.example", "description": ""},
        ],
        "model": "gemini-test-001",
    }
    assert call.partials[:2] == ["**Spain** won ", TEXT]
    assert call.tokens == 57
    (request,) = server.asked
    assert (request.method, request.target) == (
        "POST",
        "/v1beta/models/gemini-test:streamGenerateContent?alt=sse",
    )
    assert request.headers["x-goog-api-key"] == KEY
    assert request.headers["accept-encoding"] == "gzip"
    body = request.json()
    assert body["contents"] == [{"parts": [{"text": "Who won Euro 2024?"}], "role": "user"}]
    assert body["tools"] == [{"googleSearch": {}}]
    assert body["systemInstruction"]["parts"][0]["text"].endswith("for somebody who is here: US")


async def test_a_part_is_told_before_the_next_one_comes() -> None:
    """The service waits with its second part until the first was told."""
    first_told = asyncio.Event()

    class Watching(LooseCall):
        async def partial(self, text: str) -> None:
            await super().partial(text)
            first_told.set()

    async def answer(_: Asked, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked_head() + chunk(event(ANSWER[0])))
        await writer.drain()
        await first_told.wait()
        writer.write(chunk(event(ANSWER[1])) + chunk(event(ANSWER[2])) + b"0\r\n\r\n")

    call = Watching("GEMINI", timeout=5)
    async with asyncio.timeout(5):
        assert (await told(answer, call=call))["text"] == TEXT
    assert call.partials[0] == "**Spain** won "


async def test_what_is_to_be_included_is() -> None:
    """Markdown as it was written, HTML as a data: URL, and every part as it came."""
    include = {"markdown": True, "html": True, "rawResponse": True}
    result = await told(stream(*ANSWER), include=include)

    assert result["markdown"] == TEXT
    page = base64.b64decode(result["html"].removeprefix("data:text/html;charset=utf-8;base64,")).decode()
    assert "<p><strong>Spain</strong> won Euro 2024.</p>" in page
    assert [each["candidates"][0].get("finishReason") for each in result["rawResponse"]] == [
        None,
        None,
        "STOP",
    ]
    last = result["rawResponse"][2]
    assert last["candidates"][0]["groundingMetadata"]["searchEntryPoint"] == GROUNDING["searchEntryPoint"]
    assert "sdkHttpResponse" not in last
    assert result["rawResponse"][0] == ANSWER[0]


async def test_of_a_long_reply_the_beginning_and_the_end_are_kept() -> None:
    """A result holds 200 parts; what the answer leans on comes last, and numbers may be none."""
    odd = part("x") | {"createTime": None}
    odd["candidates"][0]["avgLogprobs"] = 1e999
    many = stream(*([odd] * 300), part("", "STOP", groundingMetadata=GROUNDING))

    result = await told(many, include={"rawResponse": True})

    assert len(result["text"]) == 300
    assert len(result["rawResponse"]) == 200
    assert result["rawResponse"][0]["candidates"][0]["avgLogprobs"] is None
    assert "groundingMetadata" in result["rawResponse"][-1]["candidates"][0]


async def test_the_place_of_a_task_is_in_the_instructions() -> None:
    """The template is the operator's; braces that are none of it, and what a task says, stay as they are."""
    template = "In {country}, {state}: {location}. Speak {language}! {other} {{country}}"
    async with talking(stream(*ANSWER), instructions=template) as (provider, server):
        await asked(provider, "GEMINI", PROMPT | {"state": "NY"})
        town = {"gl": "at", "hl": "de", "location": "Graz {country}, {{x"}
        await asked(provider, "AIMODE", {"prompt": "Hallo", **town})

    said = [request.json()["systemInstruction"]["parts"][0]["text"] for request in server.asked]
    assert said == [
        "In US, New York:. Speak! {other} {US}",
        "In AT,: Graz {country}, {{x. Speak de! {other} {AT}",
    ]


async def test_nothing_is_told_and_nothing_searched_if_so_configured() -> None:
    """The rest of Google's parameters are as they were set."""
    given = {
        "instructions": "",
        "search": False,
        "parameters": {"temperature": 0.2, "max_output_tokens": 500, "tools": [{"url_context": {}}]},
        "api_version": "v1",
        "model": "models/gemini-other",
    }
    async with talking(stream(*ANSWER), **given) as (provider, server):
        await asked(provider, "GEMINI", PROMPT)

    (request,) = server.asked
    body = request.json()
    assert request.path == "/v1/models/gemini-other:streamGenerateContent"
    assert "systemInstruction" not in body
    assert body["tools"] == [{"urlContext": {}}]
    assert body["generationConfig"] == {"temperature": 0.2, "maxOutputTokens": 500}


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"parameters": {"temprature": 1}}, "Google's library does not take temprature"),
        ({"parameters": {"temperature": "hot"}}, "Google's library does not take temperature"),
        ({"parameters": {"system_instruction": "x"}}, "system_instruction cannot stand here"),
        ({"parameters": {"httpOptions": {}}}, "httpOptions cannot stand here"),
        ({"model": "gemini?key=x"}, "model"),
        ({"model": ""}, "model"),
        ({"api_version": "v1/../v2"}, "api_version"),
        ({"api_key": ""}, "api_key"),
    ],
)
def test_settings_are_checked_before_anything_is_asked(settings: dict[str, Any], what: str) -> None:
    """A mistake is found when the configuration is read."""
    with pytest.raises(ValidationError, match=what):
        GoogleGenaiSettings.model_validate({"api_key": KEY, "model": "gemini-test"} | settings)


async def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's library reads keys, addresses and whole modes of work from there."""
    for name, value in {
        "GOOGLE_API_KEY": "another-key",
        "GEMINI_API_KEY": "a-third-key",
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_USE_ENTERPRISE": "true",
        "GOOGLE_CLOUD_PROJECT": "project",
        "GOOGLE_CLOUD_LOCATION": "nowhere",
        "GOOGLE_GENAI_API_VERSION": "v9",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    async with talking(stream(*ANSWER)) as (provider, server):
        assert (await asked(provider, "GEMINI", PROMPT))["text"] == TEXT

    assert server.asked[0].headers["x-goog-api-key"] == KEY
    assert server.asked[0].path == "/v1beta/models/gemini-test:streamGenerateContent"


async def test_thoughts_are_no_part_of_the_answer() -> None:
    """Nor are other candidates, and parts that are no text."""
    thinking = part("x")
    thinking["candidates"][0]["content"]["parts"] = [
        {"text": "Let me think.", "thought": True},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"text": "Yes."},
    ]
    thinking["candidates"].append({"index": 1, "content": {"parts": [{"text": "No."}], "role": "model"}})
    call = LooseCall("GEMINI")

    result = await told(stream(thinking, part(finish="STOP")), call=call)

    assert result["text"] == "Yes."
    assert set(call.partials) == {"Yes."}


async def test_a_source_that_is_odd_spoils_no_others() -> None:
    """Chunks that are no pages, links that are none."""
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "javascript:alert(1)", "title": "x"}},
            {"web": {"title": "no link"}},
            {"retrievedContext": {"uri": "gs://bucket/file", "title": "file"}},
            {},
            {"web": {"uri": "https://example.org/a"}},
        ]
    }

    result = await told(stream(part("Yes.", "STOP", groundingMetadata=grounding)))

    assert result["sources"] == [
        {"position": 1, "url": "https://example.org/a", "label": "", "description": ""}
    ]


async def test_an_answer_that_ends_at_its_bound_is_one() -> None:
    """The operator has set it."""
    assert (await told(stream(part("Half an answ", "MAX_TOKENS"))))["text"] == "Half an answ"


@pytest.mark.parametrize(
    ("parts", "kind", "what"),
    [
        ([{"promptFeedback": {"blockReason": "SAFETY"}}], Rejected, "does not answer this prompt: SAFETY"),
        ([{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}], Rejected, "PROHIBITED_CONTENT"),
        ([part("It is "), part(finish="SAFETY")], Rejected, "Gemini stopped its answer: SAFETY"),
        ([part(finish="RECITATION")], Rejected, "RECITATION"),
        ([part(finish="SPII")], Rejected, "SPII"),
        ([part("x", "PUP_LIMITED_DISABLED")], Misconfigured, "limited or disabled the account"),
        ([part(finish="STOP")], Retry, "the model wrote nothing: STOP"),
        ([part(" \n", "STOP")], Retry, "the model wrote nothing: STOP"),
        ([part(finish="MAX_TOKENS")], Retry, "the model wrote nothing: MAX_TOKENS"),
        ([part("It is ", "OTHER")], Retry, "the model stopped: OTHER"),
        ([part("It is ", "MALFORMED_RESPONSE")], Retry, "the model stopped: MALFORMED_RESPONSE"),
        ([part("It is ")], Unavailable, "the answer ended before the model was done"),
        ([], Unavailable, "the answer ended before the model was done"),
        ([{}], Unavailable, "the answer ended before the model was done"),
    ],
)
async def test_what_is_no_whole_answer_is_none(parts: list[Any], kind: type[Exception], what: str) -> None:
    """Blocked, empty, cut off: each says something else of the provider."""
    with pytest.raises(kind, match=what) as caught:
        await told(stream(*parts))

    assert type(caught.value) is kind


async def test_a_reason_that_is_newer_than_the_library_is_told_as_it_came() -> None:
    """The library warns of it, and goes on."""
    with pytest.warns(UserWarning, match="BRAND_NEW"), pytest.raises(Retry, match="stopped: BRAND_NEW"):
        await told(stream(part("It is ", "BRAND_NEW")))


async def test_tokens_of_an_answer_that_was_cut_off_are_counted() -> None:
    """They are paid for."""
    call = LooseCall("GEMINI")
    with pytest.raises(Unavailable, match="the connection broke"):
        await told(stream(part("It is ") | {"usageMetadata": usage(31)}, ends=False), call=call)

    assert call.tokens == 31


@pytest.mark.parametrize(("status", "headers", "kind", "after"), REFUSALS)
async def test_a_refusal_without_reasons_is_judged_by_its_status(
    status: int, headers: tuple[str, ...], kind: type[Exception], after: float | None
) -> None:
    """Once: the library does not try again by itself."""
    async with talking(says("<html>No", status, *headers, kind="text/html")) as (provider, server):
        with pytest.raises(kind, match=f"the service answered {status}: <html>No") as caught:
            await asked(provider, "GEMINI", PROMPT)

    assert len(server.asked) == 1
    if after is not None:
        assert seconds_of(caught.value) == after


EXHAUSTED = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("body", "kind", "after", "what"),
    [
        (
            error(429, EXHAUSTED, "RESOURCE_EXHAUSTED", quota("GenerateRequestsPerMinute"), retry("17s")),
            RateLimited,
            17,
            "429: You exceeded your current quota",
        ),
        (error(429, EXHAUSTED, "RESOURCE_EXHAUSTED", retry("1.5s")), RateLimited, 1.5, "429"),
        (error(429, EXHAUSTED, "RESOURCE_EXHAUSTED", retry("999999s")), RateLimited, 3_600, "429"),
        (error(429, EXHAUSTED, "RESOURCE_EXHAUSTED", retry("soon")), RateLimited, 5, "429"),
        (
            error(429, EXHAUSTED, "RESOURCE_EXHAUSTED", quota("RequestsPerDay-Free")),
            RateLimited,
            3_600,
            "429",
        ),
        (
            error(400, "API key not valid.", "INVALID_ARGUMENT", info("API_KEY_INVALID")),
            Misconfigured,
            None,
            "400",
        ),
        (
            error(400, "User location is not supported for the API use.", "FAILED_PRECONDITION"),
            Misconfigured,
            None,
            "400: User location is not supported",
        ),
        (error(400, "Request contains an invalid argument.", "INVALID_ARGUMENT"), Rejected, None, "400"),
        (error(403, "Permission denied.", "PERMISSION_DENIED"), Misconfigured, None, "403: Permission"),
        (error(404, "models/x is not found.", "NOT_FOUND"), Misconfigured, None, "404: models/x is not"),
        (error(500, "An internal error has occurred.", "INTERNAL"), Unavailable, None, "500"),
        (error(503, "The model is overloaded.", "UNAVAILABLE"), Unavailable, None, "503: The model is over"),
        ([error(429, EXHAUSTED, "RESOURCE_EXHAUSTED", retry("17s"))], RateLimited, 17, "429: You"),
    ],
)
async def test_a_refusal_is_judged_by_its_reason(
    body: Any, kind: type[Exception], after: float | None, what: str
) -> None:
    """Quotas say for how long, keys and places open the breaker, a question that is wrong ends its task."""
    first = body[0] if isinstance(body, list) else body
    with pytest.raises(kind, match=what) as caught:
        await told(says_json(body, first["error"]["code"]))

    assert type(caught.value) is kind
    assert seconds_of(caught.value) == after


async def test_an_error_in_the_middle_of_an_answer_is_that_error() -> None:
    """The status was 200 when it began."""
    limited = error(429, EXHAUSTED, "RESOURCE_EXHAUSTED", retry("17s"))
    for answer in (stream(part("It is "), limited), says(json.dumps(limited, indent=2))):
        with pytest.raises(RateLimited, match="429: You exceeded") as caught:
            await told(answer)
        assert seconds_of(caught.value) == 17
    with pytest.raises(Unavailable, match="the service answered 503: The model is overloaded"):
        await told(stream(part("It is "), error(503, "The model is overloaded.", "UNAVAILABLE")))


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (says("<!doctype html><p>Hello", kind="text/html"), "makes no sense to Google's library"),
        (says(""), "the answer ended before the model was done"),
        (chunks([b"data: {not json}\n\n"]), "makes no sense to Google's library: .*not json"),
        (chunks([b"data: [1, 2]\n\n"]), "makes no sense|ended before"),
        (chunks([b'data: "text"\n\n']), "makes no sense|ended before"),
        (chunks([b'data: {"candidates": 7}\n\n']), "makes no sense"),
        (chunks([b'data: {"candidates": [{"content": {"parts": [{"text": 7}]}}]}\n\n']), "makes no sense"),
        (chunks([b'data: {"usageMetadata": {"totalTokenCount": NaN}}\n\n']), "makes no sense"),
        (chunks([b"data: \xff\xfe\n\n"]), "makes no sense"),
        (chunks([b'data: {"a":' + b"[" * 1_900 + b"\n\n"]), "makes no sense"),
        (says_packed(b"x", "br"), "packed by a means that was not asked for"),
        (stream(part("x" * 5_000)), "the answer is longer than 2,000 bytes"),
        (resets(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "the connection broke"),
        (resets(), "the connection broke"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_a_failure(answer: Answer, what: str) -> None:
    """Whatever comes with 200, within a bound that holds for the library, too."""
    async with talking(answer, largest_response=2_000) as (provider, _):
        with pytest.raises(Unavailable, match=what):
            await asked(provider, "GEMINI", PROMPT)


async def test_a_service_that_is_silent_is_left_after_the_timeout() -> None:
    """In the middle of its answer, too."""
    for begun in (b"", chunked_head() + chunk(event(ANSWER[0]))):
        async with talking(holds(begun), timeout=0.3) as (provider, server):
            with pytest.raises(Unavailable, match=r"0\.3 s"):
                await asked(provider, "GEMINI", PROMPT)
            async with asyncio.timeout(5):
                await server.left.wait()


async def test_cancelling_a_task_stops_its_call_on_the_wire() -> None:
    """The service, in the middle of its answer, sees the connection go."""
    begun = chunked_head() + chunk(event(ANSWER[0]))
    told_first = asyncio.Event()

    class Watching(LooseCall):
        async def partial(self, text: str) -> None:
            told_first.set()

    async with talking(holds(begun)) as (provider, server):
        call = asyncio.create_task(asked(provider, "GEMINI", PROMPT, Watching("GEMINI")))
        async with asyncio.timeout(5):
            await told_first.wait()
            call.cancel()
            await server.left.wait()


async def test_the_key_is_in_no_error_and_no_look_at_the_provider() -> None:
    """Also if the service repeats it; a key that no header may hold is not repeated either."""
    async with talking(says(f"key {KEY} is not good", 400)) as (provider, _):
        with pytest.raises(Rejected, match=r"key \[hidden\] is not good"):
            await asked(provider, "GEMINI", PROMPT)
        assert KEY not in repr(provider) + repr(provider.settings) + str(vars(provider))
        assert provider.address is not None
    with pytest.raises(Misconfigured, match="characters that no header may have"):
        async with talking(stream(*ANSWER), api_key="two\nlines"):
            pass


async def test_a_provider_that_is_not_open_says_so() -> None:
    """Before open() and after close(), which may be called twice."""
    settings = GoogleGenaiSettings.model_validate({"api_key": KEY, "model": "gemini-test"})
    provider = GoogleGenai("tested", settings)
    for _ in range(2):
        with pytest.raises(Unavailable, match="provider 'tested' is not open"):
            await asked(provider, "GEMINI", PROMPT)
        await provider.open()
        await provider.close()
        await provider.close()


async def test_tasks_of_both_types_go_through_a_file_and_a_real_queue(
    queue: TaskQueue, tmp_path: Path
) -> None:
    """The key comes from a file; what was told in between is the task's progress."""
    (tmp_path / "key").write_text(f"{KEY}\n")
    async with service(stream(*ANSWER)) as server:
        toml = f"""
            [providers.gemini]
            kind = "google-genai"
            base_url = "{server.url}"
            model = "gemini-test"
            api_key = {{ file = "{tmp_path / "key"}" }}
            [types]
            GEMINI = ["gemini"]
            AIMODE = ["gemini"]
        """
        for task_type in ("GEMINI", "AIMODE"):
            task = await ran(queue, tmp_path, toml, task_type, PROMPT)
            assert (task.state, task.attempt) == (TaskState.COMPLETED, 1)
            assert task.result["text"] == TEXT
            assert len(task.result["sources"]) == 2

    assert [request.headers["x-goog-api-key"] for request in server.asked] == [KEY, KEY]
