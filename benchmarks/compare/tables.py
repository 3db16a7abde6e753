"""Writes a comparison as Markdown, for people, from its JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.compare.roster import LIMIT, OURS
from benchmarks.report import number

_NONE = "-"
_TEXTS = frozenset({"", "queue", "best peer", "switched on", "in bulk", "versions"})
"""Columns of words; the others have numbers, which stand to the right."""


def as_markdown(report: Mapping[str, Any]) -> str:
    """Return the whole comparison: ratios first, then each number with what was switched on."""
    parts = [
        "# Comparison",
        *_head(report),
        "## Ratios",
        "Times as good as the other in the same round: above 1 we are better. Median and range.",
        ratios_table(report),
        "## Limits of single commands",
        _table(
            ("", "calls/s"),
            [(each["title"], _spread(each)) for each in report["limits"].values()],
        ),
        *_workloads(report),
        "## What a task costs",
        "Medians, in microseconds of CPU and in commands of the server, those inside of scripts included.",
        _costs(report),
        "## How each was run",
        _setups(report),
        *_problems(report),
    ]
    return "\n\n".join(parts) + "\n"


def ratios_table(report: Mapping[str, Any]) -> str:
    """Return our ratios to the best peer and to the raw limit, one metric a line."""
    return _table(
        ("", "ours", "best peer", "its value", "ours to it", "raw limit", "ours to it"),
        list(ratio_rows(report)),
    )


def ratio_rows(report: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    """Yield metric, our value, the best peer, its value, our ratio to it, the limit's value, our ratio."""
    for key, each in report["ratios"].items():
        peer = each["best peer"]
        yield (
            _title(report, key),
            _value(report, OURS, key),
            peer or _NONE,
            _NONE if peer is None else _value(report, peer, key),
            _spread(each["to best peer"]),
            _value(report, LIMIT, key),
            _spread(each["to raw limit"]),
        )


def _head(report: Mapping[str, Any]) -> Iterable[str]:
    facts = {
        part: ", ".join(f"{name} {value}" for name, value in report[part].items())
        for part in ("machine", "server")
    }
    commit = report["commit"] or "outside of a repository"
    yield f"`{report['command']}`, {report['date']}, commit {commit}: medians of {report['runs']} rounds."
    yield f"Machine: {facts['machine']}. Server: {facts['server']}."
    yield (
        f"`{LIMIT}` is not a queue but the raw limit: the least that a durable one in Python could do. "
        "Everything else is as `benchmarks/README.md` says."
    )


def _workloads(report: Mapping[str, Any]) -> Iterable[str]:
    for letter, asks in report["workloads"].items():
        yield f"## {letter}: {asks}"
        for key, metric in report["metrics"].items():
            if metric["workload"] == letter and (rows := list(_rows(report, key))):
                yield f"**{_title(report, key)}**"
                yield _table(("queue", "median", "lowest to highest", "ours to it", "switched on"), rows)


def _rows(report: Mapping[str, Any], key: str) -> Iterable[tuple[str, ...]]:
    """Yield what each queue gave, the best first."""
    queues = {name: queue for name, queue in report["queues"].items() if key in queue["values"]}
    higher = report["metrics"][key]["better"] == "higher"
    for name in sorted(queues, key=lambda name: queues[name]["values"][key]["median"], reverse=higher):
        queue = queues[name]
        value = queue["values"][key]
        on = [*queue["on"], *([queue["bulk"]] if key == "enqueue_bulk" else [])]
        yield (
            f"**{name}**" if name == OURS else name,
            number(value["median"]),
            f"{number(value['lowest'])} to {number(value['highest'])}",
            _spread(queue["ours to it"].get(key)),
            ", ".join(on),
        )


def _costs(report: Mapping[str, Any]) -> str:
    keys = [key for key, metric in report["metrics"].items() if metric["workload"] is None]
    rows = [
        (name, *(number(queue["values"][key]["median"]) if key in queue["values"] else _NONE for key in keys))
        for name, queue in report["queues"].items()
    ]
    return _table(("queue", *(_title(report, key) for key in keys)), rows)


def _setups(report: Mapping[str, Any]) -> str:
    rows = [
        (
            name,
            "default" if queue["slots"] is None else str(queue["slots"]),
            queue["bulk"],
            ", ".join(f"{package} {version}" for package, version in queue["versions"].items()),
        )
        for name, queue in report["queues"].items()
    ]
    return _table(("queue", "slots", "in bulk", "versions"), rows)


def _problems(report: Mapping[str, Any]) -> Iterable[str]:
    lines = [f"- {name} could not be installed: {reason}" for name, reason in report["missing"].items()]
    lines += [
        f"- {name}, {measure}: {reason}"
        for name, failures in report["failures"].items()
        for measure, reason in failures.items()
    ]
    if lines:
        yield "## What is missing"
        yield "\n".join(lines)


def _title(report: Mapping[str, Any], key: str) -> str:
    metric = report["metrics"][key]
    return f"{metric['title']}, {metric['unit']}"


def _value(report: Mapping[str, Any], name: str, key: str) -> str:
    value = report["queues"][name]["values"].get(key)
    return _NONE if value is None else number(value["median"])


def _spread(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return _NONE
    if len(found["values"]) == 1:
        return number(found["median"])
    return f"{number(found['median'])} ({number(found['lowest'])} to {number(found['highest'])})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---" if column in _TEXTS else "---:" for column in columns], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
