"""Each test of a crash has a server of its own, which it may kill, and workers as processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.harness import Journal, WorkerProcess
from tests.servers import RealServer

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    """A server that writes to disk as often as the test says: `always`, or every second."""
    appendfsync = getattr(request, "param", "everysec")
    with RealServer(appendonly="yes", appendfsync=appendfsync) as running:
        yield running


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """What the handlers of all workers write, outside of the server."""
    return Journal(tmp_path / "journal")


@pytest.fixture
def start_worker(url: str, queue_name: str, journal: Journal, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers of the test's queue; those that still run at the end are killed."""
    started: list[WorkerProcess] = []
    numbers = itertools.count(1)

    def start(**options: object) -> WorkerProcess:
        words = [url, queue_name, str(journal.path)]
        for name, value in options.items():
            words += [f"--{name}", str(value)]
        started.append(WorkerProcess(words, tmp_path / f"worker-{next(numbers)}.log"))
        return started[-1]

    yield start
    for worker in started:
        worker.kill9()
