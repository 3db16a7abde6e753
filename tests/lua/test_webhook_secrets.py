"""Secrets of webhooks: set_webhook_secret, find_webhook_secrets, set_webhook_standard."""

from __future__ import annotations

import pytest

from taskqueue.errors import QueueCorrupt
from taskqueue.store.crediting import SealedSecrets
from tests.lua.scene import Scene

HOUR = 3_600_000


async def renew(scene: Scene, sealed: bytes, overlap_ms: int = 0) -> int | None:
    """Renew the secret of one tenant."""
    return await scene.store.set_webhook_secret("acme", sealed, overlap_ms)


async def found(scene: Scene) -> SealedSecrets | None:
    """Return what one tenant's deliveries are signed with now."""
    return await scene.store.webhook_secrets("acme")


def account(scene: Scene) -> dict[str, str]:
    """Return all that is kept of one tenant."""
    return scene.hash(scene.keys.account("acme"))


async def test_a_tenant_without_a_secret_signs_nothing(scene: Scene) -> None:
    """And there is nothing to take away, and nothing that could carry more headers."""
    assert await found(scene) is None
    assert not await scene.store.remove_webhook_secret("acme")
    assert not await scene.store.set_webhook_standard("acme", wanted=True)
    assert account(scene) == {}


@pytest.mark.parametrize("overlap", [0, HOUR])
async def test_the_first_secret_signs_at_once(scene: Scene, overlap: int) -> None:
    """There is nothing before it that an overlap could keep."""
    assert await renew(scene, b"a", overlap) is None

    assert await found(scene) == SealedSecrets(b"a")
    assert await scene.store.webhook_secrets("zeta") is None


async def test_without_an_overlap_the_old_secret_is_dead_at_once(scene: Scene) -> None:
    """Contract: rotation. Nothing of it is left on the server."""
    await renew(scene, b"a")

    assert await renew(scene, b"b") is None

    assert await found(scene) == SealedSecrets(b"b")
    assert account(scene) == {"webhook_secret": "b"}


async def test_the_old_secret_signs_until_the_last_millisecond_of_the_overlap(scene: Scene) -> None:
    """By the server's clock; no call is needed for the change."""
    await renew(scene, b"a")
    start = scene.clock()

    assert await renew(scene, b"b", HOUR) == start + HOUR
    scene.advance(HOUR - 1)
    assert await found(scene) == SealedSecrets(b"b", b"a", start + HOUR)
    scene.advance(1)
    assert await found(scene) == SealedSecrets(b"b")


@pytest.mark.parametrize("overlap", [HOUR // 2, 3 * HOUR])
async def test_a_renewal_in_an_overlap_replaces_the_secret_that_was_to_follow(
    scene: Scene, overlap: int
) -> None:
    """The one that receivers know goes on signing, until the end that was given last."""
    await renew(scene, b"a")
    await renew(scene, b"b", HOUR)
    scene.advance(HOUR // 4)

    until = await renew(scene, b"c", overlap)

    assert until == scene.clock() + overlap
    assert await found(scene) == SealedSecrets(b"c", b"a", until)
    scene.advance(overlap)
    assert await found(scene) == SealedSecrets(b"c")


async def test_a_renewal_without_an_overlap_ends_the_one_that_runs(scene: Scene) -> None:
    """As when a secret was betrayed: only the newest is left."""
    await renew(scene, b"a")
    await renew(scene, b"b", HOUR)

    assert await renew(scene, b"c") is None

    assert account(scene) == {"webhook_secret": "c"}


async def test_a_renewal_after_an_overlap_keeps_the_one_that_signs_by_then(scene: Scene) -> None:
    """The dead one does not come back."""
    await renew(scene, b"a")
    await renew(scene, b"b", HOUR)
    scene.advance(HOUR)

    until = await renew(scene, b"c", HOUR)

    assert await found(scene) == SealedSecrets(b"c", b"b", until)


@pytest.mark.parametrize("overlap", [0, HOUR])
async def test_a_repeat_after_a_lost_reply_changes_nothing(scene: Scene, overlap: int) -> None:
    """A second turn would make the new secret the old one, and lose the one that receivers know."""
    await renew(scene, b"a")
    first = await renew(scene, b"b", overlap)
    before = account(scene)
    scene.advance(1000)

    assert await renew(scene, b"b", overlap) == first

    assert account(scene) == before


async def test_removal_ends_everything_at_once(scene: Scene) -> None:
    """Both secrets, the overlap and the setting; a plan stays."""
    await scene.store.set_plan("acme", per_cycle=5, resets_at_ms=None)
    await renew(scene, b"a")
    await scene.store.set_webhook_standard("acme", wanted=True)
    await renew(scene, b"b", HOUR)

    assert await scene.store.remove_webhook_secret("acme")

    assert await found(scene) is None
    assert account(scene) == {"per_cycle": "5"}
    assert not await scene.store.remove_webhook_secret("acme")


async def test_the_setting_of_standard_webhooks_outlives_renewals(scene: Scene) -> None:
    """It is switched by itself."""
    await renew(scene, b"a")
    assert await scene.store.set_webhook_standard("acme", wanted=True)
    until = await renew(scene, b"b", HOUR)
    assert await found(scene) == SealedSecrets(b"b", b"a", until, is_standard=True)

    assert await scene.store.set_webhook_standard("acme", wanted=False)

    assert await found(scene) == SealedSecrets(b"b", b"a", until)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"webhook_old": "a"}, "missing"),
        ({"webhook_old": "a", "webhook_old_until": "1"}, "missing"),
        ({"webhook_standard": "1"}, "missing"),
        ({"webhook_secret": "b", "webhook_old": "a"}, "together"),
        ({"webhook_secret": "b", "webhook_old_until": "9" * 14}, "together"),
        ({"webhook_secret": "b", "webhook_old": "a", "webhook_old_until": "soon"}, "no instant"),
        ({"webhook_secret": "b", "webhook_old": "a", "webhook_old_until": "9" * 15}, "no instant"),
        ({"webhook_secret": "b", "webhook_old": "a", "webhook_old_until": "nan"}, "no instant"),
        ({"webhook_secret": "b", "webhook_standard": "yes"}, "unknown value"),
    ],
)
async def test_a_damaged_record_is_never_taken_for_no_signature(
    scene: Scene, record: dict[str, str], problem: str
) -> None:
    """It is an error that names the tenant, until it is renewed or removed."""
    key = scene.keys.account("acme")
    scene.client.hset(key, mapping=record)

    with pytest.raises(QueueCorrupt, match=rf"'acme'.*{problem}"):
        await found(scene)

    await renew(scene, b"c")
    scene.client.hdel(key, "webhook_standard")
    assert await found(scene) == SealedSecrets(b"c")
    scene.client.delete(key)
    scene.client.hset(key, mapping=record)
    assert await scene.store.remove_webhook_secret("acme")
    assert account(scene) == {}
