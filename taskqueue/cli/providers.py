"""`taskqueue providers`: which outside services answer which types, how they are, and whether they work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskqueue.cli import options
from taskqueue.cli.exits import ExitCode, Stop
from taskqueue.cli.output import say, span, write_json, write_line, write_table
from taskqueue.cli.providing import read_providers, say_problems
from taskqueue.cli.runtime import run
from taskqueue.cli.shown_limits import provider_document

if TYPE_CHECKING:
    from scheduler.providers import Provider, Providers
    from scheduler.providers.trying import Trial
    from taskqueue.settings import Settings
    from taskqueue.store import ProviderState

_PATIENCE = 3.0  # seconds that the server gets to tell of the providers
_SHOWN = 160  # characters of an answer
_NONE = (
    "no providers are configured: name a file with --providers or TASKQUEUE_PROVIDERS, or set "
    "TASKQUEUE_PROVIDERS__NAME__KIND; docs/providers.md says how"
)


def providers(
    context: typer.Context,
    *,
    file: options.ProvidersFile = None,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the types with their chains, and each provider with its state; exit code 1 if any is wrong."""
    if context.invoked_subcommand is not None:
        context.obj = file
        return
    from taskqueue.settings import Settings

    settings = Settings.load(url=url, name=queue, providers=file)
    found = read_providers(settings)
    if found is None:
        raise Stop(_NONE)
    states = run(_states(settings))
    if as_json:
        write_json(_document(found, states))
    else:
        _show(found, states)
        say_problems(found.configuration.problems)
    if found.configuration.problems:
        raise typer.Exit(ExitCode.NEGATIVE)


def check(
    context: typer.Context,
    task_type: Annotated[
        str, typer.Argument(metavar="TYPE", help="Type of task, such as CHATGPT.", show_default=False)
    ],
    *,
    name: Annotated[
        str | None,
        typer.Option(
            "--provider", metavar="NAME", help="Only this one; else all of the chain.", show_default=False
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt", metavar="TEXT", help="What is asked; else something small.", show_default=False
        ),
    ] = None,
    file: options.ProvidersFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Make one real call through each provider of a type: who answers, how fast, and what is wrong if not.

    No task is made, and no limit is counted; the services may charge for it. Exit code 1 if one did
    not answer.
    """
    from taskqueue.settings import Settings

    found = read_providers(Settings.load(providers=file or context.obj))
    if found is None:
        raise Stop(_NONE)
    say_problems(found.configuration.problems)
    asked = _chosen(found, task_type, name)
    trials = run(_try_all(asked, task_type, prompt, tell=not as_json))
    if as_json:
        write_json({"taskType": task_type, "trials": [_trial_document(trial) for trial in trials]})
    if any(trial.error is not None for trial in trials):
        raise typer.Exit(ExitCode.NEGATIVE)


async def _states(settings: Settings) -> dict[str, ProviderState] | None:
    """Return what the queue knows of the providers; None if the server cannot be reached."""
    from taskqueue.errors import ServerUnavailable
    from taskqueue.queue import TaskQueue

    try:
        async with TaskQueue.connect(settings.url, name=settings.name, patience=_PATIENCE) as queue:
            return {state.name: state for state in await queue.providers()}
    except ServerUnavailable as error:
        say(f"taskqueue: warning: how the providers are is not known: {error}")
        return None


def _show(found: Providers, states: dict[str, ProviderState] | None) -> None:
    configuration = found.configuration
    chains = [(task_type, ", ".join(chain)) for task_type, chain in configuration.chains.items()]
    write_table(("type", "providers, the first choice first"), chains)
    rows = [
        (name, kind, *_cells(name, known=name in configuration.providers, states=states))
        for name, kind in configuration.kinds.items()
    ]
    columns = ("provider", "kind", "condition", "opens in", "runs now", "runs at most", "failures")
    write_table(columns, rows, right=columns[3:])


def _cells(name: str, *, known: bool, states: dict[str, ProviderState] | None) -> tuple[object, ...]:
    """Return what is shown of a provider's state; one that was never used is ready."""
    if not known:
        return ("not usable", None, None, None, None)
    if states is None:
        return ("unknown", None, None, None, None)
    state = states.get(name)
    if state is None:
        return ("ready", None, 0, "no limit", 0)
    most = "no limit" if state.allowed is None else state.allowed
    return (state.condition, span(state.opens_in), state.used, most, state.failures)


def _document(found: Providers, states: dict[str, ProviderState] | None) -> dict[str, Any]:
    configuration = found.configuration
    return {
        "types": [
            {"taskType": name, "providers": list(chain)} for name, chain in configuration.chains.items()
        ],
        "providers": [
            {
                "provider": name,
                "kind": kind,
                "usable": name in configuration.providers,
                "state": provider_document(states[name]) if states and name in states else None,
            }
            for name, kind in configuration.kinds.items()
        ],
        "problems": [problem._asdict() for problem in configuration.problems],
    }


def _chosen(found: Providers, task_type: str, name: str | None) -> list[Provider]:
    """Return who is to be asked.

    Raises:
        Stop: If there is no such type or provider, or none that can be used.
    """
    from taskqueue.contract import TASK_TYPES

    configuration = found.configuration
    if task_type not in TASK_TYPES:
        raise Stop(f"{task_type!r} is not accepted; it must be one of {', '.join(TASK_TYPES)}")
    if name is None:
        if task_type not in configuration.chains:
            raise Stop(f"no provider that can be used is configured for {task_type}", ExitCode.NEGATIVE)
        return [configuration.providers[each] for each in configuration.chains[task_type]]
    if name not in configuration.kinds:
        raise Stop(f"--provider: there is no {name!r}; there are: {', '.join(configuration.kinds) or 'none'}")
    provider = configuration.providers.get(name)
    if provider is None:
        raise Stop(f"provider {name} cannot be used as it is configured", ExitCode.NEGATIVE)
    if task_type not in provider.types:
        raise Stop(f"--provider: {name} answers only {', '.join(provider.types)}")
    return [provider]


async def _try_all(asked: list[Provider], task_type: str, prompt: str | None, *, tell: bool) -> list[Trial]:
    from pydantic import ValidationError

    from scheduler.providers.trying import question_for, try_provider

    try:
        question = question_for(task_type, prompt)
    except ValidationError as error:
        raise Stop(f"--prompt: {error.errors()[0]['msg']}") from error
    trials = []
    for provider in asked:
        trial = await try_provider(provider, task_type, question)
        trials.append(trial)
        if tell:
            write_line(_trial_line(trial))
    return trials


def _trial_line(trial: Trial) -> str:
    took = span(trial.seconds)
    if trial.error is not None:
        return f"{trial.provider} did not answer ({took}): {trial.reason}\n  {trial.advice}"
    text = " ".join(trial.beginning.split())
    shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    used = f", {trial.tokens:,} tokens" if trial.tokens else ""
    return f"{trial.provider} answered ({took}{used}): {shown or '(nothing was found)'}"


def _trial_document(trial: Trial) -> dict[str, Any]:
    document: dict[str, Any] = {
        "provider": trial.provider,
        "answered": trial.error is None,
        "seconds": round(trial.seconds, 3),
        "tokens": trial.tokens,
        "partials": trial.partials,
    }
    if trial.error is None:
        return {**document, "result": trial.result}
    error = {"kind": type(trial.error).__name__, "message": trial.reason, "advice": trial.advice}
    return {**document, "error": error}
