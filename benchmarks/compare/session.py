"""What a comparison needs before it can begin: a server, environments, and one subject for each queue."""

from __future__ import annotations

import logging
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import report as reports
from benchmarks.compare.environments import Environment, InstallFailed, environment_of
from benchmarks.compare.roster import Entry
from benchmarks.compare.rounds import Found, Say
from benchmarks.compare.sizes import Sizes
from benchmarks.compare.summary import summarised
from benchmarks.compare.workloads import Subject
from benchmarks.own_server import Server, own_server
from benchmarks.probe import Probe


@dataclass(slots=True)
class Prepared:
    """Environments of the queues that can take part, and why the others cannot."""

    environments: dict[str, Environment] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def prepare(entries: Sequence[Entry], folder: Path, *, base: str, renew: bool, say: Say) -> Prepared:
    """Make what environments are missing, one after the other.

    Args:
        entries: The queues.
        folder: Where environments are kept.
        base: The Python that they are made of.
        renew: Install the newest versions, whatever is there.
        say: Is told of each.
    """
    prepared, renewed = Prepared(), set[str]()
    for entry in entries:
        if entry.packages:
            say(f"environment of {entry.name}")
        try:
            # Two configurations of a queue share one environment.
            fresh = renew and entry.module not in renewed
            prepared.environments[entry.name] = environment_of(entry, folder, base=base, renew=fresh)
            renewed.add(entry.module)
        except InstallFailed as error:
            prepared.missing[entry.name] = str(error)
            say(f"{entry.name} could not be installed: {error}")
    return prepared


@dataclass(frozen=True, slots=True)
class Session:
    """A running server, and what is measured on it."""

    subjects: list[Subject]
    facts: dict[str, str]

    def report(self, found: Found, prepared: Prepared, runs: int) -> dict[str, Any]:
        """Return the document of what was found."""
        # As they were measured: a sweep may have changed their slots.
        entries = [subject.entry for subject in self.subjects]
        command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
        head = reports.head(command, self.facts, runs=runs)
        return head | summarised(found, entries, prepared.environments, prepared.missing)


@contextmanager
def opened(entries: Sequence[Entry], prepared: Prepared, sizes: Sizes, server: Server) -> Iterator[Session]:
    """Start a server on the loopback, and yield what is measured on it; nothing is left behind."""
    for name in ("taskqueue", "scheduler"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory(prefix="tq-bench-") as folder,
        own_server(server, "no", "tcp") as url,
    ):
        probe = Probe(url)
        try:
            subjects = [
                Subject(
                    entry=entry,
                    python=prepared.environments[entry.name].python,
                    url=url,
                    probe=probe,
                    folder=Path(folder),
                    sizes=sizes,
                )
                for entry in entries
                if entry.name in prepared.environments
            ]
            yield Session(subjects, probe.facts() | {"reached by": "tcp on the loopback"})
        finally:
            probe.close()
