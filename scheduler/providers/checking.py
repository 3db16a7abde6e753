"""The settings of one provider, as they were given, become those that its class asks for.

Secrets are fetched from where the configuration says that they are, everything else is checked by
the class's own model; what is wrong is told all at once, in words, and without the value of a secret.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import SecretStr, ValidationError

from scheduler.providers.base import ProviderSettings
from scheduler.providers.hiding import without

WHERE_SECRETS_ARE: Final = 'write { env = "VARIABLE" } or { file = "/path" }'

_LARGEST_SECRET: Final = 16 * 1024
_PLACEHOLDER: Final = "x" * 40
"""Stands for a secret that is missing, so that the other settings are checked all the same."""

_LIMITS: Final = frozenset(
    {"breaker", "concurrency", "limit", "limits", "lowest", "period", "rate", "rate_limit", "tokens"}
)
_ABOUT_LIMITS: Final = (
    "limits do not stand here: they hold for all workers together and can change while those run; set them "
    "with `taskqueue limits set --provider {name}`"
)

Report = Callable[[str, str], None]
"""Told of a problem: the key below the provider's own, and what is wrong."""


class SettingsReader:
    """Reads the settings of one provider.

    Args:
        name: Of the provider.
        model: What its class asks for.
        environ: The environment.
        folder: Where files with a relative path are.
        variables: Settings that came from the environment themselves.
        report: Told of every problem.
    """

    def __init__(
        self,
        name: str,
        model: type[ProviderSettings],
        *,
        environ: Mapping[str, str],
        folder: Path,
        variables: frozenset[str],
        report: Report,
    ) -> None:
        self._name = name
        self._model = model
        self._environ = environ
        self._folder = folder
        self._variables = variables
        self._problems = 0
        self._tell = report
        self._secrets: list[str] = []
        self._missing: set[str] = set()

    def read(self, given: Mapping[str, Any]) -> ProviderSettings | None:
        """Return the settings; None if anything is wrong, all of which was reported."""
        values = {
            name: self._secret(name, value) if is_secret(self._model, name) else self._plain(name, value)
            for name, value in given.items()
        }
        try:
            checked = self._model.model_validate(values)
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_context=False):
                self._refuse(problem)
        except Exception as error:  # noqa: BLE001  a validator of the user's own may raise anything
            self._report("", f"its settings cannot be checked: {type(error).__name__}: {error}")
        else:
            return None if self._problems else checked
        return None

    def shown(self, text: str) -> str:
        """Return a text without the secrets that were read."""
        return without(text, self._secrets)

    def _report(self, key: str, what: str) -> None:
        self._problems += 1
        self._tell(key, self.shown(what))

    def _plain(self, name: str, value: Any) -> Any:
        """Return a setting; what stands in the environment is text, or a list or a table as in the file.

        Numbers and truth values are read from text by the setting's own type.
        """
        if name in self._variables and isinstance(value, str) and value.startswith(("[", "{", '"', "'")):
            try:
                return tomllib.loads(f"value = {value}")["value"]
            except (ValueError, RecursionError):
                return value
        return value

    def _secret(self, name: str, value: Any) -> str:
        """Return a secret, or what stands for one that cannot be had."""
        secret = None
        if name in self._variables:
            secret = str(value).strip()
        else:
            match value:
                case {"env": str(variable)} if len(value) == 1:
                    secret = self._environ.get(variable, "").strip()
                    if not secret:
                        self._report(f"{name}.env", f"the variable {variable} is not set, or is empty")
                case {"file": str(path)} if len(value) == 1:
                    secret = self._secret_file(f"{name}.file", path)
                case _:
                    self._report(name, f"a secret does not stand in this file: {WHERE_SECRETS_ARE}")
        if not secret:
            self._missing.add(name)
            return _PLACEHOLDER
        self._secrets.append(secret)
        return secret

    def _secret_file(self, key: str, path: str) -> str | None:
        try:
            with (self._folder / Path(path).expanduser()).open("rb") as file:
                data = file.read(_LARGEST_SECRET + 1)
            text = data.decode().strip()
        except OSError as error:
            self._report(key, f"it cannot be read: {error.strerror or type(error).__name__}")
        except (ValueError, RuntimeError) as error:
            # No UTF-8, a path with a NUL, or the home of nobody.
            what = "it is no UTF-8" if isinstance(error, UnicodeDecodeError) else "it is no path"
            self._report(key, f"it cannot be read: {what}")
        else:
            if text and len(data) <= _LARGEST_SECRET:
                return text
            self._report(key, f"it must hold 1 to {_LARGEST_SECRET:,} bytes")
        return None

    def _refuse(self, problem: Any) -> None:
        """Report what pydantic found."""
        key, value = ".".join(str(step) for step in problem["loc"]), problem["input"]
        first = str(problem["loc"][0]) if problem["loc"] else ""
        if first in self._missing:
            return
        match problem["type"]:
            case "missing" if is_secret(self._model, key):
                self._report(key, f"it is missing: {WHERE_SECRETS_ARE}")
            case "missing":
                self._report(key, "it is missing")
            case "extra_forbidden":
                self._report(key, self._unknown(key))
            case _:
                # Only what can be no secret is repeated.
                given = f"{value!r} is not accepted; " if isinstance(value, bool | int | float) else ""
                told = str(problem["msg"]).removeprefix("Value error, ").replace("Input should", "it should")
                self._report(key, told if is_secret(self._model, first) else given + told)

    def _unknown(self, key: str) -> str:
        if key in _LIMITS:
            return _ABOUT_LIMITS.format(name=self._name)
        known = sorted(["kind", *self._model.model_fields])
        close = get_close_matches(key, known, n=1)
        return f"it is unknown; {f'is {close[0]} meant? ' if close else ''}known are {', '.join(known)}"


def is_secret(model: type[ProviderSettings], name: str) -> bool:
    """Whether a setting is a secret: declared as `SecretStr`, or as that or None."""
    declared = model.model_fields.get(name)
    if declared is None:
        return False
    kind = declared.annotation
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return set(kinds) - {NoneType} == {SecretStr}
