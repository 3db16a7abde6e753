"""Masters that die, are replaced and come back; slots of a cluster that move."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from random import Random

from tests.chaos.clusters import Cluster
from tests.chaos.evidence import EVERYONE
from tests.chaos.faults.fault import Fault
from tests.chaos.laboratory import QUEUE, Laboratory, Setup
from tests.chaos.processes import LaboratoryError
from tests.chaos.sentinels import SERVICE, Node, SentinelSet

_BEFORE = 2.0
"""Seconds before the death of a master whose writes may not have reached a replica."""
_CUT = 2.0  # seconds for which replicas get nothing
_ASKED, _ASKED_AGAIN = 4, 6.0
"""A failover on request is given up by its servers after 5 seconds, for one if it follows another closely:
primaries vote for the replicas of one of them only every two time-outs. So operators ask again."""


def sentinels_of(laboratory: Laboratory) -> SentinelSet:
    """Return the servers of a run behind Sentinels."""
    assert isinstance(laboratory.place, SentinelSet), "this fault is about Sentinels"
    return laboratory.place


def cluster_of(laboratory: Laboratory) -> Cluster:
    """Return the cluster of a run."""
    assert isinstance(laboratory.place, Cluster), "this fault is about a cluster"
    return laboratory.place


async def kill_master(laboratory: Laboratory, dice: Random) -> None:
    """SIGKILL; the Sentinels name another; the old one comes back at once, or after a while."""
    place, begin = sentinels_of(laboratory), time.monotonic()
    master = place.master()
    await asyncio.to_thread(master.server.kill9)
    await _return(laboratory, master, begin, dice.choice([0.0, 2.0, 5.0]), loses=True)


async def ask_for_another(laboratory: Laboratory, dice: Random) -> None:
    """SENTINEL FAILOVER: nobody has died."""
    place, begin = sentinels_of(laboratory), time.monotonic()
    master = place.master()
    with place.sentinels[0].client() as client:
        client.execute_command("SENTINEL", "FAILOVER", SERVICE)
    await place.replaced(master)
    await laboratory.healed()
    await place.settled()
    laboratory.fault("failover", begin - _BEFORE, repeats=[EVERYONE], loses=True, disorders=True)


async def cut_replicas(laboratory: Laboratory, dice: Random) -> None:
    """For two seconds the replicas get nothing of what the master accepts; then it is killed."""
    await _cut(laboratory, loses=True)


async def cut_replicas_of_careful(laboratory: Laboratory, dice: Random) -> None:
    """The same, where an enqueue returns only when a replica has the task: none of these may be lost."""
    await _cut(laboratory, loses=False)


async def _cut(laboratory: Laboratory, *, loses: bool) -> None:
    place, begin = sentinels_of(laboratory), time.monotonic()
    master = place.master()
    master.proxy.parts_replicas = True
    await asyncio.sleep(_CUT)
    await asyncio.to_thread(master.server.kill9)
    # What the proxy has held back goes with the machine.
    master.proxy.reset_all()
    master.proxy.heal()
    await _return(laboratory, master, begin, 1.0, loses=loses)


async def _return(laboratory: Laboratory, master: Node, begin: float, after: float, *, loses: bool) -> None:
    """Wait for another master, then let the old one come back, which believes that it still is one."""
    place = sentinels_of(laboratory)
    await place.replaced(master)
    await laboratory.healed()
    await asyncio.sleep(after)
    await asyncio.to_thread(master.server.start)
    await place.settled()
    laboratory.fault(
        "failover", begin - _BEFORE, repeats=[EVERYONE], loses=loses, rewinds=True, disorders=True
    )


async def kill_primary(laboratory: Laboratory, dice: Random) -> None:
    """SIGKILL to the node that the queue lives on; its replica takes over; it comes back as one."""
    place, begin = cluster_of(laboratory), time.monotonic()
    primary = place.primary_of(QUEUE)
    await asyncio.to_thread(primary.kill9)
    await place.replaced(QUEUE, primary)
    await laboratory.healed()
    await asyncio.to_thread(primary.start)
    await place.settled()
    laboratory.fault("failover", begin - _BEFORE, repeats=[EVERYONE], loses=True, disorders=True)


async def hand_over(laboratory: Laboratory, dice: Random) -> None:
    """CLUSTER FAILOVER: the primary waits for its replica, and nothing may be lost."""
    place = cluster_of(laboratory)
    primary = place.primary_of(QUEUE)
    with place.replica_of(primary).client() as client:
        for _ in range(_ASKED):
            client.execute_command("CLUSTER", "FAILOVER")
            with suppress(LaboratoryError):
                await place.replaced(QUEUE, primary, _ASKED_AGAIN)
                break
    await place.replaced(QUEUE, primary)
    await laboratory.healed()
    await place.settled()


async def take_over(laboratory: Laboratory, dice: Random) -> None:
    """CLUSTER FAILOVER TAKEOVER: the replica asks nobody."""
    place, begin = cluster_of(laboratory), time.monotonic()
    primary = place.primary_of(QUEUE)
    with place.replica_of(primary).client() as client:
        client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
    await place.replaced(QUEUE, primary)
    await laboratory.healed()
    await place.settled()
    laboratory.fault("failover", begin - _BEFORE, repeats=[EVERYONE], loses=True, disorders=True)


async def move_slot(laboratory: Laboratory, dice: Random) -> None:
    """The queue's slot goes to another node, key by key, and is half-moved for a while."""
    place = cluster_of(laboratory)
    target = dice.choice(place.others(place.primary_of(QUEUE)))
    await place.move(QUEUE, target, dice, longest_pause=laboratory.setup.lease / 4)
    await laboratory.healed()
    await place.settled()


def _careful(setup: Setup) -> Setup:
    return replace(setup, durability="replicated")


def _patient(setup: Setup) -> Setup:
    # A slot that is half-moved can be written by nobody: that must be shorter than a lease.
    return replace(setup, lease=max(setup.lease, 6.0))


FAILOVERS = (
    Fault("F6", "Sentinel failover: master killed, and back", kill_master, place=SentinelSet),
    Fault("F6b", "Sentinel failover on request", ask_for_another, place=SentinelSet),
    Fault(
        "F6c",
        "the same with min-replicas-to-write 1",
        ask_for_another,
        place=lambda dice: SentinelSet(dice, needs_replica=True),
    ),
    Fault("F7", "failover with replicas cut off before, level memory", cut_replicas, place=SentinelSet),
    Fault(
        "F7b",
        "failover with replicas cut off before, level replicated",
        cut_replicas_of_careful,
        place=SentinelSet,
        adapt=_careful,
    ),
    Fault("F8", "cluster: primary killed, and back", kill_primary, place=Cluster),
    Fault("F9", "cluster: failover on request", hand_over, place=Cluster),
    Fault("F9b", "cluster: takeover", take_over, place=Cluster),
    Fault("F10", "cluster: the queue's slot moved", move_slot, place=Cluster, adapt=_patient),
)
