"""Another service that speaks this contract: an engine behind this one, or the hosted service.

Every type is asked by its synchronous endpoint, `POST /v1/monitor/*`, with the payload as it was
submitted here. The result is kept whole: the service may know more of the contract than we do. The
tokens of a call are the credits that the service charged for it, so that a limit of the provider's
`tokens` bounds what a minute may cost.

| the service says                      | raised                                     |
|---------------------------------------|--------------------------------------------|
| 400 (422 in older copies)             | `Rejected`, with the fields that it refuses |
| 401, 403 of another kind, 404         | `Misconfigured`                            |
| 402, 403 `INSUFFICIENT_CREDITS`       | `RateLimited` for `quota_cooldown`         |
| 429, which comes without a time       | `RateLimited` for `cooldown`               |
| 499, 500, 502, 503 with `Retry-After` | `Unavailable`                              |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from pydantic import BaseModel, Field, SecretStr

from scheduler.errors import Misconfigured, RateLimited, Unavailable
from scheduler.providers.base import Call, ProviderSettings
from scheduler.providers.classifying import error_of_status, excerpt
from scheduler.providers.tools.http import HttpProvider, HttpSettings, Reply

PATHS: Final[Mapping[str, str]] = {
    "CHATGPT": "/v1/monitor/chatgpt",
    "GEMINI": "/v1/monitor/gemini",
    "PERPLEXITY": "/v1/monitor/perplexity",
    "COPILOT": "/v1/monitor/copilot",
    "GROK": "/v1/monitor/grok",
    "AIMODE": "/v1/monitor/aimode",
    "GOOGLE": "/v1/monitor/google",
    "GOOGLE_NEWS": "/v1/monitor/google/news",
}
"""Task type -> where it is asked."""

_PAYMENT_REQUIRED, _FORBIDDEN, _NOT_FOUND = 402, 403, 404
_NO_CREDITS = "INSUFFICIENT_CREDITS"
_CREDITS = re.compile(r"[0-9]{1,6}")
_FIELDS_TOLD = 3


class UpstreamSettings(HttpSettings):
    """What the provider can be told.

    Attributes:
        api_key: Of an account there.
        timeout: As for every provider; the service itself gives up after five minutes.
        quota_cooldown: Seconds for which the service is left alone once its account has no credits, an hour
            at most.
    """

    api_key: SecretStr = Field(min_length=1)
    timeout: float = Field(default=300.0, gt=0, le=3_600, allow_inf_nan=False)
    quota_cooldown: float = Field(default=3_600.0, ge=1, le=3_600, allow_inf_nan=False)


class Upstream(HttpProvider):
    """A service that speaks the contract; see the head of this module."""

    speaks_contract: ClassVar[bool] = True
    Settings: ClassVar[type[ProviderSettings]] = UpstreamSettings
    settings: UpstreamSettings

    def headers(self) -> Mapping[str, str]:
        """Return the header with the key."""
        return {"Authorization": f"Bearer {self.settings.api_key.get_secret_value()}"}

    async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
        """Return the service's result as it came."""
        path = PATHS[call.task_type]
        reply = await self.request("POST", path, body=question_of(payload))
        if reply.status == _NOT_FOUND:
            raise Misconfigured(
                f"the service has no {path}: check base_url, or take it out of the chain of {call.task_type}"
            )
        document = self.object_of(reply)
        result = document.get("result")
        if document.get("success") is not True or not isinstance(result, dict):
            said = excerpt(reply.body, self.secrets)
            raise Unavailable(f"the service answered {reply.status} without a result: {said}")
        call.spend(_credits(reply))
        return result

    def error_of(self, reply: Reply) -> Exception:
        """Return what to raise for an answer that is no success."""
        code, told = _error_of(reply.body)
        error = error_of_status(reply.status, reply.headers, told or reply.body, secrets=self.secrets)
        is_out = reply.status == _PAYMENT_REQUIRED or (reply.status == _FORBIDDEN and code == _NO_CREDITS)
        return RateLimited(self.settings.quota_cooldown, str(error)) if is_out else error


def question_of(payload: BaseModel) -> dict[str, Any]:
    """Return a payload as it was submitted: what was left out stays out, so that no default is imposed."""
    given = payload.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
    return {name: value for name, value in given.items() if value != ""}


def _error_of(body: bytes) -> tuple[str, str]:
    """Return code and text of the contract's error; "" for both if it is none.

    Older copies of the service have a text in the place of the object.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, str):
        return "", error
    if not isinstance(error, dict):
        return "", ""
    code, message, details = (error.get(name) for name in ("code", "message", "details"))
    fields = [
        f"{problem.get('field')}: {problem.get('message')}"
        for problem in (details[:_FIELDS_TOLD] if isinstance(details, list) else ())
        if isinstance(problem, dict)
    ]
    told = " ".join([f"{code}: {message}", *fields])
    return code if isinstance(code, str) else "", told


def _credits(reply: Reply) -> int:
    """Return what the service says that it charged; 0 if it says nothing usable."""
    charged = reply.headers.get("x-credits-charged", "")
    return int(charged) if _CREDITS.fullmatch(charged) else 0
