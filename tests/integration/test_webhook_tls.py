"""Deliveries over TLS: the certificate must be the host's, though an address was connected to."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme

from taskqueue.webhooks import Delivered, DeliveryFailed, EgressPolicy, post
from tests.integration.webhook_receiver import local_policy, names, receiver, silence, status
from tests.integration.wire_scenes import on_both_loops

BODY = b"{}"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the receivers' certificates."""
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """How a client checks certificates that trusts this authority only."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    authority.configure_trust(context)
    return context


def certified(authority: trustme.CA, *identities: str, **options: Any) -> ssl.SSLContext:
    """What a receiver with such a certificate shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*identities, **options).configure_cert(context)
    return context


def policy() -> EgressPolicy:
    """All names lead to the loopback."""
    hosts = {"hooks": "127.0.0.1", "xn--bcher-kva": "127.0.0.1", "a_b": "127.0.0.1"}
    return local_policy(resolver=names(**hosts))


@on_both_loops
async def test_a_receiver_with_a_good_certificate_gets_it(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """The address was connected to, but the handshake, the certificate and `Host` name the host."""
    asked: list[str | None] = []
    context = certified(authority, "hooks.example")
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with receiver(status(200), tls=context) as there:
        url = there.url("Hooks.Example.", scheme="https")

        assert await post(url, BODY, {}, policy=policy(), ssl_context=trusting) == Delivered(200)

    assert asked == ["hooks.example"]
    assert there.requests[0].headers["Host"] == f"hooks.example:{there.port}"
    assert there.requests[0].body == BODY


async def test_an_international_name_is_checked_in_its_ascii_form(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """As certificates have it."""
    async with receiver(status(200), tls=certified(authority, "xn--bcher-kva.example")) as there:
        url = there.url("bücher.example", scheme="https")

        assert await post(url, BODY, {}, policy=policy(), ssl_context=trusting) == Delivered(200)


async def test_a_name_with_an_underscore_can_be_asked_for(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """Networks of containers have such names. A wildcard does not cover them, so this one fails."""
    async with receiver(status(200), tls=certified(authority, "*.example")) as there:
        url = there.url("a_b.example", scheme="https")
        with pytest.raises(DeliveryFailed, match="certificate was not accepted"):
            await post(url, BODY, {}, policy=policy(), ssl_context=trusting)


async def test_an_address_in_the_place_of_a_host_needs_a_certificate_for_it(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """One for a name is not enough."""
    async with receiver(status(200), tls=certified(authority, "127.0.0.1")) as there:
        url = there.url(scheme="https")
        assert await post(url, BODY, {}, policy=policy(), ssl_context=trusting) == Delivered(200)

    async with receiver(status(200), tls=certified(authority, "hooks.example")) as there:
        with pytest.raises(DeliveryFailed, match="certificate"):
            await post(there.url(scheme="https"), BODY, {}, policy=policy(), ssl_context=trusting)


@on_both_loops
async def test_a_certificate_for_another_name_has_failed(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """Even one for the address that was connected to; no byte of the body was sent."""
    async with receiver(status(200), tls=certified(authority, "other.example", "127.0.0.1")) as there:
        url = there.url("hooks.example", scheme="https")
        with pytest.raises(DeliveryFailed, match="certificate was not accepted") as failed:
            await post(url, BODY, {}, policy=policy(), ssl_context=trusting)

    assert "hooks.example" in failed.value.reason
    assert failed.value.status is None
    assert there.requests == []


async def test_another_address_of_the_host_is_not_asked_for_a_better_certificate(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """All of them answer for one name; the next may be somebody else's."""
    twice = local_policy(resolver=names(hooks=["127.0.0.1", "127.0.0.1"]))
    asked: list[str | None] = []
    context = certified(authority, "other.example")
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with receiver(status(200), tls=context) as there:
        url = there.url("hooks.example", scheme="https")
        with pytest.raises(DeliveryFailed, match="certificate was not accepted"):
            await post(url, BODY, {}, policy=twice, ssl_context=trusting)

    assert asked == ["hooks.example"]


@on_both_loops
async def test_an_unknown_authority_has_failed(authority: trustme.CA) -> None:
    """By default only those that the system trusts are known."""
    async with receiver(status(200), tls=certified(authority, "hooks.example")) as there:
        with pytest.raises(DeliveryFailed, match="certificate was not accepted"):
            await post(there.url("hooks.example", scheme="https"), BODY, {}, policy=policy())

    assert there.requests == []


async def test_a_certificate_that_has_expired_has_failed(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """Contract: errors of TLS are failures. They pass: it is tried again."""
    context = certified(authority, "hooks.example", not_after=datetime.now(UTC) - timedelta(days=1))
    async with receiver(status(200), tls=context) as there:
        url = there.url("hooks.example", scheme="https")
        with pytest.raises(DeliveryFailed, match="expired"):
            await post(url, BODY, {}, policy=policy(), ssl_context=trusting)


@on_both_loops
async def test_a_receiver_without_tls_has_failed(trusting: ssl.SSLContext) -> None:
    """There is no falling back to what everyone on the way can read."""
    async with receiver(status(200), reads=False) as there:
        url = there.url("hooks.example", scheme="https")
        with pytest.raises(DeliveryFailed, match=r": no encrypted connection could be made$"):
            await post(url, BODY, {}, policy=policy(), ssl_context=trusting)


@on_both_loops
async def test_a_handshake_that_hangs_has_failed_in_time(trusting: ssl.SSLContext) -> None:
    """It counts as connecting, and nothing stays open."""
    async with receiver(silence, reads=False) as there:
        url = there.url("hooks.example", scheme="https")
        with pytest.raises(DeliveryFailed, match=r"no connection within 0\.2 s"):
            await post(url, BODY, {}, policy=policy(), ssl_context=trusting, connect_timeout=0.2)


@on_both_loops
async def test_a_receiver_that_hangs_behind_tls_is_left(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """Without waiting for its goodbye."""
    async with receiver(silence, tls=certified(authority, "hooks.example")) as there:
        started = asyncio.get_running_loop().time()
        url = there.url("hooks.example", scheme="https")
        with pytest.raises(DeliveryFailed, match=r"no answer within 0\.3 s"):
            await post(url, BODY, {}, policy=policy(), ssl_context=trusting, total_timeout=0.3)
        assert asyncio.get_running_loop().time() - started < 5
