"""What can be configured: the defaults, in one place, and the settings of a program.

`Settings.load()` reads the environment (`TASKQUEUE_LEASE=30s`, `TASKQUEUE_NAME=mail`) below the
flags of a command line. The library itself reads no setting behind its caller's back: `connect()`
and `Scheduler()` take their options as arguments, whose defaults are the constants here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from taskqueue.errors import InvalidSetting
from taskqueue.names import QUEUE_RULE, check_queue_name

DEFAULT_NAME = "default"
"""Name of the queue."""

DEFAULT_TENANT = "default"
"""Tenant of a task whose producer names none."""

DEFAULT_PRIORITY = 1
"""Priority of a task whose producer gives none: the lowest."""

DEFAULT_LEASE = timedelta(seconds=15)
"""How long a claimed task belongs to its worker without a heartbeat."""

DEFAULT_HEARTBEAT = timedelta(seconds=5)
"""How often a worker extends the leases of its tasks."""

DEFAULT_TIMEOUT = timedelta(seconds=300)
"""How long one attempt may take. There always is a limit."""

DEFAULT_MAX_ATTEMPTS = 5
"""How often a task is tried before it is a dead letter."""

DEFAULT_CONCURRENCY = 100
"""How many tasks one scheduler runs at a time."""

DEFAULT_GRACE = timedelta(seconds=10)
"""How long running tasks may go on after a signal to stop."""

DEFAULT_RETENTION = timedelta(hours=24)
"""How long the record of a task is kept, counted from its acceptance."""

DEFAULT_RETENTION_AFTER_END = timedelta(hours=1)
"""How long the record is kept at least, counted from the task's end."""

DEFAULT_MAX_PAYLOAD = 2**20
"""Largest payload in bytes, encoded: 1 MiB."""

HIGHEST_MAX_PAYLOAD = 4 * 2**20
"""Largest limit that may be set for payloads: one call of a script carries at most 4 MiB."""

_SHORTEST_BEAT = timedelta(milliseconds=10)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?(ms|s|m|h|d)?", re.ASCII)
_DURATION_RULE = "seconds, or a number with ms, s, m, h or d, such as 1.5s or 24h"
# The `:` before a password. A path of this machine may have one, and an `@` too.
_LOGIN = re.compile(r"(?:(?<!embedded)(?<!unix)://|://(?=[^/]))[^:]*:")
# Also behind a second `?`: it may begin another address, which stands in the value of an option.
_OPTION = re.compile(r"[?&]([^=?&#]*)=")
_SECRET_NAME = re.compile(r"password|secret|token", re.IGNORECASE)
_BREAKS = str.maketrans("", "", "\t\r\n")


def redact(url: str) -> str:
    """Return *url* with `***` for its passwords, as logs and errors may show it."""
    shown, at = [], 0
    for begin, end in sorted([*_password(url), *_secret_options(url)]):
        # Two that overlap are one: only one of them is a password, and nobody can say which.
        if begin > at:
            shown += [url[at:begin], "***"]
        at = max(at, end)
    return "".join([*shown, url[at:]])


def _password(url: str) -> Iterator[tuple[int, int]]:
    end = url.rfind("@")
    if login := _LOGIN.search(url, 0, max(0, end)):
        yield login.end(), end


def _secret_options(url: str) -> Iterator[tuple[int, int]]:
    end = 0
    for option in _OPTION.finditer(url):
        # Names are read as those who take URLs apart read them: unescaped, without the breaks that they drop.
        name = unquote(option[1].translate(_BREAKS))
        if option.start() >= end and _SECRET_NAME.search(name):
            # To the next option: a `?` or a `#` may be of the password, not escaped as it should have been.
            end = url.find("&", option.end())
            end = len(url) if end < 0 else end
            yield option.end(), end


def parse_duration(text: str) -> timedelta:
    """Return the duration that *text* spells: `15`, `1.5s`, `500ms`, `5m`, `24h` or `7d`.

    Raises:
        ValueError: If it spells none. A number without a unit counts seconds.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(_DURATION_RULE)
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])
    except OverflowError:
        raise ValueError(_DURATION_RULE) from None


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if type(value) in {int, float, str}:
        return parse_duration(str(value))
    raise ValueError(_DURATION_RULE)


def _whole(value: object) -> object:
    # Left to itself, pydantic takes True for 1 and 2.0 for 2.
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    raise ValueError("a whole number")


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _from_to(low: timedelta, high: timedelta) -> AfterValidator:
    def within(value: timedelta) -> timedelta:
        if not low <= value <= high:
            raise ValueError(f"from {low} to {high}")
        return value

    return AfterValidator(within)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
"""A `timedelta`, or a number or text that `parse_duration()` makes one of."""

Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number, or text that spells one."""

LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)]
"""How much is logged, in small or capital letters."""


class Settings(BaseSettings):
    """The settings of a program; made by `Settings.load()`.

    Every field `x` is read from `TASKQUEUE_X`; an empty variable counts as not set. Durations
    are seconds or carry a unit (`500ms`, `15s`, `5m`, `24h`), sizes may too (`512KiB`, `1MiB`).

    Attributes:
        url: Server of the queue, also read from `REDIS_URL`; None is the embedded server. It may
            hold a password, so it is left out of dumps and shown as `redact()` shows it.
        name: Name of the queue.
        lease: How long a claimed task belongs to its worker without a heartbeat.
        heartbeat: How often leases are extended; None is a third of the lease.
        concurrency: How many tasks run at a time.
        grace: How long running tasks may go on after a signal to stop.
        retention: How long the record of a task is kept.
        max_payload: Largest payload in bytes, encoded.
        secret: What protects API keys and the secrets of webhooks: digests of the former are made with
            it, the latter are sealed under it, and it is never on the server. It is 64 hexadecimal
            digits, as `openssl rand -hex 32` prints them, or 43 to 1,024 other random characters; the
            same in all processes of a service. None is a file beside an embedded server's data. With
            another one every API key is refused, and webhooks of tenants that want signatures are not
            sent: make new keys and `taskqueue webhooks renew`, or bring the earlier one back, which
            loses nothing but deliveries that were given up meanwhile. It is never shown.
        providers: File with the outside services that answer tasks; None: only the environment names some.
        prices: File with the prices of tasks, in the shape of this package's `contract/prices.toml`; None
            takes those of the contract.
        strict_payloads: Whether the HTTP service refuses unknown fields of a payload; else it drops them.
        max_body: Longest body of a batch that it takes, in bytes.
        max_task_body: Longest body of every other request, in bytes.
        max_queued: QUEUED tasks that a tenant may have there.
        sync_timeout: How long a synchronous request waits for its result.
        webhook_attempts: How often a webhook is tried.
        webhook_backoff: How long to wait after the first failed attempt; twice as long after each more.
        local_webhooks: Whether webhooks may go to addresses of this machine, by http and to any port.
        log_level: How much is logged.
        log_json: Whether log lines are JSON objects.
    """

    model_config = SettingsConfigDict(
        env_prefix="TASKQUEUE_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    # The description is the rule that a refusal quotes; see load().
    url: str | None = Field(
        default_factory=lambda: os.environ.get("REDIS_URL") or None,
        min_length=1,
        exclude=True,
        description="the address of a server, such as redis://localhost:6379/0",
    )
    name: Annotated[str, AfterValidator(check_queue_name)] = Field(
        default=DEFAULT_NAME, description=QUEUE_RULE
    )
    lease: Annotated[Duration, _from_to(timedelta(milliseconds=100), timedelta(hours=1))] = Field(
        default=DEFAULT_LEASE, description="a duration from 100ms to 1h, such as 15s"
    )
    heartbeat: Duration | None = Field(
        default=None, description="a duration from 10ms to half of the lease, such as 5s"
    )
    concurrency: Whole = Field(
        default=DEFAULT_CONCURRENCY, ge=1, le=100_000, description="a whole number from 1 to 100,000"
    )
    grace: Annotated[Duration, _from_to(timedelta(0), timedelta(hours=1))] = Field(
        default=DEFAULT_GRACE, description="a duration from 0s to 1h, such as 10s"
    )
    retention: Annotated[Duration, _from_to(timedelta(minutes=1), timedelta(days=365))] = Field(
        default=DEFAULT_RETENTION, description="a duration from 1m to 365d, such as 24h"
    )
    max_payload: Annotated[ByteSize, BeforeValidator(_whole)] = Field(
        default=ByteSize(DEFAULT_MAX_PAYLOAD),
        ge=1,
        le=HIGHEST_MAX_PAYLOAD,
        description="a number of bytes from 1 to 4MiB, such as 512KiB",
    )
    # accounts/secret.py says what is random enough; this much is known here.
    secret: SecretStr | None = Field(
        default=None,
        min_length=43,
        max_length=1024,
        exclude=True,
        description="64 hexadecimal digits, as `openssl rand -hex 32` prints them, or 43 to 1,024 characters",
    )
    providers: str | None = Field(default=None, min_length=1, description="the path of a TOML file")
    prices: str | None = Field(default=None, min_length=1, description="the path of a TOML file")
    strict_payloads: bool = Field(default=True, description="true or false")
    max_body: Annotated[ByteSize, BeforeValidator(_whole)] = Field(
        default=ByteSize(24 * 2**20),
        ge=1024,
        le=2**30,
        description="a number of bytes from 1KiB to 1GiB, such as 24MiB",
    )
    max_task_body: Annotated[ByteSize, BeforeValidator(_whole)] = Field(
        default=ByteSize(2 * 2**20),
        ge=1024,
        le=2**30,
        description="a number of bytes from 1KiB to 1GiB, such as 2MiB",
    )
    max_queued: Whole = Field(
        default=100_000, ge=1, le=10**12, description="a whole number from 1 to 1,000,000,000,000"
    )
    sync_timeout: Annotated[Duration, _from_to(timedelta(seconds=1), timedelta(days=1))] = Field(
        default=timedelta(minutes=5), description="a duration from 1s to 24h, such as 5m"
    )
    webhook_attempts: Whole = Field(default=5, ge=1, le=20, description="a whole number from 1 to 20")
    webhook_backoff: Annotated[Duration, _from_to(timedelta(milliseconds=100), timedelta(hours=1))] = Field(
        default=timedelta(minutes=2), description="a duration from 100ms to 1h, such as 2m"
    )
    local_webhooks: bool = Field(default=False, description="true or false")
    log_level: LogLevel = Field(default="INFO", description="one of DEBUG, INFO, WARNING, ERROR and CRITICAL")
    log_json: bool = Field(default=False, description="true or false")

    @field_validator("heartbeat")
    @classmethod
    def _beats_twice_a_lease(cls, value: timedelta | None, info: ValidationInfo) -> timedelta | None:
        # One beat may be lost without losing the lease. A lease that was refused is not in data.
        lease = info.data.get("lease")
        if value is not None and lease is not None and not _SHORTEST_BEAT <= value <= lease / 2:
            raise ValueError(f"from {_SHORTEST_BEAT} to half of the lease")
        return value

    @classmethod
    def load(cls, **flags: object) -> Self:
        """Return the settings: the flags that are not None, else the environment, else defaults.

        Raises:
            InvalidSetting: If one breaks its rule. It is called by its flag, or by its
                environment variable where it came from there; passwords are not shown.
        """
        given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            raise _first_refusal(error, given) from None

    @property
    def heartbeat_interval(self) -> timedelta:
        """How often leases are extended."""
        return self.lease / 3 if self.heartbeat is None else self.heartbeat

    @property
    def secret_text(self) -> str | None:
        """The secret itself, for those who need it."""
        return None if self.secret is None else self.secret.get_secret_value()

    @property
    def shown_url(self) -> str | None:
        """The address as logs may show it."""
        return None if self.url is None else redact(self.url)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [("url", self.shown_url), *((k, v) for k, v in super().__repr_args__() if k != "url")]


def _first_refusal(error: ValidationError, flags: Mapping[str, object]) -> InvalidSetting:
    """Return what pydantic found first, as it was given and with the rule of its field."""
    name = str(error.errors(include_url=False)[0]["loc"][0])
    known = Settings.model_fields.get(name)
    setting = name if name in flags else f"TASKQUEUE_{name.upper()}"
    value = flags[name] if name in flags else os.environ.get(setting)
    if name == "secret":
        value = "***"
    elif isinstance(value, str):
        value = redact(value)
    if known is None:
        return InvalidSetting(setting, value, f"left out: there are only {', '.join(Settings.model_fields)}")
    return InvalidSetting(setting, value, known.description or "")
