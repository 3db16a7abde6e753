"""New connections to where a key is: the one server, or the node of a cluster that has its slot.

All keys of a queue have one slot, so a queue lives on one node at a time. Which one is asked anew for each
connection: the last one may have been lost because the slot has moved, or a replica has taken over.
"""

from __future__ import annotations

from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio import RedisCluster
from redis.asyncio.connection import AbstractConnection


async def connection_to(client: Any, key: str) -> AbstractConnection:
    """Return a connection that is not open yet.

    Args:
        client: Of redis-py, for one server, Sentinels or a cluster.
        key: Decides on the node of a cluster.

    Raises:
        redis.exceptions.ConnectionError: If the nodes of a cluster cannot be asked, or none has the slot.
    """
    connection: AbstractConnection
    if not isinstance(client, RedisCluster):
        connection = client.connection_pool.make_connection()
        return connection
    try:
        knows_nodes = bool(client.get_nodes())
        await client.initialize()
        if knows_nodes:
            await client.nodes_manager.initialize()
        node = client.get_node_from_key(key)
    except redis_errors.RedisClusterException as error:
        raise redis_errors.ConnectionError(f"the cluster: {error}") from error
    assert node is not None, "None stands for a missing replica"
    connection = node.connection_class(**node.connection_kwargs)
    return connection
