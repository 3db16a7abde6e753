"""What a model is told beside the prompt: a template of the operator's, with the place of the task in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from taskqueue.contract import states

DEFAULT_INSTRUCTIONS: Final = (
    "Answer the question in the language that it is asked in, as Markdown.\n"
    "Where the place matters, answer for somebody who is here: {country} {state} {location}"
)

_PLACEHOLDER: Final = re.compile(r"\{(country|state|location|language)\}")
_SPACES: Final = re.compile(r"[ \t]+")
_LOOSE_SPACE: Final = re.compile(r" (?=[.,;:!?)\n]|$)")


def place_of(payload: BaseModel) -> dict[str, str]:
    """Return `country`, `state`, `location` and `language` of a task, "" for what it does not say."""
    country = str(getattr(payload, "country", "") or getattr(payload, "gl", "")).upper()
    code = str(getattr(payload, "state", ""))
    return {
        "country": country,
        "state": next((state.name for state in states(country) if state.code == code), code),
        "location": str(getattr(payload, "location", "")),
        "language": str(getattr(payload, "hl", "")),
    }


def instructions_of(template: str, place: Mapping[str, str]) -> str:
    """Return a template with the place in it; no spaces are left where a part of it is not known.

    Other braces stay as they are, also those in what the task says.
    """
    text = _PLACEHOLDER.sub(lambda found: place.get(found[1], ""), template)
    return _LOOSE_SPACE.sub("", _SPACES.sub(" ", text)).strip()
