"""What a provider behind an OpenAI-compatible service can be told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field, SecretStr, field_validator

from scheduler.providers.tools.http import HttpSettings
from scheduler.providers.tools.instructing import DEFAULT_INSTRUCTIONS

OURS: Final = frozenset({"background", "input", "instructions", "messages", "model", "n", "stream"})
"""Fields of the body that cannot be parameters: settings of their own, or of no use here."""

_FORBIDDEN_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "idempotency-key",
        "openai-organization",
        "proxy-authorization",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)
_MOST_HEADERS: Final = 32
_LONGEST_HEADER: Final = 1_000
_LARGEST_PARAMETERS: Final = 64 * 1024
_SEPARATORS: Final = frozenset('"(),/:;<=>?@[\\]{} ')


class OpenAiSettings(HttpSettings):
    """What the provider can be told.

    Attributes:
        base_url: Of the service, up to what stands before `/chat/completions`, such as
            `https://api.openai.com/v1`, `https://api.perplexity.ai`, `https://api.x.ai/v1` or
            `http://127.0.0.1:8080/v1`.
        api_key: Sent as a bearer token; None for a service that wants none, such as one on this machine.
            Nothing is taken from the variables that OpenAI's library reads by itself.
        model: As the service calls it.
        api: `chat` is `/chat/completions`, which nearly all services have; `responses` is `/responses`.
        parameters: More fields of the body, as the service's own documentation has them: `temperature`,
            `max_tokens`, `tools`, `web_search_options` and the like. `{country}` and the others are
            replaced in their texts as in `instructions`; a field that has no text left is not sent.
        instructions: What the model is told beside the prompt; "" tells it nothing. `{country}` is
            replaced by the country's code, such as `US`, `{state}` by the name of the state, `{location}`
            by the town and `{language}` by the language (`hl`) of an AIMODE task, each by nothing if the
            task does not say.
        user_location: Whether tools for web search are told the place, as `user_location`; only with
            `responses`, and where the parameters do not say one.
        organization: Sent as `OpenAI-Organization`.
        headers: More headers, such as those that a gateway wants; no secrets.
        stream: Whether the answer comes in parts: the task's event stream shows them, and a service that
            stops half-way is noticed. Without, a service that does not say why an answer ended is trusted.
        include_usage: Whether the service is asked to count tokens in streamed chat; false for one that
            refuses `stream_options`.
        quota_cooldown: Seconds for which the service is left alone once its quota or credit is used up.
    """

    base_url: str = "https://api.openai.com/v1"
    api_key: SecretStr | None = None
    model: str = Field(min_length=1, max_length=200)
    api: Literal["chat", "responses"] = "chat"
    parameters: dict[str, Any] = Field(default={})
    instructions: str = Field(default=DEFAULT_INSTRUCTIONS, max_length=20_000)
    user_location: bool = True
    organization: str | None = None
    headers: dict[str, str] = Field(default={})
    stream: bool = True
    include_usage: bool = True
    quota_cooldown: float = Field(default=300.0, ge=1, le=86_400, allow_inf_nan=False)

    @field_validator("parameters")
    @classmethod
    def _can_be_sent(cls, value: dict[str, Any]) -> dict[str, Any]:
        if refused := sorted(OURS & value.keys()):
            raise ValueError(f"{', '.join(refused)} cannot stand here: the provider sets such fields itself")
        try:
            size = len(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            raise ValueError("they are sent as JSON, which has no dates, nan and inf") from None
        if size > _LARGEST_PARAMETERS:
            raise ValueError(f"they must be at most {_LARGEST_PARAMETERS:,} bytes as JSON")
        return value

    @field_validator("organization")
    @classmethod
    def _is_a_word(cls, value: str | None) -> str | None:
        if value is not None and not (value and _is_printable(value) and " " not in value):
            raise ValueError("it must be a word of printable ASCII, such as org-1234")
        return value

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if len(value) > _MOST_HEADERS:
            raise ValueError(f"there must be at most {_MOST_HEADERS}")
        for name, text in value.items():
            if not _is_printable(name) or not name or _SEPARATORS & set(name):
                raise ValueError("the name of a header is made of letters, digits and -")
            if name.lower() in _FORBIDDEN_HEADERS:
                raise ValueError(f"{name} cannot stand here: it is set by the provider, or is a secret")
            if not _is_printable(text) or text != text.strip():
                raise ValueError(f"the value of {name} must be printable ASCII without spaces around it")
        return value


def _is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable() and len(text) <= _LONGEST_HEADER
