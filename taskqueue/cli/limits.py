"""`taskqueue limits`: how much may run at once, for the whole fleet, and whose share is how large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskqueue.cli import options
from taskqueue.cli.exits import Stop
from taskqueue.cli.output import console, say, write_json, write_line
from taskqueue.cli.runtime import open_queue, run

if TYPE_CHECKING:
    from taskqueue.store import Limit

_MOST_DIGITS = 18


def show(
    *,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Show every type and tenant that has a limit, a weight or a pause; what is not shown is free."""
    from taskqueue.cli.stats import limit_document, limits_table

    async def command() -> list[Limit]:
        async with open_queue(url, queue) as opened:
            return await opened.limits()

    limits = sorted(run(command()), key=lambda limit: (limit.scope, limit.name))
    if as_json:
        write_json([limit_document(limit) for limit in limits])
    elif limits:
        console().print(limits_table(limits))
    else:
        say("no limits are set")


def set_(
    *,
    type_: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="The type to limit.", show_default=False)
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="TENANT", help="The tenant to limit.", show_default=False),
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option("--concurrency", metavar="N|none", help="How many may run at once.", show_default=False),
    ] = None,
    weight: Annotated[
        int | None,
        typer.Option(
            "--weight", metavar="N", help="A tenant's share under the fair policies.", show_default=False
        ),
    ] = None,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Change the limit of a type or a tenant, for all workers, from the next claim on."""
    if (type_ is None) == (tenant is None):
        raise Stop("say which limit is meant: either --type or --tenant")
    if concurrency is None and weight is None:
        raise Stop("nothing to change: give --concurrency, --weight, or both")

    async def command() -> None:
        from taskqueue.store import UNSET

        at_most = UNSET if concurrency is None else _number(concurrency)
        async with open_queue(url, queue) as opened:
            await opened.set_limit(
                type=type_, tenant=tenant, concurrency=at_most, weight=UNSET if weight is None else weight
            )

    run(command())
    what = f"type {type_}" if type_ is not None else f"tenant {tenant}"
    if as_json:
        write_json({"type": type_, "tenant": tenant, "changed": True})
    else:
        write_line(f"changed: {what}")


def _number(text: str) -> int | None:
    if text == "none":
        return None
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        return int(text)
    raise Stop(f"--concurrency: {text!r} is not accepted; it must be a whole number, or none")
