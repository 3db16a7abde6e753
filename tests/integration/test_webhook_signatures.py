"""Signed deliveries, as receivers see them: verified by the contract's words, and by `standardwebhooks`."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from standardwebhooks import Webhook, WebhookVerificationError

from taskqueue import TaskQueue
from taskqueue.keys import Keys
from taskqueue.names import WEBHOOK_TYPE
from taskqueue.testing import FakeClock
from taskqueue.webhooks import SecretBox, WebhookSecrets, delivering, new_webhook_secret
from tests.integration.test_accounts import until_told
from tests.integration.test_webhook_deliveries import delivering as scheduler_of
from tests.integration.test_webhook_deliveries import delivery_of, until
from tests.integration.webhook_receiver import Receiver, Request, receiver, status

MINUTE, MILLISECOND = timedelta(minutes=1), timedelta(milliseconds=1)
OVERLAP = timedelta(minutes=30)
"""Shorter than the hour for which the record of a delivery is kept."""

SECRET = "5f" * 16 + "0123456789abcdef" * 2
BOX, FOREIGN = SecretBox(bytes.fromhex(SECRET)), SecretBox(b"another one" * 3)


@pytest.fixture
async def queue(url: str, queue_name: str, clock: FakeClock) -> AsyncIterator[TaskQueue]:
    """A queue whose clock the test moves."""
    async with TaskQueue.connect(url, name=queue_name, clock=clock) as opened:
        yield opened


@pytest.fixture
def secrets(queue: TaskQueue) -> WebhookSecrets:
    """The secrets of its tenants."""
    return WebhookSecrets(queue, BOX)


@pytest.fixture
def signed_by_clock(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is signed bears the instant of the test's clock."""
    monkeypatch.setattr(delivering, "time", SimpleNamespace(time=lambda: clock() / 1000))


def is_signed(request: Request, secret: str, now: float | None = None) -> bool:
    """Verify as the contract tells receivers to, with nothing of ours."""
    stamp = request.headers["X-Cloro-Timestamp"]
    assert str(int(stamp)) == stamp, "receivers print the number again"
    message = f"{int(stamp)}.".encode() + request.body
    expected = hmac.new(secret.encode("utf-8"), message, hashlib.sha256).hexdigest()
    given = request.headers["X-Cloro-Signature"].removeprefix("v1=")
    is_fresh = abs((time.time() if now is None else now) - int(stamp)) <= 300
    return is_fresh and hmac.compare_digest(expected, given)


def is_standard(request: Request, secret: str) -> bool:
    """Verify with the reference implementation of Standard Webhooks."""
    try:
        Webhook(secret).verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


def names_of(request: Request) -> set[str]:
    """Return the names of the headers that have to do with signatures."""
    return {name for name in request.headers if name.lower().startswith(("x-cloro-", "webhook-"))}


CONTRACT = {"X-Cloro-Timestamp", "X-Cloro-Signature", "X-Cloro-Webhook-Id"}
STANDARD = {"webhook-id", "webhook-timestamp", "webhook-signature"}


async def told(queue: TaskQueue, seen: Receiver, tenant: str = "acme") -> tuple[str, Request]:
    """Let a worker run one task and deliver its end; return its id and what arrived."""
    known = len(seen.requests)
    async with scheduler_of(queue, secret=SECRET):
        task = await queue.enqueue("CHATGPT", {}, tenant=tenant, webhook=seen.url())
        await until(lambda: len(seen.requests) > known)
        while (found := await queue.get(task.id)) is not None and found.delivered_at is None:
            await asyncio.sleep(0.01)
    return task.id, seen.requests[-1]


async def test_deliveries_are_signed_where_a_tenant_has_a_secret(
    queue: TaskQueue, secrets: WebhookSecrets
) -> None:
    """By the contract's rule; those of others bear no such header."""
    made = await secrets.renew("acme")
    async with receiver(status(204)) as seen:
        task_id, signed = await told(queue, seen)
        _, plain = await told(queue, seen, "other")

    assert is_signed(signed, made.secret)
    assert not is_signed(signed, new_webhook_secret())
    assert signed.headers["X-Cloro-Webhook-Id"] == f"{task_id}-1"
    assert (names_of(signed), names_of(plain)) == (CONTRACT, set())


async def test_during_an_overlap_the_old_secret_signs(
    queue: TaskQueue, secrets: WebhookSecrets, clock: FakeClock
) -> None:
    """Until the overlap's last millisecond; then the new one alone. No worker has to be told."""
    old = (await secrets.renew("acme")).secret
    new = (await secrets.renew("acme", overlap=OVERLAP)).secret

    async with receiver(status(204)) as seen:
        _, first = await told(queue, seen)
        clock.advance(OVERLAP - MILLISECOND)
        _, last = await told(queue, seen)
        clock.advance(MILLISECOND)
        _, after = await told(queue, seen)

    found = [(is_signed(each, old), is_signed(each, new)) for each in (first, last, after)]
    assert found == [(True, False), (True, False), (False, True)]
    assert all(names_of(each) == CONTRACT for each in seen.requests)


async def test_standard_webhooks_know_both_secrets_in_an_overlap(
    queue: TaskQueue, secrets: WebhookSecrets, clock: FakeClock
) -> None:
    """Receivers may change over at any time in it; the contract's header stays as it is."""
    old = (await secrets.renew("acme")).secret
    await secrets.set_standard("acme", wanted=True)

    async with receiver(status(204)) as seen:
        _, before = await told(queue, seen)
        new = (await secrets.renew("acme", overlap=OVERLAP)).secret
        _, during = await told(queue, seen)
        clock.advance(OVERLAP)
        _, after = await told(queue, seen)
        await secrets.set_standard("acme", wanted=False)
        _, plain = await told(queue, seen)

    found = [(is_standard(each, old), is_standard(each, new)) for each in (before, during, after)]
    assert found == [(True, False), (True, True), (False, True)]
    assert not is_standard(during, new_webhook_secret())
    assert [len(each.headers["webhook-signature"].split()) for each in (before, during, after)] == [1, 2, 1]
    assert [is_signed(each, old) for each in (before, during, after)] == [True, True, False]
    assert all(names_of(each) == CONTRACT | STANDARD for each in (before, during, after))
    assert names_of(plain) == CONTRACT


@pytest.mark.usefixtures("signed_by_clock")
async def test_each_attempt_is_signed_anew(
    queue: TaskQueue, secrets: WebhookSecrets, clock: FakeClock
) -> None:
    """At its own instant, with its own number and the secret of that moment, over the same body.

    The overlap of 5 minutes ends between the second attempt and the third.
    """
    old = (await secrets.renew("acme")).secret
    await secrets.set_standard("acme", wanted=True)
    new = (await secrets.renew("acme", overlap=5 * MINUTE)).secret
    sent_at: list[float] = []

    async with receiver(status(500)) as seen, scheduler_of(queue, secret=SECRET):
        task = await queue.enqueue("CHATGPT", {}, tenant="acme", webhook=seen.url())
        for number, wait in enumerate([2, 4, 8, 16, 0], start=1):
            await until(lambda number=number: len(seen.requests) == number)  # type: ignore[misc]
            sent_at.append(clock() / 1000)
            while number < 5 and (await delivery_of(queue)).not_before is None:
                await asyncio.sleep(0.01)
            clock.advance(wait * MINUTE)
            await queue.store.promote()

    attempts = seen.requests
    assert [int(each.headers["X-Cloro-Timestamp"]) for each in attempts] == [int(now) for now in sent_at]
    assert [each.headers["X-Cloro-Webhook-Id"] for each in attempts] == [
        f"{task.id}-{n}" for n in range(1, 6)
    ]
    used = [
        [is_signed(each, secret, now) for secret in (old, new)]
        for each, now in zip(attempts, sent_at, strict=True)
    ]
    assert used == [[True, False], [True, False], [False, True], [False, True], [False, True]]
    assert not any(is_signed(attempts[0], secret, sent_at[-1]) for secret in (old, new))
    assert {each.headers["webhook-timestamp"] == each.headers["X-Cloro-Timestamp"] for each in attempts} == {
        True
    }
    assert len({each.headers["webhook-id"] for each in attempts}) == 1, "a repeat is known by it"
    assert len({each.headers["X-Cloro-Signature"] for each in attempts}) == 5
    assert len({each.body for each in attempts}) == 1


async def test_another_end_of_the_same_task_is_another_message(
    queue: TaskQueue, secrets: WebhookSecrets, clock: FakeClock
) -> None:
    """A task that failed is submitted again: its receiver must not take the second end for a repeat."""
    await secrets.renew("acme")
    await secrets.set_standard("acme", wanted=True)

    async with receiver(status(204)) as seen, scheduler_of(queue, secret=SECRET):
        task = await queue.enqueue("CHATGPT", {"fail": True}, tenant="acme", webhook=seen.url())
        await until(lambda: len(seen.requests) == 1)
        clock.advance(MINUTE)
        await queue.redrive(task.id)
        await until(lambda: len(seen.requests) == 2)

    first, second = seen.requests
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    assert first.headers["X-Cloro-Webhook-Id"] == second.headers["X-Cloro-Webhook-Id"] == f"{task.id}-1"


Damage = Callable[[], dict[Any, Any]]

DAMAGED: dict[str, Damage] = {
    "sealed elsewhere": lambda: {"webhook_secret": FOREIGN.seal(new_webhook_secret().encode(), "acme")},
    "of another tenant": lambda: {"webhook_secret": BOX.seal(new_webhook_secret().encode(), "zeta")},
    "no secret": lambda: {"webhook_secret": BOX.seal(b"hello", "acme")},
    "changed": lambda: {"webhook_secret": b"\x01damaged"},
    "empty": lambda: {"webhook_secret": b""},
    "old one changed": lambda: {"webhook_old": b"\x01damaged", "webhook_old_until": "9" * 13},
    "overlap without end": lambda: {"webhook_old": BOX.seal(new_webhook_secret().encode(), "acme")},
    "overlap without secret": lambda: {"webhook_old_until": "9" * 13},
    "unknown setting": lambda: {"webhook_standard": "yes"},
}


@pytest.mark.parametrize("damage", DAMAGED)
async def test_what_cannot_be_signed_is_not_sent(
    *,
    queue: TaskQueue,
    secrets: WebhookSecrets,
    clock: FakeClock,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    """Nothing leaves; operators hear why. Once there is a secret that can be read, it is delivered."""
    await secrets.renew("acme")
    account = queue.store.keys.account("acme")
    client.hset(account, mapping=DAMAGED[damage]())

    async with receiver(status(204)) as seen, scheduler_of(queue, secret=SECRET):
        task = await queue.enqueue("CHATGPT", {}, tenant="acme", webhook=seen.url())
        while not [each async for each in queue.tasks(type=WEBHOOK_TYPE) if each.not_before is not None]:
            await asyncio.sleep(0.01)
        waiting = await delivery_of(queue)
        connections = seen.connections
        client.hdel(account, "webhook_standard")
        made = await secrets.renew("acme")
        clock.advance(2 * MINUTE)
        await queue.store.promote()
        await until(lambda: seen.requests)

    assert connections == 0
    assert "tenant acme cannot be signed, and are not sent unsigned" in waiting.error.message
    [line] = [each for each in caplog.records if each.name == "taskqueue.webhooks"]
    assert (line.levelno, line.getMessage()) == (logging.ERROR, waiting.error.message)
    [request] = seen.requests
    assert is_signed(request, made.secret)
    assert request.headers["X-Cloro-Webhook-Id"] == f"{task.id}-2"


async def test_a_process_without_the_secret_sends_nothing_unsigned(
    queue: TaskQueue, secrets: WebhookSecrets
) -> None:
    """The delivery waits for one that has it."""
    await secrets.renew("acme")
    async with receiver(status(204)) as seen, scheduler_of(queue):
        await queue.enqueue("CHATGPT", {}, tenant="acme", webhook=seen.url())
        while not (found := [task async for task in queue.tasks(type=WEBHOOK_TYPE)]) or (
            found[0].not_before is None
        ):
            await asyncio.sleep(0.01)

    assert seen.connections == 0
    assert found[0].error is not None
    assert "TASKQUEUE_SECRET" in found[0].error.message


async def test_no_secret_is_ever_sent_stored_logged_or_shown(
    queue: TaskQueue,
    secrets: WebhookSecrets,
    client: redis.Redis,
    queue_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Made, signed with, renewed with an overlap, damaged: all of it at log level DEBUG.

    Searched are all commands that the server was sent (it stores nothing else), the log, every repr,
    the task of a delivery that failed, and what arrived at the receiver.
    """
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    with client.monitor() as commands:  # type: ignore[no-untyped-call]  # of redis-py
        async with receiver(status(204)) as seen:
            old = await secrets.renew("acme")
            await secrets.set_standard("acme", wanted=True)
            await told(queue, seen)
            new = await secrets.renew("acme", overlap=OVERLAP)
            await told(queue, seen)
            shown += [repr(old), str(new), repr(await secrets.of("acme")), repr(vars(secrets))]
            shown.append(repr(await queue.store.webhook_secrets("acme")))
            client.hset(Keys(queue_name).account("acme"), "webhook_secret", b"damaged")
            async with scheduler_of(queue, secret=SECRET):
                await queue.enqueue("CHATGPT", {}, tenant="acme", webhook=seen.url())
                while not (failed := [t async for t in queue.tasks(type=WEBHOOK_TYPE) if t.not_before]):
                    await asyncio.sleep(0.01)
        client.echo("that was all")
        sent = [command["command"] for command in until_told("that was all", commands)]

    shown += [repr(failed), repr(seen.requests)]
    assert any("webhook_old" in command for command in sent), "the commands were seen"
    assert "cannot be signed" in caplog.text
    for text in (*shown, *sent, caplog.text):
        assert SECRET not in text
        for made in (old, new):
            assert made.secret.removeprefix("whsec_") not in text
