"""Which names are allowed: of queues, types, tenants, idempotency keys, policies and providers.

Names end up inside keys, log lines and addresses, so each has a small alphabet. These checks are
on the path of every enqueue: a name that passed before costs one set lookup.

A leading `_` is kept for names that the engine gives itself, so users' names never start with it.
"""

from __future__ import annotations

import re

from taskqueue.errors import InvalidSetting, InvalidTask

QUEUE_RULE = "text of 1 to 64 of the characters A-Z a-z 0-9 . _ - that does not start with _"
TYPE_RULE = "text: a letter, then up to 63 of the characters A-Z a-z 0-9 _ . -"
TENANT_RULE = "text of 1 to 128 of the characters A-Z a-z 0-9 . _ @ - that does not start with _"
IDEMPOTENCY_KEY_RULE = "text of 1 to 255 printable characters"
POLICY_RULE = "text: a letter, then up to 63 of the characters a-z 0-9 _"
PROVIDER_RULE = "text of 1 to 64 of the characters A-Z a-z 0-9 _ . -"

_REMEMBERED = 4096
_LONGEST_KEY = 255


class _Alphabet:
    """One pattern and the names that already passed it.

    Only good names are remembered, and at most 4,096 of them, so that neither a stream of bad
    names nor one of ever new good ones can fill the memory.
    """

    __slots__ = ("_passed", "_pattern")

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)
        self._passed: set[str] = set()

    def allows(self, value: str) -> bool:
        """Whether all of *value* fits the pattern."""
        if value in self._passed:
            return True
        if self._pattern.fullmatch(value) is None:
            return False
        if len(self._passed) >= _REMEMBERED:
            self._passed.clear()
        self._passed.add(value)
        return True


_QUEUE = _Alphabet(r"[A-Za-z0-9.-][A-Za-z0-9._-]{0,63}")
_TYPE = _Alphabet(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_TENANT = _Alphabet(r"[A-Za-z0-9.@-][A-Za-z0-9._@-]{0,127}")
_POLICY = _Alphabet(r"[a-z][a-z0-9_]{0,63}")
_PROVIDER = _Alphabet(r"[A-Za-z0-9_.-]{1,64}")


def check_queue_name(value: object, setting: str = "name") -> str:
    """Return *value* as the name of a queue.

    Args:
        value: What was given as the name.
        setting: What the error calls it.

    Raises:
        InvalidSetting: If it is not 1 to 64 of `A-Z a-z 0-9 . _ -`, or starts with `_`.
    """
    text = _plain(value)
    if text is None or not _QUEUE.allows(text):
        raise InvalidSetting(setting, value, QUEUE_RULE)
    return text


WEBHOOK_TYPE = "_webhook"
"""The type of the tasks that scripts make to deliver the end of another one; no user may enqueue it."""


def check_type(value: object, field: str = "type") -> str:
    """Return *value* as the type of a task.

    Args:
        value: What was given as the type.
        field: What the error calls it.

    Raises:
        InvalidTask: If it is not a letter and up to 63 more of `A-Z a-z 0-9 _ . -`.
    """
    text = _plain(value)
    if text is None or not _TYPE.allows(text):
        raise InvalidTask(field, value, TYPE_RULE)
    return text


def check_tenant(value: object, field: str = "tenant") -> str:
    """Return *value* as the name of a tenant.

    Args:
        value: What was given as the tenant.
        field: What the error calls it.

    Raises:
        InvalidTask: If it is not 1 to 128 of `A-Z a-z 0-9 . _ @ -`, or starts with `_`.
    """
    text = _plain(value)
    if text is None or not _TENANT.allows(text):
        raise InvalidTask(field, value, TENANT_RULE)
    return text


def check_idempotency_key(value: object, field: str = "idempotency_key") -> str:
    """Return *value* as an idempotency key.

    A key may start with `_`: it is hashed before it becomes part of a name, so none is reserved.

    Args:
        value: What was given as the key.
        field: What the error calls it.

    Raises:
        InvalidTask: If it is not 1 to 255 printable characters. Spaces are printable; line
            breaks, tabs and half of a surrogate pair are not.
    """
    text = _plain(value)
    if text is None or not 0 < len(text) <= _LONGEST_KEY or not text.isprintable():
        raise InvalidTask(field, value, IDEMPOTENCY_KEY_RULE)
    return text


def check_policy_name(value: object, setting: str = "policy") -> str:
    """Return *value* as the name of a policy.

    Args:
        value: What was given as the name.
        setting: What the error calls it.

    Raises:
        InvalidSetting: If it is not a small letter and up to 63 more of `a-z 0-9 _`.
    """
    text = _plain(value)
    if text is None or not _POLICY.allows(text):
        raise InvalidSetting(setting, value, POLICY_RULE)
    return text


def check_provider(value: object, setting: str = "provider") -> str:
    """Return *value* as the name of a provider.

    Args:
        value: What was given as the name.
        setting: What the error calls it.

    Raises:
        InvalidSetting: If it is not 1 to 64 of `A-Z a-z 0-9 _ . -`.
    """
    text = _plain(value)
    if text is None or not _PROVIDER.allows(text):
        raise InvalidSetting(setting, value, PROVIDER_RULE)
    return text


def _plain(value: object) -> str | None:
    """Return text as a plain `str`, and None for everything else.

    The member of a text enumeration is a `str` too, but `format()` may show it as `Kind.NAME`:
    as a plain string it always spells its value.
    """
    if type(value) is str:
        return value
    return str.__str__(value) if isinstance(value, str) else None
