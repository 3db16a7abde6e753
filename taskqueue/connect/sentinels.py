"""Clients that ask Sentinels for the master, and what a person hears when these do not name one."""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import Connection
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from taskqueue.connect.address import Address

_TIMEOUT: Final = 1.0  # seconds; a dead Sentinel must not use up the patience for the others


class _MasterPool(SentinelConnectionPool):
    """Asks the Sentinels for the master at every connect, and closes what it asked them through."""

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002  (not our signature)
        await super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()


def sentinel_client(address: Address, options: dict[str, Any]) -> Redis:
    """Return a client of whatever server is the master.

    Args:
        address: Of the Sentinels, and their name for the master.
        options: Of redis-py, for connections to the master.
    """
    asking = {
        **options,
        "username": address.sentinel_login.username,
        "password": address.sentinel_login.password,
        "socket_timeout": _TIMEOUT,
        "socket_connect_timeout": _TIMEOUT,
    }
    sentinel = Sentinel(address.hosts, sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(
        address.service,
        connection_pool_class=_MasterPool,
        db=address.db,
        redis_connect_func=greet_master,
    )
    return client


async def from_sentinels(client: Any, error: Exception) -> Exception:
    """Return why no Sentinel named the master; redis-py only says that, and shows its clients."""
    if not isinstance(error, MasterNotFoundError):
        return error
    pool, problems = client.connection_pool, list[Exception]()
    for sentinel in pool.sentinel_manager.sentinels:
        try:
            await sentinel.ping()
        except (RedisError, OSError) as problem:
            problems.append(problem)
        else:
            return MasterNotFoundError(f"the Sentinels name no living master {pool.service_name!r}")
    return problems[0]


async def greet_master(connection: Connection) -> None:
    """Shake hands, and see that it is the master: one that was, and came back, may be named a while yet."""
    await connection.on_connect()
    await connection.send_command("ROLE")
    role = await connection.read_response()
    if role[0] != b"master":
        where = f"{connection.host}:{connection.port}"
        raise RedisConnectionError(f"{where} is a {role[0].decode()}, not the master")
