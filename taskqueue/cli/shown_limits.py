"""Limits of types, tenants and providers, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from taskqueue.cli.output import span, table

if TYPE_CHECKING:
    from taskqueue.store import Limit, ProviderState, Stats


def limit_document(limit: Limit) -> dict[str, Any]:
    """Return one limit as a JSON document."""
    return {
        limit.scope: limit.name,
        "concurrency": limit.concurrency,
        "used": limit.used,
        "paused": limit.paused,
        "weight": limit.weight,
    }


def limits_table(limits: list[Limit]) -> Any:
    """Return limits as a table."""
    columns = ("scope", "name", "runs at most", "runs now", "weight", "paused")
    rows = (
        (
            one.scope,
            one.name,
            one.concurrency or "no limit",
            one.used,
            one.weight,
            "yes" if one.paused else "no",
        )
        for one in limits
    )
    return table(columns, rows, right=("runs at most", "runs now", "weight"))


def provider_document(state: ProviderState) -> dict[str, Any]:
    """Return what a provider is at, and its limits, as a JSON document."""
    return {
        "provider": state.name,
        "condition": state.condition,
        "opensInSeconds": state.opens_in,
        "used": state.used,
        "allowed": state.allowed,
        "failures": state.failures,
        "waitingTypes": list(state.waiting),
        "concurrency": state.concurrency,
        "lowest": state.lowest,
        "rate": state.rate,
        "periodSeconds": state.period,
        "tokens": state.tokens,
        "breaker": state.breaker,
    }


def providers_table(states: list[ProviderState]) -> Any:
    """Return what providers are at as a table."""
    columns = (
        "provider",
        "condition",
        "opens in",
        "runs now",
        "allowed",
        "runs at most",
        "rate",
        "tokens a minute",
        "failures",
        "waiting",
    )
    rows = (
        (
            one.name,
            one.condition,
            span(one.opens_in),
            one.used,
            one.allowed if one.allowed is not None else "no limit",
            _concurrency(one),
            None if one.rate is None else f"{one.rate} in {span(one.period)}",
            one.tokens,
            f"{one.failures} of {one.breaker}" if one.breaker else one.failures,
            ", ".join(one.waiting) or None,
        )
        for one in states
    )
    return table(columns, rows, right=columns[2:9])


def tables_of(found: Stats, states: list[ProviderState]) -> Iterator[Any]:
    """Yield the tables of limits that say something."""
    limits = [limit for limit in found.limits if _is_notable(limit)]
    if limits:
        yield limits_table(limits)
    if states:
        yield providers_table(states)


def _concurrency(state: ProviderState) -> str:
    if state.concurrency is None:
        return "no limit"
    return str(state.concurrency) if state.lowest is None else f"{state.lowest} to {state.concurrency}"


def _is_notable(limit: Limit) -> bool:
    return limit.concurrency is not None or limit.paused or limit.used > 0
