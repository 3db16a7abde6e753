"""What a provider may be asked for, in any minute and at once, and what it learns from its answers."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from taskqueue.errors import InvalidSetting
from taskqueue.store import ClaimedTask, Completion, ProviderState, Verdict
from tests.lua.scene import Scene
from tests.lua.situations import RESULT

CHAINS = {"GROK": ("alpha",)}
MINUTE = 60_000


async def alpha(scene: Scene) -> ProviderState:
    """Return what the provider is at."""
    [state] = await scene.store.providers()
    return state


async def start(scene: Scene, limit: int = 1000) -> list[ClaimedTask]:
    """Claim what may start now."""
    return (await scene.claim(limit=limit, chains=CHAINS)).tasks


async def end(scene: Scene, task: ClaimedTask, verdict: Verdict, **options: Any) -> None:
    """Let a task leave the provider with that verdict, and run no more."""
    await scene.store.switch(task.id, task.token, left="alpha", verdict=verdict, **options)
    await scene.fail(task)


async def fill(scene: Scene, count: int, name: str = "t") -> None:
    """Enqueue so many tasks."""
    for first in range(0, count, 500):
        await scene.enqueue(*(f"{name}{number}" for number in range(first, min(first + 500, count))))


# Rate -------------------------------------------------------------------------------------------


def most_in_a_window(starts: list[int], period: int) -> int:
    """Return how many starts the fullest window of a period has."""
    most = first = 0
    for last, at in enumerate(starts):
        while starts[first] <= at - period:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize(
    ("rate", "period"), [(1, 1000), (7, 1000), (10, 1000), (60, MINUTE), (95, MINUTE), (1000, 7000)]
)
async def test_no_period_has_more_starts_than_the_rate(scene: Scene, rate: int, period: int) -> None:
    """Wherever a period begins, whenever claims come; and more than half of it, however clumsily they do."""
    await scene.store.set_provider("alpha", {"rate": str(rate), "period": str(period)})
    await fill(scene, 6 * rate)
    dice, begin = Random(rate), scene.clock()
    starts: list[int] = []
    while scene.clock() < begin + 4 * period:
        starts += [scene.clock()] * len(await start(scene, dice.choice([1, 3, 1000])))
        scene.advance(max(1, round(dice.expovariate(4 * min(rate, 40) / period))))

    assert most_in_a_window(starts, period) <= rate
    assert len(starts) >= 2 * rate


async def test_starts_come_in_a_burst_of_a_tenth_and_then_evenly(scene: Scene) -> None:
    """100 a minute: ten at once, then one every 659.4 ms; after a quiet time ten at once again."""
    await scene.store.set_provider("alpha", {"rate": "100", "period": str(MINUTE)})
    await fill(scene, 100)

    assert len(await start(scene)) == 10
    counts = []
    for _ in range(10):
        scene.advance(660)
        counts.append(len(await start(scene)))
    assert counts == [1] * 10

    scene.advance(MINUTE)
    assert len(await start(scene)) == 10


async def test_a_worker_that_follows_the_clock_uses_all_of_the_rate(scene: Scene) -> None:
    """It sleeps as long as each claim says: ten a minute are started, minute after minute."""
    await scene.store.set_provider("alpha", {"rate": "10", "period": str(MINUTE)})
    await fill(scene, 100)
    begin, starts = scene.clock(), 0
    while scene.clock() < begin + 5 * MINUTE:
        claim = await scene.claim(chains=CHAINS)
        starts += len(claim.tasks)
        assert claim.next_in is not None
        scene.advance(round(claim.next_in * 1000))

    assert starts == 50


async def test_a_rate_that_is_raised_holds_at_once(scene: Scene) -> None:
    """One an hour becomes twenty a second: the next start does not wait for the hour, nor is it a burst."""
    await scene.store.set_provider("alpha", {"rate": "1", "period": "3600000"})
    await fill(scene, 9)
    assert len(await start(scene)) == 1

    await scene.store.set_provider("alpha", {"rate": "20", "period": "1000"})

    assert len(await start(scene)) == 1
    assert len(await start(scene)) == 0
    scene.advance(53)
    assert len(await start(scene)) == 1


async def test_a_start_that_came_to_nothing_counts_all_the_same(scene: Scene) -> None:
    """The request was made: what goes back or fails gives nothing of the rate back."""
    await scene.store.set_provider("alpha", {"rate": "2", "period": "1000"})
    await fill(scene, 3)
    [task] = await start(scene)
    await scene.release(task)

    assert await start(scene) == []


# Tokens -----------------------------------------------------------------------------------------


async def complete(scene: Scene, task: ClaimedTask, tokens: int) -> None:
    """Complete a task that used so many tokens."""
    assert await scene.store.complete([Completion(task.id, task.token, RESULT, tokens=tokens)])


async def test_tokens_are_used_up_as_completions_report_them(scene: Scene) -> None:
    """600 a minute: a minute's worth may be used at once, and ten more are there after each second."""
    await scene.store.set_provider("alpha", {"tokens": "600"})
    await fill(scene, 20)
    first, second, *_ = await start(scene, 2)
    await complete(scene, first, 500)
    assert len(await start(scene, 1)) == 1
    await complete(scene, second, 100)

    assert await start(scene) == []
    assert ((await alpha(scene)).condition, (await alpha(scene)).opens_in) == ("full", 0.1)
    scene.advance(100)
    assert len(await start(scene, 1)) == 1


async def test_over_many_minutes_tokens_come_to_their_limit(scene: Scene) -> None:
    """Whatever single tasks use: of every start that time allowed, one minute's worth is the most ahead."""
    await scene.store.set_provider("alpha", {"tokens": "600"})
    await fill(scene, 400)
    dice, begin, spent = Random(1), scene.clock(), 0
    while scene.clock() < begin + 30 * MINUTE:
        for task in await start(scene, 1):
            tokens = dice.choice([1, 50, 300, 900])
            spent += tokens
            await complete(scene, task, tokens)
        scene.advance(1000)

    assert 0.95 * 30 * 600 <= spent <= (30 + 1) * 600 + 900


async def test_a_report_beyond_all_reason_is_forgiven_after_ten_minutes(scene: Scene) -> None:
    """A provider that says a billion does not close itself for years."""
    await scene.store.set_provider("alpha", {"tokens": "600"})
    await fill(scene, 2)
    [task] = await start(scene, 1)
    await complete(scene, task, 10**9)

    assert (await alpha(scene)).opens_in == 600.1
    scene.advance(600_100)
    assert len(await start(scene)) == 1


async def test_tokens_of_a_provider_that_is_left_count_there(scene: Scene) -> None:
    """What it used before it failed was used."""
    await scene.store.set_provider("alpha", {"tokens": "600"})
    await fill(scene, 2)
    [task] = await start(scene, 1)

    await end(scene, task, "left", tokens=600)

    assert await start(scene) == []


async def test_a_provider_that_is_opened_anew_has_all_its_tokens(scene: Scene) -> None:
    """What it had used up is among what it learned."""
    await scene.store.set_provider("alpha", {"tokens": "600"})
    await fill(scene, 2)
    [task] = await start(scene, 1)
    await end(scene, task, "left", tokens=600)
    assert await start(scene) == []

    await scene.store.set_provider("alpha", {}, fresh=True)

    assert len(await start(scene, 1)) == 1


@pytest.mark.parametrize(
    ("settings", "condition"),
    [({"paused": "1"}, "paused"), ({"rate": "0"}, "cooling"), ({"tokens": "0"}, "cooling")],
)
async def test_a_provider_that_gets_nothing_does_not_open_by_itself(
    scene: Scene, settings: dict[str, str], condition: str
) -> None:
    """Even if it cools: nobody is to look again when that is over."""
    await scene.store.set_provider("alpha", {"max": "3"})
    await fill(scene, 2)
    [task] = await start(scene, 1)
    await end(scene, task, "limited", after_ms=5000)
    assert (await alpha(scene)).opens_in == 5

    await scene.store.set_provider("alpha", settings)

    found = await alpha(scene)
    assert (found.condition, found.opens_in) == (condition, None)


async def test_a_provider_that_is_opened_anew_has_no_pace_to_keep(scene: Scene) -> None:
    """When it was sent a task last is among what it learned."""
    await scene.store.set_provider("alpha", {"rate": "1"})
    await fill(scene, 5)
    assert len(await start(scene)) == 1
    assert await start(scene) == []

    await scene.store.set_provider("alpha", {}, fresh=True)

    assert len(await start(scene)) == 1


# Adapting ----------------------------------------------------------------------------------------


async def adapting(scene: Scene, most: int = 8, lowest: int = 2) -> None:
    """Let the concurrency adapt between these."""
    await scene.store.set_provider("alpha", {"max": str(most), "min": str(lowest), "breaker": "0"})
    await fill(scene, 200)


async def test_a_limit_that_was_met_halves_the_concurrency(scene: Scene) -> None:
    """Eight, four, two, and no further; once for what comes of the same second."""
    await adapting(scene)
    running = await start(scene)
    assert len(running) == 8
    seen = []
    for task in running:
        await end(scene, task, "limited", after_ms=100)
        seen.append((await alpha(scene)).allowed)
        scene.advance(500)

    assert seen == [4, 4, 2, 2, 2, 2, 2, 2]
    assert len(await start(scene)) == 2


async def test_a_provider_that_is_opened_anew_was_never_lowered(scene: Scene) -> None:
    """So a limit that is met in that same second lowers it."""
    await adapting(scene)
    running = await start(scene)
    await end(scene, running[0], "limited", after_ms=100)

    await scene.store.set_provider("alpha", {}, fresh=True)
    assert (await alpha(scene)).allowed == 8
    await end(scene, running[1], "limited", after_ms=100)

    assert (await alpha(scene)).allowed == 4


async def test_answers_raise_the_concurrency_by_one_in_as_many_as_it_allows(scene: Scene) -> None:
    """After it was lowered to two: two answers make three, three more make four, and so on up to eleven."""
    await adapting(scene, most=11)
    running = await start(scene)
    for task in running:
        await end(scene, task, "failed")
        scene.advance(1000)
    assert (await alpha(scene)).allowed == 2

    answers = {2: 0}
    running = await start(scene)
    while (allowed := (await alpha(scene)).allowed or 0) < 11:
        answers[allowed] = answers.get(allowed, 0) + 1
        await scene.complete(running.pop(0))
        running += await start(scene)
        assert len(running) == (await alpha(scene)).allowed

    assert answers == {number: number for number in range(2, 11)}
    # What has grown back follows its top, as if it had never been lowered.
    await scene.store.set_provider("alpha", {"max": "20"})
    assert (await alpha(scene)).allowed == 20


async def test_a_batch_of_answers_counts_as_one_by_one(scene: Scene) -> None:
    """Four that come in one call raise four to five."""
    await adapting(scene)
    running = await start(scene)
    await end(scene, running[0], "limited", after_ms=100)
    await scene.fail(*running[1:])
    scene.advance(1000)
    running = await start(scene)
    assert len(running) == 4

    await scene.complete(*running)

    assert (await alpha(scene)).allowed == 5


async def test_answers_from_before_it_was_lowered_do_not_raise_it(scene: Scene) -> None:
    """Seven others were under way when it was: three of these ends tell nothing of four at once, one does."""
    await adapting(scene)
    running = await start(scene)
    await end(scene, running[0], "limited", after_ms=100)

    for task in running[1:5]:
        await scene.complete(task)

    assert (await alpha(scene)).allowed == 4


async def test_a_concurrency_that_is_not_used_up_does_not_grow(scene: Scene) -> None:
    """What was not tried is not known."""
    await adapting(scene)
    running = await start(scene)
    await end(scene, running[0], "limited", after_ms=100)
    await scene.fail(*running[1:])
    scene.advance(1000)

    for _ in range(5):
        [task] = await start(scene, 1)
        await scene.complete(task)

    assert (await alpha(scene)).allowed == 4


async def test_bounds_hold_for_what_was_learned_before(scene: Scene) -> None:
    """Lowered to four within two and eight: new bounds bring it inside of themselves."""
    await adapting(scene)
    running = await start(scene)
    await end(scene, running[0], "limited", after_ms=100)

    seen = []
    for most, lowest in (("8", "6"), ("8", "2"), ("5", "1"), ("3", "1"), ("3", "none"), ("9", "1")):
        await scene.store.set_provider("alpha", {"max": most, "min": lowest})
        seen.append((await alpha(scene)).allowed)

    assert seen == [6, 4, 4, 3, 3, 9]


async def test_a_concurrency_at_its_top_follows_when_that_is_raised(scene: Scene) -> None:
    """Nothing was learned against it; one that was lowered grows by answers only."""
    await adapting(scene)
    await scene.store.set_provider("alpha", {"max": "20"})
    assert (await alpha(scene)).allowed == 20

    running = await start(scene)
    await end(scene, running[0], "limited", after_ms=100)
    await scene.store.set_provider("alpha", {"max": "50"})
    assert (await alpha(scene)).allowed == 10


@pytest.mark.parametrize(
    ("before", "settings", "rule"),
    [
        ({}, {"min": "2"}, "given together with a concurrency: this provider has none"),
        ({"max": "3"}, {"min": "4"}, "at most the concurrency of the provider, which is 3"),
        ({"max": "9"}, {"max": "3", "min": "4"}, "at most the concurrency of the provider, which is 3"),
        ({"max": "9"}, {"max": "none", "min": "4"}, "given together with a concurrency"),
    ],
)
async def test_a_lowest_concurrency_needs_a_highest(
    scene: Scene, before: dict[str, str], settings: dict[str, str], rule: str
) -> None:
    """Else it is refused, and nothing changes."""
    if before:
        await scene.store.set_provider("alpha", before)
    found = await scene.store.providers()

    with pytest.raises(InvalidSetting, match=rule):
        await scene.store.set_provider("alpha", settings)

    assert await scene.store.providers() == found


async def test_a_highest_below_the_lowest_counts(scene: Scene) -> None:
    """In need an operator lowers one number; lifted, nothing adapts any more."""
    await scene.store.set_provider("alpha", {"max": "9", "min": "4"})

    await scene.store.set_provider("alpha", {"max": "2"})
    assert ((await alpha(scene)).allowed, (await alpha(scene)).lowest) == (2, 2)
    await scene.store.set_provider("alpha", {"max": "none"})
    assert ((await alpha(scene)).allowed, (await alpha(scene)).lowest) == (None, None)


# The clock ---------------------------------------------------------------------------------------


async def test_a_clock_that_went_back_closes_nothing_for_long(scene: Scene) -> None:
    """A failover to a server whose clock is a day behind: what was learned there is in no far future."""
    limits = {"rate": "10", "period": "1000", "tokens": "600", "breaker": "1", "max": "4", "min": "1"}
    await scene.store.set_provider("alpha", limits)
    await fill(scene, 9)
    [task] = await start(scene, 1)
    await complete(scene, task, 100)
    scene.advance(1000)
    [task] = await start(scene, 1)
    await end(scene, task, "failed", after_ms=50_000)
    scene.advance(100)
    assert await start(scene) == []

    scene.clock._ms -= 24 * 3600 * 1000

    [probe] = await start(scene)
    found = await alpha(scene)
    assert (found.condition, found.opens_in, found.allowed) == ("probing", 0.1, 2)
    scene.advance(1000)
    await end(scene, probe, "limited")
    assert (await alpha(scene)).allowed == 1
