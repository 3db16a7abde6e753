"""`python -m tests.mutation`: changes the Lua scripts, a little each time, and sees whether tests notice.

Mutants that survive are either explained in `survivors.toml`, or tests that are missing.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Annotated

import pytest
import typer

from taskqueue import scripts
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.reaching import marked_scripts
from tests.mutation.trying import Forks, Order, Ran, Trial, Verdict
from tests.servers import ONLY_SERVER

TESTS = ("tests/lua", "tests/faults", "tests/machines")

EXPLAINED = Path(__file__).with_name("survivors.toml")
_LONGEST_RUN = 1800.0  # seconds for all tests, once


def main(
    *,
    only: Annotated[str, typer.Option(help="Which scripts, such as _holding,reap; all by default.")] = "",
    sample: Annotated[int, typer.Option(min=0, help="So many mutants, chosen by chance; 0 is all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the sample, and of the order.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Mutants at once, each in a process of its own.")] = 2,
    tests: Annotated[str, typer.Option(help="What is run, files or folders with commas.")] = ",".join(TESTS),
    budget: Annotated[
        float, typer.Option(min=0, help="Seconds of tests for each mutant, the shortest first; 0 is all.")
    ] = 0,
    record: Annotated[
        Path | None, typer.Option(help="A file that verdicts are added to; mutants that it has are left out.")
    ] = None,
) -> None:
    """Try mutants of the Lua scripts; exit with 1 if one survives that is not explained.

    Those that are explained are not tried: most would run all tests in vain.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ |= {"CI": "true", ONLY_SERVER: "valkey"}
    run = _Run(_chosen(only, sample, Random(seed)), jobs, budget or math.inf, _Record(record))
    options = ["-q", "-s", "-n", "0", "-p", "no:cacheprovider", "-p", "no:randomly", "--no-summary"]
    pytest.main([*options, *tests.split(",")], plugins=[Forks(run)])
    if not run.is_sound:
        raise typer.Exit(2)
    raise typer.Exit(1 if run.report() else 0)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A mutant.

    Attributes:
        part: The script, or the part, that it is of.
        mutant: What is changed.
        twin: Which one it is, from 1, of those that change a line that looks the same in the same way.
    """

    part: str
    mutant: Mutant
    twin: int

    def __str__(self) -> str:
        number = f" #{self.twin}" if self.twin > 1 else ""
        return f"{self.part}: {self.mutant.kind}: {self.mutant.before} -> {self.mutant.after}{number}"


def all_of(part: str, source: str) -> Iterator[Chosen]:
    """Yield every mutant of a script or a part."""
    twins: Counter[tuple[str, str, str]] = Counter()
    for mutant in mutants_of(source):
        change = (mutant.kind, mutant.before, mutant.after)
        twins[change] += 1
        yield Chosen(part, mutant, twins[change])


def _chosen(only: str, sample: int, dice: Random) -> list[Chosen]:
    sources = dict(sorted(scripts._read_all().items()))
    names = only.split(",") if only else list(sources)
    if unknown := sorted(set(names) - set(sources)):
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(sources)}", param_hint="--only")
    every = [each for name in names for each in all_of(name, sources[name])]
    # In an order by chance: a run that is broken off has tried a fair sample.
    return dice.sample(every, sample if 0 < sample < len(every) else len(every))


class _Record:
    """Verdicts in a file, a line each, so that a run that was broken off can go on.

    Args:
        path: The file; None keeps none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        self.verdicts: dict[str, Verdict] = {
            each["mutant"]: each["verdict"] for each in map(json.loads, lines)
        }

    def add(self, each: Chosen, verdict: Verdict, test: str | None) -> None:
        self.verdicts[key_of(each)] = verdict
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"mutant": key_of(each), "verdict": verdict, "test": test}) + "\n")


def key_of(each: Chosen) -> str:
    """Return what tells a mutant from every other one, also from those of lines that are alike."""
    return f"{each} (line {each.mutant.line})"


@dataclass
class _Run:
    """Finds out what the tests reach, then tries one mutant after the other."""

    chosen: Sequence[Chosen]
    jobs: int
    budget: float
    record: _Record
    is_sound: bool = field(default=False, init=False)

    def __call__(self, forks: Forks) -> None:
        begun = time.monotonic()
        marked = marked_scripts(scripts._read_all())
        changed = {name: each.source for name, each in marked.items()}
        trials = [
            ("sound", Trial(forks.tests, {}, _LONGEST_RUN)),
            ("marked", Trial(forks.tests, changed, _LONGEST_RUN, is_marked=True)),
        ]
        runs: dict[str, Ran] = dict(forks.run_all(trials, self.jobs))
        sound = runs["sound"]
        if sound.failed or not sound.is_over:
            typer.echo(f"these tests fail without any change: {sound.failed or 'they took too long'}")
            return
        self.is_sound = True
        order = Order(sound.seconds, runs["marked"].reached, self.budget)
        known = explained()
        for each in self.chosen:
            if str(each) in known:
                self.record.verdicts.setdefault(key_of(each), "explained")
        open_ = [each for each in self.chosen if key_of(each) not in self.record.verdicts]
        typer.echo(f"{len(forks.tests)} tests, {len(open_)} mutants; {time.monotonic() - begun:.0f} s so far")

        def all_trials() -> Iterator[tuple[Chosen, Trial]]:
            for each in open_:
                found = order.of(each.part, marked[each.part].mark_of(each.mutant.line))
                if found:
                    yield each, Trial(found, {each.part: each.mutant.source}, order.patience(found))
                else:
                    self._judge(each, "unreached", None)

        for each, ran in forks.run_all(all_trials(), self.jobs):
            verdict: Verdict = "hung" if not ran.is_over else "killed" if ran.failed else "survived"
            if ran.failed:
                order.noticed(each.part, ran.failed)
            self._judge(each, verdict, ran.failed)

    def _judge(self, each: Chosen, verdict: Verdict, test: str | None) -> None:
        self.record.add(each, verdict, test)
        typer.echo(f"{verdict:9} {key_of(each)}")

    def report(self) -> list[Chosen]:
        """Say what came of it; return those that survived and are not explained."""
        found = self.record.verdicts
        # Not all of them, if the run was broken off.
        tried = [each for each in self.chosen if key_of(each) in found]
        verdicts = {key_of(each): found[key_of(each)] for each in tried}
        counts = Counter(verdicts.values())
        killed = counts["killed"] + counts["hung"]
        share = killed / len(verdicts) if verdicts else 1.0
        typer.echo(f"{killed} of {len(verdicts)} killed ({share:.1%}): {dict(counts)}")
        known = explained()
        lived = [each for each in tried if verdicts[key_of(each)] in ("survived", "unreached")]
        unexplained = [each for each in lived if str(each) not in known]
        for each in unexplained:
            typer.echo(f"unexplained: {key_of(each)}")
        return unexplained


def explained() -> dict[str, str]:
    """Return the reason of each mutant that no test can notice, by its name."""
    return tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))["survivors"] if EXPLAINED.exists() else {}


if __name__ == "__main__":
    typer.run(main)
