"""Credits, scenes that went wrong once: each is the smallest that shows what it was."""

from __future__ import annotations

import pytest

from taskqueue.errors import IdempotencyConflict
from taskqueue.store import Accepted, Balance
from tests.lua.conftest import MakeScene
from tests.lua.scene import Scene

ALMOST_A_MIB = {"text": "x" * 1_000_000}


@pytest.mark.parametrize("hold", [None, 4, 10])
async def test_an_enqueue_whose_reply_was_lost_can_be_repeated_whatever_it_holds(
    scene: Scene, hold: int | None
) -> None:
    """A record with a hold above its price has a fingerprint like any other."""
    entry = scene.entry("a", cost=4, hold=hold, idempotency_key="k")
    [first] = await scene.offer(entry)

    [again] = await scene.offer(entry)

    assert isinstance(again, Accepted)
    assert again == first


@pytest.mark.parametrize(("text", "is_same"), [("hello", True), ("other", False)])
@pytest.mark.parametrize("in_one_call", [True, False])
async def test_a_key_tells_the_same_payload_from_another_whatever_it_holds(
    scene: Scene, text: str, is_same: bool, in_one_call: bool
) -> None:
    """Also in one and the same call, where no record is stored yet."""
    first = scene.entry("a", cost=4, hold=10, idempotency_key="k")
    second = scene.entry("b", cost=4, hold=10, idempotency_key="k", payload={"text": text})

    if in_one_call:
        _, refused = await scene.offer(first, second)
    else:
        await scene.offer(first)
        [refused] = await scene.offer(second)

    assert isinstance(refused, IdempotencyConflict)
    assert (refused.task_id, refused.same_payload) == ("a", is_same)


@pytest.mark.parametrize("policy", ["strict", "fair_within_priority"])
async def test_nobody_waits_for_credits_of_a_task_that_was_not_taken_after_all(
    make_scene: MakeScene, policy: str
) -> None:
    """What does not fit into one reply goes back with its hold, and who waited for that one does not."""
    scene = await make_scene(policy=policy)
    await scene.store.grant("acme", 10)
    big = [f"big{number}" for number in range(5)]
    await scene.enqueue(*big, payload=ALMOST_A_MIB, priority=9)
    await scene.enqueue("a", "b", tenant="acme", cost=6, payload=ALMOST_A_MIB)

    taken = [task for _ in range(2) for task in (await scene.claim()).tasks]

    assert await scene.store.balance("acme") == Balance(10, 0, 6)
    assert sorted(task.id for task in taken) == ["a", *big]
    await scene.fail(*taken)
    assert await scene.claimed_ids() == ["b"]
