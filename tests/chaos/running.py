"""Runs one fault: warm-up, the fault again and again, drain, audit, checker; and what came of it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.chaos.checker import Verdict, check
from tests.chaos.evidence import EVERYONE
from tests.chaos.faults import Fault
from tests.chaos.history import read_history
from tests.chaos.laboratory import Laboratory, Setup
from tests.chaos.measures import waits_for_killed
from tests.chaos.processes import LaboratoryError

_SHOWN = 20
_BEFORE = 2.0  # seconds before a failover was noticed whose writes may not have reached the new master


@dataclass(slots=True)
class Outcome:
    """What came of one fault.

    Attributes:
        fault: Its name.
        title: What was done.
        seed: With which it can be done again.
        lease: Of the workers, in seconds.
        seconds: How long it was done, without warm-up and drain.
        times: How often.
        unasked: Failovers that came by themselves, because the machine stood still.
        servers: What they were.
        skipped: Why nothing was done; "" if something was.
        failed: What the laboratory could not do, or what it waited for in vain; "" if nothing.
        verdict: Of the checker.
        audit: What is wrong with the keys of the queue.
        back: For each time, how long it took until every worker was at work again, in seconds.
        again: For each task of a killed worker, how long it took until it ran again, in seconds.
        folder: Where the history is.
    """

    fault: str
    title: str
    seed: int
    lease: float = 0.0
    seconds: float = 0.0
    times: int = 0
    unasked: int = 0
    servers: str = ""
    skipped: str = ""
    failed: str = ""
    verdict: Verdict | None = None
    audit: list[str] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    folder: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether every promise was kept."""
        has_broken = self.verdict is not None and bool(self.verdict.violations)
        return not (has_broken or self.failed or self.audit)

    @property
    def broken(self) -> Counter[str]:
        """How often each rule was broken."""
        return Counter(each.rule for each in self.verdict.violations) if self.verdict else Counter()


async def run_fault(fault: Fault, setup: Setup, minutes: float, tell: Callable[[str], None]) -> Outcome:
    """Do a fault for so many minutes, at least once, and judge what came of it."""
    setup = fault.adapt(setup)
    outcome = Outcome(fault.name, fault.title, setup.seed, setup.lease, skipped=fault.misses())
    if outcome.skipped:
        return outcome
    folder = Path(tempfile.mkdtemp(prefix=f"tq-chaos-{fault.name}-"))
    outcome.folder = str(folder)
    laboratory = Laboratory(fault.place(Random(setup.seed)), setup, folder)
    try:
        await laboratory.start()
        outcome.servers = laboratory.place.versions()
        watch = _Watch(laboratory)
        await _do(fault, watch, outcome, minutes, tell)
        await laboratory.stop_producers()
        await fault.finish(laboratory, laboratory.dice)
        final = await laboratory.drained()
        outcome.unasked += watch.look()
        outcome.audit = laboratory.audited()
        history = read_history(folder)
        outcome.verdict = check(history, final)
        outcome.again = waits_for_killed(history)
    except LaboratoryError as error:
        outcome.failed = str(error)
    finally:
        outcome.back = laboratory.back
        await laboratory.close()
    return outcome


async def _do(
    fault: Fault, watch: _Watch, outcome: Outcome, minutes: float, tell: Callable[[str], None]
) -> None:
    laboratory = watch.laboratory
    begin, dice = time.monotonic(), laboratory.dice
    while not outcome.times or time.monotonic() < begin + minutes * 60:
        await asyncio.sleep(dice.uniform(0.2, 1.0))
        outcome.unasked += watch.look()
        await fault.inject(laboratory, dice)
        watch.begin()
        await laboratory.healed()
        outcome.times += 1
        tell(f"{fault.name} {outcome.times}: back at work after {laboratory.back[-1]:.2f} s")
    outcome.seconds = time.monotonic() - begin


class _Watch:
    """Notices failovers between faults: Sentinels of a machine that stands still replace a master unasked."""

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory
        self.begin()

    def begin(self) -> None:
        """Take what has happened so far for what was done."""
        self._since, self._failovers = time.monotonic(), self.laboratory.place.failovers()

    def look(self) -> bool:
        """Write down that there was one since it began; return whether there was."""
        has_changed = self.laboratory.place.failovers() != self._failovers
        if has_changed:
            begin = self._since - _BEFORE
            self.laboratory.fault(
                "unasked failover", begin, repeats=[EVERYONE], loses=True, rewinds=True, disorders=True
            )
            self.begin()
        return has_changed


def complaints(outcome: Outcome) -> list[str]:
    """Return what is wrong, a line each, the first ones of each kind."""
    found = [outcome.failed] if outcome.failed else []
    found += [f"audit: {each}" for each in outcome.audit[:_SHOWN]]
    if outcome.verdict is not None:
        for rule in outcome.broken:
            few = outcome.verdict.of(rule)[:_SHOWN]
            found += [f"{each.rule}: {each.task} {each.text}" for each in few]
    return found


def forget(outcome: Outcome) -> None:
    """Remove the history of a run that was sound."""
    folder = Path(outcome.folder)
    with suppress(OSError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
