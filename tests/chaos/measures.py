"""What a run took, in seconds, read off its history."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.evidence import Evidence, gather
from tests.chaos.history import NEVER, History, Note

_NANO = 1e9


def waits_for_killed(history: History) -> list[float]:
    """Return, for each task that a killed worker had, how long after its death the task ran again.

    Tasks that never ran again (cancelled, or ended by a report that arrived) are left out: whether
    any is lost the checker says.
    """
    evidence = gather(history)
    return sorted(wait for note in history.noted("killed") for wait in _waits(evidence, note))


def _waits(evidence: Evidence, killed: Note) -> Iterator[float]:
    worker = killed.details["worker"]
    for task, claims in evidence.claimed.items():
        for claimed in claims:
            if claimed.worker != worker:
                continue
            reports = [each for each in evidence.reports.get(task, []) if each.token == claimed.token]
            if any(report.end < NEVER for report in reports):
                continue
            starts = [run.started_at for run in evidence.runs.get(task, []) if run.started_at > killed.at]
            if starts:
                yield (min(starts) - killed.at) / _NANO
