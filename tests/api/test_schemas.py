"""What goes out, and the parser of what comes in: the pure parts."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.api import finished_body
from taskqueue.api.json import dumps
from taskqueue.api.schemas import instant, is_visible, status_body
from taskqueue.strict_json import DEEPEST, MOST_VALUES, NotJson, loads
from taskqueue.task import Task, TaskError, TaskState


def _task(**fields: Any) -> Task:
    known: dict[str, Any] = {
        "id": "b27a21e1-7c39-4aa2-a347-23e828c426f9",
        "type": "CHATGPT",
        "tenant": "acme",
        "priority": 5,
        "sequence": 1,
        "payload": {},
        "created_ms": 1_775_746_800_007,
        "cost": 5,
    }
    return Task(**{**known, **fields})


def test_the_body_of_a_webhook() -> None:
    """The contract's example: what GET returns, without the webhook."""
    task = _task(
        state=TaskState.COMPLETED,
        started_ms=1_775_746_801_000,
        finished_ms=1_775_746_804_420,
        idempotency_key="k",
        result={"text": "x"},
        charged=5,
        webhook={"url": "https://example.com"},
    )

    body = finished_body(task)

    assert body == {
        "task": {
            "id": task.id,
            "taskType": "CHATGPT",
            "status": "COMPLETED",
            "priority": 5,
            "createdAt": "2026-04-09T15:00:00.007Z",
            "latencyMs": 3420,
            "idempotencyKey": "k",
        },
        "credits": {"creditsToCharge": 5, "creditsCharged": 5},
        "response": {"text": "x"},
    }
    state = {"url": "https://example.com", "deliveredAt": None, "delivered": False}
    assert status_body(task) == {**body, "webhook": state}


@pytest.mark.parametrize("state", [TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED])
def test_a_finished_task_always_has_a_response(state: TaskState) -> None:
    """Official receivers take a body without one for broken."""
    body = finished_body(_task(state=state, charged=0))

    assert body["response"] is not None
    assert body["task"]["status"] in {"COMPLETED", "FAILED"}


def test_a_traceback_stays_inside() -> None:
    """Nothing of a handler's exception but that there was one."""
    error = TaskError("HANDLER_ERROR", "KeyError: canary", {"traceback": "canary"})

    assert "canary" not in json.dumps(finished_body(_task(state=TaskState.FAILED, error=error)))


def test_a_band_of_ours_is_not_shown() -> None:
    """Priorities end at 10."""
    assert status_body(_task(priority=11))["task"]["priority"] == 10


@pytest.mark.parametrize(
    ("fields", "visible"),
    [({}, True), ({"tenant": "globex"}, False), ({"reserved": True}, False), ({"type": "_webhook"}, False)],
)
def test_what_a_tenant_may_see(fields: dict[str, Any], visible: bool) -> None:
    """Its own tasks, made by the asynchronous endpoints."""
    assert is_visible(_task(**fields), "acme") is visible
    assert not is_visible(None, "acme")


@given(st.integers(min_value=0, max_value=253_402_300_799_999))
def test_instants_are_exact(ms: int) -> None:
    """To the millisecond, in UTC."""
    text = instant(ms)

    assert text is not None
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(ms // 1000, UTC).replace(
        microsecond=ms % 1000 * 1000
    )
    assert len(text) == len("2026-04-09T15:00:00.000Z")


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(_VALUES)
def test_json_comes_back_as_it_went(value: Any) -> None:
    """Through our encoder and our parser, and through Python's with its escapes."""
    assert loads(dumps(value)) == value
    assert loads(json.dumps(value).encode()) == value


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_body_breaks_the_parser(body: bytes) -> None:
    """It is JSON, or it is refused; whatever comes out can be written again."""
    try:
        value = loads(body)
    except NotJson:
        return
    assert loads(dumps(value)) == value


def test_the_deepest_document() -> None:
    """Exactly as deep as is allowed, beside many that are flat."""
    deepest = b"[" * DEEPEST + b"]" * DEEPEST
    many = b"[" + b",".join([b"{}"] * 1000) + b"]"

    assert loads(deepest)
    assert len(loads(many)) == 1000
    with pytest.raises(NotJson, match="deeper"):
        loads(b"[" + deepest + b"]")


def test_a_whole_number_may_be_written_with_a_point() -> None:
    """JSON has one kind of number; beyond what all programs keep exactly it stays what it is."""
    assert [type(loads(text)) for text in (b"5.0", b"-0.0", b"5e2", b"9007199254740991.0")] == [int] * 4
    assert [type(loads(text)) for text in (b"5.5", b"9007199254740992.0", b"1e300")] == [float] * 3


def test_a_document_of_too_many_values_is_not_made() -> None:
    """Counted before they are made; what stands in texts does not count."""
    for hostile in (b"[" + b"{}," * MOST_VALUES + b"{}]", b"[" + b"1," * (MOST_VALUES + 1) + b"1]"):
        with pytest.raises(NotJson, match="more than 100,000 values"):
            loads(hostile)
    harmless = [",{[" * MOST_VALUES, 'a"b\\' * 10, ",\\"]

    assert loads(json.dumps(harmless).encode()) == harmless


@pytest.mark.parametrize(
    "text", [b'"' + b'\\"' * 10**6, b'"' * 10**6, b"\\" * 10**6, b'"\\' * 10**6, b'"' + b"," * 10**6 + b"\\"]
)
def test_hostile_texts_are_looked_at_once(text: bytes) -> None:
    """Two megabytes of quotes and backslashes take no longer than others."""
    started = time.perf_counter()

    with pytest.raises(NotJson):
        loads(b"," * (MOST_VALUES + 1) + text)

    assert time.perf_counter() - started < 2


def test_bytes_of_a_result_become_base64() -> None:
    """JSON has no form for them, and a handler may return them."""
    assert dumps({"a": b"\xff\x00"}) == b'{"a":"_wA="}'
