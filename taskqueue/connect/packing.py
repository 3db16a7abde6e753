"""Commands are put into bytes by hiredis, in C.

The asyncio connections of redis-py parse replies with hiredis but build commands in Python: about
4 µs an argument list of a task against 0.6 µs (docs/performance.md). A call that carries a thousand
tasks would spend more time there than on the server.
"""

from __future__ import annotations

from typing import Any

import hiredis
from redis.asyncio import Redis


class _PackedInC:
    """Mixed into a connection class of redis-py."""

    def pack_command(self, *args: Any) -> list[bytes]:
        first = args[0]
        if isinstance(first, str) and " " in first:
            # redis-py names some commands by two words, such as "CLIENT SETINFO".
            args = (*first.split(), *args[1:])
        return [hiredis.pack_command(args)]


_packing_classes: dict[type, type] = {}


def _packing(connection_class: type) -> type:
    if connection_class not in _packing_classes:
        name = f"Packing{connection_class.__name__}"
        _packing_classes[connection_class] = type(name, (_PackedInC, connection_class), {})
    return _packing_classes[connection_class]


def packed_in_c(client: Redis) -> Redis:
    """Let *client*, which has made no connection yet, build its commands in C; return it."""
    pool = client.connection_pool
    pool.connection_class = _packing(pool.connection_class)
    return client
