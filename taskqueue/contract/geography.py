"""Where a task is run from: the rules of `country`, `state` and `gl`.

Contract: country codes must be served by the engine; `state` needs the country US; Google's
engines take `gl` in place of `country`, and refuse the two when they disagree.
"""

from __future__ import annotations

from taskqueue.contract.fields import refuse
from taskqueue.contract.places import is_served, is_state, states

COUNTRY_IS_UPPER = "country codes are written in capital letters, such as US"


def check_country(value: str, model: str) -> str:
    """Return *value*, a country code in capital letters that *model* serves."""
    if not is_served(value, model):
        refuse(_not_served("country", value, model))
    return value


def check_state(value: str, country: str) -> str:
    """Return the code of a state of *country* in capital letters."""
    if not states(country):
        refuse(f"`state` is not supported for country {country}.")
    code = value.upper()
    if not value.isascii() or not is_state(country, code):
        refuse(f"Invalid `state` for {country}. Use a code from `GET /v1/states?country={country}`.")
    return code


def check_gl(value: str, model: str, country: str | None) -> str:
    """Return *value* as Google writes it, in small letters.

    Args:
        value: A country code in letters of any size.
        model: Whose list of countries counts.
        country: The field `country`; None where it was refused, "" where it was left out.
    """
    if not value.isascii() or not is_served(value.upper(), model):
        refuse(_not_served("gl", value, model))
    if country and country != value.upper():
        refuse("Cannot set both country and gl to different values; provide only one")
    return value.lower()


def _not_served(field: str, value: str, model: str) -> str:
    where = f"Use a code from `GET /v1/countries?model={model}`."
    # A word of the caller's is repeated only where it looks like a code.
    if not (value.isascii() and value.isalnum() and len(value) <= 3):  # noqa: PLR2004 - a code, or nearly
        return f"Invalid `{field}`: expected an ISO 3166-1 alpha-2 code. {where}"
    if is_served(value.upper(), model):
        return f"`{field}` {value} is not supported: {COUNTRY_IS_UPPER}."
    return f"`{field}` {value} is not supported. {where}"
