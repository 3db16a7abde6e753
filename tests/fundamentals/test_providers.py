"""Providers: the outside services that handlers call have limits of their own, whoever sends tasks there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from scheduler import Context, Scheduler
from taskqueue import TaskQueue, TaskSpec
from taskqueue.errors import InvalidSetting


class Service:
    """An outside service that takes a moment, and notes how much it is asked at once."""

    def __init__(self) -> None:
        self.running: dict[str | None, int] = {}
        self.most: dict[str | None, int] = {}

    async def answer(self, payload: dict[str, Any], context: Context) -> str:
        """Answer after a few turns of the event loop."""
        name = context.provider
        self.running[name] = self.running.get(name, 0) + 1
        self.most[name] = max(self.most.get(name, 0), self.running[name])
        await asyncio.sleep(0.01)
        self.running[name] -= 1
        return f"{payload['n']} by {name}"


async def ask(queue: TaskQueue, count: int, **chains: tuple[str, ...]) -> Service:
    """Run so many tasks of each type, each sent to the providers of its chain."""
    service = Service()
    scheduler = Scheduler(queue=queue, concurrency=20)
    for type_, chain in chains.items():
        scheduler.handler(type_, providers=chain)(service.answer)
    await queue.enqueue_many(
        [TaskSpec(type=type_, payload={"n": n}) for type_ in chains for n in range(count)]
    )
    async with asyncio.timeout(20):
        summary = await scheduler.run(burst=True, handle_signals=False)
    assert summary.completed == count * len(chains)
    return service


async def test_a_provider_is_asked_no_more_at_once_than_it_allows(queue: TaskQueue) -> None:
    """Two at once, over both types that are sent there."""
    await queue.set_limit(provider="openai", concurrency=2)

    service = await ask(queue, 4, CHAT=("openai",), SUMMARY=("openai",))

    assert service.most == {"openai": 2}
    assert [(state.name, state.used, state.condition) for state in await queue.providers()] == [
        ("openai", 0, "ready")
    ]


async def test_what_finds_no_room_goes_to_the_next_of_the_chain(queue: TaskQueue) -> None:
    """One at a time at the first, the rest elsewhere; the record says who answered."""
    await queue.set_limit(provider="openai", concurrency=1)

    service = await ask(queue, 5, CHAT=("openai", "spare"))

    assert service.most["openai"] == 1
    answers = {(task.provider, task.result.partition(" by ")[2]) async for task in queue.tasks()}
    assert answers == {("openai", "openai"), ("spare", "spare")}


async def test_a_paused_provider_is_passed_over(queue: TaskQueue) -> None:
    """Its tasks go to the next of their chain until it is resumed."""
    await queue.pause(provider="openai")
    assert set((await ask(queue, 2, CHAT=("openai", "spare"))).most) == {"spare"}

    await queue.resume(provider="openai")
    assert set((await ask(queue, 2, CHAT=("openai", "spare"))).most) == {"openai"}


async def test_a_provider_is_seen_with_all_its_limits(queue: TaskQueue) -> None:
    """They are changed one by one while everything runs; None takes one away."""
    await queue.set_limit(provider="openai", concurrency=20, lowest=2, rate=500, tokens=90_000, breaker=3)
    await queue.set_limit(provider="openai", rate=10, period=timedelta(seconds=1))

    [seen] = await queue.providers()
    assert (seen.concurrency, seen.lowest, seen.allowed) == (20, 2, 20)
    assert (seen.rate, seen.period, seen.tokens, seen.breaker) == (10, 1.0, 90_000, 3)

    await queue.set_limit(
        provider="openai", concurrency=None, rate=None, tokens=None, breaker=None, lowest=None
    )
    [seen] = await queue.providers()
    assert (seen.concurrency, seen.lowest, seen.allowed, seen.rate, seen.tokens) == (None,) * 5
    assert (seen.period, seen.breaker) == (60.0, 5)

    await queue.set_limit(provider="openai", fresh=True)
    assert await queue.providers() == []


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        ("provider", {"provider": "open ai", "concurrency": 1}),
        ("provider", {"provider": "", "concurrency": 1}),
        ("provider", {"provider": "openai", "type": "CHAT", "concurrency": 1}),
        ("provider", {"provider": "openai", "tenant": "ada", "concurrency": 1}),
        ("concurrency", {"provider": "openai"}),
        ("concurrency", {"provider": "openai", "concurrency": -1}),
        ("weight", {"provider": "openai", "weight": 2}),
        ("lowest", {"provider": "openai", "lowest": 0, "concurrency": 5}),
        ("lowest", {"provider": "openai", "lowest": 6, "concurrency": 5}),
        ("lowest", {"provider": "openai", "lowest": 1}),
        ("rate", {"provider": "openai", "rate": 1.5}),
        ("rate", {"provider": "openai", "rate": 10**7}),
        ("period", {"provider": "openai", "period": timedelta(seconds=9)}),
        ("period", {"provider": "openai", "rate": None, "period": timedelta(seconds=9)}),
        ("period", {"provider": "openai", "rate": 5, "period": timedelta(milliseconds=999)}),
        ("period", {"provider": "openai", "rate": 5, "period": 60}),
        ("tokens", {"provider": "openai", "tokens": True}),
        ("breaker", {"provider": "openai", "breaker": -1}),
        ("lowest", {"type": "CHAT", "lowest": 1}),
        ("rate", {"tenant": "ada", "rate": 1}),
        ("period", {"tenant": "ada", "period": timedelta(seconds=9)}),
        ("tokens", {"type": "CHAT", "tokens": None}),
        ("breaker", {"type": "CHAT", "breaker": 3}),
        ("fresh", {"type": "CHAT", "fresh": True}),
    ],
)
async def test_a_providers_limit_that_makes_no_sense_is_refused(
    queue: TaskQueue, setting: str, options: dict[str, object]
) -> None:
    """By the option that is wrong; nothing is changed."""
    with pytest.raises(InvalidSetting) as refusal:
        await queue.set_limit(**options)  # type: ignore[arg-type]

    assert refusal.value.setting == setting
    assert await queue.providers() == []
    assert await queue.limits() == []


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_a_pause_is_of_one_thing(queue: TaskQueue, verb: str) -> None:
    """A provider's, a type's or a tenant's."""
    for options in ({"type": "CHAT"}, {"tenant": "ada"}):
        with pytest.raises(InvalidSetting, match="left out where a type or a tenant is given"):
            await getattr(queue, verb)(provider="openai", **options)

    assert await queue.providers() == []
