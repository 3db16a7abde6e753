"""The Gemini API as its reference describes it: streams of parts, with what they lean on, and errors."""

from __future__ import annotations

import json
from typing import Any

from tests.providers.servers import Answer, chunks

REDIRECT = "https://vertexaisearch.cloud.google.com/grounding-api-redirect/"


def part(text: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One part of a stream; *more* is of its candidate."""
    candidate: dict[str, Any] = {"index": 0, **more}
    if text is not None:
        candidate["content"] = {"parts": [{"text": text}], "role": "model"}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": usage(20),
        "modelVersion": "gemini-test-001",
        "responseId": "response-1",
    }


def usage(total: int) -> dict[str, Any]:
    """How many tokens were used so far."""
    return {
        "promptTokenCount": 8,
        "candidatesTokenCount": total - 8,
        "totalTokenCount": total,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}],
    }


GROUNDING: dict[str, Any] = {
    "searchEntryPoint": {"renderedContent": "<style>x</style><div>Google</div>"},
    "groundingChunks": [
        {"web": {"uri": f"{REDIRECT}AAA", "title": "uefa.example"}},
        {"web": {"uri": f"{REDIRECT}BBB", "title": "sport.example"}},
        {"web": {"uri": f"{REDIRECT}AAA", "title": "uefa.example"}},
    ],
    "groundingSupports": [
        {"segment": {"endIndex": 23, "text": "Spain won Euro 2024."}, "groundingChunkIndices": [0, 1]}
    ],
    "webSearchQueries": ["euro 2024 winner", "who won euro 2024", "euro 2024 winner"],
}
"""What the last part of a grounded answer leans on."""

ANSWER = [
    part("**Spain** won "),
    part("Euro 2024."),
    part("", "STOP", groundingMetadata=GROUNDING) | {"usageMetadata": usage(57)},
]
"""A whole answer: its text, then its end."""

TEXT = "**Spain** won Euro 2024."


def event(document: Any) -> bytes:
    """One event of the stream."""
    return f"data: {json.dumps(document)}\r\n\r\n".encode()


def stream(*parts: Any, ends: bool = True) -> Answer:
    """A stream of these parts."""
    return chunks([event(each) for each in parts], ends=ends)


def error(code: int, message: str, status: str, *details: dict[str, Any]) -> dict[str, Any]:
    """An error of the API."""
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def info(reason: str) -> dict[str, Any]:
    """Why."""
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }


def retry(delay: str) -> dict[str, Any]:
    """For how long to wait."""
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def quota(name: str) -> dict[str, Any]:
    """Which quota is used up."""
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": name,
        "quotaDimensions": {"location": "global", "model": "gemini-test"},
        "quotaValue": "250",
    }
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}
