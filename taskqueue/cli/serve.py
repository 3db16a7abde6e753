"""`taskqueue serve`: the HTTP service, and a scheduler beside it, in one process."""

from __future__ import annotations

from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from taskqueue.cli import options
from taskqueue.cli.exits import Stop
from taskqueue.cli.logs import configure_logging
from taskqueue.cli.output import say, write_line
from taskqueue.cli.runtime import collect_garbage_seldom, run

if TYPE_CHECKING:
    from scheduler import Scheduler
    from taskqueue.cli.serving import Service
    from taskqueue.settings import Settings

_DEMO_CREDITS = 10_000
_DEMO_TENANT = "demo"


def serve(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:ATTR]", help="The Scheduler whose handlers do the work.", show_default=False
        ),
    ] = None,
    *,
    demo: Annotated[
        bool, typer.Option("--demo", help="Made-up results, on a server that is gone afterwards.")
    ] = False,
    api_only: Annotated[
        bool, typer.Option("--api-only", help="No scheduler here: `taskqueue worker` runs the tasks.")
    ] = False,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65_535, help="0 takes a free one.")
    ] = 8000,
    log_level: Annotated[
        str | None,
        typer.Option(
            "--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.", show_default=False
        ),
    ] = None,
    url: options.Url = None,
    queue: options.QueueName = None,
) -> None:
    """Serve the HTTP API until a signal comes, and run the tasks here, unless told otherwise.

    The first time it prints an API key and a line that tries it. SIGTERM or Ctrl-C: nothing more is
    accepted or claimed, running tasks may finish within the grace period, exit code 0.
    """
    from taskqueue.settings import Settings

    if find_spec("uvicorn") is None or find_spec("fastapi") is None:
        raise Stop("the HTTP service needs more packages: `pip install 'taskqueue-engine[api]'`")
    if sum((demo, api_only, target is not None)) != 1:
        raise Stop(
            "who runs the tasks? Give one of: --demo, for made-up results; MODULE:ATTR, the Scheduler with "
            "your handlers; --api-only, where `taskqueue worker` runs elsewhere"
        )
    settings = Settings.load(url=url, name=queue, log_level=log_level or ("WARNING" if demo else None))
    configure_logging(settings.log_level, as_json=settings.log_json)
    scheduler = None if target is None else _loaded(target, settings)
    collect_garbage_seldom()
    run(_serve(settings, scheduler, host, port, demo=demo))


def _loaded(target: str, settings: Settings) -> Scheduler:
    from taskqueue.cli.loading import load_scheduler

    scheduler = load_scheduler(target)
    scheduler.configure(url=settings.url, name=settings.name)
    return scheduler


async def _serve(
    settings: Settings, scheduler: Scheduler | None, host: str, port: int, *, demo: bool
) -> None:
    from taskqueue.cli.demo.play import temporary_server
    from taskqueue.cli.serving import opened_service

    async with AsyncExitStack() as stack:
        url = settings.url
        if demo and url is None:
            url = await stack.enter_async_context(temporary_server())
        service = await stack.enter_async_context(
            opened_service(settings, url, scheduler, host, port, demo=demo)
        )
        key = await service.first_key(_DEMO_TENANT, _DEMO_CREDITS if demo else None)
        _welcome(service, key, demo=demo)
        await service.run()
    say("the service has ended")


def _welcome(service: Service, key: str | None, *, demo: bool) -> None:
    say(f"serving {service.address}, queue {service.queue.name!r} on {service.queue.url}")
    if demo:
        say(f"every result is made up, and says so; the documentation is at {service.address}/docs")
    else:
        say(f"the OpenAPI document is at {service.address}/openapi.json")
    if key is None:
        say("the tenants have their keys; `taskqueue keys create --tenant NAME` makes more")
        return
    say(f"a first API key, for tenant {_DEMO_TENANT}; it is shown this once. Try:")
    write_line(
        f"curl -s {service.address}/v1/async/task -H 'Authorization: Bearer {key}' "
        "-H 'Content-Type: application/json' "
        f'-d \'{{"taskType": "{service.example_type}", "priority": 5, '
        f'"payload": {service.example_payload}}}\''
    )
