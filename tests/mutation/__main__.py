"""`python -m tests.mutation`: changes the Lua scripts, a little each time, and sees whether tests notice.

Mutants that survive are either explained in `survivors.toml`, or tests that are missing.
"""

from __future__ import annotations

import signal
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Annotated, TypeAlias

import typer

from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.trying import Copy, Order, Verdict

TESTS = ("tests/lua", "tests/machines", "tests/faults")
"""In the order of how soon they notice."""

EXPLAINED = Path(__file__).with_name("survivors.toml")

Chosen: TypeAlias = tuple[str, Mutant]


def main(
    *,
    only: Annotated[str, typer.Option(help="Which scripts, such as _holding,reap; all by default.")] = "",
    sample: Annotated[int, typer.Option(min=0, help="So many mutants, chosen by chance; 0 is all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Mutants at once, each in a copy of the project.")] = 2,
    tests: Annotated[str, typer.Option(help="What is run, files or folders with commas.")] = ",".join(TESTS),
    patience: Annotated[float, typer.Option(min=1, help="Seconds until tests count as hung.")] = 300.0,
) -> None:
    """Try mutants of the Lua scripts; exit with 1 if one survives that is not explained."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tq-mutants-") as folder:
        copies: SimpleQueue[Copy] = SimpleQueue()
        order = Order(tests.split(","))
        made = [Copy(_folder(folder, number), order, patience) for number in range(jobs)]
        if not made[0].is_sound():
            raise typer.BadParameter("these tests fail without any change", param_hint="--tests")
        for copy in made:
            copies.put(copy)
        chosen = _chosen(made[0], only, sample, Random(seed))
        typer.echo(f"{len(chosen)} mutants")

        def judged(each: Chosen) -> Verdict:
            copy = copies.get()
            try:
                return copy.try_mutant(*each)
            finally:
                copies.put(copy)

        survivors, counts = _judge(chosen, judged, jobs)
    killed = counts["killed"] + counts["hung"]
    share = killed / len(chosen) if chosen else 1.0
    typer.echo(
        f"{killed} of {len(chosen)} killed ({share:.1%}) in {time.monotonic() - begun:.0f} s: {dict(counts)}"
    )
    known = _explained()
    unexplained = [each for each in survivors if _name(*each) not in known]
    for part, mutant in unexplained:
        typer.echo(f"unexplained: {_name(part, mutant)}")
    raise typer.Exit(1 if unexplained else 0)


def _folder(parent: str, number: int) -> Path:
    folder = Path(parent) / str(number)
    folder.mkdir()
    return folder


def _chosen(copy: Copy, only: str, sample: int, dice: Random) -> list[Chosen]:
    names = only.split(",") if only else [file.stem for file in copy.scripts()]
    sources = {file.stem: file.read_text(encoding="utf-8") for file in copy.scripts()}
    if unknown := sorted(set(names) - set(sources)):
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(sources)}", param_hint="--only")
    every = [(name, mutant) for name in names for mutant in mutants_of(sources[name])]
    return sorted(dice.sample(every, sample), key=every.index) if 0 < sample < len(every) else every


def _judge(
    chosen: Sequence[Chosen], judged: Callable[[Chosen], Verdict], jobs: int
) -> tuple[list[Chosen], Counter[str]]:
    survivors: list[Chosen] = []
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(jobs) as threads:
        for each, verdict in zip(chosen, threads.map(judged, chosen), strict=True):
            counts[verdict] += 1
            if verdict == "survived":
                survivors.append(each)
            typer.echo(f"{verdict:9} {_name(*each)}")
    return survivors, counts


def _name(part: str, mutant: Mutant) -> str:
    return f"{part}: {mutant.kind}: {mutant.before} -> {mutant.after}"


def _explained() -> dict[str, str]:
    """Return the reason of each mutant that no test can notice, by its name."""
    return tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))["survivors"] if EXPLAINED.exists() else {}


if __name__ == "__main__":
    typer.run(main)
