"""`memory://`: no server at all, for the unit tests of whoever uses this package.

It is fakeredis, which runs our Lua scripts inside the process. One server per name is shared by
all threads and event loops of the process. Nothing is durable, and nothing is fast: a real server
is started in milliseconds by `embedded://`.
"""

from __future__ import annotations

import threading
from typing import Any

from fakeredis import FakeAsyncRedis, FakeAsyncRedisConnection, FakeServer, FakeStrictRedis
from redis.asyncio import Redis

_OLDEST_SUPPORTED = (7, 0)

_servers: dict[str, FakeServer] = {}
_servers_lock = threading.Lock()


class _MemoryConnection(FakeAsyncRedisConnection):
    """A connection whose blocked command ends when the connection does.

    fakeredis leaves a cancelled BLPOP waiting, which would then swallow the next element for nobody.
    """

    _client_id: int | None = None

    async def connect(self) -> None:
        was_connected = self.is_connected
        await super().connect()  # type: ignore[no-untyped-call]
        if not was_connected:
            await self.send_command("CLIENT", "ID")
            self._client_id = await self.read_response()

    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        client_id, self._client_id = self._client_id, None
        await super().disconnect(*args, **kwargs)
        if client_id is not None:
            FakeStrictRedis(server=self._server).client_unblock(client_id)


def memory_client(name: str, **options: Any) -> Redis:
    """Return a client of the server called *name*, made if this process has none of that name.

    Args:
        name: Any name; the empty one is a name too.
        options: As for `redis.asyncio.Redis`.
    """
    with _servers_lock:
        server = _servers.setdefault(name, FakeServer(version=_OLDEST_SUPPORTED))
    return FakeAsyncRedis(server=server, connection_class=_MemoryConnection, **options)
