"""Puts what was measured into one document: values, medians, ranges, ratios, and what was switched on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.compare.environments import Environment
from benchmarks.compare.limits import LIMITS
from benchmarks.compare.metrics import METRICS, WORKLOADS
from benchmarks.compare.ratios import Spread, best, compared, ratio, spread
from benchmarks.compare.roster import LIMIT, OURS, Entry
from benchmarks.compare.rounds import Found

FORMAT = 1


def summarised(
    found: Found,
    entries: Sequence[Entry],
    environments: Mapping[str, Environment],
    missing: Mapping[str, str],
) -> dict[str, Any]:
    """Return what a comparison found, as JSON can carry it.

    Args:
        found: What was measured.
        entries: The queues that took part.
        environments: Where each of them ran.
        missing: Queues that could not be installed, and why.
    """
    return {
        "format": FORMAT,
        "workloads": dict(WORKLOADS),
        "metrics": {
            key: {"workload": each.workload, "title": each.title, "unit": each.unit, "better": each.better}
            for key, each in METRICS.items()
        },
        "limits": _limits(found.limits),
        "queues": {entry.name: _queue(entry, environments[entry.name], found) for entry in entries},
        "ratios": ratios_of(found.values, [each.name for each in entries if each.kind == "peer"]),
        "missing": dict(missing),
        "failures": found.failures,
        "swept": {
            name: {str(slots): round(rate) for slots, rate in each.items()}
            for name, each in found.swept.items()
        },
    }


def ratios_of(values: Mapping[str, Sequence[Mapping[str, float]]], peers: Sequence[str]) -> dict[str, Any]:
    """Return for each metric how many times as good we are as the best peer, and as the raw limit."""
    found: dict[str, Any] = {}
    for key in compared():
        if spread(values[OURS], key) is None:
            continue
        leader = best({name: values[name] for name in peers}, key)
        to_best = None if leader is None else ratio(values[OURS], values[leader], key)
        to_limit = ratio(values[OURS], values[LIMIT], key)
        found[key] = {"best peer": leader, "to best peer": _json(to_best), "to raw limit": _json(to_limit)}
    return found


def _limits(rounds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    return {
        key: {"title": title, "unit": "/s", **each.as_json()}
        for key, title in LIMITS.items()
        if (each := spread(rounds, key)) is not None
    }


def _queue(entry: Entry, environment: Environment, found: Found) -> dict[str, Any]:
    rounds = found.values[entry.name]
    return {
        "kind": entry.kind,
        "versions": dict(environment.versions),
        "slots": entry.slots,
        "bulk": entry.bulk,
        "on": list(entry.on),
        "ours to it": {
            key: each.as_json()
            for key in compared()
            if entry.name != OURS and (each := ratio(found.values[OURS], rounds, key)) is not None
        },
        "values": {key: each.as_json() for key in METRICS if (each := spread(rounds, key)) is not None},
    }


def _json(found: Spread | None) -> dict[str, Any] | None:
    return None if found is None else found.as_json()
