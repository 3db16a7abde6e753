"""Clients of other versions, in a hurry, or without credits."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

from taskqueue import TaskQueue
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.workers import replace_worker
from tests.chaos.laboratory import QUEUE, Laboratory, Setup
from tests.chaos.processes import ROOT, LaboratoryError
from tests.chaos.programs.producer import METERED

_BEFORE = os.environ.get("CHAOS_BEFORE", "HEAD~10")
"""The commit whose workers and producers stand beside those of this one."""


async def upgrade(laboratory: Laboratory, dice: Random) -> None:
    """One worker and one producer are replaced, by those of the earlier commit or of this one."""
    with tempfile.TemporaryDirectory(prefix="tq-before-") as folder:
        _unpack(Path(folder))
        for is_before in (True, False):
            environment = {"PYTHONPATH": folder} if is_before else {}
            await replace_worker(laboratory, dice, environment=environment)
            name = dice.choice(list(laboratory.producers))
            producer = laboratory.producers.pop(name)
            producer.terminate()
            await producer.ended()
            await laboratory.add_producer(environment=environment)
            await laboratory.healed()
            await laboratory.goes_on(50)
        # Nothing of the earlier commit may be left when its folder goes.
        for name in [*laboratory.workers]:
            await replace_worker(laboratory, dice, name=name)
        for name in [*laboratory.producers]:
            producer = laboratory.producers.pop(name)
            producer.terminate()
            await producer.ended()
            await laboratory.add_producer()


def _unpack(folder: Path) -> None:
    words = ["git", "-C", str(ROOT), "archive", _BEFORE, "taskqueue", "scheduler"]
    archive = subprocess.run(words, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], check=True, input=archive)


def misses_before() -> str:
    """Say why there is no earlier commit here; "" if there is."""
    if not shutil.which("git"):
        return "there is no git"
    words = ["git", "-C", str(ROOT), "cat-file", "-e", f"{_BEFORE}:scheduler"]
    found = subprocess.run(words, check=False, capture_output=True)
    return "" if found.returncode == 0 else f"there is no commit {_BEFORE} with a scheduler"


async def interrupt(laboratory: Laboratory, dice: Random) -> None:
    """Producers cancel half of their own calls, at any point of them."""
    await laboratory.goes_on(100)


async def pay_late(laboratory: Laboratory, dice: Random) -> None:
    """A tenant's credits run out again and again; grants come late, at the same time, and are taken back."""
    async with TaskQueue.connect(laboratory.place.direct_url, name=QUEUE) as queue:
        amounts = [dice.randint(-3, 15) for _ in range(5)]
        await asyncio.gather(*(laboratory.grant(queue, METERED, amount) for amount in amounts))
        await asyncio.sleep(dice.uniform(0.5, 1.5))
        balance = await queue.balance(METERED)
        if balance is None or balance.granted - balance.spent < min(0, balance.granted):
            raise LaboratoryError(f"more was spent than granted: {balance}")


def _interrupting(setup: Setup) -> Setup:
    return replace(setup, producing=("--interrupt",))


def _poor(setup: Setup) -> Setup:
    return replace(setup, producing=("--poor",), credits=20)


CLIENTS = (
    Fault("F26", "workers and producers of an earlier commit", upgrade, misses=misses_before),
    Fault("F27", "producers that cancel their calls", interrupt, adapt=_interrupting),
    Fault("F28", "credits that run out", pay_late, adapt=_poor),
)
