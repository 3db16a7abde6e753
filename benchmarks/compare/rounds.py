"""Runs the rounds: in each, every measurement goes from queue to queue, so that slow phases hit all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.compare import limits
from benchmarks.compare.processes import QueueFailed
from benchmarks.compare.workloads import Measure, Subject, drain_one

Say = Callable[[str], None]


@dataclass(slots=True)
class Found:
    """What has been measured so far.

    Attributes:
        values: Of each queue one mapping a round, by metric.
        limits: One mapping a round, by limit.
        failures: What went wrong, by queue and measurement.
        swept: Tasks a second that a queue drained, by its number of slots.
    """

    values: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    limits: list[dict[str, float]] = field(default_factory=list)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    swept: dict[str, dict[int, float]] = field(default_factory=dict)


async def run(subjects: Sequence[Subject], measures: Mapping[str, Measure], runs: int, say: Say) -> Found:
    """Measure everything so many times. What fails for a queue is said, and not tried in later rounds."""
    found = Found(values={each.entry.name: [] for each in subjects})
    first = subjects[0]
    for number in range(runs):
        found.limits.append(await limits.measure(first.url, first.sizes.floor))
        for rounds in found.values.values():
            rounds.append({})
        # Another queue begins in each round, so that none always comes after the same one.
        turn = number % len(subjects)
        for name, measure in measures.items():
            say(f"round {number + 1} of {runs}: {name}")
            for subject in (*subjects[turn:], *subjects[:turn]):
                if name in found.failures.get(subject.entry.name, {}):
                    continue
                values = await _tried(subject, name, measure, found, say)
                found.values[subject.entry.name][-1].update(values)
    return found


async def _tried(
    subject: Subject, name: str, measure: Measure, found: Found, say: Say
) -> Mapping[str, float]:
    # What the one before left behind is not this one's to clean up.
    gc.collect()
    try:
        return await measure(subject)
    except QueueFailed as error:
        found.failures.setdefault(subject.entry.name, {})[name] = str(error)
        say(f"{subject.entry.name}: {name}: {error}")
        return {}


async def sweep(subject: Subject, found: dict[str, dict[int, float]], say: Say) -> Subject:
    """Drain with several numbers of slots, and return the queue with the one that was fastest.

    Args:
        subject: The queue; one without a choice is returned as it is.
        found: Gets the rates.
        say: Is told what goes on.
    """
    entry = subject.entry
    if not entry.sweep or entry.slots is None:
        return subject
    rates = found.setdefault(entry.name, {})
    for slots in (entry.slots, *entry.sweep):
        tried = replace(subject, entry=replace(entry, slots=slots, share=entry.share / 2))
        try:
            rates[slots] = (await drain_one(tried))["drain_1"]
        except QueueFailed as error:
            say(f"{entry.name}: {slots} slots: {error}")
    if not rates:
        return subject
    best = max(rates, key=lambda slots: rates[slots])
    say(f"{entry.name}: {best} slots are fastest")
    return replace(subject, entry=replace(entry, slots=best))
