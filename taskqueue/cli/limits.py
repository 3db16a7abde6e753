"""`taskqueue limits`: what types, tenants and providers may use, for the whole fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskqueue.cli import options
from taskqueue.cli.exits import Stop
from taskqueue.cli.output import console, say, write_json, write_line
from taskqueue.cli.runtime import open_queue, run

if TYPE_CHECKING:
    from datetime import timedelta

    from taskqueue.store import Limit, ProviderState, Unset

_MOST_DIGITS = 18

Type = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="The type to limit.", show_default=False)
]
Tenant = Annotated[
    str | None, typer.Option("--tenant", metavar="TENANT", help="The tenant to limit.", show_default=False)
]
Provider = Annotated[
    str | None,
    typer.Option("--provider", metavar="NAME", help="The provider to limit.", show_default=False),
]
Concurrency = Annotated[
    str | None,
    typer.Option("--concurrency", metavar="N|none", help="How many may run at once.", show_default=False),
]
Weight = Annotated[
    int | None,
    typer.Option(
        "--weight", metavar="N", help="A tenant's share under the fair policies.", show_default=False
    ),
]
Lowest = Annotated[
    str | None,
    typer.Option(
        "--lowest",
        metavar="N|none",
        help="Lets a provider's concurrency adapt, from this up to the highest.",
        show_default=False,
    ),
]
Rate = Annotated[
    str | None,
    typer.Option("--rate", metavar="N|none", help="Starts at a provider in each period.", show_default=False),
]
Period = Annotated[
    str | None,
    typer.Option(
        "--period", metavar="DURATION", help="Of the rate, such as 10s; else 1m.", show_default=False
    ),
]
Tokens = Annotated[
    str | None,
    typer.Option("--tokens", metavar="N|none", help="A provider's tokens in a minute.", show_default=False),
]
Breaker = Annotated[
    str | None,
    typer.Option(
        "--breaker",
        metavar="N|none",
        help="Failures in a row after which a provider is left alone; 0: never, none: 5.",
        show_default=False,
    ),
]
Reset = Annotated[
    bool,
    typer.Option("--reset", help="Forget what was learned about a provider: breaker, cooling, concurrency."),
]


def show(
    *,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Show every type and tenant that has a limit, a weight or a pause, and what all providers are at."""
    from taskqueue.cli.shown_limits import limit_document, limits_table, provider_document, providers_table

    async def command() -> tuple[list[Limit], list[ProviderState]]:
        async with open_queue(url, queue) as opened:
            return await opened.limits(), await opened.providers()

    limits, states = run(command())
    limits.sort(key=lambda limit: (limit.scope, limit.name))
    if as_json:
        write_json([*map(limit_document, limits), *map(provider_document, states)])
    elif not limits and not states:
        say("no limits are set")
    else:
        screen = console()
        if limits:
            screen.print(limits_table(limits))
        if states:
            screen.print(providers_table(states))


def set_(
    *,
    type_: Type = None,
    tenant: Tenant = None,
    provider: Provider = None,
    concurrency: Concurrency = None,
    weight: Weight = None,
    lowest: Lowest = None,
    rate: Rate = None,
    period: Period = None,
    tokens: Tokens = None,
    breaker: Breaker = None,
    reset: Reset = False,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Change the limits of a type, a tenant or a provider, for all workers, from the next claim on.

    What is not named stays as it is; none lifts a limit. All options from --lowest to --reset are for
    providers.
    """
    if [type_, tenant, provider].count(None) != 2:  # noqa: PLR2004
        raise Stop("say which limit is meant: either --type or --tenant or --provider")
    values = (concurrency, weight, lowest, rate, period, tokens, breaker)
    if values.count(None) == len(values) and not reset:
        raise Stop("nothing to change: give --concurrency, --weight or another limit")
    from taskqueue.store import UNSET

    async def command() -> None:
        async with open_queue(url, queue) as opened:
            await opened.set_limit(
                type=type_,
                tenant=tenant,
                provider=provider,
                concurrency=_number("--concurrency", concurrency),
                weight=UNSET if weight is None else weight,
                lowest=_number("--lowest", lowest),
                rate=_number("--rate", rate),
                period=_duration(period),
                tokens=_number("--tokens", tokens),
                breaker=_number("--breaker", breaker),
                fresh=reset,
            )

    run(command())
    if as_json:
        write_json({"type": type_, "tenant": tenant, "provider": provider, "changed": True})
        return
    scopes = (("type", type_), ("tenant", tenant), ("provider", provider))
    [what] = [f"{scope} {name}" for scope, name in scopes if name is not None]
    write_line(f"changed: {what}")


def _number(option: str, text: str | None) -> int | Unset | None:
    from taskqueue.store import UNSET

    if text is None:
        return UNSET
    if text == "none":
        return None
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        return int(text)
    raise Stop(f"{option}: {text!r} is not accepted; it must be a whole number, or none")


def _duration(text: str | None) -> timedelta | Unset:
    from taskqueue.settings import parse_duration
    from taskqueue.store import UNSET

    if text is None:
        return UNSET
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Stop(f"--period: {text!r} is not accepted; it must be {error}") from None
