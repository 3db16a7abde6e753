"""The comparison with peers: what it makes of its numbers, and that we and the raw limit run in it.

Peers need a package index, so no test runs one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.compare import plots, rounds
from benchmarks.compare.environments import Environment, InstallFailed, environment_of, last_line
from benchmarks.compare.gate import Gate
from benchmarks.compare.metrics import METRICS, WORKLOADS, Values
from benchmarks.compare.processes import QueueFailed
from benchmarks.compare.ratios import Spread, best, compared, ratio, spread
from benchmarks.compare.roster import BLOCKING, FASTEST, LIMIT, OURS, ROSTER, Entry, UnknownQueue, chosen
from benchmarks.compare.rounds import Found
from benchmarks.compare.sizes import TINY
from benchmarks.compare.summary import summarised
from benchmarks.compare.tables import as_markdown
from benchmarks.compare.workloads import MEASURES, Subject, enqueue
from benchmarks.probe import Probe
from tests.servers import RealServer, wait_until

ROOT = Path(__file__).resolve().parents[2]
QUEUES = ROOT / "benchmarks" / "compare" / "queues"

MakeSubject = Callable[..., Subject]


@pytest.fixture(scope="module")
def own_url() -> Iterator[str]:
    """A server of our own: a comparison empties it."""
    with RealServer(tcp=True) as running:
        yield running.tcp_url


@pytest.fixture
def subject(own_url: str, tmp_path: Path) -> Iterator[MakeSubject]:
    """Makes a queue that can be measured."""
    probe = Probe(own_url)

    def make(name: str | Entry, python: str = sys.executable) -> Subject:
        entry = name if isinstance(name, Entry) else ROSTER[name]
        return Subject(entry=entry, python=python, url=own_url, probe=probe, folder=tmp_path, sizes=TINY)

    yield make
    probe.close()


# ------------------------------------------------------------------------------- ratios


def test_a_ratio_is_taken_within_each_round() -> None:
    """The machine was four times as slow in the second round, for both: we are twice as fast in each."""
    ours, theirs = [{"drain_1": 800.0}, {"drain_1": 200.0}], [{"drain_1": 400.0}, {"drain_1": 100.0}]

    assert ratio(ours, theirs, "drain_1") == Spread((2.0, 2.0))


def test_a_ratio_above_one_means_that_we_are_better() -> None:
    """More tasks a second are better; more milliseconds are not."""
    ours, theirs = [{"drain_1": 30.0, "latency_p50": 1.0}], [{"drain_1": 10.0, "latency_p50": 4.0}]

    assert ratio(ours, theirs, "drain_1") == Spread((3.0,))
    assert ratio(ours, theirs, "latency_p50") == Spread((4.0,))


def test_a_round_in_which_one_of_both_failed_has_no_ratio() -> None:
    """The others still count; without any there is no ratio."""
    ours: list[Values] = [{"slow": 1.0}, {}, {"slow": 2.0}]

    assert ratio(ours, [{"slow": 3.0}, {"slow": 1.0}, {"slow": 2.0}], "slow") == Spread((3.0, 1.0))
    assert ratio(ours, [{}, {"slow": 1.0}, {}], "slow") is None


def test_next_to_nothing_has_no_ratio() -> None:
    """Nobody is a thousand times as good because a byte was left instead of none."""
    assert ratio([{"bytes_completed": 700.0}], [{"bytes_completed": 0.3}], "bytes_completed") is None
    assert ratio([{"idle_commands": 0.0}], [{"idle_commands": 9.0}], "idle_commands") is None


def test_the_best_is_who_has_the_best_median() -> None:
    """One lucky round does not make the best; one queue lacks the number."""
    queues: dict[str, list[Values]] = {
        "lucky": [{"drain_1": 999.0}, {"drain_1": 1.0}, {"drain_1": 1.0}],
        "steady": [{"drain_1": 5.0}, {"drain_1": 5.0}, {"drain_1": 5.0}],
        "absent": [{}, {}, {}],
    }

    assert best(queues, "drain_1") == "steady"
    assert best({"absent": [{}]}, "drain_1") is None
    assert best({"a": [{"rss": 50.0}], "b": [{"rss": 40.0}]}, "rss") == "b"


def test_a_spread_has_the_middle_and_both_ends() -> None:
    """Every value is kept as well."""
    found = spread([{"rss": 3.0}, {"rss": 1.0}, {}, {"rss": 99.0}], "rss")

    assert found is not None
    assert found.as_json() == {"median": 3.0, "lowest": 1.0, "highest": 99.0, "values": [3.0, 1.0, 99.0]}


# ------------------------------------------------------------------------------- roster


@pytest.mark.parametrize("name", ROSTER)
def test_a_queue_says_how_it_is_run_and_what_is_on(name: str) -> None:
    """Its module has a docstring; its switches stand beside its numbers; it fits the other variant."""
    entry = ROSTER[name]
    text = (QUEUES / f"{entry.module}.py").read_text(encoding="utf-8")

    assert text.startswith('"""')
    assert len(entry.on) > 1
    assert entry.slots is not None or entry.kind == "ours"
    assert entry.packages or entry.kind != "peer"
    assert entry.variant == "plain" or f"`{entry.variant}`" in text


def test_we_and_the_limit_are_always_measured() -> None:
    """Without them there would be no ratio."""
    named = [each.name for each in chosen("saq:results, rq", quick=False, variants=False)]

    assert named == [OURS, LIMIT, "rq", "saq:results"]
    assert [each.name for each in chosen(None, quick=True, variants=False)] == [OURS, LIMIT, *FASTEST]


def test_all_peers_are_measured_unless_it_is_said_otherwise() -> None:
    """Their other configurations only when they are asked for."""
    usual = {each.name for each in chosen(None, quick=False, variants=False)}
    all_ = {each.name for each in chosen(None, quick=False, variants=True)}

    assert len(usual) >= 13
    assert all_ == set(ROSTER)
    assert all(":" in name for name in all_ - usual)


def test_an_unknown_peer_is_refused_with_those_that_there_are() -> None:
    """A typing error must not look like a peer that was measured."""
    with pytest.raises(UnknownQueue, match=r"ardik: there are ardiq, "):
        chosen("ardik,rq", quick=False, variants=False)


# ------------------------------------------------------------------------------- the document


def found_values(scale: float) -> dict[str, float]:
    """Return a value for every metric, greater than next to nothing."""
    return {key: scale * (at + 20) for at, key in enumerate(METRICS)}


@pytest.fixture
def report() -> dict[str, Any]:
    """A comparison with one peer, one that could not be installed, and one measurement that failed."""
    entries = [ROSTER[OURS], ROSTER[LIMIT], ROSTER["huey"]]
    found = Found(
        values={
            OURS: [found_values(2.0), found_values(3.0)],
            LIMIT: [found_values(8.0), found_values(6.0)],
            "huey": [found_values(1.0), {}],
        },
        limits=[{"zadd_one": 8000.0}, {"zadd_one": 9000.0}],
        failures={"huey": {"slow": "a worker ended with status 1: too many connections"}},
    )
    places = {each.name: Environment("python", {each.name: "1.2.3"}) for each in entries}
    head = {
        "command": "python -m benchmarks compare",
        "date": "2026-01-01",
        "commit": None,
        "machine": {"cores": 2},
        "server": {"kind": "valkey"},
        "runs": 2,
    }
    return head | summarised(found, entries, places, {"ardiq": "ERROR: No matching distribution"})


def test_the_document_has_our_ratios_to_the_best_peer_and_to_the_raw_limit(report: dict[str, Any]) -> None:
    """For every metric in which one can be better, and as JSON that can be kept."""
    assert set(report["ratios"]) == set(compared())
    drain = json.loads(json.dumps(report))["ratios"]["drain_1"]
    assert drain["best peer"] == "huey"
    assert drain["to best peer"]["values"] == [2.0]
    assert drain["to raw limit"]["values"] == [0.25, 0.5]
    assert report["queues"]["huey"]["versions"] == {"huey": "1.2.3"}


def test_what_is_switched_on_stands_beside_each_number(report: dict[str, Any]) -> None:
    """A number without results, leases and heartbeats is another number."""
    lines = as_markdown(report).splitlines()
    workloads = lines[lines.index("## Limits of single commands") : lines.index("## What a task costs")]

    for name in (OURS, "huey"):
        rows = [line for line in workloads if line.startswith((f"| {name} |", f"| **{name}** |"))]
        assert len(rows) == len(compared())
        assert all(", ".join(ROSTER[name].on) in row for row in rows)
    assert all(f"## {letter}: {asks}" in lines for letter, asks in WORKLOADS.items())


def test_what_could_not_be_measured_is_said(report: dict[str, Any]) -> None:
    """Nothing is left out silently."""
    text = as_markdown(report)

    assert "- ardiq could not be installed: ERROR: No matching distribution" in text
    assert "- huey, slow: a worker ended with status 1: too many connections" in text


def test_plots_are_files_of_both_kinds(report: dict[str, Any], tmp_path: Path) -> None:
    """One for each group of workloads, where the extra is installed."""
    pytest.importorskip("matplotlib")

    files = plots.draw(report, tmp_path)

    assert {path.name for path in files} == {
        f"{name}.{kind}" for name in plots.FIGURES for kind in ("png", "svg")
    }
    assert all(path.stat().st_size > 1_000 for path in files)


def test_without_the_extra_it_says_how_to_get_plots(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other files are there all the same."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(plots.NoMatplotlib, match=r"taskqueue-engine\[bench\]"):
        plots.draw(report, tmp_path)


# ------------------------------------------------------------------------------- environments


def peer(**options: Any) -> Entry:
    """Return a queue that nobody has heard of."""
    return Entry(name="peer", module="peer", bulk="-", on=("-",), **options)


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run finds it, though the index is gone; asked to renew it, pip's last line is the error."""
    wheel = tmp_path / "tinypeer-1.5-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        info = "tinypeer-1.5.dist-info"
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinypeer\nVersion: 1.5\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    entry = peer(packages=("tinypeer",))

    first = environment_of(entry, tmp_path / "envs")
    wheel.unlink()
    second = environment_of(entry, tmp_path / "envs")

    assert first == second
    assert first.versions["tinypeer"] == "1.5"
    assert first.python != sys.executable
    with pytest.raises(InstallFailed, match="No matching distribution found for tinypeer"):
        environment_of(entry, tmp_path / "envs", renew=True)


def test_a_peer_that_needs_a_newer_python_says_so(tmp_path: Path) -> None:
    """There is none that is new enough; nothing was made."""
    with pytest.raises(InstallFailed, match=r"needs Python 9\.14, .*--python"):
        environment_of(peer(packages=("x",), least_python=(9, 14)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_last_line_is_the_last_that_says_something() -> None:
    """What pip ends with tells most."""
    assert last_line("first\n  ERROR: no \n\n \n") == "ERROR: no"
    assert last_line("\n") == "it wrote nothing"


# ------------------------------------------------------------------------------- measuring


def test_a_worker_waits_at_the_gate_until_it_opens(tmp_path: Path) -> None:
    """It has said that it is there; once the gate is open nobody waits."""
    gate, passed = Gate(tmp_path / "gate", create=True), threading.Event()

    def work() -> None:
        Gate(gate.path).wait(1)
        passed.set()

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: gate.count == 1, "the worker is there")
    assert not passed.is_set()

    gate.open()
    thread.join(5)
    assert passed.is_set()


@pytest.mark.parametrize("name", [OURS, LIMIT, BLOCKING], ids=[OURS, LIMIT, "blocking"])
async def test_every_workload_runs(name: str | Entry, subject: MakeSubject) -> None:
    """We, with an event loop and without, and the least that could do: a handful of tasks, every number."""
    values: dict[str, float] = {}
    for measure in MEASURES.values():
        values.update(await measure(subject(name)))

    # Where calls block there is one caller.
    assert set(values) == set(METRICS) - ({"enqueue_callers"} if name is BLOCKING else set())
    may_be_none = ("idle_commands", "idle_cpu", "worker_cpu", "bytes_completed", "bytes_lasting")
    assert [key for key, value in values.items() if value <= 0 and key not in may_be_none] == []


async def test_a_queue_that_cannot_run_says_what_it_wrote(subject: MakeSubject) -> None:
    """Its library is not installed here: the end of the traceback is the reason."""
    with pytest.raises(QueueFailed, match="No module named 'ardiq'"):
        await enqueue(subject("ardiq"))


async def test_queues_take_turns_within_a_round(subject: MakeSubject) -> None:
    """Another one begins in each; one that fails is said, and not tried again; the others go on."""
    order, said = list[str](), list[str]()

    async def measure(subject: Subject) -> Values:
        order.append(subject.entry.name)
        if subject.entry.name == "rq":
            raise QueueFailed("it fell over")
        return {"rss": 1.0}

    queues = [subject(name) for name in (OURS, LIMIT, "rq")]
    found = await rounds.run(queues, {"one": measure}, 2, said.append)

    assert order == [OURS, LIMIT, "rq", LIMIT, OURS]
    assert found.failures == {"rq": {"one": "it fell over"}}
    assert found.values == {OURS: [{"rss": 1.0}] * 2, LIMIT: [{"rss": 1.0}] * 2, "rq": [{}, {}]}
    assert len(found.limits) == 2
    assert all(value > 0 for each in found.limits for value in each.values())
    assert "rq: one: it fell over" in said


def test_what_lasts_is_what_has_no_expiry(own_url: str) -> None:
    """Keys that would go by themselves are taken away before the memory is read."""
    probe = Probe(own_url)
    probe.empty()
    with redis.Redis.from_url(own_url) as client:
        client.set("stays", "1")
        client.set("goes", "1", ex=1_000)

        probe.drop_expiring()

        assert client.keys("*") == [b"stays"]
    probe.empty()
    probe.close()


# ------------------------------------------------------------------------------- the programs


def run_program(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the program as a person does, in a wide terminal."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_ratios_are_printed_and_kept(tmp_path: Path) -> None:
    """Us and the raw limits alone, with all that is needed to compare it with another day's file."""
    path = tmp_path / "ratios.json"

    done = run_program("ratios", "--tiny", "--json", str(path))

    assert done.returncode == 0, done.stderr
    assert "drain, 1 worker process" in done.stdout
    assert "best peer" not in done.stdout
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert set(kept["queues"]) == {OURS, LIMIT}
    assert kept["limits"].keys() == {"zadd_one", "evalsha_one", "evalsha_many"}
    assert kept["ratios"]["drain_1"]["to raw limit"]["median"] > 0
    assert kept["ratios"]["drain_1"]["best peer"] is None
    assert kept["command"] == f"python -m benchmarks ratios --tiny --json {path}"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["compare", "--only", "ardik"], "there are ardiq"),
        (["compare", "--runs", "0"], "--runs"),
        (["ratios", "--quick"], "No such option"),
    ],
)
def test_a_wrong_command_line_is_refused(words: list[str], hint: str) -> None:
    """Exit code 2, and nothing was measured."""
    done = run_program(*words)

    assert done.returncode == 2
    assert hint in done.stderr
    assert done.stdout == ""
