"""What is said about a server before any task is trusted to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from taskqueue.connect import Client, Connector
from taskqueue.errors import ServerUnsuitable
from taskqueue.server_checks import Finding, check_server, findings_of, refuse_unsuitable
from tests.servers import Kind, RealServer, available_servers, wait_until

FIT: dict[str, Any] = {
    "redis_version": "7.2.4",
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "role": "master",
    "cluster_enabled": 0,
}


def found(name: str, **changed: Any) -> Finding:
    """Return the finding called *name* for a fit server with INFO changed; None leaves a field out."""
    info = {field: value for field, value in (FIT | changed).items() if value is not None}
    (finding,) = (finding for finding in findings_of({"": info}) if finding.name == name)
    return finding


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Client]:
    """A client as the rest of the package uses it."""
    client = Connector.parse(url).client()
    yield client
    await client.aclose()


def test_a_fit_server_has_nothing_against_it() -> None:
    """Every look says ok, and nothing is refused."""
    findings = findings_of({"": FIT})

    assert {finding.level for finding in findings} == {"ok"}
    assert all(finding.message and not finding.advice for finding in findings)
    refuse_unsuitable(findings)


@pytest.mark.parametrize(
    ("versions", "level"),
    [
        ({"redis_version": "7.0.0"}, "ok"),
        ({"redis_version": "8.2.1"}, "ok"),
        ({"redis_version": "10.0.0"}, "ok"),
        ({"redis_version": "6.2.14"}, "error"),
        ({"redis_version": "255.255.255"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.8"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.0"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.9"}, "error"),
        ({"redis_version": "unstable"}, "warning"),
        ({"redis_version": None}, "warning"),
    ],
)
def test_a_server_must_be_new_enough(versions: dict[str, Any], level: str) -> None:
    """Redis since 7.0, Valkey since 7.2; Valkey also says which Redis it resembles, which is no matter."""
    finding = found("version", **versions)

    assert finding.level == level
    if level != "ok":
        assert "Redis >= 7.0 or Valkey >= 7.2" in finding.advice


def test_the_error_about_an_old_server_says_which_version_it_is() -> None:
    """So that nobody needs to look it up."""
    with pytest.raises(ServerUnsuitable, match=r"Redis 6\.2\.14 is older than 7\.0.*Use Redis >= 7\.0"):
        refuse_unsuitable([found("version", redis_version="6.2.14")])


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "volatile-lru", "allkeys-random"])
def test_a_server_that_deletes_keys_when_full_is_refused(policy: str) -> None:
    """Every policy but one throws tasks away, or their records."""
    finding = found("eviction", maxmemory_policy=policy)

    assert finding.level == "error"
    with pytest.raises(ServerUnsuitable, match=rf"{policy}.*deletes tasks.*maxmemory-policy noeviction"):
        refuse_unsuitable([finding])


@pytest.mark.parametrize("name", ["eviction", "persistence"])
def test_what_a_server_does_not_say_is_a_warning(name: str) -> None:
    """A managed server may keep it to itself: it may be fit, and somebody should look."""
    finding = found(name, maxmemory_policy=None, aof_enabled=None)

    assert finding.level == "warning"
    assert "does not say" in finding.message


def test_persistence_off_is_a_loud_warning() -> None:
    """It is allowed, for those who know; nobody may overlook it."""
    finding = found("persistence", aof_enabled=0)

    assert finding.level == "warning"
    assert "THE APPEND-ONLY FILE IS OFF" in finding.message
    assert "appendonly yes" in finding.advice
    refuse_unsuitable([finding])


@pytest.mark.parametrize(
    ("changed", "level"),
    [
        ({"aof_last_write_status": "err"}, "error"),
        ({"aof_last_write_status": "err", "aof_enabled": 0}, "ok"),
        ({"aof_last_bgrewrite_status": "err"}, "warning"),
        ({"rdb_last_bgsave_status": "err"}, "warning"),
    ],
)
def test_a_server_that_cannot_write_to_its_disk_is_found_out(changed: dict[str, Any], level: str) -> None:
    """A full disk: writes are refused, or will be."""
    finding = found("last write", **changed)

    assert finding.level == level
    assert ("disk" in finding.advice) == (level != "ok")


def test_all_errors_are_told_at_once() -> None:
    """Whoever mends one should not meet the next only then."""
    findings = findings_of(
        {"": FIT | {"redis_version": "5.0", "maxmemory_policy": "allkeys-lru", "role": "slave"}}
    )

    with pytest.raises(ServerUnsuitable, match=r"older than 7\.0.*allkeys-lru.*replica"):
        refuse_unsuitable(findings)


def test_findings_about_several_nodes_say_which_node() -> None:
    """One of three has another configuration."""
    nodes = {"10.0.0.1:6379": FIT, "10.0.0.2:6379": FIT | {"maxmemory_policy": "allkeys-lru"}}

    with pytest.raises(ServerUnsuitable, match=r"10\.0\.0\.2:6379: maxmemory-policy is allkeys-lru"):
        refuse_unsuitable(findings_of(nodes))


@pytest.mark.parametrize("kind", available_servers())
async def test_a_server_made_for_tasks_is_fit(kind: Kind) -> None:
    """A real one, as it comes, with its append-only file on."""
    with RealServer(kind, appendonly="yes") as server:
        async with client_of(server.url) as client:
            findings = await check_server(client)

    assert {finding.level for finding in findings} == {"ok"}
    (version,) = (finding.message for finding in findings if finding.name == "version")
    assert version.lower().startswith(kind)


@pytest.mark.parametrize("kind", available_servers())
async def test_a_real_server_that_evicts_is_refused(kind: Kind) -> None:
    """As a cache would be set up."""
    with RealServer(kind, maxmemory="100mb", maxmemory_policy="allkeys-lru") as server:
        async with client_of(server.url) as client:
            findings = await check_server(client)

    assert [finding.name for finding in findings if finding.level == "warning"] == ["persistence"]
    with pytest.raises(ServerUnsuitable, match="allkeys-lru"):
        refuse_unsuitable(findings)


async def test_a_replica_is_refused() -> None:
    """Somebody copied the wrong address."""
    with RealServer(tcp=True) as master, RealServer(replicaof=f"127.0.0.1 {master.port}") as replica:
        async with client_of(replica.url) as client:
            findings = await check_server(client)

    with pytest.raises(ServerUnsuitable, match=r"this is a replica.*redis\+sentinel://"):
        refuse_unsuitable(findings)


async def test_a_user_who_may_not_ask_gets_a_warning() -> None:
    """The server's ACL denies INFO: no reason not to work, but nothing is known."""
    with RealServer(acl=False) as server:
        with server.client() as admin:
            admin.acl_setuser(
                "app", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-info", "-config"]
            )
        async with client_of(server.url.replace("unix://", "unix://app:pw@")) as client:
            (finding,) = await check_server(client)

    assert finding.level == "warning"
    assert "+info" in finding.advice


async def test_memory_is_not_checked() -> None:
    """It promises nothing that could be broken."""
    async with client_of("memory://checks") as client:
        assert await check_server(client) == []


def cluster(server: RealServer, folder: Path) -> None:
    """Give all slots to the one node of a cluster, and wait until it serves."""
    with server.client() as admin:
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: admin.cluster("info")["cluster_state"] == "ok", "the cluster serves")


async def test_a_cluster_is_checked_node_by_node(tmp_path: Path) -> None:
    """Through a client that knows the cluster, and through one that does not: a single node lets it."""
    with RealServer(tcp=True, cluster_enabled="yes", appendonly="yes") as server:
        cluster(server, tmp_path)
        with server.client() as admin:
            admin.config_set("maxmemory-policy", "allkeys-lru")

        async with client_of(server.tcp_url.replace("redis://", "redis+cluster://")) as client:
            through_cluster = await check_server(client)
        async with client_of(server.url) as client:
            through_node = await check_server(client)

    where = f"127.0.0.1:{server.port}: "
    assert [finding.message for finding in through_cluster if finding.level == "error"] == [
        f"{where}maxmemory-policy is allkeys-lru: when its memory is full, the server deletes tasks"
    ]
    assert through_cluster[-1] == Finding("ok", "cluster", "the cluster is complete")
    assert through_node[-1] == Finding("ok", "cluster", "the cluster is complete")


async def test_a_cluster_that_lacks_slots_is_refused() -> None:
    """It refuses every command until all slots have a node."""
    with RealServer(tcp=True, cluster_enabled="yes") as server:
        async with client_of(server.url) as client:
            findings = await check_server(client)

    with pytest.raises(ServerUnsuitable, match="state fail"):
        refuse_unsuitable(findings)


async def test_one_node_of_a_cluster_is_no_server() -> None:
    """The URL lacks `+cluster`: the queues of other nodes could not be reached."""
    with (
        RealServer(tcp=True, cluster_enabled="yes") as one,
        RealServer(tcp=True, cluster_enabled="yes") as other,
        one.client() as first,
        other.client() as second,
    ):
        first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        second.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        first.execute_command("CLUSTER", "SET-CONFIG-EPOCH", 1)
        first.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port)
        wait_until(lambda: first.cluster("info")["cluster_size"] == "2", "the nodes know each other")

        async with client_of(one.url) as client:
            findings = await check_server(client)

    with pytest.raises(ServerUnsuitable, match=r"one node of a cluster.*Use redis\+cluster://"):
        refuse_unsuitable(findings)
