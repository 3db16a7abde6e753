"""Runs tests in forked children of a pytest that has collected them, each with other scripts.

A child has all modules loaded, so a mutant costs the tests that it takes to notice it and the start of a
server. Scripts are changed in the child's memory only.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import pytest

from taskqueue import ranking, scripts
from tests.mutation.reaching import Logs, Place, places_in

Verdict = Literal["killed", "survived", "hung", "unreached", "explained"]

_POLICY = "_rank_"
_LEAST_PATIENCE, _TIMES_AS_LONG = 30.0, 5.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What a child found out.

    Attributes:
        failed: The test that failed first; None if none did.
        seconds: How long each test took.
        reached: The marked lines that each reached, where that was asked for.
        is_over: False if the child was killed because it took too long.
    """

    failed: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    reached: Mapping[str, set[Place]] = field(default_factory=dict)
    is_over: bool = True


@dataclass(frozen=True, slots=True)
class Trial:
    """One child: which tests it runs, with which scripts.

    Attributes:
        tests: Their ids, in this order; it ends with the first that fails.
        changed: Texts of scripts that are other ones, by name.
        patience: Seconds until it counts as hung.
        is_marked: Whether to note what is reached, and to go on after failures.
    """

    tests: Sequence[str]
    changed: Mapping[str, str]
    patience: float
    is_marked: bool = False


class Forks:
    """A pytest plugin that hands the collected tests to somebody, in place of running them.

    Args:
        work: Called once with this object.
    """

    def __init__(self, work: Callable[[Forks], None]) -> None:
        self._work = work
        self._items: dict[str, pytest.Item] = {}
        self._failed: str | None = None

    @property
    def tests(self) -> list[str]:
        """Ids of all tests."""
        return list(self._items)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Called by pytest when everything is collected."""
        self._items = {item.nodeid: item for item in session.items}
        gc.freeze()
        self._work(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for each phase of a test."""
        if report.failed:
            self._failed = self._failed or report.nodeid

    def run_all(self, trials: Iterable[tuple[Any, Trial]], jobs: int) -> Iterator[tuple[Any, Ran]]:
        """Run trials, so many at once, and yield what came of each as they end, with the name it was given.

        The next trial is asked for when its turn has come.
        """
        waiting = iter(trials)
        children: dict[int, tuple[Any, _Child]] = {}
        try:
            while True:
                while len(children) < jobs and (one := next(waiting, None)) is not None:
                    name, trial = one
                    child = _Child(self, trial)
                    children[child.pipe] = (name, child)
                if not children:
                    return
                left = min(child.deadline for _, child in children.values()) - time.monotonic()
                ready, _, _ = select.select(list(children), [], [], max(left, 0.0))
                for pipe in ready or [min(children, key=lambda pipe: children[pipe][1].deadline)]:
                    name, child = children[pipe]
                    if child.read(is_late=not ready):
                        del children[pipe]
                        yield name, child.end()
        finally:
            for _, child in children.values():
                child.end()

    def run(self, trial: Trial, folder: Path) -> dict[str, Any]:
        """Run one trial in this process, which is a child."""
        sources = {**scripts._read_all(), **trial.changed}
        scripts._read_all = lambda: sources  # type: ignore[assignment]
        ranking._shipped_source = lambda name: sources[_POLICY + name]  # type: ignore[assignment]
        logs, seconds, reached = Logs(folder), {}, {}
        items = [self._items[test] for test in trial.tests]
        for item, following in zip(items, [*items[1:], None], strict=True):
            begun = time.monotonic()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            seconds[item.nodeid] = time.monotonic() - begun
            if trial.is_marked:
                reached[item.nodeid] = sorted(places_in(logs.more()))
            elif self._failed:
                break
        return {"failed": self._failed, "seconds": seconds, "reached": reached}


class _Child:
    """A forked process, the servers that it starts, and their folder: all of it goes with `end`."""

    def __init__(self, forks: Forks, trial: Trial) -> None:
        self.deadline = time.monotonic() + trial.patience
        self._folder = Path(tempfile.mkdtemp(prefix="tq-mutant-"))
        self._told = b""
        self._is_late = False
        self.pipe, told = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            self._be(forks, trial, told)
        os.close(told)

    def _be(self, forks: Forks, trial: Trial, told: int) -> None:
        status = 1
        try:
            os.setsid()
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nowhere, stream)
            tempfile.tempdir = str(self._folder)
            found = json.dumps(forks.run(trial, self._folder)).encode()
            while found:
                found = found[os.write(told, found) :]
            status = 0
        finally:
            os._exit(status)

    def read(self, *, is_late: bool) -> bool:
        """Read what it tells; return whether that was all, or it is given up."""
        if is_late:
            self._is_late = time.monotonic() >= self.deadline
            return self._is_late
        piece = os.read(self.pipe, 1 << 16)
        self._told += piece
        return not piece

    def end(self) -> Ran:
        """Kill whatever is left, and return what it told."""
        os.close(self.pipe)
        # By itself as well: it may not have come to make its group.
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._is_late:
            return Ran(is_over=False)
        if not self._told:
            # Not even pytest could go on: a fixture of the whole session, for instance.
            return Ran(failed="(nothing was told)")
        found = json.loads(self._told)
        reached = {test: {(name, line) for name, line in places} for test, places in found["reached"].items()}
        return Ran(found["failed"], found["seconds"], reached)


class Order:
    """Which tests may notice a mutant, and in which order they are run.

    Args:
        seconds: How long each test takes.
        reached: What each reaches.
        budget: Seconds of tests for each mutant.
    """

    def __init__(
        self, seconds: Mapping[str, float], reached: Mapping[str, set[Place]], budget: float
    ) -> None:
        self._seconds = seconds
        self._budget = budget
        # Tests that reach no line may look at the text.
        of_texts = {test for test in seconds if not reached.get(test)}
        self._reaching: defaultdict[Place, set[str]] = defaultdict(lambda: set(of_texts))
        for test, places in reached.items():
            for place in places:
                self._reaching[place].add(test)
        self._killed: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def of(self, part: str, line: int | None) -> list[str]:
        """Return the tests that reach a marked line, which may be none; all, if the mark is not known."""
        if line is not None and (part, line) not in self._reaching:
            return []
        tests = self._seconds if line is None else self._reaching[part, line]
        killed = self._killed[part]
        found = sorted(tests, key=lambda test: (-killed[test], self._seconds[test], test))
        spent = accumulate(self._seconds[test] for test in found)
        return [test for test, until in zip(found, spent, strict=True) if until <= self._budget]

    def patience(self, tests: Sequence[str]) -> float:
        """Return after how many seconds they count as hung."""
        return _LEAST_PATIENCE + _TIMES_AS_LONG * sum(self._seconds[test] for test in tests)

    def noticed(self, part: str, test: str) -> None:
        """Remember which test failed: it comes first for the next mutant of the part."""
        self._killed[part][test] += 1
