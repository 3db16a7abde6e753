"""A provider that fails gets no more tasks, and then one at a time until one of them is answered."""

from __future__ import annotations

from typing import Any

import pytest

from taskqueue.store import ClaimedTask, Completion, ProviderState, Verdict
from tests.lua.scene import Scene
from tests.lua.situations import RESULT

CHAINS = {"GROK": ("alpha",)}


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


async def busy(scene: Scene, breaker: int = 3, count: int = 20, **settings: str) -> list[ClaimedTask]:
    """Give it a breaker and many tasks, and start two more than that breaker allows to fail."""
    await scene.store.set_provider("alpha", {"breaker": str(breaker)} | settings)
    await scene.enqueue(*(f"t{number}" for number in range(count)))
    return await start(scene, breaker + 2)


async def open_breaker(scene: Scene, breaker: int = 3) -> list[ClaimedTask]:
    """Let it fail as often as its breaker allows; return what still runs there."""
    running = await busy(scene, breaker)
    for task in running[:breaker]:
        await end(scene, task, "failed")
    return running[breaker:]


async def test_failures_in_a_row_open_the_breaker(scene: Scene) -> None:
    """Three, as it was told: then nothing starts there for five seconds."""
    running = await busy(scene)
    for number, task in enumerate(running[:3]):
        assert ((await alpha(scene)).condition, (await alpha(scene)).failures) == ("ready", number)
        await end(scene, task, "failed")

    found = await alpha(scene)
    assert (found.condition, found.failures, found.opens_in) == ("open", 3, 5.0)
    assert await start(scene) == []


async def test_five_failures_open_it_where_nobody_said_otherwise(scene: Scene) -> None:
    """A provider needs no settings to have a breaker."""
    await scene.enqueue(*"abcdefg")
    for task in await start(scene, 5):
        assert (await alpha(scene)).condition == "ready"
        await end(scene, task, "failed")

    assert (await alpha(scene)).condition == "open"


@pytest.mark.parametrize("answer", ["completion", "answered"])
async def test_any_answer_ends_the_row(scene: Scene, answer: str) -> None:
    """A result, or a refusal of just this task, shows that it works."""
    running = await busy(scene)
    for task in running[:2]:
        await end(scene, task, "failed")

    if answer == "completion":
        await scene.complete(running[2])
    else:
        await end(scene, running[2], "answered")

    assert (await alpha(scene)).failures == 0
    await end(scene, running[3], "failed")
    assert (await alpha(scene)).condition == "ready"


@pytest.mark.parametrize("verdict", ["limited", "left"])
async def test_what_is_no_failure_does_not_count_as_one(scene: Scene, verdict: Verdict) -> None:
    """Neither does it end a row: it says nothing of whether the service works."""
    running = await busy(scene)
    await end(scene, running[0], "failed")

    await end(scene, running[1], verdict, after_ms=10)
    scene.advance(10)

    assert ((await alpha(scene)).failures, (await alpha(scene)).condition) == (1, "ready")


async def test_one_task_at_a_time_finds_out_whether_it_works(scene: Scene) -> None:
    """However many ask; and when that one is answered, all may go."""
    await open_breaker(scene)
    scene.advance(5000)
    assert ((await alpha(scene)).condition, (await alpha(scene)).opens_in) == ("probing", None)

    [probe] = await start(scene)
    assert await start(scene) == []
    assert scene.run(probe.id)["provider"] == b"alpha!"
    assert (probe.provider, (await scene.task(probe.id)).provider) == ("alpha", "alpha")

    await scene.complete(probe)
    assert ((await alpha(scene)).condition, (await alpha(scene)).failures) == ("ready", 0)
    assert len(await start(scene)) == 14


async def test_each_probe_that_fails_doubles_the_time(scene: Scene) -> None:
    """5, 10, 20 s and so on, up to five minutes; an answer brings it back to 5 s."""
    await open_breaker(scene, 1)
    seen = []
    for _ in range(8):
        opens_in = (await alpha(scene)).opens_in
        assert opens_in is not None
        seen.append(opens_in)
        scene.advance(round(opens_in * 1000))
        [probe] = await start(scene)
        await end(scene, probe, "failed")
    assert seen == [5, 10, 20, 40, 80, 160, 300, 300]

    scene.advance(300_000)
    [probe] = await start(scene)
    await scene.complete(probe)
    [task] = await start(scene, 1)
    await end(scene, task, "failed")
    assert (await alpha(scene)).opens_in == 5


@pytest.mark.parametrize("how", ["release", "fail", "crash", "left", "limited"])
async def test_a_probe_that_says_nothing_makes_room_for_the_next(scene: Scene, how: str) -> None:
    """It is given back, fails for a reason of its own, or dies with its worker."""
    await scene.release(*await open_breaker(scene))
    scene.advance(5000)
    [probe] = await start(scene)

    if how == "release":
        await scene.release(probe)
    elif how == "fail":
        await scene.fail(probe)
    elif how == "crash":
        assert (await scene.lose()).requeued == [probe.id]
    else:
        await end(scene, probe, how, after_ms=10)  # type: ignore[arg-type]
        scene.advance(10)

    assert (await alpha(scene)).condition == "probing"
    assert len(await start(scene)) == 1
    assert await start(scene) == []


async def test_failures_of_what_was_under_way_say_nothing_new(scene: Scene) -> None:
    """Two more fail after it opened: it opens again after five seconds, not ten."""
    for task in await open_breaker(scene):
        scene.advance(1000)
        await end(scene, task, "failed")

    assert (await alpha(scene)).opens_in == 3.0


async def test_a_late_answer_closes_it(scene: Scene) -> None:
    """What was under way when it opened is answered after all: it works."""
    late, _ = await open_breaker(scene)

    await scene.complete(late)

    assert (await alpha(scene)).condition == "ready"


async def test_a_provider_that_refuses_us_opens_at_once_and_for_a_minute(scene: Scene) -> None:
    """A wrong key does not get better by asking."""
    running = await busy(scene, 9)

    await end(scene, running[0], "misconfigured")

    found = await alpha(scene)
    assert (found.condition, found.opens_in, found.failures) == ("open", 60.0, 9)


async def test_a_probe_needs_a_slot_and_its_turn_like_every_task(scene: Scene) -> None:
    """Concurrency, rate and pause hold for probes too."""
    running = await open_breaker(scene)
    scene.advance(5000)
    for closed in (
        {"max": "0"},
        {"max": "2"},
        {"max": "none", "paused": "1"},
        {"paused": "none", "rate": "0"},
    ):
        await scene.store.set_provider("alpha", closed)
        assert await start(scene) == []

    await scene.store.set_provider("alpha", {"rate": "none", "max": "3"})
    assert len(running) == 2
    assert len(await start(scene)) == 1


async def test_without_a_breaker_nothing_opens(scene: Scene) -> None:
    """Also not what was open when it was taken away."""
    running = await open_breaker(scene)
    await scene.store.set_provider("alpha", {"breaker": "0"})
    assert (await alpha(scene)).condition == "ready"

    for task in running:
        await end(scene, task, "misconfigured")

    assert ((await alpha(scene)).condition, (await alpha(scene)).failures) == ("ready", 5)
    assert len(await start(scene)) == 15


async def test_a_breaker_that_allows_more_closes_what_has_failed_less(scene: Scene) -> None:
    """From the end of the time that it is open; probes that run then count as what they were."""
    await open_breaker(scene)
    scene.advance(5000)
    [probe] = await start(scene)

    await scene.store.set_provider("alpha", {"breaker": "9"})

    assert len(await start(scene, 2)) == 2
    await end(scene, probe, "failed")
    assert ((await alpha(scene)).condition, (await alpha(scene)).failures) == ("ready", 4)


# Cooling ----------------------------------------------------------------------------------------


async def test_a_provider_is_left_alone_for_as_long_as_it_asks(scene: Scene) -> None:
    """The longest of what it asked counts; what runs there goes on."""
    running = await busy(scene)
    await end(scene, running[0], "limited", after_ms=7000)
    await end(scene, running[1], "limited", after_ms=2000)

    found = await alpha(scene)
    assert (found.condition, found.opens_in, found.used) == ("cooling", 7.0, 3)
    await scene.complete(running[2])
    assert (await alpha(scene)).condition == "cooling"
    scene.advance(6999)
    assert await start(scene) == []
    scene.advance(1)
    assert len(await start(scene)) == 15


@pytest.mark.parametrize(("after_ms", "cools"), [(0, 1.0), (1, 0.001), (3_600_000, 3600), (10**12, 3600)])
async def test_the_time_it_asks_for_has_bounds(scene: Scene, after_ms: int, cools: float) -> None:
    """Up to an hour; one that takes no more and does not say for how long gets a second."""
    running = await busy(scene)

    await end(scene, running[0], "limited", after_ms=after_ms)

    assert (await alpha(scene)).opens_in == cools


async def test_a_failure_may_ask_for_time_too(scene: Scene) -> None:
    """503 with Retry-After: it counts, and it cools."""
    running = await busy(scene)

    await end(scene, running[0], "failed", after_ms=2000)

    found = await alpha(scene)
    assert (found.condition, found.opens_in, found.failures) == ("cooling", 2.0, 1)


async def test_an_open_breaker_and_a_cooling_end_with_the_later(scene: Scene) -> None:
    """It says the instant from which tasks may start."""
    running = await busy(scene, 1)
    await end(scene, running[0], "failed", after_ms=9000)

    assert ((await alpha(scene)).condition, (await alpha(scene)).opens_in) == ("open", 9.0)
    scene.advance(5000)
    assert ((await alpha(scene)).condition, (await alpha(scene)).opens_in) == ("cooling", 4.0)
    assert await start(scene) == []


async def test_a_provider_that_is_opened_anew_has_never_failed(scene: Scene) -> None:
    """The next time its breaker opens it is for as short as the first time."""
    await open_breaker(scene)
    assert (await alpha(scene)).opens_in == 5

    await scene.store.set_provider("alpha", {}, fresh=True)
    assert (await alpha(scene)).failures == 0
    for task in await start(scene, 3):
        await end(scene, task, "failed")

    assert (await alpha(scene)).opens_in == 5


async def test_a_provider_holds_what_was_said_of_it(scene: Scene) -> None:
    """Its settings, how much of it is used, and who waits for it; nothing else."""
    await scene.store.set_provider("alpha", {"max": "3"})

    assert scene.hash(scene.keys.limit_provider("alpha")) == {"max": "3", "used": "0", "waiting": ""}


async def test_a_provider_without_a_limit_of_tokens_may_be_told_of_some(scene: Scene) -> None:
    """They are counted against nothing."""
    await scene.store.set_provider("alpha", {"max": "3"})
    await scene.enqueue("a", "b")
    first, second = await start(scene)

    done = Completion(first.id, first.token, RESULT, tokens=70)
    words, _ = await scene.store.complete([done])
    await end(scene, second, "left", tokens=70)

    assert words == ["completed"]
    assert (await alpha(scene)).condition == "ready"
