"""Workers that die, freeze, are told to end, or run what no worker should."""

from __future__ import annotations

import asyncio
import time
from random import Random

from taskqueue import TaskQueue
from tests.chaos.faults.fault import Fault
from tests.chaos.laboratory import QUEUE, Laboratory
from tests.chaos.processes import LaboratoryError

_POINTS = ("after_claim", "before_report", "after_report", "after_effect")
_GRACE = 5.0  # seconds
_LATE = 3.0  # seconds that a worker may take beyond its grace


async def kill(laboratory: Laboratory, dice: Random) -> None:
    """SIGKILL at any moment, or an exit at a named point; another worker takes its place."""
    begin = time.monotonic()
    if dice.random() < 0.5:
        worker = dice.choice(list(laboratory.workers.values()))
        laboratory.kill_worker(worker)
    else:
        passed = dice.randint(1, 30)
        point = dice.choice(_POINTS)
        worker = await laboratory.supervised_worker(f"--die-at={point}", f"--die-after={passed}")
        await worker.ended()
        laboratory.kill_worker(worker)
    laboratory.fault("kill", begin, repeats=[worker.name])
    if len(laboratory.workers) < laboratory.setup.workers:
        await laboratory.supervised_worker()


async def freeze(laboratory: Laboratory, dice: Random) -> None:
    """SIGSTOP for two leases, then SIGCONT: what it reports then is stale."""
    begin = time.monotonic()
    worker = dice.choice(list(laboratory.workers.values()))
    worker.freeze()
    await asyncio.sleep(2 * laboratory.setup.lease + dice.random())
    worker.thaw()
    # A task that it had claimed a moment before starts now: that is of the fault, too.
    await asyncio.sleep(0.1)
    laboratory.fault("freeze", begin, repeats=[worker.name])


async def tell_to_end(laboratory: Laboratory, dice: Random) -> None:
    """SIGTERM under load: it ends by itself, with status 0, and gives back what it could not finish."""
    hasty = dice.random() < 0.5
    worker = await laboratory.add_worker(f"--grace={0.1 if hasty else _GRACE}")
    await asyncio.sleep(dice.uniform(0.5, 1.5))
    del laboratory.workers[worker.name]
    worker.terminate()
    status = await worker.ended(_GRACE + _LATE)
    if status:
        raise LaboratoryError(f"{worker.name} ended with status {status}: {worker.log[-1000:]}")


async def do_nothing(laboratory: Laboratory, dice: Random) -> None:
    """What happens on good days: an operator pauses the queue, and resumes it a little later."""
    async with TaskQueue.connect(laboratory.place.direct_url, name=QUEUE) as queue:
        await queue.pause()
        await asyncio.sleep(dice.uniform(0.2, 1.0))
        await queue.resume()


async def replace_worker(
    laboratory: Laboratory, dice: Random, *, name: str = "", environment: dict[str, str] | None = None
) -> None:
    """Start a worker, and then let another one end in order: the one that is named, or any."""
    worker = laboratory.workers.pop(name or dice.choice(list(laboratory.workers)))
    await laboratory.add_worker(environment=environment)
    worker.terminate()
    await worker.ended(_GRACE + _LATE)


WORKERS = (
    Fault("F0", "nothing, but for a pause of the queue", do_nothing),
    Fault("F1", "workers killed, at any moment and at named points", kill),
    Fault("F2", "a worker frozen for two leases", freeze),
    Fault("F25", "SIGTERM to workers under load", tell_to_end),
)
