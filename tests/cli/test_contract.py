"""The contract's shape of a task, and what is refused in it."""

from __future__ import annotations

from typing import Any

import pytest

from taskqueue import InvalidTask, TaskSpec
from taskqueue.cli.contract import in_contract_words, task_spec

SEED = {
    "taskType": "CHATGPT",
    "priority": 5,
    "idempotencyKey": "your-custom-identifier-123",
    "webhook": {"url": "https://your-app.com/webhook-handler"},
    "payload": {"prompt": "What is the weather in New York?", "country": "US"},
}


def test_the_documented_example_becomes_a_task() -> None:
    """Every field of it has its place."""
    assert task_spec(SEED, tenant="acme") == TaskSpec(
        type="CHATGPT",
        payload={"prompt": "What is the weather in New York?", "country": "US"},
        priority=5,
        idempotency_key="your-custom-identifier-123",
        webhook={"url": "https://your-app.com/webhook-handler"},
        tenant="acme",
    )


def test_only_type_and_payload_are_required() -> None:
    """The rest has the contract's defaults."""
    assert task_spec({"taskType": "PAGE", "payload": {}}) == TaskSpec(type="PAGE", payload={}, priority=1)


@pytest.mark.parametrize(
    ("document", "field", "rule"),
    [
        ([SEED], "task", "a JSON object"),
        ("text", "task", "a JSON object"),
        ({**SEED, "prority": 1}, "prority", "one of the fields taskType, payload, priority"),
        ({"payload": {}}, "taskType", "present"),
        ({"taskType": "A"}, "payload", "present"),
        ({**SEED, "priority": None}, "priority", "left out, or have a value"),
        ({**SEED, "idempotencyKey": None}, "idempotencyKey", "left out, or have a value"),
        ({**SEED, "webhook": None}, "webhook", "left out, or have a value"),
        ({**SEED, "webhook": "https://example.org"}, "webhook", "an object"),
        ({**SEED, "webhook": {}}, "webhook.url", "present"),
        ({**SEED, "webhook": {"url": "https://a.org", "secret": "s"}}, "webhook.secret", "left out"),
    ],
)
def test_another_shape_is_refused(document: Any, field: str, rule: str) -> None:
    """With the field as the file spells it."""
    with pytest.raises(InvalidTask) as refused:
        task_spec(document)

    assert refused.value.field == field
    assert rule in refused.value.rule


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("type", "taskType"),
        ("idempotency_key", "idempotencyKey"),
        ("specs[12].type", "taskType"),
        ("specs[0].payload.prompt", "payload.prompt"),
        ("priority", "priority"),
    ],
)
def test_errors_name_fields_as_the_file_does(ours: str, theirs: str) -> None:
    """Python's names of fields, and places in a list, mean nothing to who wrote the file."""
    said = in_contract_words(InvalidTask(ours, "value", "rule"))

    assert (said.field, said.value, said.rule) == (theirs, "value", "rule")
