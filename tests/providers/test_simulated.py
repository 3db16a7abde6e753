"""The simulated provider: honest, repeatable, and as unreliable as its settings say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from scheduler.errors import Misconfigured, RateLimited, Unavailable
from scheduler.providers import LooseCall
from scheduler.providers.answering import ask
from scheduler.providers.simulated import TYPES, Simulated, SimulatedProviderSettings
from taskqueue.contract import payload_model

PAYLOADS: dict[str, dict[str, Any]] = {
    name: {"query" if name.startswith("GOOGLE") else "prompt": "weather & wind", "country": "US"}
    for name in TYPES
}


def made(**settings: Any) -> Simulated:
    """Return a provider that answers at once."""
    return Simulated("made", SimulatedProviderSettings(**{"median_latency": 0.0, **settings}))


def question(task_type: str, **fields: Any) -> BaseModel:
    """Return a payload of the contract."""
    return payload_model(task_type).model_validate({**PAYLOADS[task_type], **fields})


@pytest.mark.parametrize("task_type", TYPES)
async def test_every_type_is_answered_in_its_shape_and_says_so(task_type: str) -> None:
    """`simulated` is no field of the contract, and is kept all the same."""
    result = await ask(made(), question(task_type), LooseCall(task_type), 5)

    assert result["simulated"] is True
    parts = {"GOOGLE": "organicResults", "GOOGLE_NEWS": "newsResults"}.get(task_type, "sources")
    assert [part["position"] for part in result[parts]][:3] == [1, 2, 3]


@pytest.mark.parametrize("task_type", ["CHATGPT", "GOOGLE"])
async def test_the_longest_question_has_an_answer_that_can_be_stored(task_type: str) -> None:
    """Ten pages of hits for 10,000 characters: addresses and titles repeat only the beginning."""
    fields = {"query": "ü" * 10_000, "pages": 10} if task_type == "GOOGLE" else {"prompt": "ü" * 10_000}

    result = await ask(made(), question(task_type, **fields), LooseCall(task_type), 5)

    assert len(str(result)) < 250_000


async def test_a_search_address_is_answered_by_its_query_and_its_depth() -> None:
    """As a search with the same words and pages."""
    url = "https://www.google.com/search?q=best+laptops&gl=us&num=30"
    payload = payload_model("GOOGLE").model_validate({"url": url})

    result = await ask(made(), payload, LooseCall("GOOGLE"), 5)

    assert len(result["organicResults"]) == 30
    assert result["organicResults"][0]["title"] == "Simulated result 1 for best laptops"


async def test_the_text_comes_in_pieces() -> None:
    """Each longer than the one before, the last one whole; words count as tokens."""
    call = LooseCall("GROK")
    result = await ask(made(), question("GROK"), call, 5)

    assert len(call.partials) == 4
    assert call.partials[-1] == result["text"]
    assert [result["text"].startswith(text) for text in call.partials] == [True] * 4
    assert len(set(call.partials)) == 4
    assert call.tokens == 3 + len(result["text"].split())


async def test_the_text_can_come_at_once() -> None:
    """For load tests, where each piece would be a write."""
    call = LooseCall("GROK")
    await ask(made(stream=False), question("GROK"), call, 5)

    assert call.partials == []


@pytest.mark.parametrize(
    ("mode", "error"),
    [("failing", Unavailable), ("limiting", RateLimited), ("refusing", Misconfigured)],
)
async def test_a_mode_ends_every_call_alike(mode: str, error: type[Exception]) -> None:
    """Whatever is asked."""
    for task_type in TYPES:
        with pytest.raises(error):
            await ask(made(mode=mode), question(task_type), LooseCall(task_type), 5)


async def test_a_dead_one_never_answers_and_can_be_stopped() -> None:
    """It is given up when its time is over, or with the task."""
    with pytest.raises(Unavailable, match=r"did not answer within 0\.05 s"):
        await ask(made(mode="dead"), question("GROK"), LooseCall("GROK"), 0.05)
    asking = asyncio.create_task(ask(made(mode="dead"), question("GROK"), LooseCall("GROK"), 60))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_failures_and_limits_come_at_their_rates_and_can_be_repeated() -> None:
    """The same questions and deliveries end alike; another delivery throws the dice anew."""

    async def outcome(number: int, delivery: int = 1) -> str:
        provider = made(failure_rate=0.3, rate_limit_rate=0.2, retry_after=3)
        payload, call = question("GROK", prompt=f"number {number}"), LooseCall("GROK", deliveries=delivery)
        try:
            await ask(provider, payload, call, 5)
        except RateLimited as error:
            return f"limited for {error.after}"
        except Unavailable:
            return "failed"
        return "answered"

    first = [await outcome(number) for number in range(400)]
    again = [await outcome(number) for number in range(400)]
    later = [await outcome(number, delivery=2) for number in range(400)]

    assert first == again
    assert first != later
    assert first.count("failed") == pytest.approx(120, abs=40)
    assert first.count("limited for 0:00:03") == pytest.approx(80, abs=35)


async def test_a_request_asks_to_fail_its_first_deliveries() -> None:
    """In plain sight; the third is answered, without the directive."""
    payload = question("GROK", prompt="[simulate: fail 2] Who is there?")
    for delivery in (1, 2):
        with pytest.raises(Unavailable, match="asks to fail"):
            await ask(made(), payload, LooseCall("GROK", deliveries=delivery), 5)

    result = await ask(made(), payload, LooseCall("GROK", deliveries=3), 5)

    assert result["text"] == "A simulated answer of Grok to: Who is there?"


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "lazy"},
        {"median_latency": -1},
        {"spread": 3.1},
        {"failure_rate": 1.1},
        {"failure_rate": 0.6, "rate_limit_rate": 0.6},
        {"retry_after": float("inf")},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    """By its model."""
    with pytest.raises(ValidationError):
        SimulatedProviderSettings(**settings)
