"""What is refused at the door: the error names the field, the value and the rule; nothing is stored."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import pytest

from taskqueue import InvalidTask, PayloadTooLarge, ServerUnavailable, TaskQueue, TaskQueueError, TaskSpec
from taskqueue.errors import InvalidSetting, QueueMismatch

deep: Any = {}
for _ in range(64):
    deep = {"in": deep}

BAD_TASKS: list[tuple[str, dict[str, Any]]] = [
    *(("priority", {"priority": value}) for value in (0, 11, 2.5, True, "5", -1, None)),
    *(("type", {"type": value}) for value in ("", "x" * 65, "7UP", "two words", "a:b", "_own", None)),
    *(("tenant", {"tenant": value}) for value in ("", "x" * 129, "_own", "a/b", "{a}")),
    *(("idempotency_key", {"idempotency_key": value}) for value in ("", "x" * 256, "line\nbreak", "\ud800")),
    *(("id", {"id": value}) for value in ("", "x" * 65, "a b", "task:1")),
    *(("payload", {"payload": value}) for value in (None, [1], "text", 5)),
    ("payload[5]", {"payload": {5: "five"}}),
    ("payload.score", {"payload": {"score": math.nan}}),
    ("payload.scores[1]", {"payload": {"scores": [1.0, math.inf]}}),
    ("payload.text", {"payload": {"text": "half \ud83d of a pair"}}),
    ("payload.items[3].n", {"payload": {"items": [{}, {}, {}, {"n": 2**64}]}}),
    ("payload.when", {"payload": {"when": datetime(2030, 1, 1)}}),  # noqa: DTZ001
    ("payload" + ".in" * 64, {"payload": deep}),
    *(("delay", {"delay": value}) for value in (timedelta(seconds=-1), timedelta(days=3651), 5)),
    *(("not_before", {"not_before": value}) for value in (datetime(2030, 1, 1), "tomorrow")),  # noqa: DTZ001
    *(("timeout", {"timeout": value}) for value in (timedelta(0), timedelta(days=8), 30)),
    *(("max_attempts", {"max_attempts": value}) for value in (0, 1001, True)),
    *(("cost", {"cost": value}) for value in (-1, True, 0.5)),
    *(
        ("webhook", {"webhook": value})
        for value in ("ftp://example.org", "https://u:p@example.org", {"uri": "x"})
    ),
    *(("durability", {"durability": value}) for value in ("disk", 1)),
    *(("reserve", {"reserve": value}) for value in (1, "yes")),
]


@pytest.mark.parametrize(("field", "fields"), BAD_TASKS)
async def test_a_bad_task_is_refused_by_its_field(
    queue: TaskQueue, field: str, fields: dict[str, Any]
) -> None:
    """One field of an otherwise good task is wrong."""
    with pytest.raises(InvalidTask) as refusal:
        await queue.enqueue(**{"type": "CALL", "payload": {}, **fields})
    with pytest.raises(InvalidTask):
        await queue.enqueue_many([TaskSpec(**{"type": "CALL", "payload": {}, **fields})])

    assert refusal.value.field == field
    assert refusal.value.rule in str(refusal.value)
    assert isinstance(refusal.value, ValueError)
    str(refusal.value).encode()
    assert (await queue.stats()).queued == 0


async def test_a_payload_larger_than_the_limit_is_refused(queue: TaskQueue) -> None:
    """1 MiB, unless the queue was opened with another limit."""
    await queue.enqueue("CALL", {"text": "x" * (2**20 - 100)})

    with pytest.raises(PayloadTooLarge, match="1,048,576 bytes") as refusal:
        await queue.enqueue("CALL", {"text": "x" * 2**20})

    assert refusal.value.limit == 2**20
    assert (await queue.stats()).queued == 1


BAD_OPTIONS: list[tuple[str, Any]] = [
    *(("name", value) for value in ("", "x" * 65, "two words", "{a}", "_own", None)),
    *(("policy", value) for value in ("unknown", 5)),
    *(("stride", value) for value in (0, 2**30 + 1, True, 1.5)),
    *(("highest_priority", value) for value in (-1, 255, True, "10")),
    *(("durability", value) for value in ("disk", None)),
    *(("retention", value) for value in (timedelta(0), timedelta(days=400), 5)),
    *(("max_payload", value) for value in (0, 4 * 2**20 + 1, True)),
    *(("max_queued", value) for value in (0, 1.5)),
    *(("patience", value) for value in (-1, math.inf, math.nan, True, "30")),
    ("clock", 5),
]


@pytest.mark.parametrize(("option", "value"), BAD_OPTIONS)
def test_a_bad_option_is_refused_before_anything_is_connected(option: str, value: Any) -> None:
    """connect() itself says so; nothing has to be awaited for that."""
    with pytest.raises(InvalidSetting) as refusal:
        TaskQueue.connect("memory://", **{option: value})

    assert refusal.value.setting == option
    assert refusal.value.value is value


def test_an_unknown_kind_of_server_is_refused() -> None:
    """The refusal lists the kinds that there are, and hides the password."""
    with pytest.raises(InvalidSetting, match="redis://") as refusal:
        TaskQueue.connect("mysql://ada:secret@localhost/0")

    assert "secret" not in str(refusal.value)


async def test_an_unreachable_server_is_an_error_within_the_patience() -> None:
    """It says what was tried, and for how long."""
    with pytest.raises(ServerUnavailable, match=r"unix:///nowhere/at-all\.sock within [\d.]+ s"):
        await TaskQueue.connect("unix:///nowhere/at-all.sock", patience=0.2)


async def test_a_queue_that_was_made_otherwise_is_refused(url: str, queue_name: str) -> None:
    """Two programs that disagree on the order must not share a queue; one that has no wish follows."""
    async with TaskQueue.connect(url, name=queue_name, stride=50, highest_priority=20) as queue:
        await queue.enqueue("CALL", {}, priority=20)

        wishes: list[dict[str, Any]] = [{"stride": 60}, {"highest_priority": 10}, {"policy": "fair_tenants"}]
        for wish in wishes:
            with pytest.raises(QueueMismatch) as refusal:
                await TaskQueue.connect(url, name=queue_name, **wish)
            assert {refusal.value.setting: refusal.value.wanted} == wish

        accepted: list[dict[str, Any]] = [{}, {"stride": 50}, {"highest_priority": 20}]
        for wish in accepted:
            async with TaskQueue.connect(url, name=queue_name, **wish) as second:
                await second.enqueue("CALL", {}, priority=20)


async def test_a_closed_queue_refuses_everything(queue: TaskQueue) -> None:
    """And says that it is closed; closing it once more does no harm."""
    await queue.close()
    await queue.close()

    with pytest.raises(TaskQueueError, match="closed"):
        await queue.enqueue("CALL", {})
    with pytest.raises(TaskQueueError, match="closed"):
        await queue.enqueue_many([])
    with pytest.raises(TaskQueueError, match="closed"):
        await queue.get("x")
    with pytest.raises(TaskQueueError, match="closed"):
        await queue.wait("x")
    with pytest.raises(TaskQueueError, match="closed"):
        await queue.stats()
