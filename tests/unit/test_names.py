"""Names: what is allowed, what is refused, and how the refusal reads."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue import names
from taskqueue.errors import InvalidSetting, InvalidTask, TaskQueueError
from taskqueue.names import (
    check_idempotency_key,
    check_policy_name,
    check_queue_name,
    check_tenant,
    check_type,
)

Check = Callable[[object], str]

NOT_TEXT: list[Any] = [None, True, False, 0, 1, 2.5, b"CHATGPT", [], {}, ("CHATGPT",), ...]

GOOD: list[tuple[Check, str]] = [
    (check_queue_name, "default"),
    (check_queue_name, "7.mail-queue_2"),
    (check_queue_name, "q" * 64),
    (check_type, "CHATGPT"),
    (check_type, "mail.send-now_2"),
    (check_type, "t" * 64),
    (check_tenant, "default"),
    (check_tenant, "ada@example.org"),
    (check_tenant, "9" * 128),
    (check_idempotency_key, "_order 66: ☃"),
    (check_idempotency_key, "k" * 255),
    (check_policy_name, "fair_tenants"),
]

BAD: list[tuple[Check, str]] = [
    (check_queue_name, ""),
    (check_queue_name, "q" * 65),
    (check_queue_name, "_own"),
    (check_queue_name, "mail queue"),
    (check_queue_name, "{tag}"),
    (check_queue_name, "default\n"),
    (check_type, ""),
    (check_type, "t" * 65),
    (check_type, "2FAST"),
    (check_type, "_webhook"),
    (check_type, "a:b"),
    (check_type, "CHATGPT\n"),
    (check_type, "ÄRGER"),
    (check_type, "A٣"),
    (check_tenant, ""),
    (check_tenant, "t" * 129),
    (check_tenant, "_acme"),
    (check_tenant, "acme corp"),
    (check_tenant, "acme\x00"),
    (check_idempotency_key, ""),
    (check_idempotency_key, "k" * 256),
    (check_idempotency_key, "line\nbreak"),
    (check_idempotency_key, "\ud800"),
    (check_policy_name, ""),
    (check_policy_name, "Fair"),
    (check_policy_name, "../secret"),
]


@pytest.mark.parametrize(("check", "value"), GOOD)
def test_a_good_name_comes_back_as_it_was(check: Check, value: str) -> None:
    """Asked twice, because the second answer comes from memory."""
    assert check(value) == value
    assert check(value) == value


@pytest.mark.parametrize(("check", "value"), BAD)
def test_a_bad_name_is_refused_every_time(check: Check, value: str) -> None:
    """Asked twice: a refusal must not be remembered as a pass."""
    for _ in range(2):
        with pytest.raises(TaskQueueError) as caught:
            check(value)
        assert getattr(caught.value, "value", None) == value


@pytest.mark.parametrize(
    "check", [check_queue_name, check_type, check_tenant, check_idempotency_key, check_policy_name]
)
@pytest.mark.parametrize("value", NOT_TEXT, ids=repr)
def test_what_is_not_text_is_refused(check: Check, value: object) -> None:
    """Numbers, bytes and containers are no names, even unhashable ones."""
    with pytest.raises(ValueError, match="it must be text"):
        check(value)


def test_the_refusal_names_field_value_and_rule() -> None:
    """A person reads the error and knows what to change."""
    with pytest.raises(InvalidTask) as caught:
        check_type("2FAST")

    assert (caught.value.field, caught.value.value, caught.value.rule) == ("type", "2FAST", names.TYPE_RULE)
    assert str(caught.value) == f"type: '2FAST' is not accepted; it must be {names.TYPE_RULE}"


def test_the_name_of_a_queue_is_a_setting_and_a_tenant_a_field() -> None:
    """Who set up the queue gets `InvalidSetting`, who made the task `InvalidTask`."""
    with pytest.raises(InvalidSetting, match=r"^queue: '_' is not accepted"):
        check_queue_name("_", "queue")
    with pytest.raises(InvalidTask, match=r"^tasks\[3\]\.tenant: '' is not accepted"):
        check_tenant("", "tasks[3].tenant")


def test_a_member_of_a_text_enumeration_becomes_its_plain_value() -> None:
    """Formatted into a key, `Kind.MAIL` would spell its own name instead of its value."""

    class Kind(str, enum.Enum):  # noqa: UP042 - the older kind, which formats as its name
        MAIL = "mail.send"

    name = check_type(Kind.MAIL)

    assert type(name) is str
    assert f"{name}" == "mail.send"


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=70))
def test_types_are_exactly_the_published_pattern(value: str) -> None:
    """The published rule, spelled independently here, and the check always agree."""
    expected = re.match(r"\A[A-Za-z][A-Za-z0-9_.\-]{0,63}\Z", value) is not None

    assert _accepts(check_type, value) is expected


@given(st.text(max_size=260))
def test_an_accepted_idempotency_key_can_always_be_encoded(value: str) -> None:
    """It is hashed as UTF-8, which a lone surrogate would break."""
    if _accepts(check_idempotency_key, value):
        assert value.encode()
        assert len(value) <= 255


def test_memory_of_good_names_is_bounded() -> None:
    """Twenty thousand tenants pass; far fewer are remembered."""
    alphabet = names._Alphabet(r"t[0-9]+")

    assert all(alphabet.allows(f"t{number}") for number in range(20_000))
    assert len(alphabet._passed) <= 4_096
    assert not alphabet.allows("x1")


def _accepts(check: Check, value: object) -> bool:
    try:
        check(value)
    except TaskQueueError:
        return False
    return True
