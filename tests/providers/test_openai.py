"""OpenAI-compatible services as providers: what is asked, and every shape in which answers come."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from scheduler.errors import Misconfigured, Rejected, Unavailable
from scheduler.providers import LooseCall, Provider
from scheduler.providers.openai import OpenAi
from taskqueue import TaskQueue, TaskState
from tests.providers.asking import asked, opened, ran
from tests.providers.openai_shapes import (
    CHAT_ANNOTATIONS,
    CITED,
    FOUND,
    MODEL,
    OPEN_ITEM,
    PAGES,
    SEARCH_ITEM,
    begun,
    chat_events,
    chunk,
    completion,
    message_item,
    perplexity_events,
    response,
    response_events,
    streamed,
    xai_events,
)
from tests.providers.servers import Answer, Service, holds, says_json, service

KEY = "sk-a-key-that-nobody-may-see-0123456789"
PROMPT: dict[str, Any] = {"prompt": "Where do penguins live?", "country": "US", "state": "NY"}


@asynccontextmanager
async def answering(*answers: Answer, **settings: Any) -> AsyncIterator[tuple[Provider, Service]]:
    """A provider for a service that gives these answers."""
    async with service(*answers) as served:
        given = {"base_url": f"{served.url}/v1", "model": MODEL, "api_key": SecretStr(KEY), "timeout": 5.0}
        async with opened(OpenAi, **{**given, **settings}) as provider:
            yield provider, served


async def answer_to(
    answer: Answer, *, task_type: str = "CHATGPT", include: dict[str, bool] | None = None, **settings: Any
) -> dict[str, Any]:
    """What is stored when the service gives this answer."""
    payload = {**PROMPT, "include": include or {}}
    async with answering(answer, **settings) as (provider, _):
        return await asked(provider, task_type, payload)


# ------------------------------------------------------------------------------------ what is asked


async def test_a_question_says_what_the_task_says() -> None:
    """Prompt and place in two messages, the parameters as they are, and tokens are to be counted."""
    async with answering(streamed(*chat_events("On ice.")), parameters={"temperature": 0.2}) as (
        provider,
        served,
    ):
        await asked(provider, "CHATGPT", PROMPT)

    (request,) = served.asked
    body = request.json()
    system, user = body.pop("messages")
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert body == {
        "model": MODEL,
        "stream": True,
        "temperature": 0.2,
        "stream_options": {"include_usage": True},
    }
    assert (user["role"], user["content"]) == ("user", PROMPT["prompt"])
    assert system["role"] == "system"
    assert system["content"].endswith("somebody who is here: US New York")


async def test_only_what_is_configured_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library reads variables of its own: keys and headers for another service stay at home."""
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Mine: from-the-environment")
    call = LooseCall("CHATGPT", idempotency_key="task-1")
    async with answering(
        streamed(*chat_events("On ice.")), organization="org-1", headers={"X-Gateway": "eu"}
    ) as (provider, served):
        await asked(provider, "CHATGPT", PROMPT, call)

    (request,) = served.asked
    headers = request.headers
    assert "from-the-environment" not in str(headers)
    assert (headers.pop("authorization"), headers.pop("openai-organization")) == (f"Bearer {KEY}", "org-1")
    assert (headers.pop("x-gateway"), headers.pop("idempotency-key")) == ("eu", "task-1")
    assert headers.pop("user-agent").startswith("taskqueue-engine/")
    assert set(headers) == {
        "host",
        "accept",
        "accept-encoding",
        "content-type",
        "content-length",
        "connection",
    }


async def test_a_service_without_a_key_is_sent_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one on this machine; whatever key lies about in the environment is not for it."""
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    async with answering(streamed(*chat_events("On ice.")), api_key=None) as (provider, served):
        await asked(provider, "CHATGPT", PROMPT)

    assert "authorization" not in served.asked[0].headers


async def test_an_answer_can_be_asked_for_as_one() -> None:
    """Without a stream nothing of streams is sent."""
    async with answering(says_json(completion({"content": "On ice."})), stream=False) as (provider, served):
        result = await asked(provider, "CHATGPT", PROMPT)

    assert set(served.asked[0].json()) == {"model", "messages"}
    assert (result["text"], result["model"]) == ("On ice.", MODEL)


async def test_the_other_api_has_the_place_in_its_searches() -> None:
    """The prompt is the input, the place goes to the model and to the tool."""
    answer = streamed(*response_events(response(message_item("On ice."))), is_marked=False)
    tools = [{"type": "web_search"}]
    async with answering(answer, api="responses", parameters={"tools": tools}) as (provider, served):
        await asked(provider, "CHATGPT", PROMPT)

    (request,) = served.asked
    body = request.json()
    assert request.path == "/v1/responses"
    assert body.pop("instructions").endswith("US New York")
    assert body == {
        "model": MODEL,
        "stream": True,
        "input": PROMPT["prompt"],
        "tools": [
            {
                "type": "web_search",
                "user_location": {"type": "approximate", "country": "US", "region": "New York"},
            }
        ],
    }


# --------------------------------------------------------------------------------- what is answered


async def test_parts_are_told_as_they_come_and_put_together() -> None:
    """Each partial text is all of it so far; the tokens are those that the service counts."""
    call = LooseCall("CHATGPT")
    async with answering(streamed(*chat_events("On ", "the ", "ice."))) as (provider, _):
        result = await asked(provider, "CHATGPT", PROMPT, call)

    assert call.partials == ["On ", "On the ", "On the ice."]
    assert result == {"text": "On the ice.", "sources": [], "model": MODEL}
    assert call.tokens == 42


async def test_a_partial_text_is_told_while_the_service_still_writes() -> None:
    """It has said one word and then nothing: that word is told before the answer is over."""
    call, told = LooseCall("CHATGPT"), asyncio.Event()

    async def partial(text: str) -> None:
        assert text == "On "
        told.set()

    call.partial = partial  # type: ignore[method-assign]
    async with answering(holds(begun(chunk({"content": "On "})))) as (provider, _):
        asking = asyncio.create_task(asked(provider, "CHATGPT", PROMPT, call))
        async with asyncio.timeout(5):
            await told.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


@pytest.mark.parametrize(
    ("answer", "settings", "sources"),
    [
        pytest.param(
            streamed(*chat_events("Yes.", last={"annotations": CHAT_ANNOTATIONS})), {}, CITED, id="chat"
        ),
        pytest.param(
            says_json(completion({"content": "Yes.", "annotations": CHAT_ANNOTATIONS})),
            {"stream": False},
            CITED,
            id="chat-whole",
        ),
        pytest.param(streamed(*perplexity_events()), {}, FOUND, id="perplexity"),
        pytest.param(
            streamed(*xai_events()),
            {},
            [
                {"position": n, "url": url, "label": "", "description": ""}
                for n, url in enumerate(PAGES, start=1)
            ],
            id="xai",
        ),
        pytest.param(
            streamed(*response_events(response(message_item("Yes."))), is_marked=False),
            {"api": "responses"},
            CITED,
            id="responses",
        ),
        pytest.param(
            says_json(response(SEARCH_ITEM, OPEN_ITEM, message_item("Yes."))),
            {"api": "responses", "stream": False},
            [*CITED, {"position": 3, "url": "https://example.net/found", "label": "", "description": ""}],
            id="responses-sources",
        ),
        pytest.param(
            says_json(
                response(
                    {
                        "type": "search_results",
                        "queries": ["penguins"],
                        "results": [{"id": 1, "url": PAGES[1], "title": "Ice", "snippet": "Cold."}],
                    },
                    {"type": "message", "content": [{"type": "output_text", "text": "Yes."}]},
                )
            ),
            {"api": "responses", "stream": False},
            [{"position": 1, "url": PAGES[1], "label": "Ice", "description": "Cold."}],
            id="perplexity-agent",
        ),
        pytest.param(
            says_json(
                completion(
                    {
                        "content": "Yes.",
                        "annotations": [
                            {
                                "type": "url_citation",
                                "url_citation": {"url": PAGES[1], "title": "Ice", "content": "Cold."},
                            }
                        ],
                    }
                )
            ),
            {"stream": False},
            [{"position": 1, "url": PAGES[1], "label": "Ice", "description": "Cold."}],
            id="openrouter",
        ),
    ],
)
async def test_sources_are_found_where_services_put_them(
    answer: Answer, settings: dict[str, Any], sources: list[dict[str, Any]]
) -> None:
    """In their order, each once, from 1, with what is told of them."""
    assert (await answer_to(answer, **settings))["sources"] == sources


async def test_a_link_that_is_none_spoils_no_answer() -> None:
    """Scripts, files and nonsense are left out; positions have no gaps."""
    urls = ["javascript:alert(1)", "file:///etc/passwd", 7, None, "", "https://" + "a" * 9_000, PAGES[0]]
    result = await answer_to(streamed(*chat_events("Yes."), chunk(citations=urls)))

    assert result["sources"] == [{"position": 1, "url": PAGES[0], "label": "", "description": ""}]


async def test_numbers_of_marks_are_no_names() -> None:
    """Grok gives its citations the number of their mark as a title."""
    cited = [{"type": "url_citation", "url": PAGES[0], "title": "1", "start_index": 0, "end_index": 3}]
    content = [{"type": "output_text", "text": "Yes.", "annotations": cited}]
    result = await answer_to(
        says_json(response({"type": "message", "content": content})), api="responses", stream=False
    )

    assert result["sources"][0]["label"] == ""


@pytest.mark.parametrize(
    ("task_type", "include", "queries"),
    [
        ("CHATGPT", {"searchQueries": True}, ["penguins", "ice"]),
        ("CHATGPT", {}, None),
        ("GROK", {}, ["penguins", "ice"]),
    ],
)
async def test_searches_are_told_where_the_contract_has_them(
    task_type: str, include: dict[str, bool], queries: list[str] | None
) -> None:
    """Of ChatGPT only when asked for; a page that was opened is no search."""
    whole = response(SEARCH_ITEM, OPEN_ITEM, SEARCH_ITEM, message_item("Yes."))
    result = await answer_to(
        streamed(*response_events(whole), is_marked=False),
        task_type=task_type,
        include=include,
        api="responses",
    )

    assert result.get("searchQueries") == queries


async def test_html_and_markdown_are_given_when_asked_for() -> None:
    """The HTML is a page behind a data: URL; HTML that the model wrote is only text in it."""
    result = await answer_to(
        streamed(*chat_events("**Ice** <script>")), include={"html": True, "markdown": True}
    )

    beginning, _, data = result["html"].partition(",")
    assert beginning == "data:text/html;charset=utf-8;base64"
    assert "<p><strong>Ice</strong> &lt;script&gt;</p>" in base64.b64decode(data).decode()
    assert (result["markdown"], result["text"]) == ("**Ice** <script>", "**Ice** <script>")


async def test_the_raw_answer_is_given_when_asked_for() -> None:
    """The events of chat; of the other API its last event's response, which has all of them in it."""
    events = chat_events("On ", "ice.")
    whole = response(SEARCH_ITEM, message_item("On ice."))
    include = {"rawResponse": True}

    chat = await answer_to(streamed(*events), include=include)
    one = await answer_to(says_json(completion({"content": "Yes."})), include=include, stream=False)
    responses = await answer_to(
        streamed(*response_events(whole), is_marked=False), include=include, api="responses"
    )

    assert chat["rawResponse"] == events
    assert one["rawResponse"] == [completion({"content": "Yes."})]
    assert responses["rawResponse"] == [whole]
    assert "rawResponse" not in await answer_to(streamed(*events))


async def test_of_a_long_raw_answer_beginning_and_end_are_given() -> None:
    """Five hundred events: the last ones, which have sources and counts in them, are there."""
    events = chat_events(*(f"{number} " for number in range(500)))
    result = await answer_to(streamed(*events), include={"rawResponse": True})

    assert result["rawResponse"] == [*events[:100], *events[-100:]]
    assert len(result["text"].split()) == 500


async def test_a_raw_answer_leaves_room_for_the_answer() -> None:
    """Large events: at most 256 KiB of them, and the last is among them."""
    events = [chunk({"content": "x"}, filler="y" * 19_000) for _ in range(60)]
    result = await answer_to(streamed(*events, *chat_events("Yes.")), include={"rawResponse": True})

    kept = result["rawResponse"]
    assert len(json.dumps(kept)) < 256 * 1024
    assert (kept[0], kept[-1]) == (events[0], chat_events("Yes.")[-1])


async def test_a_raw_answer_holds_only_what_a_record_can() -> None:
    """Too deep, too long, not finite, too large: cut, so that the answer itself is kept."""
    deep: Any = "bottom"
    for _ in range(40):
        deep = {"down": [deep]}
    odd = chunk({"content": ""}, deep=deep, long="x" * 100_000, many=[0] * 1_000, large=2**70)
    with_nan = json.dumps(odd).replace('"created": 1770000000', '"created": NaN').encode()
    result = await answer_to(
        streamed(b"data: " + with_nan + b"\n\n", *chat_events("Yes.")), include={"rawResponse": True}
    )

    (kept, *_) = result["rawResponse"]
    assert (kept["created"], kept["large"], len(kept["long"]), len(kept["many"])) == (None, None, 20_000, 200)
    assert "bottom" not in json.dumps(kept)


async def test_a_character_in_two_halves_is_put_together() -> None:
    """Some services cut between the halves of a surrogate pair; half a one alone cannot be stored."""
    halves = [b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n']
    halves += [b'data: {"choices":[{"delta":{"content":"\\udc27 \\ud83d"}}]}\n\n']
    result = await answer_to(streamed(*halves, *chat_events(".")))

    assert result["text"] == "\N{PENGUIN} \ufffd."


async def test_what_a_model_says_on_its_way_is_not_the_answer() -> None:
    """A preamble is a message of its own; two final ones are two paragraphs."""
    whole = response(
        message_item("I look it up.", phase="commentary"),
        SEARCH_ITEM,
        message_item("On ice.", phase="final_answer"),
        message_item("In zoos, too.", phase="final_answer"),
    )
    result = await answer_to(
        streamed(*response_events(whole, "I look it up.", "On ice."), is_marked=False), api="responses"
    )

    assert result["text"] == "On ice.\n\nIn zoos, too."


async def test_a_response_without_output_has_what_was_streamed() -> None:
    """Some servers leave the output of the last event empty: then its parts count, or else the text alone."""
    *events, last = response_events(response(message_item("On ice.")), "On ", "ice.")
    last["response"] = {"model": MODEL, "output": []}
    items = await answer_to(streamed(*events, last, is_marked=False), api="responses")
    events = response_events(response(), "On ", "ice.")
    text = await answer_to(streamed(*events, is_marked=False), api="responses")

    assert (items["text"], items["sources"]) == ("On ice.", CITED)
    assert (text["text"], text["sources"]) == ("On ice.", [])


async def test_pages_may_be_told_as_objects() -> None:
    """Citations are addresses, or what a service knows of each; what is neither is no page."""
    pages = [{"url": PAGES[0], "title": "Penguins"}, PAGES[1], 7, {"title": "no address"}]

    result = await answer_to(says_json(completion({"content": "On ice."}, citations=pages)), stream=False)

    assert [(each["url"], each["label"]) for each in result["sources"]] == [
        (PAGES[0], "Penguins"),
        (PAGES[1], ""),
    ]


async def test_other_choices_and_other_parts_are_no_part_of_the_answer() -> None:
    """A service may offer a second answer, or say things that no text is."""
    offered = completion({"content": "On ice."})
    offered["choices"].append({"index": 1, "message": {"content": "In zoos."}, "finish_reason": "length"})
    item = message_item("On ice.")
    item["content"].insert(0, {"type": "reasoning_text", "text": "Hm."})

    chat = await answer_to(says_json(offered), stream=False)
    responses = await answer_to(says_json(response(item)), api="responses", stream=False)

    assert (chat["text"], responses["text"]) == ("On ice.", "On ice.")


async def test_a_service_that_names_no_model_is_understood() -> None:
    """Then the result names none."""
    result = await answer_to(says_json(completion({"content": "On ice."}, model=None)), stream=False)

    assert result == {"text": "On ice.", "sources": []}


async def test_an_end_without_a_response_is_none() -> None:
    """The event that ends a response has it inside; one that has something else ends nothing."""
    *events, last = response_events(response(message_item("On ice.")), "On ice.")
    odd = {"type": "response.completed", "response": "done"}
    assert (await answer_to(streamed(*events, odd, last, is_marked=False), api="responses"))[
        "text"
    ] == "On ice."

    with pytest.raises(Unavailable, match="its end is missing"):
        await answer_to(streamed(*events, odd, is_marked=False), api="responses")


async def test_a_text_in_parts_is_understood() -> None:
    """Mistral's models that reason have thoughts beside the text; only the text is the answer."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    content = [thought, {"type": "text", "text": "On "}, {"type": "text", "text": "ice."}]

    assert (await answer_to(streamed(chunk({"content": content}), *chat_events())))["text"] == "On ice."


async def test_a_service_that_does_not_stream_is_understood() -> None:
    """It was asked for a stream and answers as one: gateways do."""
    assert (await answer_to(says_json(completion({"content": "On ice."}))))["text"] == "On ice."


async def test_tokens_that_are_counted_again_and_again_are_not_added_up() -> None:
    """Sonar tells the sum so far with every event."""
    call = LooseCall("PERPLEXITY")
    async with answering(streamed(*perplexity_events(), is_marked=False)) as (provider, _):
        result = await asked(provider, "PERPLEXITY", {"prompt": "Where?", "country": "DE"}, call)

    assert (call.tokens, result["text"], result["model"]) == (8, "Birds[1]", "sonar")


# --------------------------------------------------------------------------- answers that are none


async def test_an_answer_that_was_cut_is_kept() -> None:
    """Its limit of tokens was reached: what came is what there is."""
    whole = response(
        message_item("On i"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}
    )
    chat = await answer_to(streamed(*chat_events("On i", finish="length")))
    responses = await answer_to(streamed(*response_events(whole), is_marked=False), api="responses")

    assert (chat["text"], responses["text"]) == ("On i", "On i")


NO_ANSWERS = [
    pytest.param(
        streamed(chunk({"refusal": "I can"}), chunk({"refusal": "not."}), *chat_events()),
        {},
        Rejected,
        "the model refuses: I cannot.",
        id="refusal",
    ),
    pytest.param(
        streamed(*chat_events("On i", finish="content_filter")), {}, Rejected, "content filter", id="filter"
    ),
    pytest.param(
        says_json(
            response({"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}),
        ),
        {"api": "responses", "stream": False},
        Rejected,
        "the model refuses: I cannot.",
        id="responses-refusal",
    ),
    pytest.param(
        says_json(
            response(
                message_item("On i"), status="incomplete", incomplete_details={"reason": "content_filter"}
            )
        ),
        {"api": "responses", "stream": False},
        Rejected,
        "content filter",
        id="responses-filter",
    ),
    pytest.param(
        streamed(
            chunk({"tool_calls": [{"index": 0, "function": {"name": "look_up", "arguments": ""}}]}),
            *chat_events(finish="tool_calls"),
        ),
        {},
        Misconfigured,
        "'look_up'",
        id="function",
    ),
    pytest.param(
        says_json(response({"type": "function_call", "name": "look_up", "arguments": "{}"})),
        {"api": "responses", "stream": False},
        Misconfigured,
        "'look_up'",
        id="responses-function",
    ),
    pytest.param(streamed(*chat_events(" \n")), {}, Unavailable, "the answer is empty", id="empty"),
    pytest.param(
        streamed(*chat_events(finish="length")), {}, Unavailable, "before a text began", id="used-up"
    ),
    pytest.param(
        streamed(*chat_events("On i", finish="insufficient_system_resource")),
        {},
        Unavailable,
        "insufficient_system_resource",
        id="no-resources",
    ),
    pytest.param(
        says_json(response(status="queued")),
        {"api": "responses", "stream": False},
        Unavailable,
        "its end is missing",
        id="queued",
    ),
    pytest.param(
        says_json(response(status="cancelled")),
        {"api": "responses", "stream": False},
        Unavailable,
        "cancelled",
        id="cancelled",
    ),
]


@pytest.mark.parametrize(("answer", "settings", "kind", "says"), NO_ANSWERS)
async def test_what_is_no_answer_says_why(
    answer: Answer, settings: dict[str, Any], kind: type[Exception], says: str
) -> None:
    """A refusal ends the task; what came to nothing goes to the next of the chain."""
    with pytest.raises(kind) as raised:
        await answer_to(answer, **settings)

    assert type(raised.value) is kind
    assert says in str(raised.value)


async def test_tokens_of_a_refusal_are_counted() -> None:
    """It was paid for."""
    call = LooseCall("CHATGPT")
    async with answering(streamed(*chat_events("On", finish="content_filter"))) as (provider, _):
        with pytest.raises(Rejected):
            await asked(provider, "CHATGPT", PROMPT, call)

    assert call.tokens == 42


# ------------------------------------------------------------------------------ in a real scheduler


async def test_a_task_is_answered_by_the_configured_service(queue: TaskQueue, tmp_path: Path) -> None:
    """From the file to the record: the key from the environment, the answer in the contract's shape."""
    async with service(
        streamed(*chat_events("On ", "ice.", last={"annotations": CHAT_ANNOTATIONS}))
    ) as served:
        toml = f"""
            [providers.main]
            kind = "openai"
            base_url = "{served.url}/v1"
            model = "{MODEL}"
            api_key = {{ env = "MY_KEY" }}
            parameters = {{ max_tokens = 100 }}

            [types]
            CHATGPT = ["main"]
        """
        task = await ran(queue, tmp_path, toml, "CHATGPT", PROMPT, MY_KEY=KEY)

    assert task.state is TaskState.COMPLETED
    assert task.result == {"text": "On ice.", "sources": CITED, "model": MODEL}
    assert (task.provider, task.progress) == ("main", {"text": "On "})
    (request,) = served.asked
    assert request.headers["idempotency-key"] == task.id
    assert request.json()["max_tokens"] == 100
