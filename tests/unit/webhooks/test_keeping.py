"""Secrets of tenants' webhooks: which one signs when, what cannot be read, and that no text shows any."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from taskqueue import TaskQueue
from taskqueue.errors import InvalidSetting, InvalidTask, TaskQueueError
from taskqueue.testing import FakeClock, memory_queue
from taskqueue.webhooks import SecretBox, SecretUnreadable, Signing, WebhookSecrets, new_webhook_secret

HOUR, MILLISECOND = timedelta(hours=1), timedelta(milliseconds=1)
OURS, OTHER = SecretBox(b"ours" * 8), SecretBox(b"other" * 8)


@pytest.fixture
async def queue(clock: FakeClock) -> AsyncIterator[TaskQueue]:
    """A queue in this process."""
    async with memory_queue(clock=clock) as opened:
        yield opened


@pytest.fixture
def secrets(queue: TaskQueue) -> WebhookSecrets:
    """The secrets of its tenants."""
    return WebhookSecrets(queue, OURS)


async def signing_of(secrets: WebhookSecrets) -> Signing:
    """Return how the tenant's deliveries are signed, which they are."""
    signing = await secrets.of("acme")
    assert signing is not None
    return signing


async def keep(queue: TaskQueue, sealed: bytes) -> None:
    """Put something in the place of the tenant's secret."""
    await queue.store.set_webhook_secret("acme", sealed)


async def test_a_tenant_that_asked_for_nothing_is_not_signed(secrets: WebhookSecrets) -> None:
    """Contract: signing is opt-in. There is nothing to remove, and nothing to send more headers with."""
    assert await secrets.of("acme") is None
    assert not await secrets.remove("acme")
    assert not await secrets.set_standard("acme", wanted=True)
    assert await secrets.of("acme") is None


async def test_a_new_secret_kills_the_one_before(secrets: WebhookSecrets) -> None:
    """Contract: rotation. Nobody who knows the old one can make a signature that passes."""
    first, second = await secrets.renew("acme"), await secrets.renew("acme")

    assert await secrets.of("acme") == Signing(second.secret, None, None, is_standard=False)
    assert (first.secret == second.secret, second.old_until) == (False, None)


async def test_in_an_overlap_the_old_one_signs_and_both_are_known(
    secrets: WebhookSecrets, clock: FakeClock
) -> None:
    """Until its last millisecond; then the new one signs, alone, and nobody has to do anything."""
    old = await secrets.renew("acme")
    new = await secrets.renew("acme", overlap=HOUR)
    ends = clock.now + HOUR
    clock.advance(HOUR - MILLISECOND)

    during = await signing_of(secrets)
    clock.advance(MILLISECOND)
    after = await signing_of(secrets)

    assert new.old_until == during.old_until == ends
    assert (during.secret, during.following, during.secrets) == (
        old.secret,
        new.secret,
        [old.secret, new.secret],
    )
    assert (after.secret, after.secrets, after.old_until) == (new.secret, [new.secret], None)


async def test_the_first_secret_overlaps_with_nothing(secrets: WebhookSecrets) -> None:
    """It signs at once, whatever overlap was asked for."""
    made = await secrets.renew("acme", overlap=HOUR)

    assert made.old_until is None
    assert (await signing_of(secrets)).secrets == [made.secret]


async def test_a_renewal_in_an_overlap_replaces_what_was_to_follow(
    secrets: WebhookSecrets, clock: FakeClock
) -> None:
    """That has signed nothing yet. The old one goes on, until the end that was given last."""
    old = await secrets.renew("acme")
    await secrets.renew("acme", overlap=HOUR)

    newest = await secrets.renew("acme", overlap=2 * HOUR)

    assert (await signing_of(secrets)).secrets == [old.secret, newest.secret]
    assert newest.old_until == clock.now + 2 * HOUR


async def test_tenants_have_secrets_of_their_own(secrets: WebhookSecrets) -> None:
    """What happens to one concerns no other."""
    acme, zeta = await secrets.renew("acme"), await secrets.renew("zeta")
    await secrets.remove("zeta")

    assert (await signing_of(secrets)).secret == acme.secret != zeta.secret
    assert await secrets.of("zeta") is None


async def test_removal_ends_an_overlap_too(secrets: WebhookSecrets) -> None:
    """Of what was there nothing comes back with the next secret."""
    await secrets.renew("acme")
    await secrets.set_standard("acme", wanted=True)
    await secrets.renew("acme", overlap=HOUR)

    assert await secrets.remove("acme")
    assert await secrets.of("acme") is None
    made = await secrets.renew("acme", overlap=HOUR)
    assert await secrets.of("acme") == Signing(made.secret, None, None, is_standard=False)


async def test_standard_headers_stay_wanted_over_renewals(secrets: WebhookSecrets) -> None:
    """They are asked for and taken back by themselves."""
    await secrets.renew("acme")
    assert await secrets.set_standard("acme", wanted=True)
    await secrets.renew("acme", overlap=HOUR)
    assert (await signing_of(secrets)).is_standard
    await secrets.renew("acme")
    assert (await signing_of(secrets)).is_standard

    assert await secrets.set_standard("acme", wanted=False)
    assert not (await signing_of(secrets)).is_standard


@pytest.mark.parametrize("overlap", [MILLISECOND, timedelta(days=90)])
async def test_an_overlap_may_take_from_a_millisecond_to_90_days(
    secrets: WebhookSecrets, clock: FakeClock, overlap: timedelta
) -> None:
    """As with API keys."""
    await secrets.renew("acme")

    assert (await secrets.renew("acme", overlap=overlap)).old_until == clock.now + overlap


async def test_a_part_of_a_millisecond_is_a_whole_one(secrets: WebhookSecrets, clock: FakeClock) -> None:
    """An overlap that was asked for is none of 0, which would kill the old secret at once."""
    await secrets.renew("acme")

    made = await secrets.renew("acme", overlap=timedelta(microseconds=1))

    assert made.old_until == clock.now + MILLISECOND


@pytest.mark.parametrize("overlap", [-MILLISECOND, timedelta(days=90, microseconds=1), 60, None, "1h"])
async def test_what_is_no_overlap_changes_nothing(secrets: WebhookSecrets, overlap: Any) -> None:
    """The error names the rule."""
    before = await secrets.renew("acme")

    with pytest.raises(InvalidSetting) as refused:
        await secrets.renew("acme", overlap=overlap)

    assert (refused.value.setting, refused.value.value) == ("overlap", overlap)
    assert refused.value.rule == "a duration from 0 to 90 days"
    assert (await signing_of(secrets)).secrets == [before.secret]


@pytest.mark.parametrize(
    "call",
    [
        lambda secrets, tenant: secrets.renew(tenant),
        lambda secrets, tenant: secrets.remove(tenant),
        lambda secrets, tenant: secrets.of(tenant),
        lambda secrets, tenant: secrets.set_standard(tenant, wanted=True),
    ],
)
@pytest.mark.parametrize("tenant", ["", "a b", "_acme", "a" * 129, None])
async def test_a_tenant_has_a_name(
    secrets: WebhookSecrets, call: Callable[[WebhookSecrets, Any], Any], tenant: Any
) -> None:
    """It becomes a part of a key on the server."""
    with pytest.raises(InvalidTask, match="tenant"):
        await call(secrets, tenant)


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "of another service": (OTHER.seal(new_webhook_secret().encode(), "acme"), "was not given"),
    "of another tenant": (OURS.seal(new_webhook_secret().encode(), "zeta"), "another tenant"),
    "of no service": (b"whsec_hunter2", "no sealed secret"),
    "no secret": (OURS.seal(b"hunter2", "acme"), "no webhook secret"),
    "no base64": (OURS.seal(b"whsec_hunter2!", "acme"), "no webhook secret"),
    "no text": (OURS.seal(b"whsec_hunter2\xff", "acme"), "no webhook secret"),
    "nothing": (OURS.seal(b"", "acme"), "no webhook secret"),
}


@pytest.mark.parametrize("kept", UNREADABLE)
async def test_what_cannot_be_read_is_not_taken_for_no_signature(
    queue: TaskQueue, secrets: WebhookSecrets, kept: str
) -> None:
    """The error says whose it is, what is wrong and what to do; nothing that led to it shows a secret."""
    sealed, problem = UNREADABLE[kept]
    await keep(queue, sealed)

    with pytest.raises(SecretUnreadable, match=rf"tenant acme .*not sent unsigned.*{problem}") as caught:
        await secrets.of("acme")

    assert "`taskqueue webhooks renew --tenant acme`" in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error} {error!r} {error.args} {vars(error)}"
        error = error.__cause__ or error.__context__


async def test_the_error_is_two_whole_sentences(queue: TaskQueue, secrets: WebhookSecrets) -> None:
    """What is wrong, and what makes it right."""
    await keep(queue, OURS.seal(b"hunter2", "acme"))

    with pytest.raises(SecretUnreadable) as caught:
        await secrets.of("acme")

    assert str(caught.value) == (
        "the webhooks of tenant acme cannot be signed, and are not sent unsigned: what was sealed is no "
        "webhook secret. `taskqueue webhooks renew --tenant acme` makes a new secret"
    )


@pytest.mark.parametrize("place", ["webhook_secret", "webhook_old"])
async def test_what_cannot_be_read_is_not_kept_for_an_overlap(
    queue: TaskQueue, secrets: WebhookSecrets, place: str
) -> None:
    """It would fail every delivery until that ends. Without an overlap it is replaced."""
    await secrets.renew("acme")
    await secrets.renew("acme", overlap=HOUR)
    account = queue.store.keys.account("acme")
    await queue.store._caller.wire.call("HSET", account, place, b"damaged")

    with pytest.raises(SecretUnreadable):
        await secrets.renew("acme", overlap=HOUR)
    with pytest.raises(SecretUnreadable):
        await secrets.of("acme")

    made = await secrets.renew("acme")
    assert (await signing_of(secrets)).secrets == [made.secret]


async def test_a_damaged_record_is_an_error_of_signing(queue: TaskQueue, secrets: WebhookSecrets) -> None:
    """Whoever delivers tries again later, as for other secrets that cannot be read."""
    account = queue.store.keys.account("acme")
    await queue.store._caller.wire.call("HSET", account, "webhook_standard", "1")

    with pytest.raises(SecretUnreadable, match=r"tenant acme .*the secret is missing") as caught:
        await secrets.of("acme")

    assert isinstance(caught.value, TaskQueueError)


async def test_no_text_shows_a_secret(secrets: WebhookSecrets) -> None:
    """Of what is handed around, also in an overlap."""
    old = await secrets.renew("acme")
    new = await secrets.renew("acme", overlap=HOUR)
    signing = await signing_of(secrets)

    text = f"{old} {new!r} {signing} {signing!r} {secrets!r} {vars(secrets)}"

    for made in (old, new):
        assert made.secret.removeprefix("whsec_") not in text
    assert repr(new.old_until) in repr(new), "it shows what may be shown"
