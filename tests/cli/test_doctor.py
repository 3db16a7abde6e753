"""`taskqueue doctor`: what is right, what is not, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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


def test_looking_does_not_make_a_queue(cli: Run, client: Any, queue_name: str) -> None:
    """The server is as it was."""
    found = findings(cli)

    assert f"there is no queue '{queue_name}' yet" in found["queue"]["message"]
    assert client.dbsize() == 0


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
    with RealServer(appendonly="yes") as server:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "poor", "on", ">secret-word", "~*", "+@all", "-script")
        result = cli("doctor", "--url", server.url.replace("unix://", "unix://poor:secret-word@"))

    assert result.code == 1
    assert "error    scripts      the server does not take" in result.out
    assert "secret-word" not in result.out + result.err


def test_a_queue_of_a_newer_version_is_an_error(cli: Run, client: Any, queue_name: str, keys: Any) -> None:
    """Exit code 1: it must not be touched by this one."""
    enqueue(cli)
    schema = client.hget(keys.meta, "schema")
    client.hset(keys.meta, "schema", 99)

    result = cli("doctor")

    client.hset(keys.meta, "schema", schema)
    assert result.code == 1
    assert "error    queue" in result.out
    assert "layout 99" in result.out
