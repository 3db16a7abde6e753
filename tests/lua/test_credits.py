"""Credits: looked at when a task is accepted, held while it runs, charged when it completes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from taskqueue.codec import decode_error, encode_value
from taskqueue.errors import InsufficientCredits, QueueFull
from taskqueue.store import Accepted, Balance, ClaimedTask, Completion, Failure
from taskqueue.task import TaskState
from tests.lua.conftest import MakeScene
from tests.lua.scene import BOOM, LEASE_MS, Scene

RESULT = encode_value({"ok": True}, field="result", max_bytes=100)
End = Callable[[Scene, ClaimedTask], Awaitable[Any]]


async def charge(scene: Scene, claimed: ClaimedTask, asked: int | None = None) -> None:
    """Complete a task, with a charge of its own."""
    words, _ = await scene.store.complete([Completion(claimed.id, claimed.token, RESULT, charge=asked)])
    assert words == ["completed"]


async def test_a_tenant_without_an_account_is_not_metered(scene: Scene) -> None:
    """Its tasks say what they cost, and nobody keeps account of it."""
    await scene.enqueue("a", cost=5)

    await scene.complete(await scene.claim_one())

    assert (await scene.task("a")).charged == 5
    assert await scene.store.balance("default") is None
    assert "spent" not in scene.hash(scene.keys.limit_tenant("default")) if scene.names() else True


async def test_a_task_beyond_the_balance_is_refused(scene: Scene) -> None:
    """Nothing is stored, the key stays free, and a cheaper one is accepted."""
    await scene.store.grant("acme", 5)

    [refused] = await scene.offer(scene.entry("a", tenant="acme", cost=6, idempotency_key="k"))
    [taken] = await scene.offer(scene.entry("b", tenant="acme", cost=5, idempotency_key="k"))

    assert isinstance(refused, InsufficientCredits)
    assert (refused.needed, refused.balance, refused.tenant) == (6, 5, "acme")
    assert isinstance(taken, Accepted)
    assert await scene.store.fetch(["a"]) == [None]


async def test_nothing_is_held_for_what_is_queued(scene: Scene) -> None:
    """Tasks that come alone may together cost more than there is; those of a bulk may not."""
    await scene.store.grant("acme", 5)
    entries = [scene.entry(name, tenant="acme", cost=3) for name in "abc"]

    alone = await scene.offer(*entries[:2])
    together = await scene.store.enqueue(
        [scene.entry(name, tenant="acme", cost=3) for name in "de"], together=True
    )

    assert [type(outcome) for outcome in alone] == [Accepted, Accepted]
    assert [type(outcome) for outcome in together] == [Accepted, InsufficientCredits]
    assert await scene.store.balance("acme") == Balance(granted=5, spent=0, held=0)


async def test_a_running_task_holds_its_price_and_is_charged_at_its_end(scene: Scene) -> None:
    """Held while it runs, spent when it completes, once."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", tenant="acme", cost=4)

    claimed = await scene.claim_one()

    assert await scene.store.balance("acme") == Balance(10, 0, 4)
    await scene.complete(claimed)
    assert await scene.store.balance("acme") == Balance(10, 4, 0)
    assert await scene.complete(claimed) == ["completed"]  # a report whose reply was lost
    assert await scene.store.balance("acme") == Balance(10, 4, 0)
    assert (await scene.task("a")).charged == 4


@pytest.mark.parametrize(
    ("balance", "hold", "asked", "charged"),
    [(20, 10, None, 4), (20, 10, 7, 7), (20, 10, 12, 10), (20, 10, 0, 0), (6, 10, 9, 6), (20, None, 9, 4)],
)
async def test_what_a_handler_charges_is_bounded_by_the_hold(
    scene: Scene, balance: int, hold: int | None, asked: int | None, charged: int
) -> None:
    """The price if it says nothing; never more than was held, and no more is held than there is."""
    await scene.store.grant("acme", balance)
    await scene.enqueue("a", tenant="acme", cost=4, hold=hold)

    await charge(scene, await scene.claim_one(), asked)

    assert (await scene.task("a")).charged == charged
    assert await scene.store.balance("acme") == Balance(balance, charged, 0)


async def failed(scene: Scene, claimed: ClaimedTask) -> None:
    """For good."""
    await scene.fail(claimed)


async def retried(scene: Scene, claimed: ClaimedTask) -> None:
    """To be tried again."""
    await scene.fail(claimed, retry_in_ms=0)


async def released(scene: Scene, claimed: ClaimedTask) -> None:
    """Given back."""
    await scene.release(claimed)


async def cancelled(scene: Scene, claimed: ClaimedTask) -> None:
    """On request."""
    await scene.store.cancel(claimed.id)
    await scene.store.fail([Failure(claimed.id, claimed.token, BOOM, cancelled=True)])


async def reaped(scene: Scene, claimed: ClaimedTask) -> None:
    """Its worker died."""
    scene.client.zadd(scene.keys.leased, {claimed.id: scene.clock() - 1})
    await scene.store.reap(LEASE_MS)


@pytest.mark.parametrize("end", [failed, retried, released, cancelled, reaped])
async def test_only_a_completed_task_costs(scene: Scene, end: End) -> None:
    """However else its lease ends, nothing stays held and nothing is spent."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", tenant="acme", cost=4, hold=8)

    await end(scene, await scene.claim_one())

    assert await scene.store.balance("acme") == Balance(10, 0, 0)
    task = await scene.task("a")
    assert task.charged == (0 if task.state.is_finished else None)


async def test_a_task_that_the_balance_does_not_cover_any_more_ends(scene: Scene) -> None:
    """It fails at its turn, for free and without having begun; the next one that can be paid runs."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("dear", tenant="acme", cost=9, priority=5, idempotency_key="k")
    await scene.enqueue("cheap", tenant="acme", cost=2)
    await scene.store.grant("acme", -5)

    assert await scene.claimed_ids() == ["cheap"]

    task = await scene.task("dear")
    assert (task.state, task.charged, task.started_at) == (TaskState.FAILED, 0, None)
    assert task.error is not None
    assert task.error.code == "INSUFFICIENT_CREDITS"
    assert decode_error(scene.run("dear")["error"]) == task.error
    assert scene.dead() == {"dear"}


async def test_a_claim_ends_some_at_a_time(scene: Scene) -> None:
    """So that a tenant without credits and many tasks holds nobody up."""
    await scene.store.grant("acme", 1)
    await scene.enqueue(*(f"a{number}" for number in range(120)), tenant="acme", cost=1, priority=9)
    await scene.enqueue("b", tenant="beta")
    await scene.store.grant("acme", -1)

    first = await scene.claim()

    assert [task.id for task in first.tasks] == ["b"]
    assert first.more
    assert len(scene.ready(group="acme")) == 70
    assert [(await scene.claim()).more, (await scene.claim()).more] == [True, False]


async def test_a_task_waits_for_credits_that_others_hold(scene: Scene) -> None:
    """Its lane is parked; the end of another task of its tenant brings it back."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", "b", tenant="acme", cost=6)
    first = await scene.claim_one()

    assert await scene.claimed_ids() == []
    assert scene.lanes() == []
    assert not scene.is_awake()
    await scene.fail(first)

    assert scene.is_awake()
    assert await scene.claimed_ids() == ["b"]


async def test_a_grant_brings_back_who_waits(scene: Scene) -> None:
    """At once, and only as far as it goes."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", "b", tenant="acme", cost=6)
    await scene.claim_one()
    assert await scene.claimed_ids() == []

    await scene.store.grant("acme", 1)
    assert await scene.claimed_ids() == []
    await scene.store.grant("acme", 1)

    assert await scene.claimed_ids() == ["b"]
    assert await scene.store.balance("acme") == Balance(12, 0, 12)


async def test_waiting_for_credits_holds_up_nobody_else(scene: Scene) -> None:
    """Other tenants run on, in one and the same claim."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", "b", tenant="acme", cost=10, priority=9)
    await scene.enqueue("other", tenant="beta")

    assert await scene.claimed_ids() == ["a", "other"]


@pytest.mark.parametrize("policy", ["strict", "fair_within_priority", "fair_tenants"])
async def test_order_holds_among_what_can_be_paid(make_scene: MakeScene, policy: str) -> None:
    """By priority, then by submission, under every policy."""
    scene = await make_scene(policy=policy)
    await scene.store.grant("acme", 100)
    for name, priority in (("c", 1), ("a", 9), ("d", 1), ("b", 5)):
        await scene.enqueue(name, tenant="acme", cost=1, priority=priority)

    assert await scene.claimed_ids() == ["a", "b", "c", "d"]


async def test_a_full_queue_keeps_no_reserved_task_out(scene: Scene) -> None:
    """Synchronous calls have slots, not places in the queue."""
    await scene.store.set_limit(tenant="acme", concurrency=1)
    await scene.enqueue("a", tenant="acme")

    refused, reserved = await scene.offer(
        scene.entry("b", tenant="acme"), scene.entry("c", tenant="acme", reserve=True), max_queued=1
    )

    assert isinstance(refused, QueueFull)
    assert isinstance(reserved, Accepted)


async def test_a_reserved_task_is_paid_too(scene: Scene) -> None:
    """The way of the synchronous calls is no way around the account."""
    await scene.store.set_limit(tenant="acme", concurrency=2)
    await scene.store.grant("acme", 3)

    [poor] = await scene.offer(scene.entry("a", tenant="acme", cost=4, reserve=True))
    await scene.enqueue("b", tenant="acme", cost=3, reserve=True)
    await scene.complete(await scene.claim_one())

    assert isinstance(poor, InsufficientCredits)
    assert await scene.store.balance("acme") == Balance(3, 3, 0)


async def test_what_a_completion_costs_is_gone_for_the_claim_behind_it(scene: Scene) -> None:
    """Both are one call: the next task cannot start on credits that were charged a moment before."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", tenant="acme", cost=6)
    await scene.enqueue("b", tenant="acme", cost=6)
    claimed = await scene.claim_one()

    done = [Completion(claimed.id, claimed.token, RESULT)]
    _, claim = await scene.store.complete(done, scene.request())

    assert claim is not None
    assert claim.tasks == []
    assert (await scene.task("b")).state is TaskState.FAILED
    assert await scene.store.balance("acme") == Balance(granted=10, spent=6, held=0)


async def test_what_was_charged_is_gone(scene: Scene) -> None:
    """For what is accepted later, and for what starts later."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", "b", tenant="acme", cost=6)
    await scene.complete(await scene.claim_one())

    [refused] = await scene.offer(scene.entry("c", tenant="acme", cost=5))

    assert isinstance(refused, InsufficientCredits)
    assert (refused.needed, refused.balance) == (5, 4)
    assert await scene.claimed_ids() == []
    ended = await scene.task("b")
    assert (ended.state, ended.finished_ms) == (TaskState.FAILED, scene.clock())


async def test_who_waits_for_credits_waits_also_when_more_comes(scene: Scene) -> None:
    """A cheaper task of another type, accepted meanwhile, does not overtake the one whose turn it is."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", tenant="acme", cost=6)
    running = await scene.claim_one()
    await scene.enqueue("b", tenant="acme", cost=8)
    assert await scene.claimed_ids() == []

    await scene.enqueue("cheap", tenant="acme", cost=1, type="GEMINI")

    assert await scene.claimed_ids(("GROK", "GEMINI")) == []
    await scene.release(running)
    assert await scene.claimed_ids(("GROK", "GEMINI"), limit=1) == ["a"]


async def test_a_tenant_with_credits_is_known_before_its_first_task(scene: Scene) -> None:
    """Whoever goes through all tenants meets it, until it is found to have nothing else."""
    await scene.store.grant("acme", 10)

    assert scene.client.smembers(scene.keys.tenants) == {b"acme"}


async def test_a_grant_says_what_there_is_then(scene: Scene) -> None:
    """All three numbers, as `balance()` does."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", "b", tenant="acme", cost=3)
    await scene.complete(await scene.claim_one())
    await scene.claim_one()

    assert await scene.store.grant("acme", 5) == Balance(granted=15, spent=3, held=3)


async def test_what_a_completion_held_is_free_for_the_claim_behind_it(scene: Scene) -> None:
    """Both are one call: what was held and not charged can be spent at once."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", tenant="acme", cost=3, hold=8)
    await scene.enqueue("b", tenant="acme", cost=7)
    claimed = await scene.claim_one()

    done = [Completion(claimed.id, claimed.token, RESULT, charge=3)]
    _, claim = await scene.store.complete(done, scene.request())

    assert claim is not None
    assert [task.id for task in claim.tasks] == ["b"]


async def test_a_task_that_the_whole_balance_covers_waits_for_it(scene: Scene) -> None:
    """Exactly as much as there is, but others hold some of it: that may come back."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", tenant="acme", cost=6)
    await scene.enqueue("b", tenant="acme", cost=10)
    running = await scene.claim_one()
    assert await scene.claimed_ids() == []
    await scene.enqueue("cheap", tenant="acme", cost=1, type="GEMINI")
    assert await scene.claimed_ids(("GROK", "GEMINI")) == []

    assert await scene.fail(running) == ["failed"]

    assert await scene.claimed_ids(("GROK", "GEMINI")) == ["b"]


async def test_a_task_holds_no_more_than_is_left(scene: Scene) -> None:
    """Of what others hold, nothing."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", "b", tenant="acme", cost=2, hold=8)

    assert await scene.claimed_ids() == ["a", "b"]

    assert await scene.store.balance("acme") == Balance(granted=10, spent=0, held=10)


async def test_a_claim_that_promotes_and_ends_writes_each_place_once(scene: Scene) -> None:
    """A task that was due is taken at once, beside one that its tenant cannot pay."""
    await scene.store.grant("zeta", 5)
    await scene.enqueue("poor", tenant="zeta", cost=5)
    await scene.store.grant("zeta", -3)
    await scene.enqueue("late", tenant="acme", delay=timedelta(seconds=1))
    scene.advance(1000)

    assert await scene.claimed_ids() == ["late"]

    assert (await scene.task("poor")).state is TaskState.FAILED
    assert scene.client.zcard(scene.keys.ready("GROK", "acme")) == 0


async def test_a_grant_wakes_workers_for_who_waited(scene: Scene) -> None:
    """They were told that there is nothing; now there is."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", "b", tenant="acme", cost=6)
    await scene.claim_one()
    assert await scene.claimed_ids() == []
    assert not scene.is_awake()

    await scene.store.grant("acme", 5)

    assert scene.is_awake()
    assert await scene.claimed_ids() == ["b"]


async def test_who_waits_for_credits_waits_in_the_claim_that_notices_too(scene: Scene) -> None:
    """The same claim wants another type, of which the tenant has a cheaper task: that does not overtake."""
    await scene.store.grant("acme", 10)
    await scene.enqueue("a", tenant="acme", cost=6)
    running = await scene.claim_one()
    await scene.enqueue("b", tenant="acme", cost=8)
    await scene.enqueue("cheap", tenant="acme", cost=1, type="GEMINI")

    assert await scene.claimed_ids(("GROK", "GEMINI")) == []

    await scene.release(running)
    assert await scene.claimed_ids(("GROK", "GEMINI"), limit=1) == ["a"]
