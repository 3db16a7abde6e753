"""Countries and states that requests may name."""

from __future__ import annotations

import re

from taskqueue.api.errors import invalid_field
from taskqueue.api.exchange import Exchange
from taskqueue.api.replies import Reply, json_reply
from taskqueue.api.service import Service
from taskqueue.contract import MODELS, countries, states

_COUNTRY = re.compile(r"[A-Z]{2}")
DEFAULT_COUNTRY = "US"
"""The contract requires a country; its official clients send none."""


async def list_countries(_: Service, exchange: Exchange) -> Reply:
    """List country codes (contract: GET /v1/countries)."""
    model = exchange.query("model").get("model")
    if model is not None and model not in MODELS:
        options = "|".join(f'"{name}"' for name in MODELS)
        raise invalid_field("model", f"Invalid option: expected one of {options}")
    return json_reply(countries(model))


async def list_states(_: Service, exchange: Exchange) -> Reply:
    """List the states of a country (contract: GET /v1/states)."""
    country = exchange.query("country").get("country", DEFAULT_COUNTRY)
    if _COUNTRY.fullmatch(country) is None:
        raise invalid_field("country", "Invalid string: must match pattern /^[A-Z]{2}$/")
    return json_reply([state._asdict() for state in states(country)])
