"""What the server's records are made of, and names: the codec, its values, ids, names and rules."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from taskqueue.codec import decode_error, decode_task, encode_entry, encode_error
from taskqueue.embedded.layout import Layout
from taskqueue.errors import InvalidSetting, InvalidTask, PayloadTooLarge, QueueCorrupt
from taskqueue.keys import Keys
from taskqueue.names import (
    check_idempotency_key,
    check_policy_name,
    check_provider,
    check_queue_name,
    check_tenant,
    check_type,
)
from taskqueue.ranking import Order
from taskqueue.rules import (
    check_cost,
    check_count,
    check_durability,
    check_hold,
    check_id,
    check_max_attempts,
    check_webhook,
    is_id,
)
from taskqueue.store.replies import ClaimedTask
from taskqueue.strict_json import NotJson, loads
from taskqueue.task import Task, TaskSpec
from taskqueue.values import DEEPEST, canonical, decode_value, encode_value
from tests.security.fuzzing import Parser, text_of

RECORD = b"1|7|1700000000000|CHATGPT|ann||1|0|||||||0\n\x81\xa6prompt\xa2hi"
LARGEST = 2**24
_SPEC = frozenset(
    {"type", "payload", "priority", "id", "idempotency_key", "tenant", "max_attempts", "webhook", "cost"}
)


def read_value(data: bytes) -> tuple[object]:
    """What comes out goes in again, and comes out the same; or it is refused by its path."""
    value = decode_value(data)
    try:
        again = encode_value(value, field="value", max_bytes=LARGEST)
    except InvalidTask:
        # Written by somebody else: an infinity, a key of bytes, or deeper than we write.
        assert not is_ours(value, DEEPEST)
        return (value,)
    assert canonical(decode_value(again)) == canonical(value)
    return (value,)


def is_ours(value: object, room: int) -> bool:
    """Whether this package would write such a value, told in another way than it does itself."""
    match value:
        case None | bool() | int() | str() | bytes():
            return True
        case float():
            return abs(value) < float("inf")
        case dict():
            return room > 0 and all(
                isinstance(name, str) and is_ours(item, room - 1) for name, item in value.items()
            )
        case list():
            return room > 0 and all(is_ours(item, room - 1) for item in value)
    return False


def read_record(data: bytes) -> Task:
    """A task has the types that it says."""
    task = decode_task("id-1", data, not_before_ms=5)
    assert isinstance(task.payload, dict)
    assert all(type(each) is int for each in (task.priority, task.sequence, task.created_ms, task.cost))
    assert task.timeout is None or isinstance(task.timeout, timedelta)
    assert ClaimedTask("id-1", "token", 1, 1, 0, data).type == task.type
    return task


def read_run(data: bytes) -> Task:
    """The fields of a run: name, separator, value, separator, and so on."""
    words = data.split(b"\x1e")
    task = decode_task("id-1", RECORD, dict(zip(words[::2], words[1::2], strict=False)))
    assert task.started_ms is None or task.started_ms >= 0
    assert task.error is None or isinstance(task.error.message, str)
    assert all(isinstance(name, str) for name in task.tried)
    return task


def read_error(data: bytes) -> object:
    """An error that was read can be written, and read again."""
    error = decode_error(data)
    again = decode_error(encode_error(error))
    assert len(again.message) <= 4_000
    assert decode_error(encode_error(again)) == again
    return error


def read_entry(data: bytes) -> object:
    """A task that was accepted is the same once it was written and read."""
    document = loads(data)
    if not isinstance(document, dict):
        return None
    entry = encode_entry(
        TaskSpec(**{"type": "", "payload": None, **{k: document[k] for k in _SPEC & document.keys()}})
    )
    spec, task = entry.spec, decode_task(entry.id, b"1|7|1700000000000|" + entry.blob)
    assert (task.type, task.tenant, task.priority, task.cost) == (
        spec.type,
        spec.tenant,
        spec.priority,
        spec.cost,
    )
    assert task.payload == spec.payload
    assert task.idempotency_key == spec.idempotency_key
    assert (task.webhook is None) == (spec.webhook is None)
    assert entry.blob.index(b"\n") < 512
    return task


def read_names(data: bytes) -> object:
    """A name is what was given, and cannot lead out of its key."""
    given = text_of(data)
    checks: tuple[Callable[[object], str], ...] = (
        check_type,
        check_tenant,
        check_policy_name,
        check_provider,
        check_id,
        check_idempotency_key,
        check_queue_name,
    )
    refusal: Exception | None = None
    for check in checks:
        try:
            assert check(given) == given
        except (InvalidTask, InvalidSetting) as error:
            refusal = error
            continue
        assert given.isprintable()
        if check is not check_idempotency_key:
            key = Keys(given).task("x")
            assert re.fullmatch(r"[^{}:|]+:\{[^{}:|]+\}:task:x", key), key
    assert is_id(given) == (re.fullmatch("[A-Za-z0-9_-]{1,64}", given) is not None)
    if refusal is not None:
        raise refusal
    return given


def read_rules(data: bytes) -> object:
    """Each rule takes a value, or says that it does not."""
    value = loads(data)
    checks: tuple[Callable[[Any], object], ...] = (
        check_cost,
        lambda each: check_hold(each, 3),
        check_max_attempts,
        check_durability,
        check_webhook,
        lambda each: check_count("count", each, 1, 9),
    )
    refusal: Exception | None = None
    for check in checks:
        try:
            taken = check(value)
        except (InvalidTask, InvalidSetting) as error:
            refusal = error
            continue
        assert taken is None or type(taken) in (int, dict) or taken == value
    if refusal is not None:
        raise refusal
    return value


def read_order(data: bytes) -> object:
    """An order is spelled in one way."""
    stored = text_of(data)
    order = Order.parse(stored)
    assert order.stored == stored
    assert order.invert(order.score(2, 9)) == (2, 9)
    return order


def read_guard(data: bytes) -> object:
    """The file that says which guard has an embedded server."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        layout.guard.write_bytes(data)
        found = layout.read_guard()
    assert found is None or (found[0] >= 0 and f"{found[1]}\n" in os.fsdecode(data))
    return found


PARSERS = (
    Parser("value", read_value, (QueueCorrupt,)),
    Parser("record", read_record, (QueueCorrupt,)),
    Parser("run", read_run, (QueueCorrupt,)),
    Parser("error", read_error, (QueueCorrupt,)),
    Parser("entry", read_entry, (NotJson, InvalidTask, PayloadTooLarge)),
    Parser("names", read_names, (InvalidTask, InvalidSetting)),
    Parser("rules", read_rules, (NotJson, InvalidTask, InvalidSetting)),
    Parser("order", read_order, (QueueCorrupt,)),
    Parser("guard-file", read_guard),
)
