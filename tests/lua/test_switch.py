"""A running task leaves its provider, says how that went, and goes on with the next of its chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest

from taskqueue.store import ClaimedTask, Completion, Switched, Verdict
from tests.lua.scene import Scene
from tests.lua.situations import RESULT

VERDICTS: Sequence[Verdict] = get_args(Verdict)
CHAIN = ("alpha", "beta", "gamma")


async def claimed(scene: Scene, *names: str) -> list[ClaimedTask]:
    """Enqueue these tasks, and claim them for the first provider of the chain."""
    await scene.enqueue(*names)
    return (await scene.claim(chains={"GROK": CHAIN})).tasks


async def used(scene: Scene) -> dict[str, int]:
    """Return how many tasks run at each provider that is known."""
    return {state.name: state.used for state in await scene.store.providers()}


async def leave(
    scene: Scene,
    task: ClaimedTask,
    verdict: Verdict = "failed",
    *,
    left: str = "alpha",
    to: Sequence[str] = (),
) -> Switched:
    """Let a task leave a provider."""
    return await scene.store.switch(task.id, task.token, left=left, verdict=verdict, following=to)


@pytest.mark.parametrize("verdict", VERDICTS)
async def test_a_task_goes_on_with_the_next_provider_that_has_room(scene: Scene, verdict: Verdict) -> None:
    """The second has none, the third takes it: it runs on under the same lease, and is completed there."""
    await scene.store.set_provider("beta", {"max": "0"})
    [task] = await claimed(scene, "a")
    before = scene.leased()

    switched = await leave(scene, task, verdict, to=("beta", "gamma"))

    assert switched == Switched("gamma")
    assert await used(scene) == {"alpha": 0, "beta": 0, "gamma": 1}
    assert scene.leased() == before
    assert await scene.complete(task) == ["completed"]
    done = await scene.task("a")
    assert (done.provider, done.tried) == ("gamma", (f"alpha:{verdict}",))
    assert await used(scene) == {"alpha": 0, "beta": 0, "gamma": 0}


async def test_a_repeat_after_a_lost_reply_changes_nothing(scene: Scene) -> None:
    """The task stays where it went, and the failure counts once."""
    [task] = await claimed(scene, "a")
    first = await leave(scene, task, to=("beta", "gamma"))
    before = scene.snapshot()

    assert [await leave(scene, task, to=("beta", "gamma")) for _ in range(3)] == [first] * 3

    assert scene.snapshot() == before


async def test_a_repeat_where_none_had_room_says_so_again(scene: Scene) -> None:
    """Even if there is some by now: what was told stands, and the time is that of now."""
    await scene.store.set_provider("beta", {"rate": "1", "period": "10000"})
    await scene.enqueue("first", type="OTHER")
    await scene.claim(("OTHER",), chains={"OTHER": ("beta",)})
    [task] = await claimed(scene, "a")
    assert await leave(scene, task, to=("beta",)) == Switched(None, 10.0)
    before = scene.snapshot()

    scene.advance(4000)
    assert await leave(scene, task, to=("beta",)) == Switched(None, 6.0)
    scene.advance(6000)
    assert await leave(scene, task, to=("beta",)) == Switched(None, None)

    assert scene.snapshot() == before


async def test_a_chain_is_gone_through_one_by_one(scene: Scene) -> None:
    """Each provider that it leaves is written down with the reason; at the end there is none."""
    [task] = await claimed(scene, "a")

    assert (await leave(scene, task, "limited", to=("beta", "gamma"))).provider == "beta"
    assert (await leave(scene, task, "misconfigured", left="beta", to=("gamma",))).provider == "gamma"
    assert await leave(scene, task, "failed", left="gamma") == Switched(None, None)

    found = await scene.task("a")
    assert (found.provider, found.tried) == (None, ("alpha:limited", "beta:misconfigured", "gamma:failed"))
    assert await used(scene) == {"alpha": 0, "beta": 0, "gamma": 0}


async def test_a_task_that_has_left_them_all_goes_back(scene: Scene) -> None:
    """No slot is given back twice, whatever becomes of it; what it tried stays with it."""
    tasks = await claimed(scene, "a", "b", "c", "d")
    await claimed(scene, "busy")
    for task in tasks:
        await leave(scene, task, "left")
    assert await used(scene) == {"alpha": 1}

    a, b, c, d = tasks
    await scene.complete(a)
    await scene.fail(b)
    await scene.release(c)
    await scene.fail(d, retry_in_ms=0)

    assert await used(scene) == {"alpha": 1}
    again = (await scene.claim(chains={"GROK": CHAIN})).tasks
    assert [task.id for task in again] == ["c", "d"]
    assert (await scene.task("c")).tried == ("alpha:left",)


@pytest.mark.parametrize("how", ["another token", "completed", "reaped", "claimed again", "unknown"])
async def test_whoever_lost_the_lease_moves_nothing(scene: Scene, how: str) -> None:
    """Stale: neither the task nor what is known of the provider changes."""
    [task] = await claimed(scene, "a")
    if how == "another token":
        task.token += "x"
    elif how == "completed":
        await scene.complete(task)
    elif how == "unknown":
        task.id = "ghost"
    else:
        await scene.lose()
        if how == "claimed again":
            await scene.claim(chains={"GROK": CHAIN}, worker="worker-2")
    before = scene.snapshot()

    assert await leave(scene, task, to=("beta",)) == Switched(is_stale=True)

    assert scene.snapshot() == before


async def test_a_task_that_was_sent_nowhere_leaves_nothing(scene: Scene) -> None:
    """Its type has no chain."""
    await scene.enqueue("a")
    task = await scene.claim_one()
    before = scene.snapshot()

    assert await leave(scene, task, to=("beta",)) == Switched(None, None)

    assert scene.snapshot() == before


async def test_the_first_of_those_that_may_follow_to_open_is_told(scene: Scene) -> None:
    """In seconds; those that wait for something else do not count."""
    [a, b] = await claimed(scene, "a", "b")
    await scene.store.set_provider("gamma", {"paused": "1"})
    assert (await leave(scene, a, to=("gamma",))).opens_in is None
    await scene.store.switch("b", b.token, left="alpha", verdict="limited", after_ms=3000, following=["beta"])
    await scene.store.switch("b", b.token, left="beta", verdict="limited", after_ms=2000, following=["gamma"])
    await scene.enqueue("c")
    [c] = (await scene.claim(chains={"GROK": ("delta",)})).tasks

    switched = await leave(scene, c, left="delta", to=("alpha", "beta", "gamma"))

    assert switched == Switched(None, 2.0)


async def test_a_probe_that_leaves_is_none_any_more(scene: Scene) -> None:
    """And where it goes next it may be one again: each provider counts its own."""
    for name in ("alpha", "beta"):
        await scene.store.set_provider(name, {"breaker": "1"})
        await scene.enqueue(f"first-{name}")
        [first] = (await scene.claim(chains={"GROK": (name,)})).tasks
        await leave(scene, first, left=name)
        await scene.fail(first)
    scene.advance(5000)
    [probe] = await claimed(scene, "probe")
    assert scene.run("probe")["provider"] == b"alpha!"

    assert (await leave(scene, probe, to=("beta",))).provider == "beta"

    assert scene.run("probe")["provider"] == b"beta!"
    assert scene.hash(scene.keys.limit_provider("alpha"))["probes"] == "0"
    assert scene.hash(scene.keys.limit_provider("beta"))["probes"] == "1"
    await scene.complete(probe)
    assert [state.condition for state in await scene.store.providers()] == ["open", "ready"]


async def test_a_switch_is_a_start_in_the_eyes_of_the_rate(scene: Scene) -> None:
    """Two a second: the second task that comes over finds none left."""
    await scene.store.set_provider("beta", {"rate": "2", "period": "1000"})
    a, b = await claimed(scene, "a", "b")

    assert (await leave(scene, a, to=("beta",))).provider == "beta"
    assert await leave(scene, b, to=("beta",)) == Switched(None, 0.5)


async def test_a_completion_is_an_answer_of_the_last_provider(scene: Scene) -> None:
    """Its tokens count there, and the row of failures of the first one stays."""
    await scene.store.set_provider("beta", {"tokens": "100"})
    [task] = await claimed(scene, "a")
    await leave(scene, task, to=("beta",))

    await scene.store.complete([Completion("a", task.token, RESULT, tokens=100)])

    alpha, beta = await scene.store.providers()
    assert (alpha.failures, alpha.condition) == (1, "ready")
    assert (beta.failures, beta.condition) == (0, "full")


async def test_a_task_whose_cancellation_was_asked_may_still_switch(scene: Scene) -> None:
    """Its worker hears of the cancel on another way; the counts hold until it obeys."""
    [task] = await claimed(scene, "a")
    await scene.store.cancel("a")

    assert (await leave(scene, task, to=("beta",))).provider == "beta"
    assert await scene.release(task) == ["cancelled"]

    assert await used(scene) == {"alpha": 0, "beta": 0}


async def test_what_was_tried_is_kept_up_to_a_bound(scene: Scene) -> None:
    """A task that goes round for days does not grow for ever."""
    name = "p" * 64
    await scene.enqueue("a")
    for _ in range(40):
        [task] = (await scene.claim(chains={"GROK": (name,)})).tasks
        await leave(scene, task, "left", left=name)
        await scene.release(task)

    found = await scene.task("a")
    assert 5 < len(found.tried) < 10
    assert len(" ".join(found.tried)) <= 500
