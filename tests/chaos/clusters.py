"""A cluster of six servers: three primaries with a replica each, and slots that can be moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import redis

from taskqueue.keys import Keys
from tests.chaos.places import Place, version_of
from tests.chaos.processes import until
from tests.servers import Kind, RealServer

_PRIMARIES = 3
_SLOTS = 16_384
_NODE_TIMEOUT = "1500"  # ms until a node that says nothing counts as gone
_FORMING = 30.0  # seconds
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Seat:
    """A node as the others see it."""

    name: str
    port: int
    is_primary: bool
    primary: str
    """Name of its primary; "-" for a primary."""
    slots: tuple[str, ...]


class Cluster(Place):
    """Six nodes on free ports. Processes speak to them without anything in between."""

    def __init__(self, dice: Random, kind: Kind | None = None) -> None:
        del dice
        self.nodes = [
            RealServer(
                kind,
                tcp=True,
                cluster_enabled="yes",
                cluster_config_file="nodes.conf",
                cluster_node_timeout=_NODE_TIMEOUT,
                cluster_require_full_coverage="no",
                appendonly="yes",
            )
            for _ in range(2 * _PRIMARIES)
        ]
        self._versions = ""

    @property
    def direct_url(self) -> str:
        """The address of the cluster, by all of its nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    async def start(self) -> None:
        """Start the nodes, give each primary its slots, and return when all agree."""
        await asyncio.gather(*(asyncio.to_thread(node.__enter__) for node in self.nodes))
        names = [_ask(node, "CLUSTER", "MYID").decode() for node in self.nodes]
        size = _SLOTS // _PRIMARIES
        for number, node in enumerate(self.nodes):
            _ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < _PRIMARIES:
                last = _SLOTS - 1 if number == _PRIMARIES - 1 else (number + 1) * size - 1
                _ask(node, "CLUSTER", "ADDSLOTSRANGE", number * size, last)
            _ask(node, "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        await self._until(lambda seats: len(seats) == len(self.nodes), "all nodes know each other")
        for number, node in enumerate(self.nodes[_PRIMARIES:]):
            _ask(node, "CLUSTER", "REPLICATE", names[number])
        await self.settled()
        with self.nodes[0].client() as client:
            self._versions = f"{version_of(client)}, a cluster of {len(self.nodes)}"

    async def close(self) -> None:
        """End all nodes."""
        await asyncio.gather(*(asyncio.to_thread(node.__exit__, None, None, None) for node in self.nodes))

    async def url_for(self, process: str) -> str:
        """Return the address of the cluster."""
        return self.direct_url

    def holder(self, queue: str) -> redis.Redis:
        """Return a client of the primary that has the slot of the queue."""
        return self.primary_of(queue).client()

    def versions(self) -> str:
        """Return what the nodes are."""
        return self._versions

    def primary_of(self, queue: str) -> RealServer:
        """Return the node that has the slot of the queue."""
        owner = self._owner(self._living()[0], queue)
        if owner is None:
            raise LookupError(f"nobody has the slot of {queue}")
        return owner

    def replica_of(self, primary: RealServer) -> RealServer:
        """Return the replica of a primary."""
        seats = self._seats(primary)
        own = next(seat for seat in seats if seat.port == primary.port)
        return self._node(next(seat for seat in seats if seat.primary == own.name))

    def others(self, primary: RealServer) -> list[RealServer]:
        """Return the other primaries."""
        return [
            self._node(seat) for seat in self._seats(primary) if seat.is_primary and seat.port != primary.port
        ]

    def slot_of(self, queue: str) -> int:
        """Return the slot of the queue."""
        slot: int = _ask(self._living()[0], "CLUSTER", "KEYSLOT", Keys(queue).meta)
        return slot

    async def settled(self) -> None:
        """Return when every node says that all is well, that each primary has a replica, and they agree."""

        def is_settled(seats: list[Seat]) -> bool:
            primaries = [seat for seat in seats if seat.is_primary]
            led = {seat.primary for seat in seats if not seat.is_primary}
            return len(primaries) == _PRIMARIES and led == {seat.name for seat in primaries}

        await self._until(is_settled, "the cluster has settled")
        await until(self._agrees, "all nodes agree", _FORMING)
        await until(self._is_in_sync, "all replicas are in sync", _FORMING)

    async def replaced(self, queue: str, primary: RealServer, within: float = _FORMING) -> None:
        """Return when another node has the slot of the queue, as the others see it.

        Raises:
            LaboratoryError: If none has it after *within* seconds.
        """

        def is_replaced() -> bool:
            return all(
                self._owner(node, queue) is not primary for node in self._living() if node is not primary
            )

        await until(is_replaced, "another node has the slot", within)

    async def move(self, queue: str, target: RealServer, dice: Random, longest_pause: float) -> None:
        """Move the queue's slot to another primary, key by key, with pauses in between."""
        slot, source = self.slot_of(queue), self.primary_of(queue)
        source_name = _ask(source, "CLUSTER", "MYID")
        target_name = _ask(target, "CLUSTER", "MYID")
        _ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_name)
        _ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_name)
        pauses = 3
        while keys := _ask(source, "CLUSTER", "GETKEYSINSLOT", slot, _AT_ONCE):
            words = ["MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys]
            await asyncio.to_thread(_ask, source, *words)
            if pauses:
                pauses -= 1
                await asyncio.sleep(dice.uniform(0, longest_pause / 3))
        for node in (target, source, *self.others(source)):
            _ask(node, "CLUSTER", "SETSLOT", slot, "NODE", target_name)

    def _living(self) -> list[RealServer]:
        return [node for node in self.nodes if node.is_running]

    def _owner(self, asked: RealServer, queue: str) -> RealServer | None:
        slot = self.slot_of(queue)
        for seat in self._seats(asked):
            if seat.is_primary and any(_holds(each, slot) for each in seat.slots):
                return self._node(seat)
        return None

    def _node(self, seat: Seat) -> RealServer:
        return next(node for node in self.nodes if node.port == seat.port)

    def _seats(self, node: RealServer) -> list[Seat]:
        lines = _ask(node, "CLUSTER", "NODES").decode().splitlines()
        return [_seat(line.split(" ")) for line in lines if "noaddr" not in line]

    async def _until(self, predicate: Callable[[list[Seat]], bool], description: str) -> None:
        await until(
            lambda: all(predicate(self._seats(node)) for node in self._living()), description, _FORMING
        )

    def _agrees(self) -> bool:
        seen = {
            tuple(sorted((seat.name, seat.slots) for seat in self._seats(node) if seat.is_primary))
            for node in self._living()
        }
        states = {_ask(node, "CLUSTER", "INFO").partition(b"\r\n")[0] for node in self._living()}
        return len(seen) == 1 and states == {b"cluster_state:ok"}

    def _is_in_sync(self) -> bool:
        found = []
        for node in self._living():
            with node.client() as client:
                replication = client.info("replication")
                found.append(replication.get("master_link_status", "up") == "up")
        return all(found)


def _ask(node: RealServer, *words: Any) -> Any:
    with node.client() as client:
        return client.execute_command(*words)


def _seat(words: list[str]) -> Seat:
    port = int(words[1].partition("@")[0].rpartition(":")[2])
    flags = words[2].split(",")
    slots = tuple(word for word in words[8:] if not word.startswith("["))
    return Seat(words[0], port, "master" in flags and "fail" not in flags, words[3], slots)


def _holds(slots: str, slot: int) -> bool:
    first, _, last = slots.partition("-")
    return int(first) <= slot <= int(last or first)
