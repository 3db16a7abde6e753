"""Handlers that stand in for the eight outside providers. They call nobody, and every result says so.

For demos, load tests and first steps: the tasks are real, only the answers are made up. Latency is
drawn from a log-normal distribution, as that of real providers mostly is; failures and rate limits
come at the rates that the settings name. The dice are seeded with the request and the delivery,
so a run can be repeated.

A request can also ask for a failure of its own, in plain sight and inside the contract's shape, by
the first words of its prompt or query: `[simulate: fail 2]` fails the first two attempts,
`[simulate: fail always]` every one.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Literal, TypedDict
from urllib.parse import quote_plus

from pydantic import BaseModel, ConfigDict, Field

from scheduler.backoff import Backoff
from scheduler.context import Context
from scheduler.errors import RateLimited
from scheduler.registry import Handlers
from taskqueue.errors import InvalidSetting

ANSWER_ENGINES: Mapping[str, str] = {
    "AIMODE": "Google AI Mode",
    "CHATGPT": "ChatGPT",
    "COPILOT": "Copilot",
    "GEMINI": "Gemini",
    "GROK": "Grok",
    "PERPLEXITY": "Perplexity",
}
"""Task type -> name, of the providers that answer a prompt."""

TYPES = (*ANSWER_ENGINES, "GOOGLE", "GOOGLE_NEWS")
"""All types that `handlers` serves."""

WIDEST_SPREAD = 3.0
"""With it one call in a hundred takes a thousand times the median."""

_DIRECTIVE = re.compile(r"\[simulate: fail (?P<times>always|[0-9]{1,4})\] *")


class SimulatedFailure(Exception):
    """A failure that was asked for: by the request, or by the failure rate."""


class Prompt(BaseModel):
    """A request to an answer engine; fields that are not simulated are let through."""

    model_config = ConfigDict(extra="allow")

    prompt: str = Field(min_length=1, max_length=10_000)
    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")


class Query(BaseModel):
    """A request to a search engine; fields that are not simulated are let through."""

    model_config = ConfigDict(extra="allow")

    query: str = Field(min_length=1, max_length=10_000)
    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    pages: int = Field(default=1, ge=1, le=10)


class Source(TypedDict):
    """A page that an answer leans on."""

    position: int
    url: str
    label: str
    description: str


class Answer(TypedDict):
    """Result of an answer engine."""

    simulated: Literal[True]
    text: str
    sources: list[Source]


class Hit(TypedDict):
    """One result of a search."""

    position: int
    title: str
    link: str
    snippet: str
    page: int


class SearchResult(TypedDict):
    """Result of GOOGLE."""

    simulated: Literal[True]
    organicResults: list[Hit]


class NewsResult(TypedDict):
    """Result of GOOGLE_NEWS."""

    simulated: Literal[True]
    newsResults: list[Hit]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSettings:
    """How the stand-ins behave.

    Attributes:
        seed: Of the dice; the same seed and request give the same latency and outcome.
        median_latency: Half of the calls take longer than this; zero answers at once.
        spread: Standard deviation of the latency's logarithm; 0 makes every call take the median,
            0.5 one in a hundred more than three times as long.
        failure_rate: Share of the attempts that fail, from 0 to 1.
        rate_limit_rate: Share of the attempts that are turned away with a rate limit, from 0 to 1.
        retry_after: How long a rate-limited task has to wait.

    Raises:
        InvalidSetting: If a value is out of its range.
    """

    seed: int = 0
    median_latency: timedelta = timedelta(milliseconds=300)
    spread: float = 0.5
    failure_rate: float = 0.0
    rate_limit_rate: float = 0.0
    retry_after: timedelta = timedelta(seconds=1)

    def __post_init__(self) -> None:
        if self.median_latency < timedelta(0):
            raise InvalidSetting("median_latency", self.median_latency, "zero or more")
        if not 0 <= self.spread <= WIDEST_SPREAD:
            raise InvalidSetting("spread", self.spread, f"a number from 0 to {WIDEST_SPREAD}")
        for name in ("failure_rate", "rate_limit_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidSetting(name, getattr(self, name), "a number from 0 to 1")
        if self.failure_rate + self.rate_limit_rate > 1:
            raise InvalidSetting("failure_rate", self.failure_rate, "at most 1 together with rate_limit_rate")
        if self.retry_after < timedelta(0):
            raise InvalidSetting("retry_after", self.retry_after, "zero or more")

    def latency(self, dice: Random) -> float:
        """Return the seconds that one call takes."""
        return self.median_latency.total_seconds() * math.exp(dice.gauss(0, self.spread))


def handlers(
    settings: SimulatedSettings = SimulatedSettings(),
    *,
    max_attempts: int = 5,
    backoff: Backoff | None = None,
) -> Handlers:
    """Return a group of handlers for the eight types, to be included in a scheduler.

    Args:
        settings: How they behave.
        max_attempts: How often a task may be tried.
        backoff: How long a failed one waits; None is the scheduler's default.

    Example:
        >>> scheduler.include(simulated.handlers(SimulatedSettings(failure_rate=0.1)))
    """
    group = Handlers()

    async def call(text: str, context: Context) -> str:
        """Take as long as the provider would, fail if it would; return the request without its directive."""
        # By deliveries, because a rate limit spends no attempt and the dice must fall anew after it.
        seed = f"{settings.seed}:{context.task.type}:{text}:{context.deliveries}"
        dice = Random(seed)  # noqa: S311  no secret
        await asyncio.sleep(settings.latency(dice))
        directive = _DIRECTIVE.match(text)
        if directive is not None:
            times = directive["times"]
            if times == "always" or context.attempt <= int(times):
                raise SimulatedFailure(
                    f"this request asks to fail: {directive[0].strip()}, attempt {context.attempt}"
                )
            text = text[directive.end() :]
        luck = dice.random()
        if luck < settings.failure_rate:
            raise SimulatedFailure("the simulated provider answered with an error")
        if luck < settings.failure_rate + settings.rate_limit_rate:
            raise RateLimited(after=settings.retry_after)
        return text

    async def answer(payload: Prompt, context: Context) -> Answer:
        return _answer(ANSWER_ENGINES[context.task.type], await call(payload.prompt, context))

    async def search(payload: Query, context: Context) -> SearchResult:
        return {"simulated": True, "organicResults": _hits(await call(payload.query, context), payload.pages)}

    async def news(payload: Query, context: Context) -> NewsResult:
        return {"simulated": True, "newsResults": _hits(await call(payload.query, context), payload.pages)}

    for type_ in ANSWER_ENGINES:
        group.handler(type_, max_attempts=max_attempts, backoff=backoff)(answer)
    group.handler("GOOGLE", max_attempts=max_attempts, backoff=backoff)(search)
    group.handler("GOOGLE_NEWS", max_attempts=max_attempts, backoff=backoff)(news)
    return group


def _answer(engine: str, prompt: str) -> Answer:
    sources: list[Source] = [
        {
            "position": position,
            "url": f"https://example.org/source/{position}?q={quote_plus(prompt)}",
            "label": f"Example source {position}",
            "description": "Made up; nobody was asked.",
        }
        for position in (1, 2, 3)
    ]
    return {"simulated": True, "text": f"A simulated answer of {engine} to: {prompt}", "sources": sources}


def _hits(query: str, pages: int) -> list[Hit]:
    return [
        {
            "position": position,
            "title": f"Simulated result {position} for {query}",
            "link": f"https://example.org/result/{position}?q={quote_plus(query)}",
            "snippet": "Made up; nobody was asked.",
            "page": (position - 1) // 10 + 1,
        }
        for position in range(1, pages * 10 + 1)
    ]
