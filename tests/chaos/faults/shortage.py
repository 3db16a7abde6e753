"""Servers that run out of disk or memory, and one that would throw tasks away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

from taskqueue import TaskQueue
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.servers import server_of
from tests.chaos.laboratory import QUEUE, Laboratory, Setup
from tests.chaos.places import OneServer
from tests.chaos.processes import LaboratoryError, until

_DISK = "256m"  # a run of a minute writes some fifty
_CHUNK = bytes(64 * 1024)
_DRAINED = 30.0  # seconds


class SmallDisk(OneServer):
    """A server on a disk of its own, of some megabytes, which can be filled up."""

    def __init__(self, dice: Random, appendfsync: str) -> None:
        self.disk = Path(tempfile.mkdtemp(prefix="tq-disk-"))
        self._filler = self.disk / "filler"
        super().__init__(dice, folder=self.disk, appendfsync=appendfsync)

    async def start(self) -> None:
        """Mount the disk, and start the server on it."""
        words = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tq-chaos", str(self.disk)]
        await asyncio.to_thread(subprocess.run, words, check=True)
        await super().start()

    async def close(self) -> None:
        """End the server, and take the disk away."""
        await super().close()
        if self.disk.is_mount():
            await asyncio.to_thread(subprocess.run, ["umount", str(self.disk)], check=True)
        shutil.rmtree(self.disk, ignore_errors=True)

    def fill(self) -> None:
        """Leave no room on the disk."""
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(_CHUNK):
                pass

    def clear(self) -> None:
        """Give the room back."""
        self._filler.unlink()


def misses_disk() -> str:
    """Say why there is no disk that can be filled here; "" if there is."""
    if os.geteuid() != 0:
        return "only root may mount a small disk"
    return "" if shutil.which("mount") else "there is no mount"


def disk_of(laboratory: Laboratory) -> SmallDisk:
    """Return the server of a run on its disk."""
    assert isinstance(laboratory.place, SmallDisk), "this fault is about a small disk"
    return laboratory.place


async def fill_disk(laboratory: Laboratory, dice: Random) -> None:
    """The disk is full for a while: writes are refused (MISCONF), and taken again by themselves."""
    place = disk_of(laboratory)
    place.fill()
    await asyncio.sleep(dice.uniform(0.5, 1.5))
    place.clear()


async def fill_disk_of_careful(laboratory: Laboratory, dice: Random) -> None:
    """A server that must write before it answers ends itself; it is started when there is room."""
    place = disk_of(laboratory)
    place.fill()
    await until(lambda: not place.server.is_running, "the server ends itself", 20.0)
    place.clear()
    await place.kill9()
    await place.restart()


async def run_out_of_memory(laboratory: Laboratory, dice: Random) -> None:
    """New tasks are refused; what is queued is claimed, run and reported all the same."""
    async with TaskQueue.connect(laboratory.place.direct_url, name=QUEUE) as queue:
        await queue.pause()
        await asyncio.sleep(dice.uniform(0.5, 1.5))
        await queue.resume()
        with server_of(laboratory).server.client() as client:
            client.config_set("maxmemory", "1mb")
            try:
                await laboratory.nothing_left(queue, _DRAINED)
            finally:
                client.config_set("maxmemory", "0")


async def evict(laboratory: Laboratory, dice: Random) -> None:
    """A server that would delete keys is refused by whoever starts."""
    with server_of(laboratory).server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            worker = await laboratory.add_worker()
        except LaboratoryError as error:
            if "maxmemory-policy is allkeys-lru" not in str(error):
                raise
            laboratory.forget_last_worker()
        else:
            raise LaboratoryError(f"{worker.name} works with a server that deletes tasks")
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def _patient(setup: Setup) -> Setup:
    # Writes are refused for longer than the disk is full: nothing may be taken from a worker meanwhile.
    return replace(setup, lease=max(setup.lease, 6.0))


SHORTAGE = (
    Fault(
        "F17",
        "disk full, appendfsync everysec",
        fill_disk,
        place=lambda dice: SmallDisk(dice, "everysec"),
        adapt=_patient,
        misses=misses_disk,
    ),
    Fault(
        "F18",
        "disk full, appendfsync always",
        fill_disk_of_careful,
        place=lambda dice: SmallDisk(dice, "always"),
        adapt=_patient,
        misses=misses_disk,
    ),
    Fault("F19", "server out of memory", run_out_of_memory),
    Fault("F20", "server that evicts keys", evict),
)
