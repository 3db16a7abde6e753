"""What keeps a queue in order. Every scheduler does all of it, in bounded steps; nobody leads.

Each duty may run in many schedulers at the same moment: every step is one script, which looks at
what is there and changes only what needs it. The pauses have jitter so that they spread out.
"""

from __future__ import annotations

import logging
from random import Random
from typing import Any

from scheduler.duties import Duty
from taskqueue.store import Promoted, Purged, Reaped, Repaired, Store

logger = logging.getLogger("scheduler.maintenance")

REAP_EVERY = 2.0
"""Seconds between two passes of the reaper at the most."""

REAPS_A_LEASE, REAP_SOONEST = 4, 0.5
"""With short leases it comes sooner, so that it can tell an outage from its own pauses; see reap.lua."""

PROMOTE_EVERY = 20.0
REPAIR_EVERY = 20.0
PURGE_EVERY = 60.0
_AT_ONCE = 0.01
"""Seconds until the next step of work that was left."""


class Reaper:
    """Takes back tasks whose lease has run out: to the queue, or to the dead letters after three crashes.

    A task can run twice because of it, when its worker was only cut off: then the second report of
    the two is refused.
    """

    def __init__(self, store: Store, random: Random, lease: float) -> None:
        self._store = store
        self._random = random
        self._lease_ms = round(lease * 1000)
        self._every = max(min(REAP_EVERY, lease / REAPS_A_LEASE), REAP_SOONEST)
        self._is_holding = False

    async def run_once(self) -> Reaped:
        """Make one pass over at most 100 expired leases."""
        reaped = await self._store.reap(self._lease_ms)
        if bool(reaped.holding_ms) != self._is_holding:
            self._is_holding = not self._is_holding
            if self._is_holding:
                logger.info(
                    "the queue was away: no task is taken from its worker for %.1f s",
                    reaped.holding_ms / 1000,
                )
        for task_id in reaped.requeued:
            logger.warning("task %s: its worker fell silent; it is queued again", task_id)
        for task_id in reaped.dead:
            logger.error("task %s: its workers died too often; it ends as FAILED", task_id)
        return reaped

    def pause(self, result: Reaped) -> float:
        """Return at most 2 s: a task of a dead worker shall not wait longer than its lease and that."""
        return _AT_ONCE if result.more else self._random.uniform(0.9, 1.0) * self._every


class Promoter:
    """Makes delayed tasks ready that are due, should no worker have slots to claim them.

    Every claim promotes first, so this seldom finds anything.
    """

    def __init__(self, store: Store, random: Random) -> None:
        self._store = store
        self._random = random

    async def run_once(self) -> Promoted:
        """Promote at most 500 tasks."""
        return await self._store.promote()

    def pause(self, result: Promoted) -> float:
        """Go on at once where more are due."""
        return _AT_ONCE if result.more else self._random.uniform(0.5, 1.5) * PROMOTE_EVERY


class Purger:
    """Trims the indexes of tasks whose records have expired, and of workers that are gone."""

    def __init__(self, store: Store, random: Random) -> None:
        self._store = store
        self._random = random
        self._cursor = "0"

    async def run_once(self) -> Purged:
        """Trim at most 500 entries, from where the last step ended."""
        purged = await self._store.purge(self._cursor)
        self._cursor = purged.cursor
        if purged.count:
            logger.debug("purged %d entries", purged.count)
        return purged

    def pause(self, result: Purged) -> float:
        """Go on soon where there is much to trim."""
        if result.count and result.cursor != "0":
            return self._random.uniform(0.5, 1.5)
        return self._random.uniform(0.5, 1.5) * PURGE_EVERY


class Repairer:
    """Walks over the lanes, a few at a time, and mends what is not as it should be: nothing, ever."""

    def __init__(self, store: Store, random: Random) -> None:
        self._store = store
        self._random = random
        self._cursor = "0"

    async def run_once(self) -> Repaired:
        """Look at one step's worth of lanes, from where the last step ended."""
        repaired = await self._store.repair(self._cursor)
        self._cursor = repaired.cursor
        if repaired.changed:
            logger.error(
                "%d of %d lanes were not as they should be and were mended: please report this",
                repaired.changed,
                repaired.checked,
            )
        return repaired

    def pause(self, result: Repaired) -> float:
        """The same pause always: a long walk takes its time."""
        del result
        return self._random.uniform(0.5, 1.5) * REPAIR_EVERY


def maintenance_duties(store: Store, random: Random, lease: float) -> list[Duty[Any]]:
    """Return every duty of maintenance, for a scheduler with such a lease (in seconds)."""
    return [
        Reaper(store, random, lease),
        Promoter(store, random),
        Purger(store, random),
        Repairer(store, random),
    ]
