"""The benchmarks run and say what they found. Whether that is fast, no test can know."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.bench import Bench
from benchmarks.marks import Marks
from benchmarks.probe import Probe
from benchmarks.questions import QUESTIONS
from benchmarks.results import Goal, Result, medians
from benchmarks.sizes import Sizes
from benchmarks.workers import WorkerDied, workers
from tests.servers import RealServer

ROOT = Path(__file__).resolve().parents[2]

TINY = Sizes(
    runs=1,
    floor=64,
    one=10,
    concurrent=100,
    bulk=1_100,
    drain=300,
    latency=3,
    memory=50,
    commands=60,
    churn=400,
    depths=(10, 50),
    lanes=(1, 9),
    lane_depth=20,
    backlog=600,
    slow=10,
    flight=20,
    flight_seconds=0.2,
    http=400,
    http_batches=2,
    waiting=10,
    idle_seconds=0.1,
)

CASES = {
    "floor": 2,
    "enqueue": 4,
    "drain": 2,
    "latency": 2,
    "memory": 2,
    "commands": 8,
    "depth": 2 * len(TINY.depths) + 2,
    "lanes": 2 * len(TINY.lanes),
    "dead": 6,
    "fair": 3,
    "slow": 1,
    "flight": 2,
    "partitions": 8,
    "http": 5,
    "waiting": 4,
    "idle": 5,
}
"""How many results each question gives."""


@pytest.fixture
def bench(server: RealServer, tmp_path: Path) -> Iterator[Bench]:
    """The smallest run there is, on a server where others have data too."""
    probe = Probe(server.url)
    yield Bench(url=server.url, probe=probe, folder=tmp_path, owns_server=False, sizes=TINY)
    probe.close()


def test_every_question_is_tried_here() -> None:
    """A question that is added is added above as well."""
    assert set(QUESTIONS) == set(CASES)


@pytest.mark.parametrize("name", CASES)
async def test_a_question_is_answered_and_leaves_nothing_behind(
    name: str, bench: Bench, client: redis.Redis
) -> None:
    """Real queues, real worker processes, a handful of tasks; other people's keys stay."""
    client.set("somebody-elses", "1")
    before = set(client.keys("*"))

    results = await QUESTIONS[name].measure(bench)

    assert len(results) == CASES[name]
    assert all(len(each.values) == TINY.runs for each in results)
    # What was idle for a tenth of a second may have asked for nothing, and used no time that can be measured.
    assert name in {"idle", "waiting", "flight"} or all(each.median > 0 for each in results)
    assert b"somebody-elses" in (left := set(client.keys("*")))
    assert left <= before
    client.delete("somebody-elses")


async def test_a_drain_is_measured_with_each_number_of_slots_that_was_asked_for(
    server: RealServer, bench: Bench
) -> None:
    """A sweep shows how many slots a worker needs; the goal belongs to the first number."""
    swept = Bench(
        url=server.url,
        probe=bench.probe,
        folder=bench.folder,
        owns_server=False,
        sizes=TINY,
        concurrency=[5, 50],
    )

    results = await QUESTIONS["drain"].measure(swept)

    assert [each.case for each in results] == [
        "1 worker process, 5 slots each",
        "2 worker processes, 5 slots each",
        "1 worker process, 50 slots each",
        "2 worker processes, 50 slots each",
    ]
    assert [each.goal is not None for each in results] == [True, False, False, False]


async def test_a_worker_that_cannot_start_ends_the_benchmark(server: RealServer, tmp_path: Path) -> None:
    """It says so at once; nobody waits for tasks that never start."""
    with Marks(tmp_path / "marks", 1) as marks, pytest.raises(WorkerDied, match="status 1"):
        async with workers(1, server.url, "no name for a queue", marks, concurrency=1):
            pass


def run_program(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a person does, in a wide terminal."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_report_says_what_was_measured_where_and_how() -> None:
    """The program starts a server of its own, and prints JSON that a later run can be compared with."""
    done = run_program("floor", "--quick", "--runs", "2", "--appendonly", "everysec", "--json", "-")

    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert set(report) == {
        *("format", "command", "date", "commit", "machine", "server", "software", "runs", "questions"),
    }
    assert report["command"] == "python -m benchmarks floor --quick --runs 2 --appendonly everysec --json -"
    assert report["server"]["append-only file"] == "everysec"
    assert report["software"]["python"].startswith("3.")
    (answer,) = report["questions"]["floor"]["results"][:1]
    assert set(answer) == {
        *("case", "unit", "median", "lowest", "highest", "values", "tasks", "also", "goal"),
    }
    assert len(answer["values"]) == 2
    assert answer["lowest"] <= answer["median"] <= answer["highest"]
    assert "What can this machine" in done.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["speed"], "speed"),
        (["floor", "--url", "memory://"], "unix://"),
        (["floor", "--runs", "0"], "--runs"),
        (["floor", "--appendonly", "never"], "everysec"),
    ],
)
def test_a_wrong_command_line_is_refused_with_what_would_be_right(words: list[str], hint: str) -> None:
    """Exit code 2, and nothing was measured."""
    done = run_program(*words)

    assert done.returncode == 2
    assert hint in done.stderr
    assert done.stdout == ""


def test_a_password_in_the_address_is_not_in_the_report(server: RealServer) -> None:
    """Reports are kept and passed on."""
    with RealServer(tcp=True, requirepass="open-sesame") as guarded:
        url = guarded.tcp_url.replace("redis://", "redis://:open-sesame@")
        done = run_program("floor", "--quick", "--runs", "1", "--url", url, "--json", "-")

    assert done.returncode == 0, done.stderr
    assert "open-sesame" not in done.stdout + done.stderr
    assert f"127.0.0.1:{guarded.port}" in json.loads(done.stdout)["command"]


def test_a_goal_is_met_from_its_limit_on() -> None:
    """In both directions."""
    least, most = Goal("at least", 10), Goal("at most", 10)

    assert [least.is_met_by(value) for value in (9, 10, 11)] == [False, True, True]
    assert [most.is_met_by(value) for value in (9, 10, 11)] == [True, True, False]


def test_a_result_is_the_run_in_the_middle() -> None:
    """One run that was disturbed does not move it; the range shows that there was one."""
    found = Result(case="a", unit="s", values=(3.0, 1.0, 99.0), tasks=1, goal=Goal("at most", 2)).as_json()

    assert (found["median"], found["lowest"], found["highest"]) == (3.0, 1.0, 99.0)
    assert found["goal"] == {"bound": "at most", "limit": 2, "is_met": False}


def test_what_was_measured_beside_it_is_the_middle_of_all_runs_too() -> None:
    """A command that one run did not need counts as none there."""
    assert medians([{"a": 1.0}, {"a": 3.0, "b": 8.0}, {"a": 2.0}]) == {"a": 2.0, "b": 0.0}
