"""Several faults at once: a worker's, the server's and the network's."""

from __future__ import annotations

import asyncio
import time
from random import Random

from tests.chaos.evidence import EVERYONE
from tests.chaos.faults.fault import Fault, Inject
from tests.chaos.faults.network import drop_replies, part, reset, slow_down
from tests.chaos.faults.servers import forget, kill_always, restart, stand_still
from tests.chaos.faults.workers import freeze, kill
from tests.chaos.laboratory import Laboratory
from tests.chaos.places import OneServer
from tests.chaos.processes import LaboratoryError

_GROUPS: tuple[tuple[Inject, ...], ...] = (
    (kill, freeze),
    (kill_always, restart, forget, stand_still),
    (drop_replies, part, slow_down, reset),
)


async def storm(laboratory: Laboratory, dice: Random) -> None:
    """One fault of each kind, each a moment after the other. Nothing may be lost, whatever runs again."""
    begin = time.monotonic()

    async def later(inject: Inject, seconds: float, own: Random) -> None:
        await asyncio.sleep(seconds)
        await inject(laboratory, own)

    try:
        async with asyncio.TaskGroup() as group:
            for choices in _GROUPS:
                own = Random(dice.random())
                group.create_task(later(own.choice(choices), own.uniform(0, 2), own))
    except* LaboratoryError as failures:
        raise LaboratoryError("; ".join(map(str, failures.exceptions))) from failures
    # Together they may keep a worker away for longer than its lease, which none of them does alone.
    laboratory.fault("storm", begin, repeats=[EVERYONE])


STORMS = (
    Fault(
        "F30",
        "a worker's, the server's and the network's at once",
        storm,
        place=lambda dice: OneServer(dice, appendfsync="always"),
    ),
)
