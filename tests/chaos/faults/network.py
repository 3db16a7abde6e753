"""Networks that lose answers, cut, split, slow down or go silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random

from tests.chaos.faults.fault import Fault
from tests.chaos.faults.servers import server_of
from tests.chaos.laboratory import Laboratory
from tests.chaos.proxy import ChaosProxy, Way


def proxies_of(laboratory: Laboratory, kind: str = "") -> list[ChaosProxy]:
    """Return the proxies of all processes, or of those of one kind."""
    return [proxy for name, proxy in server_of(laboratory).proxies.items() if name.startswith(kind)]


async def _for_a_while(
    proxies: list[ChaosProxy], seconds: float, spoil: Callable[[ChaosProxy], None]
) -> None:
    for proxy in proxies:
        spoil(proxy)
    await asyncio.sleep(seconds)
    for proxy in proxies:
        proxy.heal()


def _set(way: Way) -> Callable[[ChaosProxy], None]:
    def spoil(proxy: ChaosProxy) -> None:
        proxy.way = way

    return spoil


async def drop_replies(laboratory: Laboratory, dice: Random) -> None:
    """For moments, the server does what it is asked and nobody hears of it."""
    for _ in range(10):
        chosen = [proxy for proxy in proxies_of(laboratory) if dice.random() < 0.7]
        await _for_a_while(chosen, dice.uniform(0.01, 0.05), _set(Way.DROP_REPLIES))
        await asyncio.sleep(dice.uniform(0.05, 0.2))


async def part(laboratory: Laboratory, dice: Random) -> None:
    """One worker, or all producers, are cut off, in one direction or both."""
    begin, lease = time.monotonic(), laboratory.setup.lease
    way = dice.choice([Way.HOLD, Way.HOLD_REPLIES, Way.HOLD_REQUESTS])
    if dice.random() < 0.7:
        name = dice.choice(list(laboratory.workers))
        proxy = server_of(laboratory).proxies[name]
        await _for_a_while([proxy], 2 * lease + dice.random(), _set(way))
        laboratory.fault("part", begin, repeats=[name])
    else:
        await _for_a_while(proxies_of(laboratory, "producer"), dice.uniform(0.5, 2), _set(way))


async def slow_down(laboratory: Laboratory, dice: Random) -> None:
    """Every piece of data is late, or the line is thin."""

    def spoil(proxy: ChaosProxy) -> None:
        if dice.random() < 0.5:
            proxy.delay = dice.uniform(0.005, 0.05)
        else:
            proxy.rate = dice.uniform(50_000, 200_000)

    await _for_a_while(proxies_of(laboratory), 3.0, spoil)


async def reset(laboratory: Laboratory, dice: Random) -> None:
    """Connections are reset, refused, or end in the middle of an answer."""
    proxies = proxies_of(laboratory)
    for _ in range(5):
        for proxy in proxies:
            proxy.reset_all()
        await asyncio.sleep(dice.uniform(0, 0.2))
    # All of it together is less than a lease without a beat: nothing may run twice because of it.
    lease = laboratory.setup.lease
    await _for_a_while(proxies, lease * 0.15, _set(Way.REFUSE))
    for proxy in proxies:
        proxy.reset_all()

    def cut(proxy: ChaosProxy) -> None:
        proxy.cut_after = dice.randint(1, 400)

    await _for_a_while(proxies, lease * 0.2, cut)


async def strand(laboratory: Laboratory, dice: Random) -> None:
    """Every connection goes silent without an end; new ones work."""
    for proxy in proxies_of(laboratory):
        proxy.strand()


NETWORK = (
    Fault("F5", "answers lost after the server did what it was asked", drop_replies),
    Fault("F11", "a worker, or the producers, cut off", part),
    Fault("F12", "a slow network", slow_down),
    Fault("F13", "connections reset, refused, torn", reset),
    # With the default lease: within it every process must notice and connect anew.
    Fault("F14", "connections half-open", strand, adapt=lambda setup: replace(setup, lease=15.0)),
)
