"""A task as the server keeps it: one record, written once, and the hash of its runs.

The record is a line of text that scripts and people can read, then bytes that they need not::

    1|<sequence>|<created_ms>|<type>|<tenant>|<group>|<priority>|<cost>|<flags>|<fingerprint>|
    <idem>|<max_attempts>|<timeout_ms>|<hook>|<extras_len> LF <extras><payload>

`1` is the version of the format. The enqueue script writes the first three fields; the rest, the
*blob*, is made here. An empty group is the tenant's own; empty numbers are None. Flags: `R`
reserved, `W` has a webhook, `P` replicated, `F` on disk. Fingerprint and idem are digests of what
the task asks for and of its idempotency key. Extras (the key's text, the webhook) and the payload
are msgpack. A task without a run hash is QUEUED and never ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from taskqueue.digests import digest, digest_of_host, digest_of_key
from taskqueue.errors import InvalidTask, QueueCorrupt, shown
from taskqueue.ids import new_id
from taskqueue.names import check_idempotency_key, check_tenant, check_type
from taskqueue.ranking import Order
from taskqueue.rules import (
    check_cost,
    check_delay,
    check_durability,
    check_hold,
    check_id,
    check_max_attempts,
    check_not_before,
    check_reserve,
    check_timeout,
    check_webhook,
)
from taskqueue.settings import DEFAULT_MAX_PAYLOAD
from taskqueue.task import Durability, Task, TaskError, TaskSpec, TaskState
from taskqueue.values import canonical, decode_value, encode_payload, encode_value

__all__ = [
    "MAX_PAYLOAD",
    "Entry",
    "decode_error",
    "decode_task",
    "decode_value",
    "encode_entry",
    "encode_error",
    "encode_payload",
    "encode_value",
]

VERSION = b"1"

MAX_PAYLOAD = DEFAULT_MAX_PAYLOAD
"""Bytes of an encoded payload or result, where no other limit is set."""

DEFAULT_ORDER = Order()

RESERVED_SUFFIX = "!"
"""Ends the name of the lane in which a tenant's reserved tasks stand."""

_FIELDS = 15
_LONGEST_HEADER = 512
_LAST_INSTANT = 253_402_300_799_999
_REMEMBERED = 4096
_LONGEST_MESSAGE = 4000
_LONGEST_DETAILS = 64 * 1024
_FLAG = {Durability.MEMORY: "", Durability.REPLICATED: "P", Durability.FSYNC: "F"}


@dataclass(slots=True)
class Head:
    """What many tasks share, checked and encoded once.

    Attributes:
        type: Names the handler.
        tenant: Whose they are.
        group: The tenant, or the tenant's lane of reserved tasks.
        priority: The band they stand in; for reserved tasks the one above the highest.
        durability: The level they are accepted at.
        reserve: Whether each takes a slot of its tenant at once.
        band: Type, group and priority: tasks that have them in common stand together.
        front: Of the header, from the type to the flags.
        back: Of the header, the two numbers before the length of the extras.
        whole: The header of a task without fingerprint, key and extras.
    """

    type: str
    tenant: str
    group: str
    priority: int
    durability: Durability
    reserve: bool
    band: tuple[str, str, int]
    front: bytes
    back: bytes
    whole: bytes


@dataclass(slots=True)
class Entry:
    """A checked and encoded task on its way to the server.

    Attributes:
        id: The caller's, or one made here.
        head: What it shares with others.
        delay_ms: Earliest start, counted from acceptance; None for now.
        not_before_ms: Earliest start as an instant, in epoch milliseconds; None for now.
        idem: Digest of its idempotency key, or empty.
        blob: The record without the fields that the enqueue script writes.
        spec: What it was made of.
    """

    id: str
    head: Head
    delay_ms: int | None
    not_before_ms: int | None
    idem: str
    blob: bytes
    spec: TaskSpec


_heads: dict[tuple[object, ...], Head] = {}
"""Only of specifications that passed every check; emptied when it has 4,096 of them."""


def encode_entry(
    spec: TaskSpec,
    *,
    max_bytes: int = MAX_PAYLOAD,
    default_durability: Durability = Durability.MEMORY,
    order: Order = DEFAULT_ORDER,
) -> Entry:
    """Check every field of *spec* and encode it.

    Args:
        spec: The task.
        max_bytes: How long the encoded payload may be.
        default_durability: Its level, if it names none.
        order: The queue's order, which says what priorities there are.

    Raises:
        InvalidTask: If a field breaks its rule.
        PayloadTooLarge: If the encoded payload is longer than *max_bytes*.
    """
    order.check_priority(spec.priority)
    delay_ms = not_before_ms = None
    if spec.delay is not None or spec.not_before is not None:
        delay_ms, not_before_ms = check_delay(spec.delay), check_not_before(spec.not_before)
        if spec.delay is not None and spec.not_before is not None:
            raise InvalidTask("not_before", spec.not_before, "left out where there is a delay")
    is_delayed = delay_ms is not None or not_before_ms is not None
    if spec.reserve is not False:
        check_reserve(spec.reserve, is_delayed=is_delayed)
    head = _head(spec, default_durability, order.reserved_priority if spec.reserve else spec.priority)
    payload = encode_payload(spec.payload, max_bytes)
    if spec.id is None and spec.idempotency_key is None and spec.webhook is None:
        return Entry(new_id(), head, delay_ms, not_before_ms, "", head.whole + payload, spec)
    task_id = new_id() if spec.id is None else check_id(spec.id)
    idem, blob = _special_blob(spec, head, payload)
    return Entry(task_id, head, delay_ms, not_before_ms, idem, blob, spec)


def _head(spec: TaskSpec, default_durability: Durability, priority: int) -> Head:
    # These must be exact integers before they may be looked up: True == 1 == 1.0.
    if type(spec.cost) is not int or spec.hold is not None or spec.max_attempts is not None:
        check_hold(spec.hold, check_cost(spec.cost))
        check_max_attempts(spec.max_attempts)
    key = (
        spec.type,
        spec.tenant,
        priority,
        spec.cost,
        spec.hold,
        spec.reserve,
        spec.webhook is None,
        spec.durability,
        default_durability,
        spec.max_attempts,
        spec.timeout,
    )
    try:
        return _heads[key]
    except (KeyError, TypeError):
        # TypeError: something that cannot be hashed was given as a name; its check says so.
        head = _new_head(spec, default_durability, priority)
    if len(_heads) >= _REMEMBERED:
        _heads.clear()
    _heads[key] = head
    return head


def _new_head(spec: TaskSpec, default_durability: Durability, priority: int) -> Head:
    durability = default_durability if spec.durability is None else check_durability(spec.durability)
    attempts = check_max_attempts(spec.max_attempts)
    cost = check_cost(spec.cost)
    hold = check_hold(spec.hold, cost)
    type_, tenant, timeout_ms = check_type(spec.type), check_tenant(spec.tenant), check_timeout(spec.timeout)
    own_group = tenant + RESERVED_SUFFIX if spec.reserve else ""
    group = own_group or tenant
    flags = f"{'R' * spec.reserve}{'W' * (spec.webhook is not None)}{_FLAG[durability]}"
    price = f"{cost}-{hold}" if hold > cost else f"{cost}"
    front = f"{type_}|{tenant}|{own_group}|{priority}|{price}|{flags}|".encode()
    back = f"{_number(attempts)}|{_number(timeout_ms)}|".encode()
    return Head(
        type_,
        tenant,
        group,
        priority,
        durability,
        spec.reserve,
        (type_, group, priority),
        front,
        back,
        front + b"||" + back + b"|0\n",
    )


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _special_blob(spec: TaskSpec, head: Head, payload: bytes) -> tuple[str, bytes]:
    """Return (idem, blob) of a task that can be repeated by id or key, or that has a webhook."""
    extras: dict[str, Any] = {}
    idem = fingerprint = hook = ""
    if spec.idempotency_key is not None:
        key = check_idempotency_key(spec.idempotency_key)
        idem = digest_of_key(key)
        extras["idempotency_key"] = key
    if spec.webhook is not None:
        webhook = check_webhook(spec.webhook)
        extras["webhook"] = webhook
        hook = digest_of_host(webhook["url"])
    if spec.id is not None or idem:
        # Only a task that its caller can name again needs to be compared with its repeat.
        what = f"{head.type}|{head.tenant}|".encode() + canonical(decode_value(payload))
        fingerprint = digest(what, 12)
    more = canonical(extras) if extras else b""
    header = (
        head.front + f"{fingerprint}|{idem}|".encode() + head.back + b"%b|%d\n" % (hook.encode(), len(more))
    )
    return idem, header + more + payload


def decode_task(
    task_id: str, record: bytes, run: Mapping[bytes, bytes] | None = None, not_before_ms: int | None = None
) -> Task:
    """Return the task that a record and its run hash describe.

    Args:
        task_id: Its id.
        record: What the enqueue script wrote.
        run: The hash of its runs; None or empty if it was never claimed.
        not_before_ms: When it is due, in epoch milliseconds, if it is delayed.

    Raises:
        QueueCorrupt: If no version of this package wrote that, or a newer one did.
    """
    try:
        task = _from_record(task_id, record)
        task.not_before_ms = not_before_ms
        if run:
            _add_run(task, run)
    except QueueCorrupt as problem:
        raise QueueCorrupt(f"task {shown(task_id)}: {problem}") from problem
    except (ValueError, TypeError, OverflowError) as problem:
        raise QueueCorrupt(
            f"task {shown(task_id)}: {shown(record[:64])} … is no record that this package writes: {problem}"
        ) from problem
    return task


def _from_record(task_id: str, record: bytes) -> Task:
    if not record.startswith(VERSION + b"|"):
        _refuse_version(record)
    end = record.find(b"\n", 0, _LONGEST_HEADER)
    fields = record[: max(end, 0)].decode("ascii").split("|")
    if len(fields) != _FIELDS:
        raise QueueCorrupt(f"its header has {len(fields)} fields, not {_FIELDS}")
    _, sequence, created, type_, tenant, _, priority, price, flags, _, _, attempts, timeout, _, more = fields
    body = end + 1 + int(more)
    extras = _mapping(record[end + 1 : body], "extras") if int(more) else {}
    return Task(
        id=task_id,
        type=type_,
        tenant=tenant,
        priority=int(priority),
        sequence=int(sequence),
        payload=_mapping(record[body:], "payload"),
        created_ms=_instant(created),
        idempotency_key=extras.get("idempotency_key"),
        max_attempts=int(attempts) if attempts else None,
        timeout=timedelta(milliseconds=int(timeout)) if timeout else None,
        webhook=extras.get("webhook"),
        cost=int(price.partition("-")[0]),
        durability=_durability(flags),
        reserved="R" in flags,
    )


def _refuse_version(record: bytes) -> NoReturn:
    version, bar, _ = record[:8].partition(b"|")
    if bar and version.isdigit() and int(version) > int(VERSION):
        raise QueueCorrupt(
            f"its record has version {version.decode()}: a newer version of this package wrote it; upgrade"
        )
    raise QueueCorrupt(f"its record starts with {shown(record[:1])}, not with version {VERSION.decode()}")


def _add_run(task: Task, run: Mapping[bytes, bytes]) -> None:
    task.state = TaskState(run.get(b"state", b"QUEUED").decode())
    task.attempt = int(run.get(b"attempt", 0))
    task.deliveries = int(run.get(b"deliveries", 0))
    task.crashes = int(run.get(b"crashes", 0))
    if worker := run.get(b"worker"):
        task.worker = worker.decode()
    if started := run.get(b"started_at"):
        task.started_ms = _instant(started)
    if finished := run.get(b"finished_at"):
        task.finished_ms = _instant(finished)
    if progress := run.get(b"progress"):
        task.progress = decode_value(progress)
    if task.state.is_finished:
        task.charged = int(run.get(b"charged", 0))
    if delivered := run.get(b"delivered_at"):
        task.delivered_ms = _instant(delivered)
    if result := run.get(b"result"):
        task.result = decode_value(result)
    if error := run.get(b"error"):
        task.error = decode_error(error)
    _add_providers(task, run)


def _add_providers(task: Task, run: Mapping[bytes, bytes]) -> None:
    if provider := run.get(b"provider"):
        # "!" marks a probe of a provider that had failed.
        task.provider = provider.decode().removesuffix("!")
    if tried := run.get(b"tried"):
        task.tried = tuple(tried.decode().split(" "))


def _mapping(data: bytes, what: str) -> dict[str, Any]:
    value = decode_value(data)
    if not isinstance(value, dict):
        raise QueueCorrupt(f"its {what} is no mapping but {shown(value)}")
    return value


def _instant(text: str | bytes) -> int:
    ms = int(text)
    if not 0 <= ms <= _LAST_INSTANT:
        raise ValueError(f"{ms} is no instant")
    return ms


def _durability(flags: str) -> Durability:
    if not flags:
        return Durability.MEMORY
    return Durability.FSYNC if "F" in flags else Durability.REPLICATED if "P" in flags else Durability.MEMORY


def encode_error(error: TaskError) -> bytes:
    """Return *error* as it is stored. It never fails, because it says why something else did.

    The message is cut after 4,000 characters. Details that cannot be carried, or are longer than
    64 KiB when encoded, are replaced by what they look like.
    """
    try:
        details = decode_value(encode_value(error.details, field="details", max_bytes=_LONGEST_DETAILS))
    except InvalidTask:
        details = shown(error.details)
    return canonical({"code": _sound(error.code), "message": _sound(error.message), "details": details})


def decode_error(data: bytes) -> TaskError:
    """Return the error that `encode_error` made *data* of.

    Raises:
        QueueCorrupt: If it made nothing like it.
    """
    parts = _mapping(data, "error")
    code, message = parts.get("code"), parts.get("message")
    if not isinstance(code, str) or not isinstance(message, str):
        raise QueueCorrupt(f"an error has the code {shown(code)} and the message {shown(message)}")
    return TaskError(code, message, parts.get("details"))


def _sound(text: str) -> str:
    """Return *text* so that UTF-8 can carry it: messages come from exceptions of any making."""
    return text[:_LONGEST_MESSAGE].encode(errors="replace").decode()
