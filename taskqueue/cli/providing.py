"""The providers of `serve`, `worker` and `providers`: read once, their problems told together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from taskqueue.cli.exits import Stop
from taskqueue.cli.loading import load_scheduler, look_here_first
from taskqueue.cli.output import counted, say
from taskqueue.cli.runtime import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scheduler import Scheduler
    from scheduler.providers import Problem, Providers
    from taskqueue.settings import Settings


def read_providers(settings: Settings, *, strict: bool = False) -> Providers | None:
    """Return the providers that are configured; None if none are, by no file and no variable.

    Args:
        settings: Of the program; its `providers` is the file.
        strict: Refuse a configuration with any problem, whatever it says itself.

    Raises:
        ConfigurationRefused: If it has problems, and must not have any.
    """
    from scheduler.providers import Providers
    from scheduler.providers.configuration import is_configured, read_configuration
    from taskqueue.contract import PriceList

    if not is_configured(settings.providers, os.environ):
        return None
    look_here_first()
    path = None if settings.providers is None else Path(settings.providers)
    configuration = read_configuration(path, os.environ)
    configuration.strict |= strict
    prices = None if settings.prices is None else PriceList.from_file(settings.prices)
    return Providers(configuration, prices)


def has_providers(file: str | None) -> bool:
    """Whether providers are configured: by this file, or by the environment."""
    from scheduler.providers.configuration import is_configured

    return is_configured(file or os.environ.get("TASKQUEUE_PROVIDERS") or None, os.environ)


def scheduler_for(target: str | None, settings: Settings, *, strict: bool = False) -> Scheduler:
    """Return the scheduler that runs what MODULE:ATTR handles, and beside it what providers answer.

    Handlers of its own win for their types. Worker processes that a command started say nothing of
    problems: it has said them.

    Args:
        target: MODULE:ATTR; None: all is done by providers.
        settings: Of the program.
        strict: Refuse a configuration of providers with any problem.

    Raises:
        ConfigurationRefused: If that has problems, and must not have any.
        Stop: If there is nothing to run.
    """
    from scheduler import Scheduler
    from scheduler.signals import SUPERVISOR_VARIABLE
    from taskqueue.contract import TASK_TYPES

    if target is not None:
        scheduler = load_scheduler(target)
    else:
        scheduler = Scheduler(
            concurrency=settings.concurrency,
            lease=settings.lease,
            heartbeat=settings.heartbeat,
            grace=settings.grace,
        )
    providers = None
    if not set(TASK_TYPES) <= set(scheduler.types):
        providers = read_providers(settings, strict=strict)
    if providers is None:
        if target is None:
            raise Stop(
                "what shall it run? Give MODULE:ATTR, the Scheduler with your handlers; --providers FILE, "
                "the outside services that answer tasks; or both"
            )
        return scheduler
    if SUPERVISOR_VARIABLE not in os.environ:
        say_problems(providers.configuration.problems)
        for problem in run(providers.unreachable()):
            say(f"taskqueue: warning: {problem}; its tasks go to the next of their chains, or wait")
    scheduler.include(providers.handlers(skipping=scheduler.types))
    if not scheduler.types:
        raise Stop("no type has a provider that can be used, so there is nothing to run")
    return scheduler


def say_problems(problems: Sequence[Problem]) -> None:
    """Write every problem to stderr, one below the other."""
    if problems:
        head = f"{counted(len(problems), 'problem')} of the providers; what is right works without the rest:"
        say("\n".join([f"taskqueue: {head}", *(f"  {problem}" for problem in problems)]))
