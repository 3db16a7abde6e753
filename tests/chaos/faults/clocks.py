"""Clocks that jump, and clocks that do not agree."""

from __future__ import annotations

import asyncio
from random import Random

from tests.chaos.clocks import Clock, ServerWithClock, misses_clock
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.workers import replace_worker
from tests.chaos.laboratory import Laboratory

_JUMPS = (6.0, 60.0, 3600.0)
"""Seconds. Shorter ones look like time that has passed, or go unnoticed: see docs/guarantees.md."""


async def jump(laboratory: Laboratory, dice: Random) -> None:
    """The server's clock jumps, forwards or back, and jumps back to where it was some seconds later."""
    assert isinstance(laboratory.place, ServerWithClock), "this fault is about a server with a clock"
    seconds = dice.choice(_JUMPS) * dice.choice([1, -1])
    laboratory.place.clock.set(seconds)
    await laboratory.healed()
    await asyncio.sleep(dice.uniform(0.5, 2) * laboratory.setup.lease)
    laboratory.place.clock.set(0)


async def let_delays_end(laboratory: Laboratory, dice: Random) -> None:
    """Tasks that were delayed while the clock was ahead wait for as long as it was: now their time comes."""
    assert isinstance(laboratory.place, ServerWithClock), "this fault is about a server with a clock"
    laboratory.place.clock.set(2 * max(_JUMPS))


async def disagree(laboratory: Laboratory, dice: Random) -> None:
    """A worker and a producer whose clocks are an hour off, in one direction or the other."""
    clock = Clock()
    try:
        clock.set(dice.choice([3600.0, -3600.0]))
        await replace_worker(laboratory, dice, environment=clock.environment)
        name = dice.choice(list(laboratory.producers))
        producer = laboratory.producers.pop(name)
        producer.terminate()
        await producer.ended()
        await laboratory.add_producer(environment=clock.environment)
    finally:
        clock.close()


CLOCKS = (
    Fault(
        "F21",
        "the server's clock jumps",
        jump,
        place=ServerWithClock,
        finish=let_delays_end,
        misses=misses_clock,
    ),
    Fault("F22", "clocks of workers and producers an hour off", disagree, misses=misses_clock),
)
