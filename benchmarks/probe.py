"""Reads from the server what a stretch of work cost it: CPU time, commands, memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import redis

_SCRIPTS = frozenset({"evalsha", "eval", "fcall"})
_WAITS = frozenset({"blpop"})
_OURS = frozenset({"info", "ping"})
_AT_ONCE = 1_000


@dataclass(slots=True)
class Cost:
    """What a stretch of work took, once it is over.

    Attributes:
        wall: Seconds that passed.
        client_cpu: Seconds of CPU that this process spent.
        server_cpu: Seconds of CPU that the server spent.
        calls: Commands that the server ran, by name, those inside of scripts included.
    """

    wall: float = 0.0
    client_cpu: float = 0.0
    server_cpu: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def script_calls(self) -> int:
        """How many calls of scripts and of functions there were."""
        return sum(self.calls[name] for name in _SCRIPTS)

    @property
    def inner(self) -> Counter[str]:
        """The other commands: as good as all of them were run by scripts."""
        return Counter({name: n for name, n in self.calls.items() if name not in _SCRIPTS | _WAITS})


class Probe:
    """Looks at one server, through a connection of its own."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    @contextmanager
    def cost(self) -> Iterator[Cost]:
        """Yield a `Cost` that is filled in when the block ends."""
        cost = Cost()
        calls, server = self._calls(), self._cpu()
        client, started = time.process_time(), time.perf_counter()
        yield cost
        cost.wall = time.perf_counter() - started
        cost.client_cpu = time.process_time() - client
        cost.server_cpu = self._cpu() - server
        cost.calls = self._calls() - calls

    def memory(self) -> int:
        """Return how many bytes the server uses."""
        used: int = self._info("memory")["used_memory"]
        return used

    def facts(self) -> dict[str, str]:
        """Return what kind of server this is."""
        info = self._info("server") | self._info("persistence")
        kind = info.get("server_name", "redis")
        return {
            "kind": kind,
            "version": str(info.get(f"{kind}_version", info["redis_version"])),
            "append-only file": self._fsync() if info["aof_enabled"] else "off",
        }

    def empty(self) -> None:
        """Remove everything from the server, and return when its memory is free again."""
        # Without the word some servers free it in the background, in the middle of what comes next.
        self._client.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]

    def drop_expiring(self) -> None:
        """Remove every key that has an expiry, as if its time had come."""
        for keys in self._batches("*"):
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.pttl(key)
            if due := [key for key, left in zip(keys, pipeline.execute(), strict=True) if left >= 0]:
                self._client.delete(*due)

    def wipe(self, prefix: str) -> None:
        """Remove every key that starts with *prefix*."""
        for keys in self._batches(prefix + "*"):
            self._client.delete(*keys)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _batches(self, pattern: str) -> Iterator[list[bytes]]:
        found = self._client.scan_iter(match=pattern, count=_AT_ONCE)
        while batch := list(islice(found, _AT_ONCE)):
            yield batch

    def _fsync(self) -> str:
        try:
            found: dict[Any, Any] = self._client.config_get("appendfsync")
        except redis.ResponseError:
            # Managed servers refuse CONFIG.
            return "on"
        return str(found["appendfsync"])

    def _cpu(self) -> float:
        info = self._info("cpu")
        total: float = info["used_cpu_sys"] + info["used_cpu_user"]
        return total

    def _calls(self) -> Counter[str]:
        stats = self._info("commandstats")
        calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}
        return Counter({name: count for name, count in calls.items() if name not in _OURS})

    def _info(self, section: str) -> dict[str, Any]:
        found: dict[str, Any] = self._client.info(section)
        return found
