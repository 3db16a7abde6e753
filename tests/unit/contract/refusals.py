"""What the tests of payloads share: smallest good payloads, and how a refusal is read."""

from __future__ import annotations

from typing import Any

import pytest

from taskqueue.contract import FieldProblem, PayloadInvalid, check_payload

ENGINES = ("CHATGPT", "GEMINI", "PERPLEXITY", "COPILOT", "GROK")
SMALLEST: dict[str, dict[str, Any]] = {
    **{engine: {"prompt": "hi", "country": "US"} for engine in ENGINES},
    "AIMODE": {"prompt": "hi", "country": "US"},
    "GOOGLE": {"query": "hi", "country": "US"},
    "GOOGLE_NEWS": {"query": "hi", "country": "US"},
}


def with_fields(task_type: str, **fields: object) -> dict[str, Any]:
    """Return the smallest good payload of *task_type* with other or further fields."""
    return {**SMALLEST[task_type], **fields}


def refused(task_type: str, payload: object, *, strict: bool = True) -> list[FieldProblem]:
    """Return the problems that *payload* is refused for; fail when it is not refused."""
    with pytest.raises(PayloadInvalid) as refusal:
        check_payload(task_type, payload, strict=strict)
    for field, message in refusal.value.problems:
        assert field in str(refusal.value)
        assert message in str(refusal.value)
    return list(refusal.value.problems)
