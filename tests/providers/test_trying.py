"""One call to a provider without a task: what it tells of an answer, and of everything that may go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from scheduler.errors import GiveUp, Misconfigured, RateLimited, Rejected, Retry, Unavailable
from scheduler.providers import Call
from scheduler.providers.trying import Trial, question_for, try_provider
from tests.providers.test_fleet import SECRET, Scripted


async def tried(provider: Scripted) -> Trial:
    """Try a provider with a small question."""
    return await try_provider(provider, "CHATGPT", question_for("CHATGPT", "Who is there?"))


async def test_an_answer_is_told_with_what_it_took() -> None:
    """Its text, its parts and its tokens; the provider is closed in the end."""

    class Talking(Scripted):
        async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
            await call.partial("Hel")
            call.spend(7)
            return await super().answer(payload, call)

    provider = Talking("a", {"text": "Hello."})
    trial = await tried(provider)

    assert (trial.provider, trial.error, trial.reason, trial.advice) == ("a", None, "", "")
    assert (trial.beginning, trial.partials, trial.tokens) == ("Hello.", 1, 7)
    assert provider.went == ["open", "answer", "close"]


@pytest.mark.parametrize(
    ("error", "reason", "advice"),
    [
        (RateLimited(after=90, reason="slow down"), "slow down", "it takes no more for 90 s: wait, or raise"),
        (Misconfigured("wrong key"), "wrong key", "look at its key, its model and its address"),
        (Unavailable("it is down"), "it is down", "it does not work, or not in time, or makes no sense"),
        (Retry(reason="cut off"), "cut off", "this one call failed: try again"),
        (Rejected("not that"), "not that", "ask another one with --prompt, or another model"),
        (GiveUp("no"), "no", "ask another one with --prompt, or another model"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops", "a mistake in the provider's own code"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else None,
)
async def test_what_goes_wrong_is_told_with_what_to_do(error: Exception, reason: str, advice: str) -> None:
    """Each kind of error has an advice of its own; the provider is closed all the same."""
    provider = Scripted("a", error)
    trial = await tried(provider)

    assert (trial.error, trial.reason, trial.result, trial.beginning) == (error, reason, None, "")
    assert advice in trial.advice
    assert provider.went == ["open", "answer", "close"]


async def test_a_limit_names_the_command_that_keeps_below_it() -> None:
    """The provider by its name; a limit of no length has none to tell."""
    trial = Trial("mine", 0.1, None, RateLimited(), 0, 0)

    assert trial.advice.startswith("it takes no more: wait, ")
    assert "`taskqueue limits set --provider mine`" in trial.advice


@pytest.mark.parametrize("opens", [Misconfigured(f"{SECRET} is wrong"), RuntimeError(SECRET)])
async def test_one_that_cannot_be_opened_is_not_asked(opens: Exception) -> None:
    """Why is told without its secrets."""
    provider = Scripted("a", opens=opens)
    trial = await tried(provider)

    assert trial.error is not None
    assert SECRET not in trial.reason
    assert "[hidden]" in trial.reason
    assert provider.went == ["open", "close"]


async def test_one_that_does_not_open_in_time_is_given_up() -> None:
    """The timeout of its settings holds for that, too."""
    provider = Scripted("a", opens=asyncio.Event(), timeout=0.05)
    trial = await tried(provider)

    assert isinstance(trial.error, Unavailable)
    assert trial.reason == "it could not be opened within 0.05 s"
    assert provider.went == ["open", "close"]


async def test_one_that_does_not_close_has_failed() -> None:
    """A worker would lose its connections that way; what went wrong before that is told first."""

    class Stuck(Scripted):
        async def close(self) -> None:
            raise RuntimeError(f"{SECRET} is still in use")

    answered, failed = await tried(Stuck("a")), await tried(Stuck("a", Unavailable("it is down")))

    assert answered.reason == "it answered, and did not close: RuntimeError: [hidden] is still in use"
    assert answered.result is not None
    assert failed.reason == "it is down"


async def test_one_that_hangs_when_it_closes_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten seconds, which a test need not wait for."""
    monkeypatch.setattr("scheduler.providers.trying._CLOSING", 0.02)

    class Hanging(Scripted):
        async def close(self) -> None:
            await asyncio.Event().wait()

    assert (await tried(Hanging("a"))).reason.startswith("it answered, and did not close: TimeoutError")
