"""One server that is killed, restarted, slow, or forgets its scripts."""

from __future__ import annotations

import asyncio
import os
import time
from random import Random

from taskqueue.embedded.mending import mend
from tests.chaos.evidence import EVERYONE
from tests.chaos.faults.fault import Fault
from tests.chaos.laboratory import Laboratory
from tests.chaos.places import OneServer

_EVERYSEC = 2.0
"""Seconds of writes that a server may lose that writes to disk every second."""


def server_of(laboratory: Laboratory) -> OneServer:
    """Return the one server of a run."""
    assert isinstance(laboratory.place, OneServer), "this fault is about one server"
    return laboratory.place


async def kill_everysec(laboratory: Laboratory, dice: Random) -> None:
    """SIGKILL to a server that writes to disk every second, and a start on the same folder."""
    place, begin = server_of(laboratory), time.monotonic()
    await place.kill9()
    await asyncio.sleep(dice.uniform(0, 1))
    await place.restart()
    laboratory.fault("kill", begin - _EVERYSEC, repeats=[EVERYONE], loses=True)


async def kill_always(laboratory: Laboratory, dice: Random) -> None:
    """The same to one that writes before it answers: nothing may follow from it."""
    place = server_of(laboratory)
    await place.kill9()
    await asyncio.sleep(dice.uniform(0, 1))
    await place.restart()


_HELD_BACK = 2.1
"""Seconds for which a server may hold writes back from its file, while the fsync before takes long."""


async def lose_power(laboratory: Laboratory, dice: Random) -> None:
    """SIGKILL, and the last second of the append-only file is cut off, in the middle of a command.

    The file is mended before the start, as an embedded server does it and docs/reliability.md asks for.
    """
    place, begin = server_of(laboratory), time.monotonic()
    [file] = place.server.folder.glob("appendonlydir/*.incr.aof")
    size = file.stat().st_size
    await asyncio.sleep(1)
    await place.kill9()
    os.truncate(file, min(size + dice.randint(1, 200), file.stat().st_size))
    mend(place.server.folder, place.server.binary)
    await place.restart()
    laboratory.fault("power", begin - _HELD_BACK, repeats=[EVERYONE], loses=True, disorders=True)


async def restart(laboratory: Laboratory, dice: Random) -> None:
    """SIGTERM and a start."""
    await server_of(laboratory).restart()


async def forget(laboratory: Laboratory, dice: Random) -> None:
    """Scripts and functions are flushed, and every connection is closed."""
    with server_of(laboratory).server.client() as client:
        for _ in range(dice.randint(1, 5)):
            client.execute_command("SCRIPT FLUSH")
            client.execute_command("FUNCTION FLUSH")
            client.execute_command("CONFIG RESETSTAT")
            if dice.random() < 0.5:
                client.execute_command("CLIENT KILL TYPE normal SKIPME yes")
            await asyncio.sleep(dice.uniform(0, 0.3))


async def stand_still(laboratory: Laboratory, dice: Random) -> None:
    """SIGSTOP, for half of the lease, for three leases, or writes alone are held for half of one."""
    place, lease = server_of(laboratory), laboratory.setup.lease
    match dice.randrange(3):
        case 0:
            place.server.pause()
            # The last heartbeat may have been a third of the lease before.
            await asyncio.sleep(lease * dice.uniform(0.2, 0.5))
            place.server.resume()
        case 1:
            # Longer than 3 s, so that nothing is taken from workers that could not beat meanwhile.
            place.server.pause()
            await asyncio.sleep(max(3 * lease, 4.0))
            place.server.resume()
        case _:
            with place.server.client() as client:
                client.execute_command("CLIENT PAUSE", round(lease * 500), "WRITE")
            await asyncio.sleep(lease / 2)


async def be_busy(laboratory: Laboratory, dice: Random) -> None:
    """Somebody's script runs for some seconds: others are answered BUSY until it is killed."""
    place, seconds = server_of(laboratory), laboratory.setup.lease / 2
    with place.server.client() as client, place.server.client() as other:
        client.config_set("busy-reply-threshold", 100)
        running = asyncio.create_task(asyncio.to_thread(_run_for_ever, client))
        await asyncio.sleep(seconds)
        other.script_kill()
        await running


def _run_for_ever(client: object) -> None:
    import redis

    assert isinstance(client, redis.Redis)
    try:
        client.eval("while true do redis.call('PING') end", 0)
    except redis.ResponseError:
        return


SERVERS = (
    Fault("F3", "server killed, appendfsync everysec", kill_everysec),
    Fault(
        "F3b",
        "server killed, appendfsync always",
        kill_always,
        place=lambda dice: OneServer(dice, appendfsync="always"),
    ),
    Fault("F3c", "server restarted", restart),
    Fault("F4", "server killed and the last second of its file lost", lose_power),
    Fault("F15", "server frozen, writes held", stand_still),
    Fault("F16", "server busy with a script of somebody else", be_busy),
    Fault("F23", "scripts and functions flushed, connections killed", forget),
)
