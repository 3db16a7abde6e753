"""Where tasks can be run from: countries, per model, and the states of a country.

Contract: the endpoints `GET /v1/countries` and `GET /v1/states`. The lists are in `places.toml`.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any, NamedTuple

from taskqueue.errors import TaskQueueError, shown


class State(NamedTuple):
    """One state: its code, such as `"NY"`, and its English name."""

    code: str
    name: str


class UnknownModel(TaskQueueError, ValueError):
    """There is no list of countries for this model."""

    def __init__(self, model: object) -> None:
        super().__init__(f"model: {shown(model)} is not known; it must be one of {', '.join(MODELS)}")
        self.model = model


def _read() -> dict[str, Any]:
    return tomllib.loads(files("taskqueue.contract").joinpath("places.toml").read_text(encoding="utf-8"))


_DATA = _read()
_ALL: tuple[str, ...] = tuple(_DATA["countries"].split())
_SERVED: dict[str, tuple[str, ...]] = {
    model: tuple(code for code in _ALL if code not in set(missing.split()))
    for model, missing in _DATA["not_served"].items()
}
_SERVED_SETS = {model: frozenset(codes) for model, codes in _SERVED.items()}
_STATES: dict[str, tuple[State, ...]] = {
    country: tuple(State(code, name) for name, code in rows.items())
    for country, rows in _DATA["states"].items()
}
_STATE_CODES = {country: frozenset(state.code for state in rows) for country, rows in _STATES.items()}

MODELS: tuple[str, ...] = tuple(_SERVED)
"""The models that `countries()` knows, in alphabetical order."""


def countries(model: str | None = None) -> list[str]:
    """Return the country codes that *model* answers from, in alphabetical order.

    Args:
        model: One of `MODELS`; None returns all 250 codes: ISO 3166-1 alpha-2, and `XK`.

    Raises:
        UnknownModel: If there is no such model.
    """
    if model is None:
        return list(_ALL)
    return list(_SERVED[_known(model)])


def is_served(country: str, model: str) -> bool:
    """Whether *model* answers from *country*, a code in capital letters.

    Raises:
        UnknownModel: If there is no such model.
    """
    return country in _SERVED_SETS[_known(model)]


def states(country: str) -> list[State]:
    """Return the states of *country*, sorted by name: 51 for `"US"`, none for any other.

    Args:
        country: A country code, in capital or small letters.
    """
    return list(_STATES.get(country.upper(), ()))


def is_state(country: str, code: str) -> bool:
    """Whether *code*, in capital letters, is that of a state of *country*."""
    return code in _STATE_CODES.get(country, ())


def _known(model: str) -> str:
    if model not in _SERVED:
        raise UnknownModel(model)
    return model
