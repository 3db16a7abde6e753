"""Whatever bad requests come, the service keeps nothing of them: neither in its memory nor on its server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskqueue.accounts.accounts import MOST_REMEMBERED
from tests.api.flood import bad_requests, flood, unknown_key
from tests.audit import dump
from tests.servers import RealServer

ENDLESS = 10**9
MIB = 2**20
STATUSES = {200, 400, 401, 403, 404, 405, 415}


@dataclass
class Flooded:
    """A service in a process of its own."""

    process: subprocess.Popen[str]
    server: RealServer
    queue: str
    port: int
    key: str

    def resident(self) -> int:
        """Return the bytes of memory that its process has."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def blocks(self) -> int:
        """Return how many blocks of memory its small objects take, garbage apart."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def keys(self) -> set[str]:
        """Return what the queue has on its server, the counts of rates apart, which are gone soon."""
        with self.server.client() as client:
            names = dump(client, self.queue).values
        return {name for name in names if not name.startswith("rate:")}


@contextmanager
def flooded(server: RealServer, queue: str) -> Iterator[Flooded]:
    """Start the service, and end it afterwards."""
    command = [sys.executable, "-m", "tests.api.flood", server.url, queue]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # It says of each request that is no HTTP that it is none.
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        port, key = process.stdout.readline().split()
        yield Flooded(process, server, queue, int(port), key)
        assert process.poll() is None
        process.communicate()
    assert process.returncode == 0


@pytest.mark.timeout(240)
async def test_objects_of_bad_requests_do_not_stay(server: RealServer, queue_name: str) -> None:
    """5,000 bad requests leave fewer blocks of memory than one kind of them would, with one for each.

    There are 182 of a kind at least, and some 150 blocks come with tables that still grow. What a process
    may remember of unknown keys it remembers before: there are only 50 of them.
    """
    with flooded(server, queue_name) as service:
        await flood(service.port, bad_requests(service.key, range(3_000), strangers=50))
        keys, before = service.keys(), service.blocks()

        statuses = await flood(service.port, bad_requests(service.key, range(3_000, 8_000), strangers=50))

        assert service.blocks() - before < 250
        assert set(statuses) == STATUSES
        assert service.keys() == keys


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells the memory of a process")
async def test_memory_is_flat_after_100_000_bad_requests(
    server: RealServer, queue_name: str, record_property: Callable[[str, object], None]
) -> None:
    """From 20,000 on it grows by less than 4 MiB: 50 bytes for each request, less than any object takes.

    The first 10,000 fill what a process may remember of unknown keys.
    """
    with flooded(server, queue_name) as service:
        await flood(service.port, (unknown_key(number) for number in range(MOST_REMEMBERED)))
        await flood(service.port, bad_requests(service.key, range(10_000), strangers=ENDLESS))
        keys, sizes = service.keys(), [service.resident()]

        for start in range(10_000, 90_000, 20_000):
            numbers = range(start, start + 20_000)
            statuses = await flood(service.port, bad_requests(service.key, numbers, strangers=ENDLESS))
            assert set(statuses) == STATUSES
            sizes.append(service.resident())

        record_property("MiB", [round(size / MIB, 1) for size in sizes])
        assert sizes[-1] - sizes[0] < 4 * MIB, sizes
        assert service.keys() == keys
