"""Answers in the shapes that services document: OpenAI, Perplexity, xAI, OpenRouter, vLLM, llama.cpp."""

from __future__ import annotations

import json
from typing import Any

from tests.providers.servers import Answer, chunked_head, chunks
from tests.providers.servers import chunk as part

MODEL = "gpt-5-mini-2025-08-07"
USAGE = {"prompt_tokens": 12, "completion_tokens": 30, "total_tokens": 42}
PAGES = ("https://example.com/penguins?utm_source=openai", "https://example.org/ice")


def streamed(*events: Any, ends: bool = True, is_marked: bool = True) -> Answer:
    """Return an answer of events; bytes are sent as they are.

    Args:
        events: JSON, or bytes.
        ends: Whether HTTP's own end of the answer comes.
        is_marked: Whether `[DONE]` comes last, as in chat.
    """
    parts = [each if isinstance(each, bytes) else event(each) for each in events]
    return chunks([*parts, b"data: [DONE]\n\n"] if ends and is_marked else parts, ends=ends)


def begun(*events: Any) -> bytes:
    """Return the beginning of an answer of events."""
    return chunked_head() + b"".join(part(event(each)) for each in events)


def event(content: Any) -> bytes:
    """Return one event; of `/responses` with its name."""
    name = f"event: {content['type']}\n" if isinstance(content, dict) and "type" in content else ""
    return f"{name}data: {json.dumps(content)}\n\n".encode()


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an event of streamed chat; without a delta it has no choices, as one with usage."""
    choices = (
        [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    )
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_770_000_000,
        "model": MODEL,
        "choices": choices,
        **more,
    }


def chat_events(
    *texts: str, finish: str = "stop", last: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the events of an answer in chat; *last* is more of the delta before the end."""
    return [
        chunk({"role": "assistant", "content": "", "refusal": None}),
        *(chunk({"content": text}) for text in texts),
        chunk(last or {}, finish),
        chunk(usage=USAGE),
    ]


def completion(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    """Return an answer of chat that comes as one."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_770_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        "usage": USAGE,
        **more,
    }


CHAT_ANNOTATIONS = [
    {
        "type": "url_citation",
        "url_citation": {"start_index": 0, "end_index": 5, "title": "Penguins", "url": PAGES[0]},
    },
    {
        "type": "url_citation",
        "url_citation": {"start_index": 6, "end_index": 9, "title": "Ice", "url": PAGES[1]},
    },
    {
        "type": "url_citation",
        "url_citation": {"start_index": 10, "end_index": 19, "title": "Penguins", "url": PAGES[0]},
    },
]
CITED = [
    {"position": 1, "url": PAGES[0], "label": "Penguins", "description": ""},
    {"position": 2, "url": PAGES[1], "label": "Ice", "description": ""},
]

PERPLEXITY_MORE: dict[str, Any] = {
    "model": "sonar",
    "citations": [*PAGES],
    "search_results": [
        {
            "title": "Penguins",
            "url": PAGES[0],
            "date": "2026-01-01",
            "last_updated": "2026-02-01",
            "snippet": "Birds.",
            "source": "web",
        },
        {"title": "Ice", "url": PAGES[1], "date": None, "snippet": "Cold.", "source": "web"},
    ],
}
FOUND = [
    {"position": 1, "url": PAGES[0], "label": "Penguins", "description": "Birds."},
    {"position": 2, "url": PAGES[1], "label": "Ice", "description": "Cold."},
]


def perplexity_events() -> list[dict[str, Any]]:
    """Return an answer of Sonar: every event has the usage so far, and all of the text beside the new one."""
    events = []
    for number, (so_far, new) in enumerate(
        [("Birds", "Birds"), ("Birds[1]", "[1]"), ("Birds[1]", "")], start=1
    ):
        event = chunk(
            {"role": "assistant", "content": new}, "stop" if number == 3 else None, **PERPLEXITY_MORE
        )
        event["choices"][0]["message"] = {"role": "assistant", "content": so_far}
        event["usage"] = {"prompt_tokens": 5, "completion_tokens": number, "total_tokens": 5 + number}
        events.append(event)
    return events


def xai_events() -> list[dict[str, Any]]:
    """Return an answer of Grok: addresses without titles in the last event."""
    return [
        chunk({"role": "assistant", "content": "Birds"}, model="grok-4-0709"),
        chunk({"content": ""}, "stop", model="grok-4-0709"),
        chunk(usage=USAGE, citations=[*PAGES, "not an address"], model="grok-4-0709"),
    ]


def message_item(text: str, **more: Any) -> dict[str, Any]:
    """Return a message among the output of `/responses`."""
    return {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [
            {
                "type": "output_text",
                "text": text,
                "logprobs": [],
                "annotations": [
                    {
                        "type": "url_citation",
                        "start_index": 0,
                        "end_index": 5,
                        "title": "Penguins",
                        "url": PAGES[0],
                    },
                    {"type": "file_citation", "file_id": "file_1", "filename": "a.txt", "index": 3},
                    {
                        "type": "url_citation",
                        "start_index": 6,
                        "end_index": 9,
                        "title": "Ice",
                        "url": PAGES[1],
                    },
                ],
            }
        ],
        **more,
    }


SEARCH_ITEM = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {
        "type": "search",
        "query": "penguins",
        "queries": ["penguins", "ice"],
        "sources": [{"type": "url", "url": "https://example.net/found"}],
    },
}
OPEN_ITEM = {
    "type": "web_search_call",
    "id": "ws_2",
    "status": "completed",
    "action": {"type": "open_page", "url": PAGES[0]},
}


def response(*output: dict[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    """Return a whole answer of `/responses`."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_770_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": MODEL,
        "output": list(output),
        "usage": {"input_tokens": 12, "output_tokens": 30, "total_tokens": 42},
        **more,
    }


def response_events(whole: dict[str, Any], *deltas: str) -> list[dict[str, Any]]:
    """Return the events that end with a whole answer of `/responses`."""
    return [
        {
            "type": "response.created",
            "response": {**whole, "status": "in_progress", "output": [], "usage": None},
        },
        {"type": "response.web_search_call.searching", "item_id": "ws_1", "output_index": 0},
        *({"type": "response.output_text.delta", "item_id": "msg_1", "delta": delta} for delta in deltas),
        *({"type": "response.output_item.done", "item": item} for item in whole["output"]),
        {"type": f"response.{whole['status']}", "response": whole},
    ]
