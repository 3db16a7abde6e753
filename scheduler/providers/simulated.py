"""Providers that call nobody: handlers of their own for demos, and a kind for the configuration.

For demos, load tests and first steps: the tasks are real, only the answers are made up, and every
result says so. Latency is drawn from a log-normal distribution, as that of real providers mostly is;
failures and rate limits come at the rates that the settings name. The dice are seeded with the request
and the delivery, so a run can be repeated.

A request can also ask for a failure of its own, in plain sight and inside the contract's shape, by
the first words of its prompt or query: `[simulate: fail 2]` fails the first two attempts,
`[simulate: fail always]` every one.
"""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scheduler.backoff import Backoff
from scheduler.context import Context
from scheduler.errors import Misconfigured, RateLimited, Unavailable
from scheduler.providers import made_up
from scheduler.providers.base import Call, Provider, ProviderSettings
from scheduler.registry import Handlers
from taskqueue.contract import read_google_url
from taskqueue.errors import InvalidSetting

ANSWER_ENGINES = made_up.ANSWER_ENGINES
"""Task type -> name, of the providers that answer a prompt."""

TYPES = (*ANSWER_ENGINES, "GOOGLE", "GOOGLE_NEWS")
"""All types that are served."""

WIDEST_SPREAD = 3.0
"""With it one call in a hundred takes a thousand times the median."""

_PIECES = 4
"""In so many pieces an answer comes, where it comes in pieces."""

_DIRECTIVE = re.compile(r"\[simulate: fail (?P<times>always|[0-9]{1,4})\] *")


class SimulatedFailure(Unavailable):
    """A failure that was asked for: by the request, or by the failure rate."""


class Prompt(BaseModel):
    """A request to an answer engine; fields that are not simulated are let through."""

    model_config = ConfigDict(extra="allow")

    prompt: str = Field(min_length=1, max_length=10_000)
    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")


class Query(BaseModel):
    """A request to a search engine, by a query or an address; what is not simulated is let through."""

    model_config = ConfigDict(extra="allow")

    query: str = Field(default="", max_length=10_000)
    url: str = Field(default="", max_length=10_000)
    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    pages: int = Field(default=1, ge=1, le=10)

    @model_validator(mode="after")
    def _asks_something(self) -> Query:
        if not self.query and not self.url:
            raise ValueError("query or url must be given")
        return self


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


@dataclass(frozen=True, slots=True)
class _Fate:
    """What becomes of one call: how many seconds it takes, and what is asked or what goes wrong."""

    latency: float
    text: str
    error: Exception | None = None


def _fate(settings: SimulatedSettings, task_type: str, text: str, *, delivery: int, attempt: int) -> _Fate:
    # By deliveries, because a rate limit spends no attempt and the dice must fall anew after it.
    dice = Random(f"{settings.seed}:{task_type}:{text}:{delivery}")  # noqa: S311  no secret
    latency = settings.latency(dice)
    directive = _DIRECTIVE.match(text)
    if directive is not None:
        times = directive["times"]
        if times == "always" or attempt <= int(times):
            asked = f"this request asks to fail: {directive[0].strip()}, attempt {attempt}"
            return _Fate(latency, text, SimulatedFailure(asked))
        text = text[directive.end() :]
    luck = dice.random()
    if luck < settings.failure_rate:
        return _Fate(latency, text, SimulatedFailure("the simulated provider answered with an error"))
    if luck < settings.failure_rate + settings.rate_limit_rate:
        return _Fate(latency, text, RateLimited(settings.retry_after))
    return _Fate(latency, text)


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
        fate = _fate(settings, context.task.type, text, delivery=context.deliveries, attempt=context.attempt)
        await asyncio.sleep(fate.latency)
        if fate.error is not None:
            raise fate.error
        return fate.text

    async def answer(payload: Prompt, context: Context) -> made_up.Answer:
        return made_up.answer(context.task.type, await call(payload.prompt, context))

    async def search(payload: Query, context: Context) -> made_up.SearchResult:
        text, pages = _question(payload)
        return made_up.search(await call(text, context), pages)

    async def news(payload: Query, context: Context) -> made_up.NewsResult:
        text, pages = _question(payload)
        return made_up.news(await call(text, context), pages)

    for type_ in ANSWER_ENGINES:
        group.handler(type_, max_attempts=max_attempts, backoff=backoff)(answer)
    group.handler("GOOGLE", max_attempts=max_attempts, backoff=backoff)(search)
    group.handler("GOOGLE_NEWS", max_attempts=max_attempts, backoff=backoff)(news)
    return group


class SimulatedProviderSettings(ProviderSettings):
    """What the provider can be told; see `SimulatedSettings` for those that are not here.

    Attributes:
        mode: `works`, within the rates below; else every call ends alike: `failing`, as after a 500;
            `limiting`, as after a 429; `refusing`, as after a 401; `dead` never answers.
        seed: Of the dice.
        median_latency: In seconds.
        spread: Of the latency.
        failure_rate: Share of the calls that fail.
        rate_limit_rate: Share of the calls that are turned away.
        retry_after: Seconds that a call which is turned away is told to wait.
        stream: Whether the text of an answer comes in four pieces; the first one of each call costs
            one write to the server.
    """

    mode: Literal["works", "failing", "limiting", "refusing", "dead"] = "works"
    seed: int = 0
    median_latency: float = Field(default=0.3, ge=0, le=3_600, allow_inf_nan=False)
    spread: float = Field(default=0.5, ge=0, le=WIDEST_SPREAD, allow_inf_nan=False)
    failure_rate: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    rate_limit_rate: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    retry_after: float = Field(default=1.0, ge=0, le=3_600, allow_inf_nan=False)
    stream: bool = True

    @model_validator(mode="after")
    def _rates_leave_room(self) -> SimulatedProviderSettings:
        if self.failure_rate + self.rate_limit_rate > 1:
            raise ValueError("failure_rate and rate_limit_rate must be at most 1 together")
        return self


class Simulated(Provider):
    """A provider of the configuration that makes its answers up; a token is a word of question or answer."""

    # Its results fit the contract, and have one field more: `simulated`, which must not be dropped.
    speaks_contract: ClassVar[bool] = True
    Settings: ClassVar[type[ProviderSettings]] = SimulatedProviderSettings
    settings: SimulatedProviderSettings

    async def answer(self, payload: BaseModel, call: Call) -> Any:
        """Take as long as a provider would, and fail if it would; a `dead` one waits to be stopped."""
        given, task_type = self.settings, call.task_type
        if given.mode == "dead":
            await asyncio.Event().wait()
        text, pages = _question(payload)
        # It is told no attempts: what a request asks to fail are deliveries.
        fate = _fate(self._behaviour(), task_type, text, delivery=call.deliveries, attempt=call.deliveries)
        error = self._error() or fate.error
        if error is not None:
            await asyncio.sleep(fate.latency)
            raise error
        if task_type not in ANSWER_ENGINES:
            await asyncio.sleep(fate.latency)
            call.spend(len(fate.text.split()))
            return (made_up.search if task_type == "GOOGLE" else made_up.news)(fate.text, pages)
        result = made_up.answer(task_type, fate.text)
        await self._tell(result["text"], fate.latency, call)
        call.spend(len(fate.text.split()) + len(result["text"].split()))
        return result

    async def _tell(self, text: str, latency: float, call: Call) -> None:
        """Let the text of an answer come in pieces, over the latency."""
        if not self.settings.stream:
            await asyncio.sleep(latency)
            return
        for piece in range(1, _PIECES + 1):
            await asyncio.sleep(latency / _PIECES)
            await call.partial(text[: len(text) * piece // _PIECES])

    def _error(self) -> Exception | None:
        """Return what every call ends with in this mode."""
        match self.settings.mode:
            case "failing":
                return SimulatedFailure("the simulated service answered 500")
            case "limiting":
                return RateLimited(self.settings.retry_after, "the simulated service answered 429")
            case "refusing":
                return Misconfigured("the simulated service answered 401, as if the key were wrong")
        return None

    def _behaviour(self) -> SimulatedSettings:
        given = self.settings
        return SimulatedSettings(
            seed=given.seed,
            median_latency=timedelta(seconds=given.median_latency),
            spread=given.spread,
            failure_rate=given.failure_rate,
            rate_limit_rate=given.rate_limit_rate,
            retry_after=timedelta(seconds=given.retry_after),
        )


def _question(payload: BaseModel) -> tuple[str, int]:
    """Return the prompt or the query of a payload of the contract, and the pages that it asks for."""
    if url := getattr(payload, "url", ""):
        read = read_google_url(url)
        return read.query, read.pages
    text = getattr(payload, "prompt", None) or getattr(payload, "query", "")
    return str(text), int(getattr(payload, "pages", 1))
