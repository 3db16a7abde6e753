"""The stand-ins for outside providers: honest, repeatable, and as unreliable as they are told to be."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from random import Random
from statistics import median
from typing import Any

import pytest

from scheduler import Fixed, Scheduler
from scheduler.providers import simulated
from scheduler.providers.simulated import SimulatedSettings
from taskqueue import Task, TaskQueue, TaskState
from taskqueue.errors import InvalidSetting
from taskqueue.testing import memory_queue

AT_ONCE = timedelta(0)
QUICK = SimulatedSettings(median_latency=AT_ONCE, retry_after=AT_ONCE)


@pytest.fixture
async def memory() -> AsyncIterator[TaskQueue]:
    """A queue in memory."""
    async with memory_queue() as queue:
        yield queue


async def run(
    queue: TaskQueue,
    type_: str,
    payload: Mapping[str, Any],
    settings: SimulatedSettings = QUICK,
    **options: Any,
) -> Task:
    """Enqueue one task, run the stand-ins until it has ended, and return it."""
    task = await queue.enqueue(type_, payload)
    scheduler = Scheduler(queue=queue)
    scheduler.include(simulated.handlers(settings, backoff=Fixed(AT_ONCE), **options))
    await scheduler.run(burst=True, handle_signals=False)
    return await queue.wait(task.id, timeout=0)


def test_all_eight_types_are_served() -> None:
    """Those of the HTTP contract."""
    assert sorted(each.type for each in simulated.handlers()) == sorted(simulated.TYPES)
    assert sorted(simulated.TYPES) == [
        "AIMODE",
        "CHATGPT",
        "COPILOT",
        "GEMINI",
        "GOOGLE",
        "GOOGLE_NEWS",
        "GROK",
        "PERPLEXITY",
    ]


@pytest.mark.parametrize("type_", sorted(simulated.ANSWER_ENGINES))
async def test_an_answer_has_the_fields_of_the_contract_and_says_that_it_is_simulated(
    memory: TaskQueue, type_: str
) -> None:
    """Text and sources."""
    task = await run(memory, type_, {"prompt": "What is the weather in New York?", "country": "US"})

    assert task.state is TaskState.COMPLETED
    assert task.result["simulated"] is True
    assert task.result["text"].startswith("A simulated answer of ")
    assert task.result["text"].endswith("What is the weather in New York?")
    assert [source["position"] for source in task.result["sources"]] == [1, 2, 3]
    assert all({"url", "label", "description"} <= set(source) for source in task.result["sources"])


@pytest.mark.parametrize(("type_", "field"), [("GOOGLE", "organicResults"), ("GOOGLE_NEWS", "newsResults")])
async def test_a_search_has_a_page_of_ten_results(memory: TaskQueue, type_: str, field: str) -> None:
    """Or as many pages as were asked for."""
    task = await run(memory, type_, {"query": "weather & wind", "country": "US", "pages": 2})

    assert task.result["simulated"] is True
    assert [(hit["position"], hit["page"]) for hit in task.result[field]] == [
        (n, 1 + n // 11) for n in range(1, 21)
    ]
    assert "weather+%26+wind" in task.result[field][0]["link"]


async def test_a_search_may_come_as_an_address(memory: TaskQueue) -> None:
    """What is searched for, and how many results, are read from it."""
    task = await run(memory, "GOOGLE", {"url": "https://www.google.com/search?q=best+laptops&gl=us&num=30"})

    assert len(task.result["organicResults"]) == 30
    assert "best+laptops" in task.result["organicResults"][0]["link"]


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        ("CHATGPT", {}),
        ("CHATGPT", {"prompt": ""}),
        ("CHATGPT", {"prompt": "x" * 10_001}),
        ("CHATGPT", {"prompt": "x", "country": "us"}),
        ("GOOGLE", {"prompt": "x"}),
        ("GOOGLE_NEWS", {"query": "x", "pages": 11}),
    ],
)
async def test_a_payload_that_no_provider_would_take_fails_at_once(
    memory: TaskQueue, type_: str, payload: dict[str, Any]
) -> None:
    """It is checked before the call; no attempt can mend it."""
    task = await run(memory, type_, payload)

    assert task.error is not None
    assert (task.state, task.attempt, task.error.code) == (TaskState.FAILED, 1, "INVALID_PAYLOAD")


async def test_a_request_can_ask_to_fail_twice(memory: TaskQueue) -> None:
    """The directive is in plain sight, and is not part of what is answered."""
    task = await run(memory, "GROK", {"prompt": "[simulate: fail 2] Who is there?"})

    assert (task.state, task.attempt) == (TaskState.COMPLETED, 3)
    assert task.result["text"] == "A simulated answer of Grok to: Who is there?"


async def test_a_request_can_ask_to_fail_always(memory: TaskQueue) -> None:
    """Until its attempts are used up."""
    task = await run(memory, "GOOGLE", {"query": "[simulate: fail always] x"}, max_attempts=3)

    assert task.error is not None
    assert (task.state, task.attempt) == (TaskState.FAILED, 3)
    assert "asks to fail: [simulate: fail always], attempt 3" in task.error.message


async def test_a_directive_counts_only_at_the_beginning(memory: TaskQueue) -> None:
    """A prompt about directives is a prompt."""
    task = await run(memory, "GROK", {"prompt": "What does [simulate: fail always] do?"})

    assert task.state is TaskState.COMPLETED


async def test_a_rate_limit_spends_no_attempt_and_ends(memory: TaskQueue) -> None:
    """The dice fall anew at every delivery."""
    settings = SimulatedSettings(median_latency=AT_ONCE, retry_after=AT_ONCE, rate_limit_rate=0.8)
    tasks = [await run(memory, "GROK", {"prompt": f"number {n}"}, settings) for n in range(10)]

    assert {(task.state, task.attempt) for task in tasks} == {(TaskState.COMPLETED, 1)}
    assert max(task.deliveries for task in tasks) > 1


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
async def test_attempts_fail_at_the_rate_of_the_settings(memory: TaskQueue, rate: float) -> None:
    """Over 200 tasks with one attempt each."""
    for number in range(200):
        await memory.enqueue("GROK", {"prompt": f"number {number}"})
    scheduler = Scheduler(queue=memory)
    settings = SimulatedSettings(median_latency=AT_ONCE, failure_rate=rate)
    scheduler.include(simulated.handlers(settings, max_attempts=1))
    done = await scheduler.run(burst=True, handle_signals=False)

    assert done.failed == pytest.approx(200 * rate, abs=25)
    assert done.completed == 200 - done.failed


def test_latency_is_log_normal() -> None:
    """Half above the median, and a long tail; the same seed gives the same."""
    settings = SimulatedSettings(median_latency=timedelta(seconds=2), spread=0.5)
    dice = Random(5)
    drawn = [settings.latency(dice) for _ in range(5_000)]

    assert median(drawn) == pytest.approx(2, rel=0.05)
    assert sum(value > 2 * math.exp(0.5 * 2.326) for value in drawn) / 5_000 == pytest.approx(0.01, abs=0.006)
    assert settings.latency(Random(5)) == drawn[0]
    assert SimulatedSettings(spread=0.0).latency(dice) == 0.3


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        ("median_latency", {"median_latency": timedelta(seconds=-1)}),
        ("spread", {"spread": -0.1}),
        ("spread", {"spread": math.nan}),
        ("failure_rate", {"failure_rate": 1.1}),
        ("rate_limit_rate", {"rate_limit_rate": -0.1}),
        ("failure_rate", {"failure_rate": 0.6, "rate_limit_rate": 0.6}),
        ("retry_after", {"retry_after": timedelta(seconds=-1)}),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, options: dict[str, Any]) -> None:
    """By name."""
    with pytest.raises(InvalidSetting) as refused:
        SimulatedSettings(**options)

    assert refused.value.setting == setting
