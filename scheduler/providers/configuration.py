"""Reads which providers there are, how each is asked, and in which order: from a file and the environment.

    # providers.toml
    strict = false                              # true: any problem is one too many

    [providers.openai]                          # a name of your own
    kind = "openai"
    model = "gpt-5-mini"
    api_key = { env = "OPENAI_API_KEY" }        # or { file = "/run/secrets/openai" }

    [types]                                     # for each type its chain, the first choice first
    CHATGPT = ["openai", "spare"]

The environment adds to the file, or stands alone: `TASKQUEUE_PROVIDERS__OPENAI__MODEL=gpt-5-mini`,
`TASKQUEUE_TYPES__CHATGPT=openai,spare`. There a secret may stand by itself, as the value of its variable.

Everything that is wrong is found at once, each with the file or variable and the key. What is healthy
works without the rest, unless `strict` is set.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from scheduler.options import MOST_PROVIDERS, PROVIDER_RULE, is_provider_name
from scheduler.providers.base import Provider
from scheduler.providers.catalogue import UnknownKind, provider_class
from scheduler.providers.checking import SettingsReader
from scheduler.providers.classifying import excerpt
from taskqueue.contract import TASK_TYPES
from taskqueue.errors import InvalidSetting, shown

PROVIDERS_PREFIX: Final = "TASKQUEUE_PROVIDERS__"
TYPES_PREFIX: Final = "TASKQUEUE_TYPES__"

_LARGEST_FILE = 1024 * 1024
_TABLES = ("providers", "types", "strict")


class Problem(NamedTuple):
    """Something that is wrong in the configuration.

    Attributes:
        where: The file, or the environment's variable.
        key: The key in the file; "" for a variable.
        what: What is wrong, and what it must be. No secret is in it.
    """

    where: str
    key: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)


class ConfigurationRefused(InvalidSetting):
    """Something is wrong in a configuration of which all must be right.

    Attributes:
        problems: All that is wrong.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("providers", len(problems), "free of problems")
        self.problems = tuple(problems)
        told = "\n".join(f"  {problem}" for problem in problems)
        self.args = (f"the providers are not accepted, because all of them must be right:\n{told}",)


@dataclass(slots=True)
class Configuration:
    """What was configured.

    Attributes:
        providers: The healthy ones, by name; made, not opened.
        kinds: Of every provider that is named, the sick ones too.
        chains: For each type the names of its healthy providers; types without any are left out.
        problems: Everything that is wrong.
        strict: Whether any problem is one too many.
    """

    providers: dict[str, Provider] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    strict: bool = False


def is_configured(path: Path | str | None, environ: Mapping[str, str]) -> bool:
    """Whether anything is said about providers: by a file, or by the environment's own settings."""
    return path is not None or any(
        value and name.startswith((PROVIDERS_PREFIX, TYPES_PREFIX)) for name, value in environ.items()
    )


def read_configuration(path: Path | None, environ: Mapping[str, str]) -> Configuration:
    """Return what a file and the environment say; it raises nothing, and asks no network.

    Args:
        path: The file; None: only the environment counts.
        environ: The environment. An empty variable counts as not set.
    """
    found = Configuration()
    document, where = _document(path, found)
    folder = Path() if path is None else path.parent
    _Reader(found, document, where, folder, environ).read()
    return found


def _document(path: Path | None, found: Configuration) -> tuple[dict[str, Any], str]:
    if path is None:
        return {}, "environment"
    where = excerpt(path.name)
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE + 1)
        if len(text) > _LARGEST_FILE:
            found.problems.append(Problem(where, "", f"it is longer than {_LARGEST_FILE:,} bytes"))
            return {}, where
        return tomllib.loads(text.decode("utf-8-sig")), where
    except OSError as error:
        found.problems.append(Problem(str(path), "", f"it cannot be read: {error.strerror or error}"))
    except RecursionError:
        found.problems.append(Problem(where, "", "it is no configuration: it is nested too deeply"))
    except ValueError as error:
        # Also bytes that are no UTF-8. The text of the error has a line number, and no value of the file.
        found.problems.append(Problem(where, "", f"it is no TOML: {error}"))
    return {}, where


class _Reader:
    """Reads one document and the environment into a configuration."""

    def __init__(
        self,
        found: Configuration,
        document: dict[str, Any],
        where: str,
        folder: Path,
        environ: Mapping[str, str],
    ) -> None:
        self._found = found
        self._document = document
        self._where = where
        self._folder = folder
        self._environ = environ
        # Where each key came from, if not from the file.
        self._variables: dict[str, str] = {}
        self._in_file: frozenset[str] = frozenset()

    def read(self) -> None:
        for key in self._document:
            if key not in _TABLES:
                self._report(key, f"it is unknown; known are {', '.join(_TABLES)}")
        strict = self._document.get("strict", False)
        if not isinstance(strict, bool):
            self._report("strict", "it must be true or false")
        self._found.strict = strict is True
        for name, table in self._provider_tables().items():
            self._read_provider(name, table)
        chains = self._type_table()
        if self._found.kinds and not chains:
            self._report("types", 'it is missing: say who answers what, such as CHATGPT = ["NAME"]')
        for task_type, chain in chains.items():
            self._read_chain(task_type, chain)

    def _provider_tables(self) -> dict[str, Any]:
        tables = {
            name: dict(table) if isinstance(table, dict) else table
            for name, table in self._table("providers").items()
        }
        self._in_file = frozenset(tables)
        for variable, said, value in self._from_environment(PROVIDERS_PREFIX):
            given, separator, setting = said.partition("__")
            if not separator or not given or not setting:
                self._found.problems.append(
                    Problem(variable, "", f"it must be {PROVIDERS_PREFIX}NAME__SETTING")
                )
                continue
            name = _spelled(given, tables)
            table = tables.setdefault(name, {})
            if isinstance(table, dict):
                table[setting] = value
                self._variables[f"providers.{name}.{setting}"] = variable
        return tables

    def _type_table(self) -> dict[str, Any]:
        chains = dict(self._table("types"))
        for variable, said, value in self._from_environment(TYPES_PREFIX):
            name = said.upper()
            chains[name] = [part.strip() for part in value.split(",") if part.strip()]
            self._variables[f"types.{name}"] = variable
        return chains

    def _table(self, key: str) -> dict[str, Any]:
        table = self._document.get(key, {})
        if isinstance(table, dict):
            return table
        self._report(key, f"it must be a table, [{key}.NAME]" if key == "providers" else "it must be a table")
        return {}

    def _from_environment(self, prefix: str) -> Iterator[tuple[str, str, str]]:
        """Yield variable, what follows the prefix in small letters, value."""
        for variable in sorted(self._environ):
            if variable.startswith(prefix) and self._environ[variable]:
                yield variable, variable.removeprefix(prefix).lower(), self._environ[variable]

    def _read_provider(self, name: str, table: object) -> None:
        key = f"providers.{name}"
        if not is_provider_name(name):
            self._report(key, f"the name is not accepted; it must be {PROVIDER_RULE}")
            return
        if not isinstance(table, dict):
            self._report(key, "it must be a table of settings")
            return
        settings = dict(table)
        kind = settings.pop("kind", None)
        self._found.kinds[name] = kind if isinstance(kind, str) else "?"
        if not isinstance(kind, str):
            self._report(f"{key}.kind", "it is missing" if kind is None else "it must be text")
            return
        try:
            made = provider_class(kind)
        except UnknownKind as error:
            self._report(f"{key}.kind", str(error))
            return
        reader = SettingsReader(
            name,
            made.Settings,
            environ=self._environ,
            folder=self._folder,
            variables=frozenset(each for each in settings if f"{key}.{each}" in self._variables),
            report=lambda below, what: self._report(f"{key}.{below}" if below else key, what),
        )
        checked = reader.read(settings)
        if checked is None:
            return
        try:
            self._found.providers[name] = made(name, checked)
        except Exception as error:  # noqa: BLE001  the code may be anybody's
            self._report(key, reader.shown(f"it cannot be made: {type(error).__name__}: {error}"))

    def _read_chain(self, task_type: str, chain: object) -> None:
        key = f"types.{task_type}"
        if task_type not in TASK_TYPES:
            self._report(key, f"there is no such type; there are {', '.join(TASK_TYPES)}")
            return
        if not isinstance(chain, list) or not 1 <= len(chain) <= MOST_PROVIDERS:
            self._report(key, f"it must be a list of 1 to {MOST_PROVIDERS} names of providers")
            return
        healthy: list[str] = []
        for place, name in enumerate(chain):
            problem = self._why_not(task_type, name, chain[:place])
            if problem is None:
                healthy.append(name)
            elif problem:
                self._report(key, problem)
        if healthy:
            self._found.chains[task_type] = tuple(healthy)
        else:
            self._report(key, "none of its providers can be used, so tasks of this type are not served")

    def _why_not(self, task_type: str, name: object, before: Sequence[object]) -> str | None:
        """Return why a provider cannot stand in a chain; "" if that was reported, None if it can."""
        if not isinstance(name, str) or name not in self._found.kinds:
            known = ", ".join(self._found.kinds) or "none"
            return f"{shown(name)} is no provider of this configuration; there are: {known}"
        if name in before:
            return f"{name!r} stands there twice"
        provider = self._found.providers.get(name)
        if provider is None:
            return ""
        if task_type not in provider.types:
            return f"{name!r} answers only {', '.join(provider.types)}"
        return None

    def _report(self, key: str, what: str) -> None:
        self._found.problems.append(Problem(*self._place(key), what))

    def _place(self, key: str) -> tuple[str, str]:
        """Return the variable that a key came from, or should have; else the file and the key."""
        for known, variable in self._variables.items():
            if key == known or key.startswith(f"{known}."):
                return variable, ""
        table, _, rest = key.partition(".")
        name, _, setting = rest.partition(".")
        if table == "providers" and setting and name not in self._in_file:
            return f"{PROVIDERS_PREFIX}{name}__{setting}".upper(), ""
        return self._where, excerpt(key)


def _spelled(name: str, tables: Mapping[str, Any]) -> str:
    """Return how the file spells a name of a variable: those have neither capitals nor `-` nor `.`."""
    if name in tables:
        return name
    same = (known for known in tables if known.lower().replace("-", "_").replace(".", "_") == name)
    return next(same, name)
