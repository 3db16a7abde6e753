"""`taskqueue doctor`: what is right, what is not, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskqueue.cli import doctor
from taskqueue.keys import Keys
from taskqueue.settings import Settings
from tests.cli.conftest import Run, enqueue
from tests.servers import RealServer


def findings(cli: Run, *options: str) -> dict[str, dict[str, Any]]:
    """Return the findings by name."""
    return {finding["name"]: finding for finding in cli("doctor", "--json", *options).json["findings"]}


def test_a_sound_server_has_no_errors(cli: Run) -> None:
    """Exit code 0; everything that was looked at is named."""
    result = cli("doctor")

    assert (result.code, result.err) == (0, "")
    found = findings(cli)
    assert {finding["level"] for finding in found.values()} == {"ok"}
    assert {"packages", "settings", "connection", "version", "eviction", "persistence"} <= set(found)
    assert {"latency", "clock", "queue", "scripts"} <= set(found)
    assert all(name in result.out for name in found)


def test_looking_does_not_make_a_queue(cli: Run, client: Any, queue_name: str, keys: Keys) -> None:
    """The server is as it was."""
    found = findings(cli)

    assert f"there is no queue '{queue_name}' yet" in found["queue"]["message"]
    assert client.exists(keys.meta, keys.seq) == 0


def test_a_queue_is_described(cli: Run) -> None:
    """Its order, its policy, what is in it; tasks without a worker are worth a warning, not an error."""
    enqueue(cli)

    result = cli("doctor", "--json")
    queue = findings(cli)["queue"]

    assert (result.code, result.json["ok"]) == (0, True)
    assert queue["level"] == "warning"
    assert "strict order, policy strict" in queue["message"]
    assert "1 queued, 0 processing, 0 workers: tasks wait and nobody runs them" in queue["message"]
    assert "taskqueue worker" in queue["advice"]


def test_a_server_that_deletes_keys_is_an_error(cli: Run) -> None:
    """Exit code 1, with what to change; other commands refuse it with 3."""
    with RealServer(maxmemory="100mb", maxmemory_policy="allkeys-lru") as unsuitable:
        result = cli("doctor", "--url", unsuitable.url)
        refused = cli("stats", "--url", unsuitable.url)

    assert result.code == 1
    assert "error    eviction" in result.out
    assert "maxmemory-policy noeviction" in result.out
    assert refused.code == 3
    assert "allkeys-lru" in refused.err


def test_a_server_without_persistence_is_a_warning(cli: Run) -> None:
    """Exit code 0: for some that is what they want."""
    with RealServer() as forgetful:
        result = cli("doctor", "--url", forgetful.url)

    assert result.code == 0
    assert "warning  persistence  THE APPEND-ONLY FILE IS OFF" in result.out


def test_a_server_that_is_not_there_is_an_error(cli: Run, tmp_path: Path) -> None:
    """Exit code 1: what was tried, and what to do."""
    result = cli("doctor", "--url", f"unix://{tmp_path}/none.sock")

    assert result.code == 1
    assert "error    connection   no usable answer from unix://" in result.out
    assert "scripts" not in result.out


@pytest.mark.parametrize("url", ["http://localhost", "redis://localhost:port", ""])
def test_a_wrong_url_is_bad_input(cli: Run, url: str) -> None:
    """Exit code 2: there is nothing to look at."""
    result = cli("doctor", "--url", url)

    assert (result.code, result.out) == (2, "")
    assert "url" in result.err


def test_a_user_without_rights_is_an_error(cli: Run) -> None:
    """Scripts cannot be loaded: exit code 1, and the password is not shown."""
    with RealServer(acl=False, appendonly="yes") as server:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "poor", "on", ">secret-word", "~*", "+@all", "-script")
        result = cli("doctor", "--url", server.url.replace("unix://", "unix://poor:secret-word@"))

    assert result.code == 1
    assert "error    scripts      the server does not take" in result.out
    assert "secret-word" not in result.out + result.err


def test_a_queue_of_a_newer_version_is_an_error(cli: Run, client: Any, queue_name: str, keys: Keys) -> None:
    """Exit code 1: it must not be touched by this one."""
    enqueue(cli)
    schema = client.hget(keys.meta, "schema")
    client.hset(keys.meta, "schema", 99)

    result = cli("doctor")

    client.hset(keys.meta, "schema", schema)
    assert result.code == 1
    assert "error    queue" in result.out
    assert "layout 99" in result.out


async def test_a_server_that_freezes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After it answered the first time; the doctor does not wait for ever."""
    monkeypatch.setattr(doctor, "_LONGEST_LOOK", 0.2)
    with RealServer() as server:

        async def freeze(client: Any) -> list[float]:
            server.pause()
            await client.ping()
            return []

        monkeypatch.setattr(doctor, "_round_trips", freeze)
        found = await doctor.examine(Settings.load(url=server.url))

    assert (found[-1].level, found[-1].name) == ("error", "server")
    assert "no answer within 0.2 s" in found[-1].message


def test_a_far_server_is_a_warning() -> None:
    """Half of the round trips take longer than 20 ms."""
    near, far = doctor.latency_finding([0.1] * 99 + [50.0]), doctor.latency_finding([30.0] * 100)

    assert (near.level, near.message) == ("ok", "a round trip takes 0.10 ms (p50), 50.00 ms (p99)")
    assert (far.level, bool(far.advice)) == ("warning", True)


@pytest.mark.parametrize(
    ("skew", "level", "text"),
    [
        (0.4, "ok", "400 ms ahead of"),
        (-5.1, "warning", "5.1 s behind"),
        (3_600, "warning", "1 h 0 min ahead of"),
    ],
)
def test_a_clock_that_differs_is_a_warning(skew: float, level: str, text: str) -> None:
    """By more than 5 seconds."""
    found = doctor.clock_finding(skew)

    assert found.level == level
    assert text in found.message


def test_a_package_that_is_missing_has_no_version() -> None:
    """Some of ours are optional."""
    assert doctor.version_of("no-such-package-as-this") is None
    assert doctor.version_of("redis") is not None


def test_a_queue_with_a_worker_is_well(cli: Run, claimed: Callable[[], None]) -> None:
    """Somebody runs what waits."""
    enqueue(cli)
    claimed()
    enqueue(cli)

    queue = findings(cli)["queue"]

    assert queue["level"] == "ok"
    assert "1 queued, 1 processing, 1 workers" in queue["message"]
