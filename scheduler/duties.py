"""The one loop that runs every background duty."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Protocol, TypeVar

from scheduler.outage import Outage, retry_delay
from taskqueue.errors import ServerUnavailable

logger = logging.getLogger("scheduler.duties")

R = TypeVar("R")

_AFTER_A_FAULT = 5.0
"""Seconds until a duty is tried again that met something unexpected."""


class Duty(Protocol[R]):
    """Something that has to be done again and again; `run_once` holds all of its logic."""

    async def run_once(self) -> R:
        """Do it once, in bounded time, and say what was done."""

    def pause(self, result: R) -> float:
        """Return in how many seconds it is due again, jitter included."""


async def repeat(duty: Duty[R], outage: Outage, random: Random, longest: float) -> None:
    """Run a duty again and again until cancelled; an unreachable server is waited for.

    Args:
        duty: What to run.
        outage: Told when the server goes away and when it is back.
        random: Source of chance for the jitter while the server is away.
        longest: Seconds between two tries at the most: leases must be extended soon after it is back.
    """
    failures = 0
    while True:
        try:
            result = await duty.run_once()
        except ServerUnavailable as error:
            outage.noticed(error)
            failures += 1
            pause = retry_delay(failures, random, longest)
        except Exception:
            # Whatever it is, tasks must go on running: without this duty for a while, if need be.
            logger.exception("%s failed; it is tried again", type(duty).__name__)
            pause = _AFTER_A_FAULT
        else:
            outage.over()
            failures = 0
            pause = duty.pause(result)
        await asyncio.sleep(pause)
