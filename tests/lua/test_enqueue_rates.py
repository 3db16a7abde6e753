"""enqueue also counts requests: one by one with their tasks, or one request with many tasks at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from taskqueue.codec import Entry
from taskqueue.errors import IdempotencyConflict, InsufficientCredits, LimitReached, QueueCorrupt, QueueFull
from taskqueue.store import Accepted, RateRequest
from taskqueue.store.rates import RateExceeded, RateTicket, Whole
from tests.lua.scene import Scene, Snapshot

CREATE = "createTask"


def tickets(count: int, limit: int = 5, key_id: str = "k", endpoint: str = CREATE) -> list[RateTicket]:
    """Return the tickets of so many requests."""
    return [RateTicket(key_id, endpoint, limit) for _ in range(count)]


def without_counts(scene: Scene) -> Snapshot:
    """Return the queue without its counts of requests."""
    rates = scene.keys.rate("").encode()
    return {name: stored for name, stored in scene.snapshot().items() if not name.startswith(rates)}


async def offer(
    scene: Scene, entries: Sequence[Entry], given: Sequence[RateTicket | None], **options: Any
) -> list[str]:
    """Enqueue tasks that are counted; return the kind of each outcome."""
    outcomes = await scene.store.enqueue(entries, tickets=given, **options)
    return [type(outcome).__name__ for outcome in outcomes]


def counted(scene: Scene, key_id: str = "k", endpoint: str = CREATE) -> int:
    """Return how many requests of a key the server has counted."""
    return int(scene.hash(scene.keys.rate(key_id)).get(f"of:{endpoint}", 0))


# One by one --------------------------------------------------------------------------------------


async def test_a_request_over_the_rate_leaves_nothing(scene: Scene) -> None:
    """Of four at once, two are let in; of the others there is no task, no key and no count."""
    given = tickets(4, 2)
    entries = [scene.entry(f"t{number}", idempotency_key=f"k{number}") for number in range(4)]

    kinds = await offer(scene, entries, given)

    assert kinds == ["Accepted", "Accepted", "RateExceeded", "RateExceeded"]
    assert [ticket.remaining for ticket in given] == [1, 0, 0, 0]
    assert scene.ready() == ["t0", "t1"]
    assert counted(scene) == 2
    before = scene.snapshot()
    assert await offer(scene, entries[2:], tickets(2, 2)) == ["RateExceeded", "RateExceeded"]
    assert scene.snapshot() == before
    assert len(await scene.enqueue("t9", idempotency_key="k3")) == 1


async def test_the_next_second_begins_at_zero(scene: Scene) -> None:
    """By the clock that the tasks have too, at its first millisecond."""
    scene.advance(1000 - scene.clock() % 1000)
    assert await offer(scene, [scene.entry(), scene.entry()], tickets(2, 1)) == ["Accepted", "RateExceeded"]
    scene.advance(999)
    assert await offer(scene, [scene.entry()], tickets(1, 1)) == ["RateExceeded"]
    scene.advance(1)

    assert await offer(scene, [scene.entry()], tickets(1, 1)) == ["Accepted"]
    assert 0 < scene.client.pttl(scene.keys.rate("k")) <= 10_000


async def test_both_ways_to_count_share_one_count(scene: Scene) -> None:
    """A request that never got to its tasks was counted by `admit`."""
    assert await scene.store.admit([RateRequest("k", CREATE, 3)] * 2) == [2, 1]

    assert await offer(scene, [scene.entry(), scene.entry()], tickets(2, 3)) == ["Accepted", "RateExceeded"]
    assert await scene.store.admit([RateRequest("k", CREATE, 3)]) == [None]


async def test_keys_and_endpoints_have_counts_of_their_own(scene: Scene) -> None:
    """All in one call, with tasks that are not counted between them."""
    given = [
        *tickets(2, 1),
        *tickets(2, 1, endpoint="other"),
        None,
        *tickets(2, 2, "l"),
    ]

    kinds = await offer(scene, [scene.entry() for _ in given], given)

    let_in = [kind == "Accepted" for kind in kinds]
    assert let_in == [True, False, True, False, True, True, True]
    assert [ticket.remaining for ticket in given if ticket] == [0, 0, 0, 0, 1, 0]
    assert (counted(scene), counted(scene, endpoint="other"), counted(scene, "l")) == (1, 1, 2)


@pytest.mark.parametrize("later", [0, 1, 5_000])
async def test_the_repeat_of_a_call_is_not_counted_again(scene: Scene, later: int) -> None:
    """Its reply was lost: the answer is the same, also in a later second, and nothing changes."""
    scene.advance(1000 - scene.clock() % 1000)
    entries = [scene.entry("a"), scene.entry("b", idempotency_key="k")]
    first = await scene.store.enqueue(entries, tickets=tickets(2, 2))
    before = scene.snapshot()
    scene.advance(later)
    given = tickets(2, 2)

    assert await scene.store.enqueue(entries, tickets=given) == first
    assert scene.snapshot() == before
    assert all(ticket.remaining is not None for ticket in given)


async def test_the_rate_goes_before_every_other_refusal(scene: Scene) -> None:
    """Where it is used up, nobody hears of a full queue, a used key, a balance, a slot or an id."""
    await scene.store.set_limit(tenant="slots", concurrency=0)
    await scene.store.grant("poor", 1)
    await scene.enqueue("held", idempotency_key="k")
    entries = [
        scene.entry("fill"),
        scene.entry("twice", idempotency_key="k", tenant="default"),
        scene.entry("costly", cost=2, tenant="poor"),
        scene.entry("now", reserve=True, tenant="slots"),
        scene.entry("held", payload={}),
    ]
    alone = [IdempotencyConflict, InsufficientCredits, LimitReached, IdempotencyConflict]

    outcomes = await scene.store.enqueue(entries[1:], tickets=tickets(4), max_queued=9)
    assert [type(outcome) for outcome in outcomes] == alone
    full = await scene.store.enqueue(entries[:1], tickets=tickets(1), max_queued=1)
    assert [type(outcome) for outcome in full] == [QueueFull]
    before = without_counts(scene)

    assert counted(scene) == 5, "what was refused for another reason is counted"
    assert await offer(scene, entries, tickets(5), max_queued=1) == ["RateExceeded"] * 5
    assert without_counts(scene) == before


async def test_a_refused_task_takes_nothing_from_those_that_follow(scene: Scene) -> None:
    """Its idempotency key, its room and its credits are those of the next one in the call."""
    await scene.store.grant("default", 3)
    entries = [scene.entry(name, cost=3, idempotency_key="k") for name in ("over", "in")]

    outcomes = await scene.store.enqueue(
        entries, tickets=[*tickets(1, 0, "spent"), *tickets(1)], max_queued=1, together=True
    )

    assert [type(outcome) for outcome in outcomes] == [RateExceeded, Accepted]
    assert scene.ready() == ["in"]


async def test_an_atomic_call_is_counted_too(scene: Scene) -> None:
    """One refusal withholds all tasks; their requests were made all the same."""
    kinds = await offer(scene, [scene.entry(), scene.entry()], tickets(2, 1), atomic=True)

    assert kinds == ["Withheld", "RateExceeded"]
    assert counted(scene) == 1
    assert scene.ready() == []


async def test_delays_and_keys_stand_beside_rates(scene: Scene) -> None:
    """A counted task has every field that others have."""
    late = scene.entry("late", delay=timedelta(seconds=5), idempotency_key="k")

    [outcome] = await scene.store.enqueue([late], tickets=tickets(1))

    assert isinstance(outcome, Accepted)
    assert outcome.not_before_ms == scene.clock() + 5_000
    assert scene.delayed() == {"late": 5_000}
    assert (await scene.task("late")).idempotency_key == "k"


async def test_counted_tasks_are_stored_as_others_are(scene: Scene) -> None:
    """The same tasks, counted or not, leave the same queue behind."""
    await scene.enqueue("old", "other", priority=4)
    start = scene.snapshot()
    entries = [scene.entry(f"t{number}", priority=1 + number % 9) for number in range(30)]
    plain = await scene.store.enqueue(entries)
    left = scene.snapshot()
    scene.restore(start)

    assert await scene.store.enqueue(entries, tickets=tickets(30, 30)) == plain
    assert without_counts(scene) == left


async def test_a_damaged_count_stores_nothing(scene: Scene) -> None:
    """It could not be said whether the request may pass."""
    scene.client.set(scene.keys.rate("k"), "no hash", ex=10)
    before = scene.snapshot()

    with pytest.raises(QueueCorrupt):
        await offer(scene, [scene.entry()], tickets(1))
    assert scene.snapshot() == before


# One request with many tasks ---------------------------------------------------------------------


async def submit(scene: Scene, entries: Sequence[Entry], whole: Whole, room: int | None = None) -> list[str]:
    """Enqueue the tasks of one request; return the kind of each outcome."""
    outcomes = await scene.store.enqueue(entries, whole=whole, max_queued=room, together=True)
    return [type(outcome).__name__ for outcome in outcomes]


async def test_a_request_with_many_tasks_is_counted_once(scene: Scene) -> None:
    """However many they are; the next one that is over the rate is refused whole, and leaves nothing."""
    first, second = tickets(2, 1)
    entries = [scene.entry() for _ in range(3)]
    assert await submit(scene, entries, Whole(3, first)) == ["Accepted"] * 3
    before = scene.snapshot()

    with pytest.raises(RateExceeded, match="1 requests a second"):
        await submit(scene, [scene.entry() for _ in range(3)], Whole(3, second))

    assert scene.snapshot() == before
    assert (first.remaining, second.remaining, counted(scene)) == (0, 0, 1)


@pytest.mark.parametrize("total", [3, 4])
async def test_there_is_room_for_all_or_nothing_is_stored(scene: Scene, total: int) -> None:
    """Tasks that were unfit to be sent need room too; the request is counted either way."""
    await scene.enqueue("old-1", "old-2")
    ticket = RateTicket("k", CREATE, 5)
    entries = [scene.entry(), scene.entry()]
    before = without_counts(scene)

    if total == 3:
        assert await submit(scene, entries, Whole(total, ticket), 5) == ["Accepted"] * 2
    else:
        with pytest.raises(QueueFull) as caught:
            await submit(scene, entries, Whole(total, ticket), 5)
        assert (caught.value.tenant, caught.value.limit) == ("default", 5)
        assert without_counts(scene) == before
    assert (ticket.remaining, counted(scene)) == (4, 1)


async def test_a_task_of_the_request_may_still_be_refused_by_itself(scene: Scene) -> None:
    """For its key, say: rate and room are all that concerns the whole."""
    await scene.enqueue("held", idempotency_key="k")
    entries = [scene.entry(), scene.entry(idempotency_key="k"), scene.entry()]

    kinds = await submit(scene, entries, Whole(3, RateTicket("k", CREATE, 1)), 4)

    assert kinds == ["Accepted", "IdempotencyConflict", "Accepted"]


async def test_the_repeat_of_a_request_finds_its_own_tasks(scene: Scene) -> None:
    """It is not counted again, and not refused for the room that they take."""
    await scene.enqueue("held", idempotency_key="k")
    entries = [scene.entry("a", idempotency_key="k"), scene.entry("b"), scene.entry("c", idempotency_key="l")]
    first, again = tickets(2, 1)
    kinds = await submit(scene, entries, Whole(3, first), 4)
    before = scene.snapshot()

    assert await submit(scene, entries, Whole(3, again), 4) == kinds
    assert scene.snapshot() == before
    assert again.remaining == 0


async def test_an_id_of_another_task_makes_no_repeat(scene: Scene) -> None:
    """Only a task of the same content was sent by the same request."""
    await scene.enqueue("a", payload={"other": 1})

    with pytest.raises(RateExceeded):
        await submit(scene, [scene.entry("a"), scene.entry("b")], Whole(2, RateTicket("k", CREATE, 0)))


async def test_the_first_of_several_calls_decides_for_all(scene: Scene) -> None:
    """Tasks of 5 MiB take two calls: refused, the second is not made; accepted, it is not counted."""
    entries = [scene.entry(payload={"text": "x" * 900_000}) for _ in range(6)]
    ticket, over = tickets(2, 1)
    before = scene.snapshot()

    with pytest.raises(QueueFull):
        await submit(scene, entries, Whole(6, RateTicket("l", CREATE, 1)), 5)
    assert without_counts(scene) == before
    assert await submit(scene, entries, Whole(6, ticket), 6) == ["Accepted"] * 6
    assert counted(scene) == 1
    with pytest.raises(RateExceeded):
        await submit(scene, [scene.entry()], Whole(1, over))


async def test_what_was_let_in_needs_no_room_any_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two calls of one request others take the room: it is stored whole all the same."""
    calls: list[int] = []
    once = scene.store._enqueue_portion

    async def crowded(entries: Sequence[Entry], *others: Any) -> Any:
        outcomes = await once(entries, *others)
        calls.append(len(entries))
        if len(calls) == 1:
            await scene.enqueue("other-1", "other-2")
        return outcomes

    monkeypatch.setattr(scene.store, "_enqueue_portion", crowded)
    entries = [scene.entry(payload={"text": "x" * 900_000}) for _ in range(6)]

    assert await submit(scene, entries, Whole(6), 6) == ["Accepted"] * 6
    assert calls == [4, 2, 2], "it took two calls, and the others came between them"


async def test_a_request_that_was_counted_before_only_needs_room(scene: Scene) -> None:
    """Without a ticket nothing is counted."""
    assert await submit(scene, [scene.entry()], Whole(2), 2) == ["Accepted"]
    with pytest.raises(QueueFull):
        await submit(scene, [scene.entry()], Whole(2), 2)

    assert not scene.client.exists(scene.keys.rate("k"))
