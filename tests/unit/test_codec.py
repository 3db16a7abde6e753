"""The record of a task: what enqueue stores is what everybody reads."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue import codec
from taskqueue.codec import (
    Entry,
    decode_error,
    decode_task,
    decode_value,
    encode_entry,
    encode_error,
    encode_value,
)
from taskqueue.digests import digest_of_host
from taskqueue.errors import InvalidTask, PayloadTooLarge, QueueCorrupt, shown
from taskqueue.ranking import Order
from taskqueue.task import Durability, Task, TaskError, TaskSpec, TaskState

MIB = 2**20


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test makes the headers that it looks at: none is left from a test before."""
    monkeypatch.setattr(codec, "_heads", {})


def entry_of(**fields: Any) -> Entry:
    """Return the entry of a task of type CHATGPT with these fields."""
    fields = {"type": "CHATGPT", "payload": {"prompt": "hi"}, **fields}
    return encode_entry(TaskSpec(**fields), max_bytes=MIB)


def record_of(entry: Entry, sequence: int = 7, created_ms: int = 1_764_000_000_000) -> bytes:
    """Return what the enqueue script stores for *entry*."""
    return f"1|{sequence}|{created_ms}|".encode() + entry.blob


def header_of(entry: Entry) -> list[str]:
    """Return the fields of the blob's header."""
    return entry.blob.partition(b"\n")[0].decode().split("|")


def stored(**fields: Any) -> Task:
    """Return the task that a specification with these fields comes back as."""
    entry = entry_of(**fields)
    return decode_task(entry.id, record_of(entry))


def test_the_header_of_a_plain_task() -> None:
    """A task with nothing but type, payload and priority has the shortest header."""
    entry = entry_of(priority=5)

    assert entry.blob == b"CHATGPT|default||5|0|||||||0\n" + msgpack.packb({"prompt": "hi"})
    assert (entry.head.type, entry.head.tenant, entry.head.group, entry.head.priority) == (
        "CHATGPT",
        "default",
        "default",
        5,
    )
    assert (entry.delay_ms, entry.not_before_ms, entry.idem, entry.head.reserve) == (None, None, "", False)


def test_the_header_of_a_task_with_everything() -> None:
    """Every field has its place; what only Python needs is in the extras."""
    entry = entry_of(
        tenant="acme",
        idempotency_key="key ☃",
        id="my-id",
        cost=12,
        hold=20,
        max_attempts=3,
        timeout=timedelta(seconds=1.5),
        webhook="https://example.org/hook",
        durability="fsync",
        reserve=True,
    )

    fields = header_of(entry)
    idem = base64.urlsafe_b64encode(hashlib.blake2b("key ☃".encode(), digest_size=16).digest())
    assert fields[:6] == ["CHATGPT", "acme", "acme!", "11", "12-20", "RWF"]
    assert fields[7:10] == [idem.decode().rstrip("="), "3", "1500"]
    assert entry.idem == fields[7]
    assert len(fields[6]) == 16
    assert (entry.id, entry.head.group, entry.head.priority, entry.head.reserve) == (
        "my-id",
        "acme!",
        11,
        True,
    )
    assert fields[10] == digest_of_host("HTTPS://EXAMPLE.ORG.:8443/other")
    extras = entry.blob.partition(b"\n")[2][: int(fields[11])]
    assert decode_value(extras) == {
        "idempotency_key": "key ☃",
        "webhook": {"url": "https://example.org/hook"},
    }


def test_equal_tasks_share_what_was_checked_once() -> None:
    """The second one finds the head of the first, which says where they stand and how safely."""
    first, second = (entry_of(tenant="acme", priority=3, durability="fsync") for _ in range(2))

    assert first.head is second.head
    assert first.head.band == ("CHATGPT", "acme", 3)
    assert first.head.durability is Durability.FSYNC
    assert first.id != second.id


def test_a_task_that_only_has_an_id_has_no_extras() -> None:
    """The payload follows its header at once."""
    entry = entry_of(id="mine")

    assert header_of(entry)[-1] == "0"
    assert entry.blob.partition(b"\n")[2] == msgpack.packb({"prompt": "hi"})


@pytest.mark.parametrize("more", [{}, {"id": "mine"}])
def test_when_it_may_start_is_beside_the_record(more: dict[str, Any]) -> None:
    """In milliseconds, whether counted from acceptance or an instant; and the entry has its task."""
    spec = TaskSpec(type="CHATGPT", payload={}, delay=timedelta(seconds=1.5), **more)
    later = entry_of(not_before=datetime(2030, 1, 1, tzinfo=UTC), **more)

    entry = encode_entry(spec)

    assert (entry.delay_ms, entry.not_before_ms) == (1500, None)
    assert (later.delay_ms, later.not_before_ms) == (None, 1_893_456_000_000)
    assert entry.spec is spec


@pytest.mark.parametrize(
    "when", [{"delay": timedelta(seconds=1)}, {"not_before": datetime(2030, 1, 1, tzinfo=UTC)}]
)
def test_a_task_that_waits_takes_no_slot_meanwhile(when: dict[str, Any]) -> None:
    """Reserved and delayed exclude each other, in whichever way it is delayed."""
    with pytest.raises(InvalidTask) as refusal:
        entry_of(reserve=True, **when)

    assert refusal.value.field == "reserve"


def test_what_is_not_said_of_a_task_is_as_the_queue_has_it() -> None:
    """The longest payload and the level of durability come from the queue; each task may say more."""
    spec = TaskSpec(type="CHATGPT", payload={"x": "x" * (codec.MAX_PAYLOAD - 8)})

    assert encode_entry(spec).head.durability is Durability.MEMORY
    assert encode_entry(spec, default_durability=Durability.FSYNC).head.durability is Durability.FSYNC
    with pytest.raises(PayloadTooLarge):
        encode_entry(TaskSpec(type="CHATGPT", payload={"x": "x" * (codec.MAX_PAYLOAD - 7)}))


def test_a_task_comes_back_as_it_was_handed_in() -> None:
    """All fields of a specification survive the record."""
    task = stored(
        payload={"a": [1, {"b": None}]},
        priority=9,
        tenant="ada@example.org",
        idempotency_key="k",
        webhook={"url": "https://example.org"},
        cost=3,
        max_attempts=2,
        timeout=timedelta(minutes=1),
        durability=Durability.REPLICATED,
    )

    assert task.type == "CHATGPT"
    assert task.payload == {"a": [1, {"b": None}]}
    assert (task.priority, task.tenant, task.sequence) == (9, "ada@example.org", 7)
    assert task.created_at == datetime(2025, 11, 24, 16, tzinfo=UTC)
    assert (task.idempotency_key, task.webhook) == ("k", {"url": "https://example.org"})
    assert (task.cost, task.max_attempts, task.timeout) == (3, 2, timedelta(minutes=1))
    assert task.durability is Durability.REPLICATED
    assert (task.state, task.attempt, task.reserved) == (TaskState.QUEUED, 0, False)


@pytest.mark.parametrize("level", list(Durability))
@pytest.mark.parametrize("webhook", [None, "https://example.org"])
def test_each_level_of_durability_comes_back(level: Durability, webhook: str | None) -> None:
    """Also of a task that has other flags."""
    assert stored(durability=level, webhook=webhook).durability is level


def test_a_cost_comes_back_without_what_is_held_for_it() -> None:
    """The price is both; the hold is an affair of the account."""
    assert stored(cost=12, hold=20).cost == 12
    assert stored(cost=12, hold=12).cost == 12


def test_a_record_is_read_under_the_id_that_was_asked_for() -> None:
    """It is no part of the record; and a newline in the payload does not end the header once more."""
    entry = entry_of(payload={"prompt": "one\ntwo"})

    task = decode_task("mine", record_of(entry))

    assert (task.id, task.payload) == ("mine", {"prompt": "one\ntwo"})


def test_a_reserved_task_stands_in_the_band_above_all_priorities() -> None:
    """Its own priority does not count; the band depends on the queue's highest priority."""
    spec = TaskSpec(type="CHATGPT", payload={}, priority=3, reserve=True)

    entry = encode_entry(spec, max_bytes=MIB, order=Order(highest_priority=100))
    task = decode_task(entry.id, record_of(entry))

    assert entry.head.priority == 101
    assert (task.priority, task.reserved, task.tenant) == (101, True, "default")


def test_the_run_hash_says_what_became_of_a_task() -> None:
    """Everything that claims, heartbeats and ends write is merged into the task."""
    entry = entry_of()
    run = {
        b"state": b"FAILED",
        b"attempt": b"2",
        b"deliveries": b"3",
        b"crashes": b"1",
        b"token": b"3:abc",
        b"worker": b"w-1",
        b"started_at": b"1764000001000",
        b"finished_at": b"1764000003500",
        b"progress": encode_value({"done": 3}, field="progress", max_bytes=MIB),
        b"result": encode_value([1], field="result", max_bytes=MIB),
        b"error": encode_error(TaskError("TIMEOUT", "it took too long", {"after": 3})),
    }

    task = decode_task(entry.id, record_of(entry), run, 1_764_000_009_000)

    assert (task.state, task.attempt, task.deliveries, task.crashes) == (TaskState.FAILED, 2, 3, 1)
    assert task.worker == "w-1"
    assert task.latency == timedelta(seconds=2.5)
    assert task.not_before == datetime(2025, 11, 24, 16, 0, 9, tzinfo=UTC)
    assert (task.progress, task.result) == ({"done": 3}, [1])
    assert task.error == TaskError("TIMEOUT", "it took too long", {"after": 3})


def test_a_run_hash_that_says_little_leaves_the_rest_as_it_was() -> None:
    """A worker's name alone: queued, and nothing was counted yet."""
    entry = entry_of()

    task = decode_task(entry.id, record_of(entry), {b"worker": b"w-1"})

    assert (task.state, task.attempt, task.deliveries, task.crashes) == (TaskState.QUEUED, 0, 0, 0)
    assert (task.worker, task.charged, task.started_ms, task.finished_ms) == ("w-1", None, None, None)
    assert (task.provider, task.tried, task.delivered_ms) == (None, (), None)


@pytest.mark.parametrize(("charged", "expected"), [({b"charged": b"3"}, 3), ({}, 0)])
def test_what_was_charged_is_known_once_it_has_finished(charged: dict[bytes, bytes], expected: int) -> None:
    """Nothing, if nothing was written; and before the end it is not known."""
    entry = entry_of()
    record = record_of(entry)

    assert decode_task("x", record, {b"state": b"COMPLETED", **charged}).charged == expected
    assert decode_task("x", record, {b"state": b"PROCESSING", **charged}).charged is None


@pytest.mark.parametrize("provider", [b"openai", b"openai!"])
def test_who_answered_and_who_was_tried_before(provider: bytes) -> None:
    """The mark of a probe is no part of the provider's name."""
    entry = entry_of()
    run = {
        b"provider": provider,
        b"tried": b"google:limited other:down",
        b"delivered_at": b"1764000005000",
    }

    task = decode_task(entry.id, record_of(entry), run)

    assert (task.provider, task.tried) == ("openai", ("google:limited", "other:down"))
    assert task.delivered_ms == 1_764_000_005_000


@pytest.mark.parametrize("created", [0, 253_402_300_799_999])
def test_the_first_and_the_last_instant_can_be_read(created: int) -> None:
    """1970 begins with zero, and the year 9999 ends with the last one."""
    entry = entry_of()

    assert decode_task("x", record_of(entry, created_ms=created)).created_ms == created


BAD_SPECS: list[tuple[str, Any]] = [
    *(("priority", value) for value in (0, 11, 2.5, True, "5", None, -1)),
    *(("type", value) for value in ("", "a" * 65, "1a", "a:b", None, 5, ["a"])),
    *(("tenant", value) for value in ("", "a" * 129, "_a", "a|b", None, {1})),
    *(("idempotency_key", value) for value in ("", "k" * 256, "a\nb", 5)),
    *(("id", value) for value in ("", "x" * 65, "a b", 5)),
    *(("cost", value) for value in (-1, True, 1.5)),
    *(("max_attempts", value) for value in (0, 1001, True)),
    *(("timeout", value) for value in (timedelta(0), 5)),
    *(("delay", value) for value in (timedelta(seconds=-1), 5)),
    *(("not_before", value) for value in (datetime(2030, 1, 1), 5)),  # noqa: DTZ001
    *(("webhook", value) for value in ("nonsense", 5)),
    *(("durability", value) for value in ("disk", 5)),
    *(("reserve", value) for value in (1, None)),
    *(("payload", value) for value in (None, [1], "x")),
]


@pytest.mark.parametrize(("field", "value"), BAD_SPECS)
def test_a_field_that_breaks_its_rule_is_named(field: str, value: object) -> None:
    """Also when a good task with an equal value went before: True is no 1, 5.0 is no 5."""
    entry_of(cost=1, max_attempts=1, priority=1)

    with pytest.raises(InvalidTask) as refusal:
        entry_of(**{field: value})

    assert refusal.value.field == field
    assert refusal.value.value is value


@pytest.mark.parametrize("bad", [True, 1.0])
@pytest.mark.parametrize("field", ["cost", "hold", "max_attempts"])
def test_what_is_remembered_of_one_task_lets_no_other_pass(field: str, bad: object) -> None:
    """True and 1.0 equal 1, so that they would find the head of a good task that differs in nothing."""
    entry_of(**{field: 1})

    with pytest.raises(InvalidTask) as refusal:
        entry_of(**{field: bad})

    assert (refusal.value.field, refusal.value.value) == (field, bad)


def test_a_delay_and_an_instant_exclude_each_other() -> None:
    """Two answers to one question are refused, not ranked."""
    now = datetime.now(UTC)

    with pytest.raises(InvalidTask) as refusal:
        entry_of(delay=timedelta(seconds=1), not_before=now)

    assert (refusal.value.field, refusal.value.value) == ("not_before", now)
    assert refusal.value.rule == "left out where there is a delay"


def test_a_payload_larger_than_the_limit_is_refused() -> None:
    """The limit is the queue's."""
    spec = TaskSpec(type="CHATGPT", payload={"prompt": "x" * 100})

    with pytest.raises(PayloadTooLarge):
        encode_entry(spec, max_bytes=100)


def test_the_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    """The same task built in another order is the same; any other type, tenant or payload is not."""
    ours = {"idempotency_key": "k", "payload": {"a": 1, "b": {"c": 2, "d": 3}}}
    same = {"idempotency_key": "other", "payload": {"b": {"d": 3, "c": 2}, "a": 1}, "priority": 2}

    fingerprint = header_of(entry_of(**ours))[6]

    assert header_of(entry_of(**same))[6] == fingerprint
    for other in ({"type": "GROK"}, {"tenant": "acme"}, {"payload": {"a": 1}}):
        assert header_of(entry_of(**{**ours, **other}))[6] != fingerprint


def test_a_task_that_cannot_be_repeated_by_name_has_no_fingerprint() -> None:
    """Without an id or a key of the caller's nothing can be compared, so nothing is computed."""
    assert header_of(entry_of(webhook="https://example.org"))[6] == ""
    assert header_of(entry_of(id="mine"))[6] != ""


def test_what_is_remembered_of_good_tasks_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand tenants come and go; their headers are right and do not pile up."""
    monkeypatch.setattr(codec, "_REMEMBERED", 10)

    for number in range(1000):
        assert header_of(entry_of(tenant=f"t{number}"))[1] == f"t{number}"
        assert len(codec._heads) <= 10


def test_the_longest_header_fits_into_what_scripts_read() -> None:
    """Scripts read the first 512 bytes of a record."""
    order = Order(highest_priority=254)
    spec = TaskSpec(
        type="t" * 64,
        tenant="a" * 128,
        payload={},
        priority=254,
        reserve=True,
        cost=10**12,
        max_attempts=1000,
        timeout=timedelta(days=7),
        idempotency_key="☃" * 255,
        webhook="https://example.org/" + "x" * 2000,
        durability="replicated",
    )

    record = record_of(encode_entry(spec, max_bytes=MIB, order=order), 2**45 - 1, 253_402_300_799_999)

    assert record.index(b"\n") < 512
    assert decode_task("x", record).idempotency_key == "☃" * 255


def test_a_record_of_a_newer_version_is_refused_and_says_so() -> None:
    """An old program must not guess what a newer one meant."""
    with pytest.raises(QueueCorrupt, match=r"task 'abc'.*version 2.*newer"):
        decode_task("abc", b"2|\xff\xfe anything")


PLAIN = b"1|1|1|t|d||1|0|||||||0\n" + msgpack.packb({})
NO_RECORD = "is no record that this package writes"


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (b"", "its record starts with b'', not with version 1"),
        (b"xy", "its record starts with b'x', not with version 1"),
        (b"x|y", "its record starts with b'x', not with version 1"),
        (b"99", "its record starts with b'9', not with version 1"),
        (b"01|1|", "its record starts with b'0', not with version 1"),
        (b"12345678|", "its record starts with b'1', not with version 1"),
        (b"22|3|", "its record has version 22: a newer version of this package wrote it; upgrade"),
        (b"1|1\n", "its header has 2 fields, not 15"),
        (b"1|" + b"x" * 600, "its header has 1 fields, not 15"),
        (PLAIN[:-1] + msgpack.packb([]), "its payload is no mapping but []"),
        (PLAIN[:-3] + b"1\n" + msgpack.packb([]) + PLAIN[-1:], "its extras is no mapping but []"),
        (b"1|1|-1" + PLAIN[5:], f"{shown(b'1|1|-1' + PLAIN[5:])} … {NO_RECORD}: -1 is no instant"),
    ],
)
def test_what_is_wrong_with_a_record_is_said(record: bytes, problem: str) -> None:
    """Word for word: it is all that a person has who looks for the cause."""
    with pytest.raises(QueueCorrupt) as refusal:
        decode_task("abc", record)

    assert str(refusal.value) == f"task 'abc': {problem}"


def test_no_more_than_64_bytes_of_a_record_are_shown() -> None:
    """The payload is the user's own."""
    record = b"1|1|-1" + PLAIN[5:-1] + msgpack.packb({"prompt": "x" * 50})

    with pytest.raises(QueueCorrupt) as refusal:
        decode_task("abc", record)

    assert str(refusal.value).startswith(f"task 'abc': {record[:64]!r} … is no record")


def test_a_newline_counts_only_where_a_header_can_end() -> None:
    """Within the first 512 bytes, whatever comes after them."""
    short, long = (b"1|1|1|t|" + b"d" * length + PLAIN[9:] for length in (490, 491))
    assert (short.index(b"\n"), long.index(b"\n")) == (511, 512)

    assert decode_task("abc", short).tenant == "d" * 490
    with pytest.raises(QueueCorrupt, match="1 fields"):
        decode_task("abc", long)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        ([], "its error is no mapping but []"),
        ({"code": 5, "message": "m"}, "an error has the code 5 and the message 'm'"),
        ({"code": "c", "message": 5}, "an error has the code 'c' and the message 5"),
        ({}, "an error has the code None and the message None"),
    ],
)
def test_what_is_wrong_with_an_error_is_said(error: object, problem: str) -> None:
    """Either part may be what is wrong."""
    with pytest.raises(QueueCorrupt) as refusal:
        decode_error(msgpack.packb(error))

    assert str(refusal.value) == problem


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"1",
        b"1|",
        b"0|1|2|",
        b"x" * 600,
        b"1|1|1|t|d||1|0|||||||0\n",
        b"1|1|1|t|d||1|0|||||||0" + msgpack.packb({}),
        b"1|1|1|t|d||1|0||||||0\n" + msgpack.packb({}),
        b"1|x|1|t|d||1|0|||||||0\n" + msgpack.packb({}),
        b"1|1|99999999999999999|t|d||1|0|||||||0\n" + msgpack.packb({}),
        b"1|1|-1|t|d||1|0|||||||0\n" + msgpack.packb({}),
        b"1|1|1|t|d||1|0|||||||0\n" + msgpack.packb([]),
        b"1|1|1|t|d||1|0|||||||5\n" + msgpack.packb({}),
        b"1|1|1|t|d||1|0|||||" + b"9" * 30 + b"||0\n" + msgpack.packb({}),
        b"1|1|1|\xff|d||1|0|||||||0\n" + msgpack.packb({}),
    ],
)
def test_a_damaged_record_is_refused_by_id(record: bytes) -> None:
    """Cut off, foreign, with wrong numbers: the error names the task."""
    with pytest.raises(QueueCorrupt, match="task 'abc'"):
        decode_task("abc", record)


@pytest.mark.parametrize(
    "run",
    [
        {b"state": b"RUNNING"},
        {b"state": b"\xff"},
        {b"attempt": b"many"},
        {b"finished_at": b"9" * 20},
        {b"result": b"\xc1"},
        {b"error": msgpack.packb({"code": 5})},
        {b"error": msgpack.packb([])},
        {b"worker": b"\xff"},
    ],
)
def test_a_damaged_run_hash_is_refused_by_id(run: dict[bytes, bytes]) -> None:
    """The record is fine, what its runs left is not."""
    with pytest.raises(QueueCorrupt, match="task 'abc'"):
        decode_task("abc", record_of(entry_of()), run)


@given(st.binary() | st.binary().map(lambda tail: b"1|1|1|t|d||1|0|||||||0\n" + tail))
def test_reading_any_bytes_raises_nothing_but_corrupt(record: bytes) -> None:
    """Whoever wrote into our keys, readers get one kind of error."""
    try:
        decode_task("abc", record)
    except QueueCorrupt as refusal:
        str(refusal).encode()


FIELDS = [b"state", b"attempt", b"deliveries", b"crashes", b"worker", b"started_at", b"progress", b"error"]


@given(st.dictionaries(st.sampled_from(FIELDS), st.binary()))
def test_reading_any_run_hash_raises_nothing_but_corrupt(run: dict[bytes, bytes]) -> None:
    """The same for the hash of the runs."""
    try:
        decode_task("abc", record_of(entry_of()), run)
    except QueueCorrupt as refusal:
        str(refusal).encode()


def test_an_error_is_stored_whatever_its_message_and_details_are() -> None:
    """It tells why something failed, so it must not fail itself."""
    deep: Any = "leaf"
    for _ in range(100):
        deep = [deep]
    hostile = TaskError("HANDLER_ERROR", "half \ud800 of a pair " + "x" * 10_000, {"nan": float("nan")})

    found = decode_error(encode_error(hostile))

    assert found.code == "HANDLER_ERROR"
    assert found.message.startswith("half ? of a pair xxx")
    assert len(found.message) == 4000
    assert found.details == "{'nan': nan}"
    for details in (deep, object(), {"big": "x" * 100_000}, {1: 2}):
        assert isinstance(decode_error(encode_error(TaskError("X", "y", details))).details, str)


def test_details_that_can_be_carried_come_back() -> None:
    """Even those that are as deep as a value may be."""
    deep: Any = 1
    for _ in range(64):
        deep = [deep]

    assert decode_error(encode_error(TaskError("X", "y", deep))).details == deep
