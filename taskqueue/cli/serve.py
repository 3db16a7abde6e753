"""`taskqueue serve`: the HTTP service, and beside it a scheduler, in one process or in several."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from taskqueue.cli import options
from taskqueue.cli.exits import Stop
from taskqueue.cli.logs import configure_logging
from taskqueue.cli.output import say, write_line
from taskqueue.cli.providing import has_providers, scheduler_for
from taskqueue.cli.runtime import SERVICE_GARBAGE, collect_garbage_seldom, run

if TYPE_CHECKING:
    from taskqueue.cli.serving import Plan, Service

_DEMO = "taskqueue.cli.demo.served:scheduler"
_DEMO_CREDITS = 10_000
_TENANT = "demo"
_MOST_WORKERS = 256


def serve(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:ATTR]", help="The Scheduler whose handlers do the work.", show_default=False
        ),
    ] = None,
    *,
    providers: options.ProvidersFile = None,
    strict: options.Strict = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="Made-up results, on a server that is gone afterwards.")
    ] = False,
    api_only: Annotated[
        bool, typer.Option("--api-only", help="No scheduler here: `taskqueue worker` runs the tasks.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="N",
            min=0,
            max=_MOST_WORKERS,
            help="Run the tasks in so many processes beside this one; 0: in this one.",
        ),
    ] = 0,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65_535, help="0 takes a free one.")
    ] = 8000,
    docs: Annotated[bool, typer.Option("--docs/--no-docs", help="Show the API at /docs.")] = True,
    log_level: options.LogLevel = None,
    url: options.Url = None,
    queue: options.QueueName = None,
) -> None:
    """Serve the HTTP API until a signal comes, and run the tasks here, unless told otherwise.

    The first time it prints an API key and a line that tries it. SIGTERM or Ctrl-C: nothing more is
    accepted, then nothing more claimed, running tasks may finish within the grace period, exit code 0.
    A second one ends everything at once, worker processes included.
    """
    _check(target, workers, providers, demo=demo, api_only=api_only)

    from taskqueue.cli.serving import Plan
    from taskqueue.settings import Settings

    shown = log_level or ("WARNING" if demo else None)
    settings = Settings.load(url=url, name=queue, log_level=shown, providers=providers)
    configure_logging(settings.log_level, as_json=settings.log_json)
    plan = Plan(settings, target, None, workers, host, port, demo=demo, docs=docs)
    if not api_only:
        plan = _with_scheduler(plan, url=url, queue=queue, strict=strict)
    if status := run(_serve(plan)):
        raise typer.Exit(status)


def _check(target: str | None, workers: int, providers: str | None, *, demo: bool, api_only: bool) -> None:
    """Refuse options that do not go together, with a sentence, before anything is started."""
    if find_spec("uvicorn") is None or find_spec("fastapi") is None:
        raise Stop("the HTTP service needs more packages: `pip install 'taskqueue-engine[api]'`")
    chosen = sum((demo, api_only, target is not None or providers is not None))
    if chosen > 1 or (chosen == 0 and not has_providers(None)):
        raise Stop(
            "who runs the tasks? Give one of: --demo, for made-up results; MODULE:ATTR, the Scheduler with "
            "your handlers, --providers FILE, the outside services that answer, or both of them; --api-only, "
            "where `taskqueue worker` runs elsewhere"
        )
    if api_only and workers:
        raise Stop(
            f"--workers {workers} is not accepted together with --api-only, which runs no tasks: give "
            "MODULE:ATTR in place of --api-only, or start `taskqueue worker --processes N` beside it"
        )


def _with_scheduler(plan: Plan, *, url: str | None, queue: str | None, strict: bool) -> Plan:
    """Return the plan with the scheduler, and with the server and the queue that both sides use.

    An option beats the scheduler's code, which beats the environment, as for `taskqueue worker`. Made-up
    results go to no server that only the environment names: it may be one with real tasks.
    """
    from taskqueue.cli.loading import queue_name

    target = _DEMO if plan.demo else plan.target
    scheduler = scheduler_for(target, plan.settings, strict=strict)
    address = url if plan.demo else url or scheduler.url or plan.settings.url
    if plan.workers and (address or "").startswith("memory:"):
        raise Stop(f"--workers {plan.workers} is not accepted with {address}, which is in one process only")
    name = queue_name(scheduler, queue, plan.settings) or scheduler.name
    settings = plan.settings.model_copy(update={"url": address, "name": name})
    return replace(plan, settings=settings, target=target, scheduler=scheduler)


async def _serve(plan: Plan) -> int:
    from taskqueue.cli.demo.play import temporary_server
    from taskqueue.cli.serving import opened_service

    async with AsyncExitStack() as stack:
        if plan.demo and plan.settings.url is None:
            address = await stack.enter_async_context(temporary_server())
            plan = replace(plan, settings=plan.settings.model_copy(update={"url": address}))
        service = await stack.enter_async_context(opened_service(plan))
        key = await service.first_key(_TENANT, _DEMO_CREDITS if plan.demo else None)
        _welcome(service, plan, key)
        # Here, because all that the service is made of is there by now, and need not be looked at.
        collect_garbage_seldom(SERVICE_GARBAGE)
        status = await service.run()
    say("the service has ended")
    return status


def _welcome(service: Service, plan: Plan, key: str | None) -> None:
    where = f"{service.address}, and all other addresses" if service.is_everywhere else service.address
    say(f"serving {where}, queue {service.queue.name!r} on {service.queue.url}")
    if plan.docs:
        say(f"the documentation, which can try everything, is at {service.address}/docs")
    else:
        say(f"the OpenAPI document is at {service.address}/openapi.json")
    if plan.demo:
        say("every result is made up, and says so")
    if plan.workers:
        say(f"tasks run in {plan.workers} worker process{'es' if plan.workers > 1 else ''}")
    if key is None:
        say("the tenants have their keys; `taskqueue keys create --tenant NAME` makes more")
        return
    say(f"a first API key, for tenant {_TENANT}, which is shown this once, and a line that tries it:")
    write_line(key)
    write_line(service.example(key))
