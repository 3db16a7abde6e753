"""A master with two replicas, and three Sentinels that watch them.

Every server is known to the others, and to the Sentinels, by the port of a proxy before it: so what its
replicas ask can be held up while everybody else is served.
"""

from __future__ import annotations

import asyncio
from random import Random

import redis

from tests.chaos.places import Place, version_of
from tests.chaos.processes import until
from tests.chaos.proxy import ChaosProxy
from tests.servers import Kind, RealServer

SERVICE = "main"
_REPLICAS = 2
_SENTINELS = 3
_QUORUM = 2
_DOWN_AFTER = 1000  # ms without an answer until a server counts as gone
_FAILOVER_TIMEOUT = 5000  # ms
_PATIENCE = 40.0  # seconds for the servers to agree


class Node:
    """A server, and the proxy by which it is known."""

    def __init__(self, kind: Kind | None, dice: Random, *, needs_replica: bool) -> None:
        self._kind: Kind | None = kind
        self._replicas_needed = "1" if needs_replica else "0"
        self.server = RealServer(kind)
        self.proxy = ChaosProxy(0, dice)

    async def start(self, master: Node | None) -> None:
        """Start it as a replica of another one, or as the master."""
        await self.proxy.start()
        self.server = RealServer(
            self._kind,
            tcp=True,
            appendonly="yes",
            replica_announce_ip="127.0.0.1",
            replica_announce_port=str(self.proxy.port),
            min_replicas_to_write=self._replicas_needed,
            min_replicas_max_lag="2",
        )
        await asyncio.to_thread(self.server.__enter__)
        if master is not None:
            # No setting of its own: whoever is started again believes that it is a master.
            with self.server.client() as client:
                client.replicaof("127.0.0.1", master.proxy.port)
        assert self.server.port is not None, "it listens"
        self.proxy.target = self.server.port

    async def close(self) -> None:
        """End both."""
        await self.proxy.close()
        await asyncio.to_thread(self.server.__exit__, None, None, None)

    def role(self) -> str:
        """Return what it is: `master` or `slave`; "" if it does not run."""
        if not self.server.is_running:
            return ""
        with self.server.client() as client:
            info = client.info("replication")
        is_joined = info["role"] == "master" or info["master_link_status"] == "up"
        return str(info["role"]) if is_joined else "joining"


class SentinelServer(RealServer):
    """One Sentinel, which watches nothing yet."""

    def _first_words(self) -> list[str]:
        # It insists on a file that it can write its state to.
        state = self._own_folder / "sentinel.conf"
        state.touch()
        return [str(state), "--sentinel"]


class SentinelSet(Place):
    """Three servers of which one is the master, behind three Sentinels.

    Args:
        dice: Source of chance for the proxies.
        kind: Which servers; None takes the first that there is.
        needs_replica: Whether a master without a replica refuses to write (`min-replicas-to-write 1`).
    """

    def __init__(self, dice: Random, kind: Kind | None = None, *, needs_replica: bool = False) -> None:
        chances = [Random(dice.random()) for _ in range(1 + _REPLICAS)]
        self.nodes = [Node(kind, each, needs_replica=needs_replica) for each in chances]
        self.sentinels = [SentinelServer(kind, tcp=True) for _ in range(_SENTINELS)]
        self._versions = ""

    @property
    def direct_url(self) -> str:
        """The Sentinels, who say where the master is."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    async def start(self) -> None:
        """Start all, and return when the Sentinels could fail over."""
        first = self.nodes[0]
        await first.start(None)
        await asyncio.gather(*(node.start(first) for node in self.nodes[1:]))
        await asyncio.gather(*(asyncio.to_thread(each.__enter__) for each in self.sentinels))
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                client.sentinel_monitor(SERVICE, "127.0.0.1", first.proxy.port, _QUORUM)
                client.sentinel_set(SERVICE, "down-after-milliseconds", _DOWN_AFTER)
                client.sentinel_set(SERVICE, "failover-timeout", _FAILOVER_TIMEOUT)
        await self.settled()
        with first.server.client() as client:
            self._versions = f"{version_of(client)}, three behind three Sentinels"

    async def close(self) -> None:
        """End all."""
        await asyncio.gather(*(node.close() for node in self.nodes))
        await asyncio.gather(*(asyncio.to_thread(each.__exit__, None, None, None) for each in self.sentinels))

    async def url_for(self, process: str) -> str:
        """Return the address of the Sentinels."""
        return self.direct_url

    def holder(self, queue: str) -> redis.Redis:
        """Return a client of the master."""
        return self.master().server.client()

    def versions(self) -> str:
        """Return what the servers are."""
        return self._versions

    def master(self) -> Node:
        """Return the server that the Sentinels name."""
        found = {_master_port(sentinel) for sentinel in self.sentinels}
        return next(node for node in self.nodes if node.proxy.port in found)

    def failovers(self) -> int:
        """Return the newest epoch in which the Sentinels chose a master."""
        epochs = []
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                epochs.append(int(client.sentinel_master(SERVICE)["config-epoch"]))
        return max(epochs)

    async def replaced(self, master: Node) -> None:
        """Return when all Sentinels name another master than this one."""

        def is_replaced() -> bool:
            ports = {_master_port(sentinel) for sentinel in self.sentinels}
            return len(ports) == 1 and master.proxy.port not in ports

        await until(is_replaced, "the Sentinels name another master", _PATIENCE)

    async def settled(self) -> None:
        """Return when there is one master with two replicas in sync, and the Sentinels could fail over."""

        def is_settled() -> bool:
            roles = sorted(node.role() for node in self.nodes)
            return roles == ["master", *["slave"] * _REPLICAS] and all(map(_is_usable, self.sentinels))

        await until(is_settled, "the master has its replicas, and the Sentinels know them", _PATIENCE)


def _master_port(sentinel: RealServer) -> int:
    with sentinel.client() as client:
        _, port = client.sentinel_get_master_addr_by_name(SERVICE)
    return int(port)


def _is_usable(sentinel: RealServer) -> bool:
    with sentinel.client() as client:
        state = client.sentinel_master(SERVICE)
        replicas = client.sentinel_slaves(SERVICE)
    alive = [each for each in replicas if not (each["is_sdown"] or each["is_disconnected"])]
    return (
        state["num-other-sentinels"] == _SENTINELS - 1 and len(alive) == _REPLICAS and not state["is_sdown"]
    )
