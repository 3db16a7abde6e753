"""The queues that are compared: what to install for each, how it is run, and what it has switched on.

Why a queue is configured as it is, says its module in `benchmarks/compare/queues`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["ours", "limit", "peer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A queue in one configuration.

    Attributes:
        name: What it is called in options and tables.
        module: Its module in `benchmarks.compare.queues`.
        kind: Ours, a peer, or the least that could do.
        bulk: How many tasks are enqueued: by which call, or how without one.
        packages: What pip installs, its own package first; none: it runs in our environment.
        variant: Which configuration; a word that its module knows.
        slots: Tasks at once in a worker; None leaves it to the worker's default.
        sweep: Other numbers of slots that `--sweep` tries.
        slow_slots: Tasks at once while tasks take 50 ms.
        share: Part of the usual number of tasks that a drain gets, so that slow ones end in time.
        on: What is switched on; nobody stores, leases or beats for nothing.
        least_python: The oldest Python that its newest version takes.
        is_default: Whether it is compared when nobody asks for it.
    """

    name: str
    module: str
    bulk: str
    kind: Kind = "peer"
    packages: tuple[str, ...] = ()
    variant: str = "plain"
    slots: int | None = None
    sweep: tuple[int, ...] = ()
    slow_slots: int = 200
    share: float = 1.0
    on: tuple[str, ...]
    least_python: tuple[int, int] = (3, 11)
    is_default: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its packages, without extras and versions."""
        return tuple(re.split(r"[\[<>=!~ ]", package, maxsplit=1)[0].lower() for package in self.packages)


OURS = "taskqueue"
LIMIT = "bare"

_ENTRIES = (
    Entry(
        name=OURS,
        module="ours",
        bulk="enqueue_many() of 1,000 each",
        kind="ours",
        on=(
            *("at least once", "results 24 h", "leases 15 s", "heartbeats 5 s", "retries", "time-outs"),
            *("strict priorities", "limits"),
        ),
    ),
    Entry(
        name=LIMIT,
        module="bare",
        kind="limit",
        bulk="one script for 1,000 tasks",
        slots=100,
        on=("first in first out", "nothing else"),
    ),
    Entry(
        name="ardiq",
        module="ardiq",
        bulk="enqueue_many() of 1,000 each",
        packages=("ardiq", "uvloop"),
        least_python=(3, 12),
        slots=100,
        sweep=(10, 500),
        on=("at least once", "no results", "leases 60 s", "heartbeats", "retries"),
    ),
    Entry(
        name="dramatiq",
        module="dramatiq",
        bulk="no bulk call: a loop",
        packages=("dramatiq[redis]", "hiredis"),
        slots=32,
        sweep=(2, 8),
        share=0.2,
        on=("at least once", "no results", "heartbeats 60 s", "retries", "time limits"),
    ),
    Entry(
        name="taskiq",
        module="taskiq",
        bulk="no bulk call: 50 coroutines",
        packages=("taskiq[orjson]", "taskiq-redis", "hiredis", "uvloop"),
        slots=100,
        sweep=(10, 500),
        share=0.2,
        on=("at least once", "no results", "leases 10 min", "no heartbeats", "done tasks stay in the stream"),
    ),
    Entry(
        name="saq",
        module="saq",
        bulk="no bulk call: 50 coroutines",
        packages=("saq[redis,hiredis]", "typing_extensions", "uvloop"),
        slots=100,
        sweep=(10, 500),
        share=0.15,
        on=("at least once", "no results", "time-outs 10 s", "no heartbeats", "sweeps"),
    ),
    Entry(
        name="streaq",
        module="streaq",
        bulk="enqueue_many() of 1,000 each",
        packages=("streaq", "hiredis", "uvloop"),
        slots=10,
        sweep=(100, 500),
        share=0.1,
        on=("at least once", "no results", "leases 60 s", "heartbeats 54 s", "retries"),
    ),
    Entry(
        name="arq",
        module="arq",
        bulk="no bulk call: 50 coroutines",
        packages=("arq", "hiredis", "uvloop"),
        slots=100,
        sweep=(10, 500),
        share=0.1,
        on=("at least once", "no results", "leases 310 s", "no heartbeats", "retries", "polls every 10 ms"),
    ),
    Entry(
        name="bullmq",
        module="bullmq",
        bulk="addBulk() of 1,000 each",
        packages=("bullmq", "hiredis", "uvloop"),
        slots=10,
        sweep=(100, 500),
        share=0.15,
        on=("at least once", "no results", "leases 30 s", "heartbeats 15 s", "events"),
    ),
    Entry(
        name="huey",
        module="huey",
        bulk="no bulk call: a loop",
        packages=("huey", "redis", "hiredis"),
        slots=4,
        sweep=(1, 16),
        share=0.2,
        on=("at most once", "no results", "no leases", "no heartbeats"),
    ),
    Entry(
        name="celery",
        module="celery",
        bulk="no bulk call: a loop with one held producer",
        packages=("celery[redis]", "hiredis"),
        slots=8,
        sweep=(1,),
        share=0.06,
        on=("acknowledged before it runs", "no results", "leases 1 h", "no heartbeats"),
    ),
    Entry(
        name="rq",
        module="rq",
        bulk="enqueue_many() of 1,000 each",
        packages=("rq", "hiredis"),
        slots=1,
        slow_slots=0,
        share=0.03,
        on=("at least once", "results 500 s", "leases", "heartbeats", "time-outs"),
    ),
    Entry(
        name="pydocket",
        module="pydocket",
        bulk="add_many() of 1,000 each",
        packages=("pydocket", "hiredis", "uvloop"),
        slots=100,
        sweep=(10, 500),
        share=0.15,
        on=("at least once", "results 15 min", "leases 5 min", "heartbeats 75 s", "events"),
    ),
)


def _with_results(entry: Entry, kept: str) -> Entry:
    on = tuple(kept if each == "no results" else each for each in entry.on)
    return replace(entry, name=f"{entry.name}:results", variant="results", on=on, is_default=False)


_BY_NAME = {entry.name: entry for entry in _ENTRIES}
_RESULTS = (
    _with_results(_BY_NAME["ardiq"], "results 5 min"),
    _with_results(_BY_NAME["taskiq"], "results 1 h"),
    _with_results(_BY_NAME["saq"], "results 10 min"),
    _with_results(_BY_NAME["streaq"], "results 5 min"),
    _with_results(_BY_NAME["arq"], "results 1 h"),
    _with_results(_BY_NAME["bullmq"], "results for good"),
    _with_results(_BY_NAME["celery"], "results 24 h"),
)

_LIST = replace(
    _BY_NAME["taskiq"],
    name="taskiq:list",
    variant="list",
    on=("at most once", "no results", "no leases", "no heartbeats"),
    is_default=False,
)

ROSTER: Mapping[str, Entry] = _BY_NAME | {entry.name: entry for entry in (_LIST, *_RESULTS)}
"""Every queue by its name. Those with results are the ones that favour themselves by having none."""

BLOCKING = replace(
    _BY_NAME[OURS], module="ours_blocking", on=(*_BY_NAME[OURS].on, "handlers in threads", "blocking calls")
)
"""We, as code without an event loop uses us."""

FASTEST = ("ardiq", "dramatiq", "taskiq")
"""The peers that drained most in one worker when all were measured; `--quick` takes no others."""


class UnknownQueue(Exception):
    """A name that the roster does not have."""


def chosen(only: str | None, *, quick: bool, variants: bool, blocking: bool = False) -> list[Entry]:
    """Return what is compared: always we and the limit, then the peers.

    Args:
        only: Names of peers, with commas between them; None takes those that the other two say.
        quick: The fastest three.
        variants: Also their other configurations.
        blocking: We run with handlers in threads and blocking calls.

    Raises:
        UnknownQueue: If the roster does not have a name.
    """
    peers = [entry for entry in ROSTER.values() if entry.kind == "peer"]
    if only is not None:
        wanted = [name.strip() for name in only.split(",") if name.strip()]
        if unknown := [name for name in wanted if name not in ROSTER]:
            raise UnknownQueue(f"{', '.join(unknown)}: there are {', '.join(each.name for each in peers)}")
        peers = [entry for entry in peers if entry.name in wanted]
    else:
        modules = FASTEST if quick else [entry.module for entry in peers]
        peers = [entry for entry in peers if entry.module in modules and (variants or entry.is_default)]
    return [BLOCKING if blocking else ROSTER[OURS], ROSTER[LIMIT], *peers]
