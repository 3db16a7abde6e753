"""Which class stands behind the `kind` of a provider: ours, another package's, or one of the user's own.

kind = "openai"              one of `KINDS`
kind = "acme"                the entry point `acme` of the group `taskqueue.providers`
kind = "my_module:Acme"      the class `Acme` of a module on the path
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final, NamedTuple

from scheduler.providers.base import Provider, ProviderSettings
from taskqueue.contract import TASK_TYPES
from taskqueue.errors import shown

ENTRY_POINTS: Final = "taskqueue.providers"


class Kind(NamedTuple):
    """One kind of provider that comes with this package.

    Attributes:
        place: Module and class.
        extra: What `pip install 'taskqueue-engine[EXTRA]'` needs; "" if nothing.
        about: What it asks, in a few words.
    """

    place: str
    extra: str
    about: str


KINDS: Final[Mapping[str, Kind]] = {
    "openai": Kind("scheduler.providers.openai:OpenAi", "openai", "OpenAI-compatible chat or responses"),
    "google-genai": Kind(
        "scheduler.providers.google.genai:GoogleGenai", "google-genai", "Gemini with search"
    ),
    "google-search": Kind(
        "scheduler.providers.google.search:GoogleSearch", "search", "Google's JSON search API"
    ),
    "searxng": Kind("scheduler.providers.searxng:Searxng", "search", "a SearXNG instance: search and news"),
    "news-feed": Kind("scheduler.providers.news.provider:NewsFeed", "search", "Google News as RSS"),
    "upstream": Kind(
        "scheduler.providers.upstream:Upstream", "search", "a service that speaks this contract"
    ),
    "simulated": Kind("scheduler.providers.simulated:Simulated", "", "made-up answers that say so"),
}


class UnknownKind(Exception):
    """There is no such kind of provider, or its code cannot be loaded; the text says what to do."""


def provider_class(kind: str) -> type[Provider]:
    """Return the class behind a kind.

    Raises:
        UnknownKind: If there is none, or it cannot be imported.
    """
    known = KINDS.get(kind)
    if known is not None:
        return _loaded(known.place, known.extra)
    if ":" in kind:
        return _loaded(kind, "")
    others = {point.name: f"{point.module}:{point.attr}" for point in entry_points(group=ENTRY_POINTS)}
    if kind in others:
        return _loaded(others[kind], "")
    names = ", ".join([*KINDS, *sorted(others)])
    raise UnknownKind(
        f"there is no kind {shown(kind)}; it must be one of {names}, or MODULE:CLASS of your own"
    )


def _loaded(place: str, extra: str) -> type[Provider]:
    module, _, name = place.partition(":")
    try:
        found: Any = reduce(getattr, name.split("."), import_module(module))
    except ModuleNotFoundError as error:
        if extra and error.name != module:
            raise UnknownKind(
                f"it needs the package {error.name!r}: pip install 'taskqueue-engine[{extra}]'"
            ) from error
        raise UnknownKind(f"{shown(place)} cannot be imported: {error}") from error
    except Exception as error:
        # A module of the user's may raise anything while it is imported.
        raise UnknownKind(f"{shown(place)} cannot be imported: {type(error).__name__}: {error}") from error
    if problem := _problem_of(found):
        raise UnknownKind(f"{shown(place)} {problem}")
    kind: type[Provider] = found
    return kind


def _problem_of(found: object) -> str | None:
    """Return why something is no class of providers; None if it is one."""
    if not (isinstance(found, type) and issubclass(found, Provider)):
        return "is no subclass of scheduler.providers.Provider"
    settings, types = _declared(found)
    if not (isinstance(settings, type) and issubclass(settings, ProviderSettings)):
        return "has Settings that are no subclass of scheduler.providers.ProviderSettings"
    if not isinstance(types, tuple) or not types or not all(name in TASK_TYPES for name in types):
        return f"has types that are no tuple of some of {', '.join(TASK_TYPES)}"
    return None


def _declared(found: type[Provider]) -> tuple[object, object]:
    """Return what a class says of its settings and types, which may be anything."""
    return found.Settings, found.types
