"""Plays a story again and again: each of its calls meets each fault once.

The story is played without a fault first. Then its first call meets each fault, then its second, until
a run has no call of that number any more: so the runs are found, not listed. After each of them

- every public call has answered what it answers without a fault, or refused as documented;
- the queue is key for key what it is without a fault, and the audit finds nothing;
- all work that is left is done, and the history keeps the promises (`promises.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import redis

from taskqueue.testing import FakeClock
from tests.audit import Dump, problems_of, wipe
from tests.faults.draining import drain
from tests.faults.faults import FAULTS, Fault, Sent
from tests.faults.injecting import Injector
from tests.faults.promises import broken_promises
from tests.faults.staging import Answer, Broken, GaveUp, Ledger, Stage, staged
from tests.lua.scene import Snapshot

Act = Callable[[Stage], Awaitable[object]]

_LONGEST_RUN = 10.0  # seconds; far more than any takes


@dataclass(frozen=True)
class Story:
    """A piece of a queue's life.

    Attributes:
        name: What happens.
        act: The calls that meet faults.
        scripts: What they run without a fault: a story that does less than it says proves nothing.
        arrange: What happened before, once.
        meddle: What is done to the server before each run.
        begins_damaged: Its calls mend something: until they are made, the audit has something to say.
        fresh: Each run has a queue object of its own, which has learned nothing in the runs before.
        options: Of the queue.
    """

    name: str
    act: Act
    scripts: tuple[str, ...]
    arrange: Act | None = None
    meddle: Callable[[Stage], object] | None = None
    begins_damaged: bool = False
    fresh: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


@dataclass
class Explored:
    """What all runs of a story found.

    Attributes:
        runs: How many there were.
        met: Names of the faults that some call met.
        calls: The calls of the run without a fault.
        problems: What is wrong, each with the call and the fault that it followed.
    """

    runs: int = 0
    met: set[str] = field(default_factory=set)
    calls: list[Sent] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Played:
    """What one run left.

    Attributes:
        state: The queue when all calls had answered.
        answers: What they answered.
        problems: What is wrong in itself.
        gave_up: A call had no patience left, as it was told: there is nothing to compare.
        ran_twice: The server ran a call, and its repeat.
    """

    state: dict[str, Any] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    gave_up: bool = False
    ran_twice: bool = False


Play = Callable[[int, Fault | None], Awaitable[Played]]


@dataclass(frozen=True)
class Start:
    """Where each run of a story begins."""

    snapshot: Snapshot
    ledger: Ledger
    instant: int


class Explorer:
    """Explores stories on one queue of one server.

    Args:
        url: Of the server.
        name: Of the queue.
        client: A blocking client of the server, for looking and meddling.
        injector: Installed.
    """

    def __init__(self, url: str, name: str, client: redis.Redis, injector: Injector) -> None:
        self.injector = injector
        self._url = url
        self.name = name
        self.client = client
        self._audited: dict[str, list[str]] = {}

    async def explore(
        self, story: Story, faults: Sequence[Fault] = FAULTS, *, times: int = 1, is_impatient: bool = False
    ) -> Explored:
        """Play a story with every fault at every call.

        Args:
            story: The story.
            faults: What may happen; the first can happen to any call.
            times: How many calls one after the other meet the fault, of those that can.
            is_impatient: The first fault is the last straw: the call gives up, and its fate is unknown;
                but the queue is sound, and the promises hold.
        """
        found = Explored()
        self.injector.times = times
        async with self._curtain(story, is_impatient=is_impatient) as play:
            reference = await play(0, None)
            found.calls = list(self.injector.calls)
            found.problems += [f"without a fault: {problem}" for problem in reference.problems]
            for number in count(1):
                met: Sent | None = None
                for fault in faults:
                    if met is not None and not fault.meets(met):
                        continue
                    run = await play(number, fault)
                    found.runs += 1
                    met = met or self.injector.met
                    if met is None:
                        # There is no such call any more: this run was not touched.
                        return found
                    found.met.add(fault.name)
                    problems = run.problems
                    if not is_impatient:
                        problems = [*problems, *differences(reference, run)]
                    found.problems += [f"{met} (call {number}), {fault}: {problem}" for problem in problems]
        raise AssertionError("no call was the last")

    @asynccontextmanager
    async def _curtain(self, story: Story, *, is_impatient: bool) -> AsyncIterator[Play]:
        """Arrange a story; yield what plays it once from there."""
        clock = FakeClock()
        async with AsyncExitStack() as stack:

            async def opened(stack: AsyncExitStack) -> Stage:
                self.injector.rest()
                staging = staged(self._url, self.name, clock, self.client, self.injector, **story.options)
                return await stack.enter_async_context(staging)

            wipe(self.client, self.name)
            first = await opened(stack)
            if story.arrange is not None:
                await story.arrange(first)
            start = Start(first.scene.snapshot(), first.ledger, clock())

            async def play(number: int, fault: Fault | None) -> Played:
                self.injector.rest()
                first.scene.restore(start.snapshot)
                clock._ms = start.instant
                async with AsyncExitStack() as own:
                    stage = await opened(own) if story.fresh else first
                    stage.begin(start.ledger, is_impatient=is_impatient)
                    if story.meddle is not None:
                        story.meddle(stage)
                    return await self._play(story, stage, number, fault)

            yield play

    async def _play(self, story: Story, stage: Stage, number: int, fault: Fault | None) -> Played:
        run = Played()
        self.injector.watch(number, fault)
        try:
            async with asyncio.timeout(_LONGEST_RUN):
                await story.act(stage)
        except GaveUp:
            run.gave_up = True
        except Broken:
            pass
        except Exception as problem:  # noqa: BLE001 - whatever a fault brings out is what we look for
            stage.problems.append(f"it raised {problem!r}")
        self.injector.rest()
        met = self.injector.met
        if fault is not None and fault.is_final and met is not None and met.script and not stage.was_refused:
            stage.problems.append("nobody was told")
        snapshot = stage.scene.snapshot()
        run.state = essence(snapshot, stage.scene.keys.prefix)
        run.answers, run.ran_twice = stage.answers, stage.was_run_twice
        run.problems = stage.problems + self._audit(snapshot, stage)
        if not run.problems:
            await drain(stage)
            snapshot = stage.scene.snapshot()
            run.problems = [f"in the end: {problem}" for problem in self._audit(snapshot, stage)]
            run.problems += broken_promises(dumped(snapshot, stage), stage.ledger, is_known=not run.gave_up)
            run.problems += stage.problems
        return run

    def _audit(self, snapshot: Snapshot, stage: Stage) -> list[str]:
        """Audit a state, unless it was audited before."""
        found = dumped(snapshot, stage)
        state = repr(sorted((name, _comparable(value)) for name, value in found.values.items()))
        state += repr(sorted(name for name, ttl in found.ttl.items() if ttl >= 0))
        if state not in self._audited:
            self._audited[state] = problems_of(found)
        return self._audited[state]


def dumped(snapshot: Snapshot, stage: Stage) -> Dump:
    """Return a snapshot as what the audit looks at."""
    prefix = stage.scene.keys.prefix
    found = Dump(prefix)
    for name, stored in snapshot.items():
        value = stored.value
        if isinstance(value, list):
            kind, items = value
            value = dict(zip(items[::2], map(float, items[1::2]), strict=True)) if kind == b"zset" else items
        found.put(name.decode().removeprefix(prefix), value, stored.expires)
    return found


def essence(snapshot: Snapshot, prefix: str) -> dict[str, Any]:
    """Return what two runs must have in common: every value, and whether its key expires.

    Left out: when a key expires, because that may be counted from the server's own clock; the random
    name of the data; how often the same message lies in an inbox, because a repeat may leave it again.
    """
    state = {}
    for name, stored in snapshot.items():
        key, value = name.decode().removeprefix(prefix), stored.value
        if key == "meta":
            value = {field: text for field, text in value.items() if field != b"dataset"}
        elif key.startswith("inbox:"):
            value = set(value[1])
        state[key] = (value, stored.expires > 0)
    return state


def differences(reference: Played, run: Played) -> list[str]:
    """Return in what a run differs from the one without a fault."""
    names = sorted(reference.state.keys() | run.state.keys())
    found = [
        f"{name} is {run.state.get(name)}, without a fault {reference.state.get(name)}"
        for name in names
        if run.state.get(name) != reference.state.get(name) and not _is_excused(reference, run, name)
    ]
    if len(run.answers) != len(reference.answers):
        found.append(f"{len(run.answers)} calls answered, without a fault {len(reference.answers)}")
    for at, (ours, theirs) in enumerate(zip(run.answers, reference.answers, strict=False), start=1):
        if not ours.is_excused and ours.value != theirs.value:
            found.append(f"answer {at} is {ours.value}, without a fault {theirs.value}")
    return found


def _is_excused(reference: Played, run: Played, name: str) -> bool:
    """Whether a key may be what it is after a fault.

    Messages may be left that nobody heard: they go in a minute. Requests that were refused may have been
    counted again: so fewer are let in.
    """
    ours, theirs = run.state.get(name, ({}, True))[0], reference.state.get(name, ({}, True))[0]
    if name.startswith("inbox:"):
        return set(theirs) <= set(ours)
    is_rate = name.startswith("rate:") and run.ran_twice
    return is_rate and all(int(ours.get(field, 0)) >= int(count) for field, count in theirs.items())


def _comparable(value: Any) -> Any:
    return (
        sorted(value.items())
        if isinstance(value, dict)
        else sorted(value)
        if isinstance(value, set)
        else value
    )
