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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from pydantic import SecretStr, ValidationError

from scheduler.options import MOST_PROVIDERS, PROVIDER_RULE, is_provider_name
from scheduler.providers.base import Provider, ProviderSettings
from scheduler.providers.catalogue import UnknownKind, provider_class
from taskqueue.contract import TASK_TYPES

PROVIDERS_PREFIX: Final = "TASKQUEUE_PROVIDERS__"
TYPES_PREFIX: Final = "TASKQUEUE_TYPES__"

_LARGEST_FILE = 1024 * 1024
_LARGEST_SECRET = 16 * 1024
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


def read_configuration(path: Path | None, environ: Mapping[str, str]) -> Configuration:
    """Return what a file and the environment say; it raises nothing, and reads no network.

    Args:
        path: The file; None: only the environment counts.
        environ: The environment.
    """
    found = Configuration()
    document, where = _document(path, found)
    _Reader(found, document, where, environ).read()
    return found


def _document(path: Path | None, found: Configuration) -> tuple[dict[str, Any], str]:
    if path is None:
        return {}, "environment"
    where = path.name
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE + 1)
        if len(text) > _LARGEST_FILE:
            found.problems.append(Problem(where, "", f"it is longer than {_LARGEST_FILE:,} bytes"))
            return {}, where
        return tomllib.loads(text.decode()), where
    except OSError as error:
        found.problems.append(Problem(str(path), "", f"it cannot be read: {error.strerror or error}"))
    except ValueError as error:
        # Also bytes that are no UTF-8. The text of the error has a line number, and nothing of the file.
        found.problems.append(Problem(where, "", f"it is no TOML: {error}"))
    return {}, where


class _Reader:
    """Reads one document and the environment into a configuration."""

    def __init__(
        self, found: Configuration, document: dict[str, Any], where: str, environ: Mapping[str, str]
    ) -> None:
        self._found = found
        self._document = document
        self._where = where
        self._environ = environ
        # Where each key came from, if not from the file.
        self._variables: dict[str, str] = {}

    def read(self) -> None:
        for key in self._document:
            if key not in _TABLES:
                self._report(key, f"it is unknown; known are {', '.join(_TABLES)}")
        strict = self._document.get("strict", False)
        if not isinstance(strict, bool):
            self._report("strict", f"{strict!r} is not accepted; it must be true or false")
        self._found.strict = strict is True
        for name, table in self._provider_tables().items():
            self._read_provider(name, table)
        for task_type, chain in self._type_table().items():
            self._read_chain(task_type, chain)

    def _provider_tables(self) -> dict[str, Any]:
        tables = {
            name: dict(table) if isinstance(table, dict) else table
            for name, table in self._table("providers").items()
        }
        for variable, name, value in self._from_environment(PROVIDERS_PREFIX):
            provider, separator, setting = name.partition("__")
            if not separator or not provider or not setting:
                self._found.problems.append(
                    Problem(variable, "", f"it must be {PROVIDERS_PREFIX}NAME__SETTING")
                )
                continue
            table = tables.setdefault(provider, {})
            if isinstance(table, dict):
                table[setting] = value
                self._variables[f"providers.{provider}.{setting}"] = variable
        return tables

    def _type_table(self) -> dict[str, Any]:
        chains = dict(self._table("types"))
        for variable, name, value in self._from_environment(TYPES_PREFIX):
            chains[name.upper()] = [part.strip() for part in value.split(",") if part.strip()]
            self._variables[f"types.{name.upper()}"] = variable
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
            if variable.startswith(prefix):
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
        checked = self._settings(key, made.Settings, settings)
        if checked is not None:
            self._found.providers[name] = made(name, checked)

    def _settings(
        self, key: str, model: type[ProviderSettings], given: dict[str, Any]
    ) -> ProviderSettings | None:
        before = len(self._found.problems)
        values = {
            name: self._secret(f"{key}.{name}", value)
            if _is_secret(model, name)
            else self._plain(f"{key}.{name}", value)
            for name, value in given.items()
        }
        if len(self._found.problems) > before:
            return None
        try:
            return model.model_validate(values)
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_context=False, include_input=False):
                steps = [key, *(str(step) for step in problem["loc"])]
                self._report(".".join(steps), problem["msg"])
            return None

    def _plain(self, key: str, value: Any) -> Any:
        """Return a setting; what stands in the environment is read as in the file, or else is text."""
        if key not in self._variables or not isinstance(value, str):
            return value
        try:
            return tomllib.loads(f"value = {value}")["value"]
        except ValueError:
            return value

    def _secret(self, key: str, value: Any) -> str | None:
        if key in self._variables:
            return str(value)
        match value:
            case {"env": str(variable)} if len(value) == 1:
                secret = self._environ.get(variable, "")
                if not secret:
                    self._report(f"{key}.env", f"the variable {variable} is not set, or is empty")
                return secret
            case {"file": str(path)} if len(value) == 1:
                return self._secret_file(key, Path(path).expanduser())
        self._report(
            key, 'a secret does not stand in this file: write { env = "VARIABLE" } or { file = "/path" }'
        )
        return None

    def _secret_file(self, key: str, path: Path) -> str | None:
        try:
            with path.open("rb") as file:
                text = file.read(_LARGEST_SECRET + 1).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            self._report(
                f"{key}.file", f"it cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8'}"
            )
            return None
        if not text or len(text) > _LARGEST_SECRET:
            self._report(f"{key}.file", f"it must hold 1 to {_LARGEST_SECRET:,} characters")
        return text

    def _read_chain(self, task_type: str, chain: object) -> None:
        key = f"types.{task_type}"
        if task_type not in TASK_TYPES:
            self._report(key, f"there is no such type; there are {', '.join(TASK_TYPES)}")
            return
        if not isinstance(chain, list) or not 1 <= len(chain) <= MOST_PROVIDERS:
            self._report(key, f"it must be a list of 1 to {MOST_PROVIDERS} names of providers")
            return
        healthy: list[str] = []
        for name in chain:
            problem = self._why_not(task_type, name, healthy)
            if problem is None:
                healthy.append(name)
            elif problem:
                self._report(key, problem)
        if healthy:
            self._found.chains[task_type] = tuple(healthy)

    def _why_not(self, task_type: str, name: object, before: list[str]) -> str | None:
        """Return why a provider cannot stand in a chain; "" if that was reported, None if it can."""
        if not isinstance(name, str) or name not in self._found.kinds:
            known = ", ".join(self._found.kinds) or "none"
            return f"{name!r} is no provider of this configuration; there are: {known}"
        if name in before:
            return f"{name!r} stands there twice"
        provider = self._found.providers.get(name)
        if provider is None:
            return ""
        if task_type not in provider.types:
            return f"{name!r} answers only {', '.join(provider.types)}"
        return None

    def _report(self, key: str, what: str) -> None:
        variable = next((self._variables[known] for known in self._variables if key.startswith(known)), None)
        self._found.problems.append(
            Problem(self._where, key, what) if variable is None else Problem(variable, "", what)
        )


def _is_secret(model: type[ProviderSettings], name: str) -> bool:
    declared = model.model_fields.get(name)
    return declared is not None and SecretStr in (declared.annotation, *get_args(declared.annotation))
