"""One real call to a provider, without a task: does it work as it is configured, and if not, what to do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from scheduler.errors import GiveUp, Misconfigured, RateLimited, Retry, Unavailable
from scheduler.providers.answering import ask
from scheduler.providers.base import LooseCall, Provider
from scheduler.providers.hiding import told, without
from taskqueue.contract import payload_model

_PROMPT: Final = "Name one harbour that freezes over in winter, in one short sentence."
_QUERY: Final = "harbours that freeze over in winter"
_SEARCHES: Final = frozenset({"GOOGLE", "GOOGLE_NEWS"})
_CLOSING: Final = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Trial:
    """How one call went.

    Attributes:
        provider: Its name.
        seconds: How long it took, from before the provider was opened.
        result: What would be stored; None if it failed.
        error: Why it failed, without secrets; None if it did not.
        partials: How often it told of a part of the answer.
        tokens: How many it used.
    """

    provider: str
    seconds: float
    result: dict[str, Any] | None
    error: Exception | None
    partials: int
    tokens: int

    @property
    def reason(self) -> str:
        """What was wrong; "" if nothing was."""
        if self.error is None:
            return ""
        if isinstance(self.error, Retry | RateLimited | GiveUp):
            return self.error.reason
        return f"{type(self.error).__name__}: {self.error}"

    @property
    def advice(self) -> str:
        """What to do about it; "" if nothing needs to be done."""
        return "" if self.error is None else advice_for(self.error, self.provider)

    @property
    def beginning(self) -> str:
        """The answer's text, or the title of the first hit; "" if there is none."""
        result = self.result or {}
        hits = result.get("organicResults") or result.get("newsResults") or [{}]
        return str(result.get("text") or hits[0].get("title") or "")


def question_for(task_type: str, prompt: str | None = None) -> BaseModel:
    """Return a small payload of a type.

    Args:
        task_type: One of the contract's.
        prompt: What is asked, or searched for; None asks for something small.

    Raises:
        ValidationError: If the prompt is empty or too long.
    """
    is_search = task_type in _SEARCHES
    asked = prompt if prompt is not None else _QUERY if is_search else _PROMPT
    field = "query" if is_search else "prompt"
    return payload_model(task_type).model_validate({field: asked, "country": "US"})


async def try_provider(provider: Provider, task_type: str, question: BaseModel) -> Trial:
    """Open a provider, ask it once, and close it; what goes wrong is in what is returned."""
    began, limit = time.monotonic(), provider.settings.timeout
    call = LooseCall(task_type, limit)
    result, error = None, None
    opening = asyncio.timeout(limit)
    try:
        async with opening:
            await provider.open()
        result = await ask(provider, question, call, limit)
    except Exception as failure:  # noqa: BLE001  told to the one who asked, whatever it is
        error = told(failure, provider.secrets)
        if opening.expired():
            error = Unavailable(f"it could not be opened within {limit:g} s")
    seconds = time.monotonic() - began
    try:
        async with asyncio.timeout(_CLOSING):
            await provider.close()
    except Exception as failure:  # noqa: BLE001  likewise
        text = without(str(failure), provider.secrets)
        error = error or Unavailable(f"it answered, and did not close: {type(failure).__name__}: {text}")
    return Trial(provider.name, seconds, result, error, len(call.partials), call.tokens)


def advice_for(error: Exception, name: str) -> str:
    """Return what to do about an error of the provider of that name, for people."""
    match error:
        case RateLimited():
            wait = "" if error.after is None else f" for {error.after.total_seconds():g} s"
            return (
                f"it takes no more{wait}: wait, or raise what the service allows; `taskqueue limits set "
                f"--provider {name}` keeps below that"
            )
        case Misconfigured():
            return "it refuses us, whatever is asked: look at its key, its model and its address"
        case Unavailable():
            return "it does not work, or not in time, or makes no sense: try again, or look at its address"
        case Retry():
            return "this one call failed: try again"
        case GiveUp():
            return "it works, and refuses this question: ask another one with --prompt, or another model"
    return "this is a mistake in the provider's own code, which fails with this error"
