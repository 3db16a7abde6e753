"""Sentinels over TLS: what they are asked, what they answer, and the way to the master that they name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from scheduler import Scheduler
from taskqueue import TaskQueue, TaskState
from taskqueue.errors import ServerUnavailable
from tests.chaos.sentinels import SentinelServer
from tests.servers import RealServer, wait_until
from tests.tls import kinds_with_tls, native

SERVICE = "secured"
AGREE = 20.0
"""Seconds that a replica may take to join, and a Sentinel to fail over."""


class Watched(NamedTuple):
    """A master and its replica behind one Sentinel; none of them has a port without TLS."""

    master: RealServer
    replica: RealServer
    sentinel: RealServer
    port: int
    ca_file: Path

    def url(self, **more: str) -> str:
        """Where the Sentinel is asked."""
        options = {"ssl_ca_certs": str(self.ca_file)} | more
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"rediss+sentinel://localhost:{self.port}/{SERVICE}?{query}"


@pytest.fixture(params=kinds_with_tls())
async def watched(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Watched]:
    """The three servers, connected to each other over TLS too."""
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    async with AsyncExitStack() as stack:

        async def start(make: type[RealServer] = RealServer) -> tuple[int, RealServer]:
            server = native(
                request.param, certificate, None, peers=authority, make=make, tls_replication="yes"
            )
            return await stack.enter_async_context(server)

        (master_port, master), (_, replica), (port, sentinel) = (
            await start(),
            await start(),
            await start(SentinelServer),
        )
        with replica.client() as client:
            client.replicaof("127.0.0.1", master_port)
        with sentinel.client() as client:
            client.sentinel_monitor(SERVICE, "127.0.0.1", master_port, 1)
            client.sentinel_set(SERVICE, "down-after-milliseconds", 1000)
            client.sentinel_set(SERVICE, "failover-timeout", 3000)
        wait_until(lambda: _knows_replica(sentinel), "the Sentinel knows the replica", timeout=AGREE)
        yield Watched(master, replica, sentinel, port, ca_file)


def _knows_replica(sentinel: RealServer) -> bool:
    with sentinel.client() as client:
        found = client.sentinel_slaves(SERVICE)
    return any(each["master-link-status"] == "ok" and not each["is_disconnected"] for each in found)


async def test_a_worker_follows_the_master_over_tls(watched: Watched) -> None:
    """The master dies; what is enqueued afterwards runs on the replica. No server has a port without TLS."""
    url = watched.url()
    scheduler = Scheduler(url, name="tls")
    scheduler.handler("ECHO")(lambda payload: payload)
    async with TaskQueue.connect(url, name="tls") as queue, scheduler:
        before = await queue.enqueue("ECHO", {"at": "the master"})
        assert (await queue.wait(before.id, timeout=10)).state is TaskState.COMPLETED

        watched.master.kill9()
        after = await queue.enqueue("ECHO", {"at": "the replica"})
        ended = await queue.wait(after.id, timeout=AGREE)

    assert (ended.state, ended.result) == (TaskState.COMPLETED, {"at": "the replica"})
    with watched.replica.client() as client:
        assert client.role()[0] == b"master"


async def test_a_sentinel_that_nobody_vouches_for_is_not_asked(watched: Watched, tmp_path: Path) -> None:
    """Somebody in between could name a master of their own."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))

    with pytest.raises(ServerUnavailable, match="its certificate was refused"):
        await TaskQueue.connect(watched.url(ssl_ca_certs=str(other)), name="tls", patience=2)


async def test_a_master_that_no_sentinel_knows_is_said(watched: Watched) -> None:
    """Its name, and none of the clients that asked."""
    with pytest.raises(ServerUnavailable, match="the Sentinels name no living master 'other'") as unknown:
        await TaskQueue.connect(watched.url().replace(SERVICE, "other"), name="tls", patience=0.5)

    assert "<" not in str(unknown.value)


async def test_without_tls_a_sentinel_that_has_it_does_not_answer(watched: Watched) -> None:
    """The same address without the second s."""
    plain = f"redis+sentinel://localhost:{watched.port}/{SERVICE}"

    with pytest.raises(ServerUnavailable):
        await TaskQueue.connect(plain, name="tls", patience=1)
