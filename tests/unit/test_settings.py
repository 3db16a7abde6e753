"""Settings: flags before environment before defaults, and no password in sight."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue import settings
from taskqueue.errors import InvalidSetting
from taskqueue.settings import Settings, parse_duration, redact
from taskqueue.task import TaskSpec

SECRET = "s3cr:t/p@ss"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test without the variables of whoever runs it."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TASKQUEUE_{name.upper()}", raising=False)


def test_without_flags_and_environment_the_defaults_hold() -> None:
    """Nothing needs to be set."""
    loaded = Settings.load()

    assert loaded.url is None
    assert loaded.shown_url is None
    assert loaded.name == "default"
    assert (loaded.lease, loaded.heartbeat_interval) == (timedelta(seconds=15), timedelta(seconds=5))
    assert loaded.concurrency == 100
    assert loaded.grace == timedelta(seconds=10)
    assert loaded.retention == timedelta(hours=24)
    assert loaded.max_payload == 1_048_576
    assert (loaded.log_level, loaded.log_json) == ("INFO", False)
    assert (loaded.max_body, loaded.max_task_body, loaded.max_queued) == (25_165_824, 2_097_152, 100_000)
    assert (loaded.webhook_attempts, loaded.webhook_backoff) == (5, timedelta(minutes=2))
    assert (loaded.sync_timeout, loaded.strict_payloads) == (timedelta(minutes=5), True)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field has its variable; durations and sizes may carry a unit."""
    for variable, text in {
        "URL": "redis://localhost:6379/3",
        "NAME": "mail",
        "LEASE": "30",
        "HEARTBEAT": "2.5s",
        "CONCURRENCY": "7",
        "GRACE": "1m",
        "RETENTION": "7d",
        "MAX_PAYLOAD": "512KiB",
        "LOG_LEVEL": "debug",
        "LOG_JSON": "true",
    }.items():
        monkeypatch.setenv(f"TASKQUEUE_{variable}", text)

    loaded = Settings.load()

    assert loaded == Settings(
        url="redis://localhost:6379/3",
        name="mail",
        lease=timedelta(seconds=30),
        heartbeat=timedelta(seconds=2.5),
        concurrency=7,
        grace=timedelta(minutes=1),
        retention=timedelta(days=7),
        max_payload=524_288,
        log_level="DEBUG",
        log_json=True,
    )
    assert loaded.heartbeat_interval == timedelta(seconds=2.5)


def test_a_flag_beats_the_environment_and_a_missing_flag_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is what a command line hands over for a flag that nobody gave."""
    monkeypatch.setenv("TASKQUEUE_NAME", "from-environment")
    monkeypatch.setenv("TASKQUEUE_URL", "redis://from-environment")

    assert Settings.load(name="from-flag", url="redis://from-flag").name == "from-flag"
    assert Settings.load(name="from-flag", url="redis://from-flag").url == "redis://from-flag"
    assert Settings.load(name=None, url=None).name == "from-environment"
    assert Settings.load(name=None, url=None).url == "redis://from-environment"


def test_redis_url_is_read_where_our_own_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many services have it already; an empty variable counts as not set; `URL` is not ours."""
    monkeypatch.setenv("URL", "https://example.org")
    monkeypatch.setenv("REDIS_URL", "")
    assert Settings.load().url is None

    monkeypatch.setenv("REDIS_URL", "redis://shared")
    monkeypatch.setenv("TASKQUEUE_URL", "")
    assert Settings.load().url == "redis://shared"

    monkeypatch.setenv("TASKQUEUE_URL", "redis://own")
    assert Settings.load().url == "redis://own"


def test_settings_never_show_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed, logged, dumped or refused: the host is seen, the password is not."""
    monkeypatch.setenv("TASKQUEUE_URL", f"redis://ann:{SECRET}@db.example.org:6379/0")
    loaded = Settings.load()

    for shown in (repr(loaded), str(loaded), f"{loaded}"):
        assert "redis://ann:***@db.example.org:6379/0" in shown
        assert SECRET not in shown
    assert SECRET not in json.dumps(loaded.model_dump(mode="json"))
    assert loaded.url == f"redis://ann:{SECRET}@db.example.org:6379/0"


def test_a_refusal_never_shows_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the password was given where it does not belong, and in the chain of causes."""
    monkeypatch.setenv("TASKQUEUE_CONCURRENCY", f"redis://:{SECRET}@host/0")

    with pytest.raises(InvalidSetting) as caught:
        Settings.load(url="redis://host")

    assert "redis://:***@host/0" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://ann@host", "redis://ann@host"),
        ("rediss://:pw@host:1/0?ssl=x", "rediss://:***@host:1/0?ssl=x"),
        ("redis://ann:a:b@c/d@host/0", "redis://ann:***@host/0"),
        ("redis+sentinel://ann:pw@h1,h2:26379/main/0", "redis+sentinel://ann:***@h1,h2:26379/main/0"),
        ("redis://h/0?password=pw&db=1", "redis://h/0?password=***&db=1"),
        ("redis+sentinel://h/m?a=1&sentinel_password=pw", "redis+sentinel://h/m?a=1&sentinel_password=***"),
        ("embedded:///home/ann:x@y/queue", "embedded:///home/ann:x@y/queue"),
        ("unix:///run/redis.sock?PassWord=pw", "unix:///run/redis.sock?PassWord=***"),
        ("redis://h?password=a?b#c&db=1", "redis://h?password=***&db=1"),
        ("redis://h?a=is://i?PassWord=pw", "redis://h?a=is://i?PassWord=***"),
        ("redis://h?a=1&password=b?token=c&token=d", "redis://h?a=1&password=***&token=***"),
        ("redis://a://h?password=pw:p@pw/x", "redis://a:***"),
        ("redis://ann:p?token=w@host/0?a=b", "redis://ann:***"),
        ("redis://ann:pw&token=x&y@host/0", "redis://ann:***@host/0"),
        ("redis://ann:pw@host/0?token=x", "redis://ann:***@host/0?token=***"),
        ("memory://", "memory://"),
        ("not an address", "not an address"),
    ],
)
def test_redact_hides_passwords_and_nothing_else(url: str, shown: str) -> None:
    """Wherever an address can carry one."""
    assert redact(url) == shown


@given(st.text(alphabet="ab:@/?#&=. ", max_size=12), st.sampled_from(["", "ann"]))
def test_no_password_gets_through(password: str, user: str) -> None:
    """Not even one that was not escaped as it should have been."""
    secret = f"<{password}>"

    assert secret not in redact(f"redis://{user}:{secret}@host:6379/0")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15", 15), ("1.5s", 1.5), ("500ms", 0.5), ("5m", 300), ("24h", 86_400), ("7 d", 604_800), (" 2 ", 2)],
)
def test_a_duration_may_carry_a_unit(text: str, seconds: float) -> None:
    """Without one it counts seconds."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "-1", "1y", "1h30m", "nan", "inf", "1e3", "1,5", "٣", "9" * 13, "9" * 12 + "d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The error says what would be one."""
    with pytest.raises(ValueError, match=r"such as 1\.5s or 24h"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", ""),
        ("url", 5),
        ("name", ""),
        ("name", "_own"),
        ("name", True),
        ("lease", "soon"),
        ("lease", "10ms"),
        ("lease", 0),
        ("lease", True),
        ("lease", timedelta(hours=2)),
        ("heartbeat", "0s"),
        ("heartbeat", "8s"),
        ("concurrency", 0),
        ("concurrency", 2.5),
        ("concurrency", True),
        ("concurrency", "many"),
        ("concurrency", 100_001),
        ("grace", -1),
        ("grace", float("nan")),
        ("retention", "1s"),
        ("max_payload", "5MiB"),
        ("max_payload", 0),
        ("max_payload", True),
        ("max_body", "2GiB"),
        ("max_task_body", 0),
        ("max_queued", 0),
        ("sync_timeout", "0.5s"),
        ("strict_payloads", "perhaps"),
        ("webhook_attempts", 21),
        ("webhook_backoff", "2h"),
        ("log_level", "LOUD"),
        ("log_json", "perhaps"),
    ],
)
def test_a_bad_flag_is_refused_by_its_name(field: str, value: object) -> None:
    """The error names the flag, the value and the rule."""
    with pytest.raises(InvalidSetting) as caught:
        Settings.load(**{field: value})

    assert caught.value.setting == field
    assert caught.value.value is value
    assert caught.value.rule == Settings.model_fields[field].description


ANY_TEXT = {"url", "secret", "providers", "prices"}


@pytest.mark.parametrize("field", sorted(set(Settings.model_fields) - ANY_TEXT))
def test_a_bad_variable_is_refused_by_its_name(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is found among a hundred others."""
    monkeypatch.setenv(f"TASKQUEUE_{field.upper()}", "?!")

    with pytest.raises(
        InvalidSetting, match=rf"^TASKQUEUE_{field.upper()}: '\?!' is not accepted; it must be "
    ):
        Settings.load()


@pytest.mark.parametrize("value", ["?!", "x" * 42, "x" * 1025])
def test_a_secret_that_is_refused_is_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be almost the right one."""
    monkeypatch.setenv("TASKQUEUE_SECRET", value)

    with pytest.raises(InvalidSetting, match=r"^TASKQUEUE_SECRET: '\*\*\*' is not accepted") as caught:
        Settings.load()

    assert value not in str(caught.value)


def test_a_refused_variable_is_shown_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as what became of it on the way."""
    monkeypatch.setenv("TASKQUEUE_RETENTION", "10s")

    with pytest.raises(
        InvalidSetting, match=r"^TASKQUEUE_RETENTION: '10s' is not accepted; it must be a duration"
    ):
        Settings.load()


def test_a_heartbeat_follows_its_lease() -> None:
    """A third of it unless it is set; half of it at most, so that one lost beat loses no lease."""
    assert Settings.load(lease=6).heartbeat_interval == timedelta(seconds=2)
    assert Settings.load(lease=6, heartbeat=3).heartbeat_interval == timedelta(seconds=3)
    with pytest.raises(InvalidSetting, match=r"^heartbeat: 3\.1 is not accepted"):
        Settings.load(lease=6, heartbeat=3.1)


def test_a_bad_lease_is_reported_before_the_heartbeat_that_depends_on_it() -> None:
    """One mistake, one error, and it is the first."""
    with pytest.raises(InvalidSetting, match=r"^lease: "):
        Settings.load(lease="soon", heartbeat="5s")


def test_an_unknown_flag_is_refused() -> None:
    """A slip of the pen must not pass as a default."""
    with pytest.raises(InvalidSetting, match=r"^leese: 5 .* there are only url, name, lease"):
        Settings.load(leese=5)


def test_settings_cannot_be_changed() -> None:
    """Whoever holds them may rely on them."""
    loaded: Any = Settings.load()

    with pytest.raises(ValueError, match="frozen"):
        loaded.name = "other"


def test_the_defaults_of_a_task_are_said_once() -> None:
    """`TaskSpec` spells its own; they are the same."""
    spelled = {field.name: field.default for field in dataclasses.fields(TaskSpec)}

    assert spelled["priority"] == settings.DEFAULT_PRIORITY
    assert spelled["tenant"] == settings.DEFAULT_TENANT
    assert settings.DEFAULT_HEARTBEAT * 3 == settings.DEFAULT_LEASE


def test_the_page_of_settings_has_them_all() -> None:
    """docs/settings.md has a row for each variable, and none for others."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `TASKQUEUE_([A-Z_]+)` \|", page, re.MULTILINE))

    assert rows == {name.upper() for name in Settings.model_fields}
