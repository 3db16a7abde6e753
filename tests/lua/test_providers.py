"""A claim sends each task to the first provider of its type's chain that has room, and says to which."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from taskqueue.errors import QueueCorrupt
from taskqueue.store import Claim, ClaimedTask, Completion
from taskqueue.task import TaskState
from tests.lua.scene import Scene
from tests.lua.situations import RESULT

CHAINS = {"GROK": ("alpha", "beta"), "GEMINI": ("alpha",), "SEARCH": ("gamma",)}
TYPES = tuple(CHAINS)


def sent(claim: Claim) -> list[tuple[str, str | None]]:
    """Return which tasks were claimed, and where they are to be sent."""
    return [(task.id, task.provider) for task in claim.tasks]


async def used(scene: Scene) -> dict[str, int]:
    """Return how many tasks run at each provider that is known."""
    return {state.name: state.used for state in await scene.store.providers()}


# Chains -----------------------------------------------------------------------------------------


async def test_the_first_provider_with_room_gets_the_task(scene: Scene) -> None:
    """Two fit on the first of the chain, one on the second; the fourth waits."""
    await scene.store.set_provider("alpha", {"max": "2"})
    await scene.store.set_provider("beta", {"max": "1"})
    await scene.enqueue("a", "b", "c", "d")

    claim = await scene.claim(chains=CHAINS)

    assert sent(claim) == [("a", "alpha"), ("b", "alpha"), ("c", "beta")]
    assert not claim.more
    assert await used(scene) == {"alpha": 2, "beta": 1}
    assert [(await scene.task(name)).provider for name in "abcd"] == ["alpha", "alpha", "beta", None]


async def test_a_provider_that_nobody_limited_takes_everything(scene: Scene) -> None:
    """It is known from its first task on."""
    await scene.enqueue("a", "b", "c")
    assert await scene.store.providers() == []

    assert {provider for _, provider in sent(await scene.claim(chains=CHAINS))} == {"alpha"}
    assert await used(scene) == {"alpha": 3}


async def test_a_provider_is_limited_over_all_its_types(scene: Scene) -> None:
    """Two types share one slot; the best task of both gets it, and the other type its second choice."""
    await scene.store.set_provider("alpha", {"max": "1"})
    await scene.enqueue("grok", priority=2)
    await scene.enqueue("gemini", type="GEMINI", priority=3)

    assert sent(await scene.claim(TYPES, chains=CHAINS)) == [("gemini", "alpha"), ("grok", "beta")]


async def test_a_full_provider_delays_no_task_of_another(scene: Scene) -> None:
    """Better tasks wait for a provider that has no room; those of other types start at once."""
    await scene.store.set_provider("alpha", {"max": "0"})
    await scene.enqueue(*(f"blocked-{number}" for number in range(50)), type="GEMINI", priority=10)
    await scene.enqueue("free", type="SEARCH", priority=1)
    await scene.enqueue("chainless", type="PLAIN", priority=1)

    claim = await scene.claim((*TYPES, "PLAIN"), chains=CHAINS)

    assert sent(claim) == [("free", "gamma"), ("chainless", None)]


async def test_a_claim_does_not_look_at_tasks_that_have_no_provider(scene: Scene) -> None:
    """However many wait, of however many tenants, a claim runs the same commands."""
    await scene.store.set_provider("alpha", {"max": "0"})
    counts = []
    for size in (1, 40):
        for tenant in range(size):
            names = [f"{size}-{tenant}-{number}" for number in range(size)]
            await scene.enqueue(*names, type="GEMINI", tenant=f"tenant-{tenant}")
        assert (await scene.claim(("GEMINI",), chains=CHAINS)).tasks == []
        counts.append(len(await commands_of_a_claim(scene, ("GEMINI",))))

    assert counts[0] == counts[1]


async def test_a_type_without_a_chain_reads_no_provider(scene: Scene) -> None:
    """What it does not use costs it nothing."""
    await scene.store.set_provider("alpha", {"max": "1"})
    await scene.enqueue("a", type="PLAIN")

    commands = await commands_of_a_claim(scene, ("PLAIN",))

    assert len(commands) > 5
    assert not [command for command in commands if "provider" in command]


async def commands_of_a_claim(scene: Scene, types: Sequence[str]) -> list[str]:
    """Make a claim, and return every command that its script ran."""
    found = []
    with scene.client.monitor() as commands:
        await scene.claim(types, chains={name: CHAINS[name] for name in types if name in CHAINS})
        scene.client.echo("the claim has ended")
        for command in commands.listen():
            if "the claim has ended" in command["command"]:
                break
            if command["client_type"] == "lua":
                found.append(command["command"])
    return found


async def test_a_completion_frees_the_slot_for_the_claim_in_the_same_call(scene: Scene) -> None:
    """The provider is never without work while there is some."""
    await scene.store.set_provider("alpha", {"max": "1"})
    await scene.enqueue("a", "b", type="GEMINI")
    [a] = (await scene.claim(("GEMINI",), chains=CHAINS)).tasks

    words, claim = await scene.store.complete(
        [Completion(a.id, a.token, RESULT)], scene.request(("GEMINI",), chains=CHAINS)
    )

    assert words == ["completed"]
    assert claim is not None
    assert sent(claim) == [("b", "alpha")]
    assert (await scene.task("a")).provider == "alpha"


async def test_a_claim_that_is_repeated_says_the_same_providers(scene: Scene) -> None:
    """And when the next one opens; nothing is counted twice."""
    await scene.store.set_provider("alpha", {"max": "2", "rate": "1", "period": "5000"})
    await scene.store.set_provider("beta", {"max": "1"})
    await scene.enqueue("a", "b", "c")
    first = await scene.claim(chains=CHAINS, request="again")

    scene.advance(2000)
    again = await scene.claim(chains=CHAINS, request="again")

    assert sent(again) == sent(first) == [("a", "alpha"), ("b", "beta")]
    assert (first.next_in, again.next_in) == (5.0, 3.0)
    assert await used(scene) == {"alpha": 1, "beta": 1}


async def test_what_does_not_fit_into_a_reply_takes_no_slot(scene: Scene) -> None:
    """A claim stops at four mebibytes; the tasks that it leaves are claimed by the next one."""
    await scene.store.set_provider("alpha", {"max": "6"})
    big = {"text": "x" * 1_000_000}
    await scene.enqueue("a", "b", "c", type="GEMINI", payload=big)
    await scene.enqueue("d", "e", "f", type="GEMINI", payload=big)

    claim = await scene.claim(("GEMINI",), chains=CHAINS)

    assert 3 < len(claim.tasks) < 6
    assert claim.more
    assert await used(scene) == {"alpha": len(claim.tasks)}
    assert len((await scene.claim(("GEMINI",), chains=CHAINS)).tasks) == 6 - len(claim.tasks)


async def test_a_task_whose_record_is_gone_takes_no_slot(scene: Scene) -> None:
    """Its id only leaves the lane; the provider has room, and the next task is not left waiting."""
    await scene.store.set_provider("alpha", {"max": "1"})
    await scene.enqueue("lost", "b", type="GEMINI")
    scene.client.delete(scene.keys.task("lost"))

    claim = await scene.claim(("GEMINI",), chains=CHAINS)

    assert (claim.tasks, claim.more, scene.is_awake("GEMINI")) == ([], True, True)
    assert sent(await scene.claim(("GEMINI",), chains=CHAINS)) == [("b", "alpha")]


# What a task says of its provider -----------------------------------------------------------------


@pytest.mark.parametrize("how", ["release", "retry", "backoff", "reap"])
async def test_a_task_that_goes_back_has_no_provider(scene: Scene, how: str) -> None:
    """Its slot is free, and the next claim chooses anew."""
    await scene.store.set_provider("alpha", {"max": "1"})
    await scene.enqueue("a", type="GEMINI")
    [a] = (await scene.claim(("GEMINI",), chains=CHAINS)).tasks

    await go_back(scene, a, how)

    assert (await scene.task("a")).provider is None
    assert "provider" not in scene.run("a")
    assert await used(scene) == {"alpha": 0}
    scene.advance(1000)
    assert sent(await scene.claim(("GEMINI",), chains={"GEMINI": ("beta", "alpha")})) == [("a", "beta")]


async def go_back(scene: Scene, claimed: ClaimedTask, how: str) -> None:
    """End a lease so that its task runs again."""
    if how == "reap":
        assert (await scene.lose()).requeued == [claimed.id]
    elif how == "release":
        assert await scene.release(claimed) == ["released"]
    else:
        assert await scene.fail(claimed, retry_in_ms=0 if how == "retry" else 500) == ["retried"]


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled", "third crash", "reaped cancel"])
async def test_a_task_that_has_ended_says_who_had_it(scene: Scene, how: str) -> None:
    """The slot is free, whatever the end; what the record says is no count any more."""
    await scene.store.set_provider("alpha", {"max": "1"})
    await scene.enqueue("a", type="GEMINI")
    [a] = (await scene.claim(("GEMINI",), chains=CHAINS)).tasks

    if how == "completed":
        await scene.complete(a)
    elif how == "failed":
        await scene.fail(a)
    elif how == "cancelled":
        await scene.store.cancel("a")
        assert await scene.release(a) == ["cancelled"]
    elif how == "reaped cancel":
        await scene.store.cancel("a")
        await scene.lose()
    else:
        for _ in range(2):
            await scene.lose()
            await scene.claim(("GEMINI",), chains=CHAINS)
        await scene.lose()

    task = await scene.task("a")
    assert task.state.is_finished
    assert task.provider == "alpha"
    assert await used(scene) == {"alpha": 0}


async def test_a_redriven_task_starts_with_no_provider(scene: Scene) -> None:
    """Nor with those that it left in its former life."""
    await scene.enqueue("a", type="GEMINI")
    [a] = (await scene.claim(("GEMINI",), chains=CHAINS)).tasks
    await scene.store.switch("a", a.token, left="alpha", verdict="failed", following=["beta"])
    await scene.fail(a)
    failed = await scene.task("a")
    assert (failed.provider, failed.tried) == ("beta", ("alpha:failed",))

    redriven = await scene.store.redrive("a")

    assert (redriven.state, redriven.provider, redriven.tried) == (TaskState.QUEUED, None, ())


async def test_clear_and_discard_leave_the_counts_alone(scene: Scene) -> None:
    """What waits for a provider is cleared, what it answered is discarded; what runs there is counted."""
    await scene.store.set_provider("alpha", {"max": "2"})
    await scene.enqueue("a", "b", "c", type="GEMINI")
    a, _ = (await scene.claim(("GEMINI",), chains=CHAINS)).tasks
    await scene.complete(a)

    assert await scene.store.clear() == 1
    assert await scene.store.discard(["a"]) == 1

    assert await used(scene) == {"alpha": 1}


# What operators see and change --------------------------------------------------------------------


async def test_providers_are_shown_with_their_limits_and_what_they_are_at(scene: Scene) -> None:
    """By name; what is not limited is None."""
    limits = {"max": "1", "min": "1", "rate": "60", "period": "30000", "tokens": "500", "breaker": "7"}
    await scene.store.set_provider("alpha", limits)
    await scene.enqueue("a", "b", type="GEMINI")
    await scene.enqueue("c", type="SEARCH")
    await scene.claim(TYPES, chains=CHAINS)

    alpha, gamma = await scene.store.providers()

    assert (alpha.name, alpha.condition, alpha.opens_in) == ("alpha", "full", None)
    assert (alpha.concurrency, alpha.lowest, alpha.allowed, alpha.used) == (1, 1, 1, 1)
    assert (alpha.rate, alpha.period, alpha.tokens, alpha.breaker) == (60, 30.0, 500, 7)
    assert (alpha.failures, alpha.waiting) == (0, ("GEMINI",))
    assert (gamma.name, gamma.condition, gamma.used, gamma.waiting) == ("gamma", "ready", 1, ())
    assert (gamma.concurrency, gamma.lowest, gamma.allowed, gamma.rate, gamma.tokens) == (None,) * 5
    assert gamma.breaker == 5


async def test_a_name_that_is_no_text_is_corruption(scene: Scene) -> None:
    """Somebody else has written there."""
    scene.client.sadd(scene.keys.providers, b"\xff")

    with pytest.raises(QueueCorrupt, match=r"limits of a provider are damaged: .*0xff"):
        await scene.store.providers()

    scene.client.delete(scene.keys.providers)


async def test_a_type_that_has_nothing_left_does_not_wait(scene: Scene) -> None:
    """Its tasks were cleared: nobody waits for that provider any more."""
    await scene.store.set_provider("alpha", {"max": "0"})
    await scene.enqueue("a", type="GEMINI")
    await scene.claim(("GEMINI",), chains=CHAINS)
    assert [state.waiting for state in await scene.store.providers()] == [("GEMINI",)]

    await scene.store.clear()

    assert [state.waiting for state in await scene.store.providers()] == [()]


async def test_settings_are_changed_one_by_one(scene: Scene) -> None:
    """What is not named stays; "none" takes one away; what runs goes on."""
    await scene.store.set_provider("alpha", {"max": "1", "rate": "9", "period": "1000"})
    await scene.enqueue("a", "b", type="GEMINI")
    await scene.claim(("GEMINI",), chains=CHAINS)

    await scene.store.set_provider("alpha", {"max": "2"})
    [alpha] = await scene.store.providers()
    assert (alpha.concurrency, alpha.rate, alpha.period, alpha.used) == (2, 9, 1.0, 1)

    await scene.store.set_provider("alpha", {"max": "none", "rate": "none"})
    [alpha] = await scene.store.providers()
    assert (alpha.concurrency, alpha.rate, alpha.period, alpha.used) == (None, None, 60.0, 1)


async def test_what_runs_above_a_lowered_concurrency_goes_on(scene: Scene) -> None:
    """Three run, one is allowed: nothing starts before all of them have ended."""
    await scene.enqueue("a", "b", "c", "d", type="GEMINI")
    running = (await scene.claim(("GEMINI",), limit=3, chains=CHAINS)).tasks
    await scene.store.set_provider("alpha", {"max": "1"})

    for task in running:
        assert (await scene.claim(("GEMINI",), chains=CHAINS)).tasks == []
        await scene.complete(task)
    assert sent(await scene.claim(("GEMINI",), chains=CHAINS)) == [("d", "alpha")]


async def test_a_provider_that_nothing_is_known_of_can_be_forgotten(scene: Scene) -> None:
    """Not before its last task has left it."""
    await scene.enqueue("a", type="SEARCH")
    [a] = (await scene.claim(("SEARCH",), chains=CHAINS)).tasks
    await scene.store.set_provider("gamma", {}, fresh=True)
    assert await used(scene) == {"gamma": 1}
    await scene.complete(a)
    assert await used(scene) == {"gamma": 0}

    await scene.store.set_provider("gamma", {}, fresh=True)

    assert await scene.store.providers() == []
    assert not scene.client.exists(scene.keys.limit_provider("gamma"))


async def test_a_lease_that_was_lost_frees_its_slot_once(scene: Scene) -> None:
    """Another worker has the task when the first one reports: stale, and the slot stays taken."""
    await scene.store.set_provider("alpha", {"max": "5"})
    await scene.enqueue("a", type="GEMINI")
    [a] = (await scene.claim(("GEMINI",), chains=CHAINS)).tasks
    assert (await scene.lose()).requeued == ["a"]
    assert await used(scene) == {"alpha": 0}
    await scene.claim(("GEMINI",), chains=CHAINS, worker="worker-2")

    assert await scene.complete(a) == ["stale"]
    assert await scene.fail(a) == ["stale"]
    assert await scene.release(a) == ["stale"]

    assert await used(scene) == {"alpha": 1}
