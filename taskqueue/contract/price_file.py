"""The file of a price list: its shape, and what is refused with which words.

A slip in it would charge wrongly without a sound, so that nothing is guessed: every type must
have its prices, and only fields that the payload of the type has may cost something.
"""

from __future__ import annotations

import tomllib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from taskqueue.contract.models import fields, payload_model
from taskqueue.contract.types import TASK_TYPES
from taskqueue.errors import InvalidSetting

HIGHEST_PRICE = 1_000_000
"""Highest number of credits that one line of the list may ask for."""

LARGEST_FILE = 64 * 1024
"""Largest price list in bytes."""

MOST_RESULTS = 1_000

Credits = Annotated[
    int, Field(ge=0, le=HIGHEST_PRICE, description=f"a whole number of credits from 0 to {HIGHEST_PRICE:,}")
]
FieldPath = Annotated[str, Field(min_length=1, max_length=100)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Option(_Table):
    """Credits for fields of the payload, once for all of them."""

    any: list[FieldPath] = Field(min_length=1, max_length=100)
    credits: Credits


class Results(_Table):
    """Credits for each entry of a list in the result, when a field of the payload asks for it."""

    when: FieldPath
    count: FieldPath
    most: int = Field(ge=1, le=MOST_RESULTS)
    credits: Credits


class TypePrices(_Table):
    """The prices of one task type."""

    base: Credits
    state: Credits = 0
    page: Credits = 0
    options: list[Option] = Field(default=[], max_length=100)
    results: Results | None = None


class Prices(_Table):
    """A whole price list."""

    sync: Credits
    types: dict[str, TypePrices]


def read_prices(text: str, name: str) -> Prices:
    """Return the price list that *text*, a TOML document, says.

    Args:
        text: The document.
        name: Name of the file, for errors.

    Raises:
        InvalidSetting: If it is not TOML, lacks a type, has a type or a name that does not exist,
            or a price that is not a whole number from 0 to 1,000,000.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Not TOMLDecodeError alone: whole numbers of thousands of digits are a plain ValueError.
        raise InvalidSetting(name, str(error), "a price list in TOML") from None
    sync = {"sync": document.pop("sync")} if "sync" in document else {}
    if set(document) != set(TASK_TYPES):
        missing = [each for each in TASK_TYPES if each not in document]
        rule = f"sync and one table for each of {', '.join(TASK_TYPES)}"
        given = f"without {', '.join(missing)}" if missing else sorted(set(document) - set(TASK_TYPES))
        raise InvalidSetting(name, given, rule)
    try:
        prices = Prices.model_validate({**sync, "types": document})
    except ValidationError as error:
        raise _first_refusal(error, name) from None
    for task_type, each in prices.types.items():
        _check_fields(task_type, each, name)
    return prices


def _first_refusal(error: ValidationError, name: str) -> InvalidSetting:
    found = error.errors(include_url=False)[0]
    where = [str(step) for step in found["loc"] if step != "types"]
    given = "nothing" if found["type"] == "missing" else found["input"]
    rules = {
        "missing": "given",
        "extra_forbidden": "left out: there is no such name",
        "model_type": "a table",
        "int_type": f"a whole number of credits from 0 to {HIGHEST_PRICE:,}",
    }
    message = found["msg"]
    rule = rules.get(found["type"], message[:1].lower() + message[1:])
    return InvalidSetting(f"{name}: {'.'.join(where)}", given, rule.removeprefix("input should be "))


def _check_fields(task_type: str, prices: TypePrices, name: str) -> None:
    """Refuse prices of fields that the payload does not have: nobody would ever pay them."""
    known = set(_paths(payload_model(task_type)))
    used: list[tuple[str, str]] = []
    if prices.state:
        used.append(("state", "state"))
    if prices.page:
        used.append(("page", "pages"))
    if prices.results is not None:
        used.append(("results.when", prices.results.when))
    used += [("options.any", path) for option in prices.options for path in option.any]
    for setting, path in used:
        if path not in known:
            raise InvalidSetting(
                f"{name}: {task_type}.{setting}", path, f"a field of the payload: {', '.join(sorted(known))}"
            )


def _paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    # What the contract ignores is never in a checked payload.
    ignored = {field.alias for field in model.model_fields.values() if field.exclude}
    found = []
    for name, part in fields(model).items():
        if name not in ignored:
            found.append(f"{prefix}{name}")
            if part is not None:
                found += _paths(part, f"{prefix}{name}.")
    return found
