"""Where a queue lives in a run: one server, with a proxy for every process that uses it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Protocol

import redis

from tests.chaos.proxy import ChaosProxy
from tests.servers import Kind, RealServer


class Place(Protocol):
    """Servers that act as one."""

    @property
    def direct_url(self) -> str:
        """How the laboratory itself reaches the queue, past everything that it puts in the way."""

    async def start(self) -> None:
        """Start all of it, and return when it serves."""

    async def close(self) -> None:
        """End all of it; nothing is left behind."""

    async def url_for(self, process: str) -> str:
        """Return how a process of this name reaches the queue."""

    def holder(self, queue: str) -> redis.Redis:
        """Return a client of the server that has the keys of the queue."""

    def versions(self) -> str:
        """Return what the servers are."""

    def refusals(self) -> list[str]:
        """Return what the user of docs/taskqueue.acl was refused, where it is used."""
        return []

    def failovers(self) -> int:
        """Return a number that grows with each failover, whoever asked for it."""
        return 0


class OneServer(Place):
    """A server that writes to disk, each process behind a proxy of its own.

    Args:
        dice: Source of chance for the proxies.
        kind: Which server; None takes the first that there is.
        folder: Where its data lives; a temporary one by default.
        options: Settings of the server.
    """

    def __init__(
        self, dice: Random, kind: Kind | None = None, folder: Path | None = None, **options: str
    ) -> None:
        settings = {"appendonly": "yes", "appendfsync": "everysec"} | options
        self.server = RealServer(kind, tcp=True, folder=folder, acl=None, **settings)
        self.proxies: dict[str, ChaosProxy] = {}
        self._dice = dice
        self._versions = ""

    @property
    def direct_url(self) -> str:
        """The socket of the server."""
        return self.server.url

    async def start(self) -> None:
        """Start the server."""
        await asyncio.to_thread(self.server.__enter__)
        with self.server.client() as client:
            self._versions = version_of(client)

    async def close(self) -> None:
        """End the proxies and the server."""
        for proxy in self.proxies.values():
            await proxy.close()
        await asyncio.to_thread(self.server.__exit__, None, None, None)

    async def url_for(self, process: str) -> str:
        """Return the address of the process's own proxy."""
        if process not in self.proxies:
            assert self.server.port is not None, "it listens"
            proxy = ChaosProxy(self.server.port, Random(self._dice.random()), login=self.server.login)
            await proxy.start()
            self.proxies[process] = proxy
        return self.proxies[process].url

    def holder(self, queue: str) -> redis.Redis:
        """Return a client of the server."""
        return self.server.client()

    def versions(self) -> str:
        """Return name and version of the server."""
        return self._versions

    def refusals(self) -> list[str]:
        """Return what the server has written down since it was started."""
        return self.server.refusals()

    async def kill9(self) -> None:
        """End the server as a crash does."""
        await asyncio.to_thread(self.server.kill9)

    async def restart(self) -> None:
        """Start the server again, on the same folder and port; end it first if it runs."""
        await asyncio.to_thread(self.server.restart)


def version_of(client: redis.Redis) -> str:
    """Return name and version of a server."""
    info = client.info("server")
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}"
