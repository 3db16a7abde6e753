"""Nobody waits forever for a provider: whoever makes room wakes those that found none, or the clock does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from taskqueue.store import ClaimedTask, ClaimRequest, Completion
from tests.lua.scene import Scene
from tests.lua.situations import RESULT

CHAINS = {"GROK": ("alpha",), "GEMINI": ("alpha",)}
Event = Callable[[Scene, ClaimedTask], Awaitable[object]]


async def crash(scene: Scene, _: ClaimedTask) -> None:
    """Let its worker fall silent."""
    assert (await scene.lose()).requeued == ["running"]


async def stop(scene: Scene, running: ClaimedTask) -> None:
    """Cancel it, and let its worker obey."""
    await scene.store.cancel(running.id)
    assert await scene.release(running) == ["cancelled"]


async def leave(scene: Scene, running: ClaimedTask) -> None:
    """Go on at another provider."""
    switched = await scene.store.switch(
        running.id, running.token, left="alpha", verdict="left", following=["beta"]
    )
    assert switched.provider == "beta"


async def complete_and_claim_others(scene: Scene, running: ClaimedTask) -> None:
    """Complete it, by a worker that does not run the type that waits."""
    asked = scene.request(("GROK",), chains=CHAINS)
    await scene.store.complete([Completion(running.id, running.token, RESULT)], asked)


def change(settings: dict[str, str]) -> Event:
    """Return what changes the provider's settings."""
    return lambda scene, _: scene.store.set_provider("alpha", settings)


EVENTS: dict[str, Event] = {
    "completion": lambda scene, running: scene.complete(running),
    "completion and a claim of other types": complete_and_claim_others,
    "retry": lambda scene, running: scene.fail(running, retry_in_ms=60_000),
    "failure": lambda scene, running: scene.fail(running),
    "release": lambda scene, running: scene.release(running, delay_ms=60_000),
    "obeyed cancel": stop,
    "crash": crash,
    "switch": leave,
    "raised limit": change({"max": "2"}),
    "lifted limit": change({"max": "none"}),
}


@pytest.mark.parametrize("name", EVENTS)
async def test_whoever_makes_room_wakes_the_types_that_found_none(scene: Scene, name: str) -> None:
    """A provider with one slot: GEMINI finds none, sleeps without a time, and is woken by the event."""
    await scene.store.set_provider("alpha", {"max": "1"})
    await scene.enqueue("running")
    [running] = (await scene.claim(chains=CHAINS)).tasks
    await scene.enqueue("waiting", type="GEMINI")
    found = await scene.claim(("GEMINI",), chains=CHAINS)
    assert (found.tasks, found.next_in, found.more) == ([], None, False)
    assert not scene.is_awake("GEMINI")

    await EVENTS[name](scene, running)

    assert scene.is_awake("GEMINI")
    assert scene.hash(scene.keys.limit_provider("alpha"))["waiting"] == ""
    assert await scene.claimed_ids(("GEMINI",), chains=CHAINS) == ["waiting"]
    assert not scene.is_awake("GEMINI")


async def test_all_types_that_found_no_room_are_woken(scene: Scene) -> None:
    """Three wait for one provider, and ask more than once: each is told, none in place of another."""
    chains = dict.fromkeys(("GROK", "GEMINI", "CHATGPT", "COPILOT"), ("alpha",))
    await scene.store.set_provider("alpha", {"max": "1"})
    await scene.enqueue("running")
    [running] = (await scene.claim(chains=chains)).tasks
    for type_ in ("GEMINI", "CHATGPT", "COPILOT"):
        await scene.enqueue(f"of-{type_}", type=type_)
        assert await scene.claimed_ids((type_,), chains=chains) == []
        assert await scene.claimed_ids(("CHATGPT",), chains=chains) == []
        assert await scene.claimed_ids((type_,), chains=chains) == []
    waiting = scene.hash(scene.keys.limit_provider("alpha"))["waiting"]
    assert waiting == "GEMINI CHATGPT COPILOT"
    [state] = await scene.store.providers()
    assert state.waiting == ("GEMINI", "CHATGPT", "COPILOT")

    await scene.complete(running)

    assert all(scene.is_awake(type_) for type_ in ("GEMINI", "CHATGPT", "COPILOT"))


@pytest.mark.parametrize(
    ("closed", "opened"),
    [
        ({"paused": "1"}, {"paused": "none"}),
        ({"rate": "0"}, {"rate": "none"}),
        ({"rate": "0"}, {"rate": "5", "period": "1000"}),
        ({"tokens": "0"}, {"tokens": "10"}),
        ({"max": "0"}, {"max": "1"}),
    ],
)
async def test_an_operator_who_opens_a_provider_wakes_its_types(
    scene: Scene, closed: dict[str, str], opened: dict[str, str]
) -> None:
    """Nobody but a person ends that, so no time is given."""
    await scene.store.set_provider("alpha", closed)
    await scene.enqueue("waiting", type="GEMINI")
    found = await scene.claim(("GEMINI",), chains=CHAINS)
    assert (found.tasks, found.next_in) == ([], None)

    await scene.store.set_provider("alpha", opened)

    assert scene.is_awake("GEMINI")
    assert await scene.claimed_ids(("GEMINI",), chains=CHAINS) == ["waiting"]


@pytest.mark.parametrize("verdict", ["failed", "limited"])
async def test_forgetting_opens_what_is_closed_by_what_was_learned(scene: Scene, verdict: str) -> None:
    """An operator knows better than the breaker, and than the service's own word."""
    await scene.store.set_provider("alpha", {"breaker": "1"})
    await scene.enqueue("running", "waiting", type="GEMINI")
    [running] = (await scene.claim(("GEMINI",), limit=1, chains=CHAINS)).tasks
    await scene.store.switch(running.id, running.token, left="alpha", verdict=verdict, after_ms=9000)  # type: ignore[arg-type]
    assert (await scene.claim(("GEMINI",), chains=CHAINS)).tasks == []

    await scene.store.set_provider("alpha", {}, fresh=True)

    assert scene.is_awake("GEMINI")
    assert await scene.claimed_ids(("GEMINI",), chains=CHAINS) == ["waiting"]


async def close_by_rate(scene: Scene) -> int:
    """Use up a rate of two a second; return when it opens, in ms."""
    await scene.store.set_provider("alpha", {"rate": "2", "period": "1000"})
    await scene.enqueue("first")
    await scene.claim(limit=1, chains=CHAINS)
    return 500


async def close_by_tokens(scene: Scene) -> int:
    """Use up 600 tokens of 600 a minute, and 50 more: one is there again after 5.1 s."""
    await scene.store.set_provider("alpha", {"tokens": "600"})
    await scene.enqueue("first")
    [first] = (await scene.claim(limit=1, chains=CHAINS)).tasks
    await scene.store.complete([Completion(first.id, first.token, RESULT, tokens=650)])
    return 5100


async def close_by_cooling(scene: Scene) -> int:
    """Let the service ask for three seconds."""
    await scene.enqueue("first")
    [first] = (await scene.claim(limit=1, chains=CHAINS)).tasks
    await scene.store.switch(first.id, first.token, left="alpha", verdict="limited", after_ms=3000)
    return 3000


async def close_by_breaker(scene: Scene) -> int:
    """Let it fail as often as its breaker allows."""
    await scene.store.set_provider("alpha", {"breaker": "1"})
    await scene.enqueue("first")
    [first] = (await scene.claim(limit=1, chains=CHAINS)).tasks
    await scene.store.switch(first.id, first.token, left="alpha", verdict="failed")
    return 5000


@pytest.mark.parametrize("close", [close_by_rate, close_by_tokens, close_by_cooling, close_by_breaker])
async def test_a_claim_says_when_time_opens_a_provider(
    scene: Scene, close: Callable[[Scene], Awaitable[int]]
) -> None:
    """Not a millisecond too late, and a claim at that instant finds it open."""
    opens_in = await close(scene)
    await scene.enqueue("waiting", type="GEMINI")

    found = await scene.claim(("GEMINI",), chains=CHAINS)

    assert (found.tasks, found.more, scene.is_awake("GEMINI")) == ([], False, False)
    assert found.next_in == opens_in / 1000
    assert [state.opens_in for state in await scene.store.providers()] == [opens_in / 1000]
    scene.advance(opens_in - 1)
    assert (await scene.claim(("GEMINI",), chains=CHAINS)).next_in == 0.001
    scene.advance(1)
    assert await scene.claimed_ids(("GEMINI",), chains=CHAINS) == ["waiting"]


async def test_the_first_provider_of_a_chain_to_open_counts(scene: Scene) -> None:
    """And the earliest delayed task, if that comes first."""
    await scene.enqueue("a", "b", "c")
    for name, after_ms in (("alpha", 3000), ("beta", 2000)):
        [task] = (await scene.claim(limit=1, chains={"GROK": (name,)})).tasks
        await scene.store.switch(task.id, task.token, left=name, verdict="limited", after_ms=after_ms)

    assert (await scene.claim(chains={"GROK": ("alpha", "beta")})).next_in == 2.0

    await scene.offer(scene.entry("soon"))
    entry = scene.entry("later", type="OTHER")
    entry.delay_ms = 500
    await scene.offer(entry)
    assert (await scene.claim(chains={"GROK": ("alpha", "beta")})).next_in == 0.5


async def test_what_a_claim_could_not_start_is_woken_for_as_well(scene: Scene) -> None:
    """Two of three tasks found room; the third waits for one of them, and the next claim hears of it."""
    await scene.store.set_provider("alpha", {"max": "2"})
    await scene.enqueue("a", "b", "c")
    a, _ = (await scene.claim(chains=CHAINS)).tasks
    assert not scene.is_awake()

    await scene.complete(a)

    assert scene.is_awake()


async def test_an_answer_that_closes_the_breaker_wakes_the_waiting(scene: Scene) -> None:
    """One task found out that the provider works again: all that wait may go."""
    await scene.store.set_provider("alpha", {"breaker": "1"})
    await scene.enqueue("first", "probe")
    await scene.enqueue("waiting", type="GEMINI")
    [first] = (await scene.claim(limit=1, chains=CHAINS)).tasks
    await scene.store.switch(first.id, first.token, left="alpha", verdict="failed")
    scene.advance(5000)
    [probe] = (await scene.claim(chains=CHAINS)).tasks
    assert (await scene.claim(("GEMINI",), chains=CHAINS)).tasks == []

    await scene.complete(probe)

    assert scene.is_awake("GEMINI")
    assert await scene.claimed_ids(("GEMINI",), chains=CHAINS) == ["waiting"]


async def test_a_marker_is_passed_on_while_there_is_room(scene: Scene) -> None:
    """A claim with no slots of its own sets the marker again if a provider has room, and only then."""
    await scene.store.set_provider("alpha", {"max": "1"})
    await scene.enqueue("a", "b")
    nothing: ClaimRequest = scene.request({"GROK": 0}, limit=0, chains=CHAINS)
    assert (await scene.store.claim(nothing)).more
    assert scene.is_awake()

    [a] = (await scene.claim(chains=CHAINS)).tasks
    nothing = scene.request({"GROK": 0}, limit=0, chains=CHAINS)
    assert not (await scene.store.claim(nothing)).more
    assert not scene.is_awake()

    await scene.complete(a)
    assert scene.is_awake()
