"""Saying it twice, doing it once."""

from __future__ import annotations

import asyncio

import pytest

from taskqueue import IdempotencyConflict, TaskQueue
from taskqueue.testing import drain

ORDER = {"order": 66, "lines": [{"item": "tea", "count": 2}]}
SAME_ORDER = {"lines": [{"count": 2, "item": "tea"}], "order": 66}


async def test_a_key_names_one_task(queue: TaskQueue) -> None:
    """The second attempt is refused, and told which task has the key."""
    first = await queue.enqueue("MAIL", ORDER, idempotency_key="order-66")

    with pytest.raises(IdempotencyConflict) as refusal:
        await queue.enqueue("MAIL", ORDER, idempotency_key="order-66")

    assert refusal.value.task_id == first.id
    assert refusal.value.key == "order-66"
    assert (await queue.stats()).queued == 1


async def test_the_refusal_says_whether_it_was_the_same_task(queue: TaskQueue) -> None:
    """So a caller can tell its own repeat from a key that was used for two different things."""
    await queue.enqueue("MAIL", ORDER, idempotency_key="order-66")

    with pytest.raises(IdempotencyConflict) as repeat:
        await queue.enqueue("MAIL", SAME_ORDER, idempotency_key="order-66")
    with pytest.raises(IdempotencyConflict) as mistake:
        await queue.enqueue("MAIL", {"order": 67}, idempotency_key="order-66")

    assert repeat.value.same_payload is True
    assert mistake.value.same_payload is False


async def test_every_tenant_has_keys_of_its_own(queue: TaskQueue) -> None:
    """Two customers may number their orders alike."""
    await queue.enqueue("MAIL", ORDER, tenant="ada", idempotency_key="1")
    await queue.enqueue("MAIL", ORDER, tenant="bob", idempotency_key="1")

    assert (await queue.stats()).queued == 2


async def test_a_key_stays_taken_after_the_task_has_finished(queue: TaskQueue) -> None:
    """For as long as the record of the task lives."""
    first = await queue.enqueue("MAIL", ORDER, idempotency_key="order-66")
    await drain(queue, {"MAIL": lambda payload: "sent"})

    with pytest.raises(IdempotencyConflict) as refusal:
        await queue.enqueue("MAIL", ORDER, idempotency_key="order-66")

    assert refusal.value.task_id == first.id


async def test_a_key_is_free_again_with_the_record_of_its_task(queue: TaskQueue) -> None:
    """Discarding the finished task is one way; its retention the usual one."""
    first = await queue.enqueue("MAIL", ORDER, idempotency_key="order-66")
    await drain(queue, {"MAIL": lambda payload: "sent"})

    assert await queue.discard([first.id]) == 1

    second = await queue.enqueue("MAIL", ORDER, idempotency_key="order-66")
    assert second.id != first.id


async def test_of_many_at_once_one_gets_the_key(queue: TaskQueue) -> None:
    """Twenty concurrent attempts make one task; the others are told its id."""
    attempts = (queue.enqueue("MAIL", ORDER, idempotency_key="order-66") for _ in range(20))
    results = await asyncio.gather(*attempts, return_exceptions=True)

    accepted = [result for result in results if not isinstance(result, BaseException)]
    refused = [result for result in results if isinstance(result, IdempotencyConflict)]
    assert (len(accepted), len(refused)) == (1, 19)
    assert {refusal.task_id for refusal in refused} == {accepted[0].id}


async def test_a_repeat_with_the_callers_own_id_is_the_same_task(queue: TaskQueue) -> None:
    """A caller that lost the answer says it again with the id it made, and gets the same place."""
    first = await queue.enqueue("MAIL", ORDER, id="mail-66")
    await queue.enqueue("MAIL", {"order": 67})

    again = await queue.enqueue("MAIL", SAME_ORDER, id="mail-66")

    assert (again.id, again.sequence, again.created_at) == (first.id, first.sequence, first.created_at)
    assert (await queue.stats()).queued == 2


async def test_an_id_cannot_name_two_different_tasks(queue: TaskQueue) -> None:
    """The same id for something else is a mistake, and refused as one."""
    await queue.enqueue("MAIL", ORDER, id="mail-66")

    with pytest.raises(IdempotencyConflict) as refusal:
        await queue.enqueue("MAIL", {"order": 67}, id="mail-66")

    assert refusal.value.task_id == "mail-66"
    assert refusal.value.same_payload is False
    assert refusal.value.key is None
