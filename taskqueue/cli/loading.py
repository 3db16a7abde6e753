"""Finds the scheduler that `MODULE:ATTR` names, and the queue that it is for."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from taskqueue.cli.exits import Stop

if TYPE_CHECKING:
    from scheduler import Scheduler
    from taskqueue.settings import Settings


def load_scheduler(target: str) -> Scheduler:
    """Import MODULE and return its ATTR.

    The current folder is where modules are looked for first, as with `python -m`.

    Raises:
        Stop: If there is no such module, it cannot be imported, or ATTR is no scheduler.
    """
    from scheduler import Scheduler

    name, colon, attribute = target.partition(":")
    if not (colon and name and attribute):
        raise Stop(
            f"{target!r} is not accepted; it must be MODULE:ATTR, such as examples.fetch_pages:scheduler"
        )
    here = look_here_first()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise Stop(f"no module {name!r} in {here} or among the installed packages") from error
        raise Stop(
            f"{name} cannot be imported: it needs the module {error.name!r}, which is missing"
        ) from error
    except Exception as error:
        raise Stop(
            f"{name} cannot be imported: {type(error).__name__}: {error} (taskqueue --debug shows where)"
        ) from error
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise Stop(f"module {name!r} has no {attribute!r}{_known(module, Scheduler)}")
        found = getattr(found, part)
    if not isinstance(found, Scheduler):
        raise Stop(f"{target} is no Scheduler but {type(found).__name__}")
    return found


def look_here_first() -> str:
    """Look for modules in the current folder first from now on, and return that."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return here


def queue_name(scheduler: Scheduler, flag: str | None, settings: Settings) -> str | None:
    """Return the queue's name if it is to be changed.

    A flag always counts. The environment counts, as it does for every other command, unless the
    scheduler's own code names a queue.
    """
    from taskqueue.settings import DEFAULT_NAME

    return settings.name if flag is not None or scheduler.name == DEFAULT_NAME else None


def _known(module: ModuleType, kind: type) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, kind)]
    return f"; its schedulers are: {', '.join(names)}" if names else ", and no scheduler under another name"
