"""Sealed secrets: they open for their tenant only, and outlive a change of the operator's secret."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.errors import TaskQueueError
from taskqueue.webhooks import SecretBox, SecretUnreadable

OLD, NEW = b"old" * 11, b"new" * 11
PLAIN = b"whsec_c2VjcmV0"


@given(st.binary(max_size=300), st.text(max_size=64).filter(lambda text: text.isprintable()))
def test_what_was_sealed_opens_again(plain: bytes, tenant: str) -> None:
    """By another process with the same secret, too; and the sealed form does not show it."""
    sealed = SecretBox(NEW).seal(plain, tenant)

    assert SecretBox(NEW).open(sealed, tenant) == plain
    assert len(plain) < 8 or plain not in sealed


def test_the_same_secret_is_never_sealed_alike() -> None:
    """Nobody who reads the store learns that two tenants have one secret."""
    box = SecretBox(NEW)

    assert len({box.seal(PLAIN, "a") for _ in range(100)}) == 100


def test_it_does_not_open_for_another_tenant() -> None:
    """Copied into another tenant's record it is worth nothing."""
    sealed = SecretBox(NEW).seal(PLAIN, "a")

    with pytest.raises(SecretUnreadable, match="another tenant"):
        SecretBox(NEW).open(sealed, "b")


def test_any_changed_byte_is_noticed() -> None:
    """The version, the name of the key and the nonce included."""
    box = SecretBox(NEW)
    sealed = box.seal(PLAIN, "a")

    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SecretUnreadable):
            box.open(bytes(changed), "a")


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" * 36, b"\x02" * 60, b"\x01" * 100_000, PLAIN])
def test_what_was_never_sealed_is_refused(sealed: bytes) -> None:
    """As an error of ours, whatever it is."""
    with pytest.raises(SecretUnreadable) as refused:
        SecretBox(NEW).open(sealed, "a")

    assert isinstance(refused.value, TaskQueueError)


def test_what_an_earlier_release_sealed_still_opens() -> None:
    """The format is stored, so it is fixed: derived here from RFC 5869 and put together by hand."""
    early = hmac.digest(bytes(32), OLD, "sha256")
    info = b"taskqueue sealed secrets 1"
    first = hmac.digest(early, info + b"\x01", "sha256")
    key_id = hmac.digest(early, first + info + b"\x02", "sha256")[:8]
    nonce = bytes(range(12))
    bound = b"\x01" + key_id + "ácme".encode()

    sealed = b"\x01" + key_id + nonce + AESGCM(first).encrypt(nonce, PLAIN, bound)

    assert SecretBox(OLD).open(sealed, "ácme") == PLAIN
    assert SecretBox(OLD).is_current(sealed)


def test_only_what_this_version_sealed_is_current() -> None:
    """By the current secret, and in the form that is written now."""
    box = SecretBox(NEW)
    sealed = box.seal(PLAIN, "a")

    assert box.is_current(sealed)
    assert not box.is_current(b"\x02" + sealed[1:])
    assert not box.is_current(b"")


def test_a_refusal_says_what_is_wrong() -> None:
    """Word for word: an operator acts on it."""
    box = SecretBox(NEW)
    sealed = box.seal(PLAIN, "a")
    gone = SecretBox(OLD).seal(PLAIN, "a")

    missing = f"sealed by the secret with the id {gone[1:9].hex()}, which this program was not given; "

    for tried, reason in (
        (sealed[:36], "this is no sealed secret, or one of a later version"),
        (b"\x02" + sealed[1:], "this is no sealed secret, or one of a later version"),
        (sealed[:-1], "sealed for another tenant, or damaged"),
        (gone, missing + "give the earlier secret too"),
    ):
        with pytest.raises(SecretUnreadable) as refused:
            box.open(tried, "a")
        assert str(refused.value) == reason


def test_the_shortest_operators_secret_has_32_bytes() -> None:
    """One less is refused, and the error counts it."""
    box = SecretBox(b"x" * 32)

    assert box.open(box.seal(b"", "a"), "a") == b""
    with pytest.raises(ValueError, match=r"^a secret of 31 bytes is too short; give at least 32$"):
        SecretBox(b"x" * 31)


def test_what_an_older_secret_sealed_still_opens() -> None:
    """The operator changes the secret while tenants keep theirs; then all is sealed anew."""
    sealed = SecretBox(OLD).seal(PLAIN, "a")
    both = SecretBox(NEW, OLD)

    assert both.open(sealed, "a") == PLAIN
    assert not both.is_current(sealed)
    resealed = both.seal(both.open(sealed, "a"), "a")
    assert both.is_current(resealed)
    assert SecretBox(NEW).open(resealed, "a") == PLAIN


def test_a_secret_that_is_gone_is_named_by_its_id() -> None:
    """The operator reads which one to bring back, and the id is none of it."""
    sealed = SecretBox(OLD).seal(PLAIN, "a")

    with pytest.raises(SecretUnreadable, match="give the earlier secret too") as refused:
        SecretBox(NEW).open(sealed, "a")

    assert sealed[1:9].hex() in str(refused.value)


def test_the_same_secret_twice_is_one() -> None:
    """A program may list the current one among the older ones."""
    box = SecretBox(NEW, NEW)

    assert box.open(box.seal(PLAIN, "a"), "a") == PLAIN


@pytest.mark.parametrize("secrets", [(b"short" * 6,), (NEW, b"")])
def test_a_short_secret_is_refused_without_being_shown(secrets: tuple[bytes, ...]) -> None:
    """A derived key is as strong as what it comes from."""
    with pytest.raises(ValueError, match="at least 32") as refused:
        SecretBox(*secrets)

    assert "shortshort" not in str(refused.value)


def test_there_is_a_limit_to_what_is_sealed() -> None:
    """It is for secrets, not for payloads."""
    box = SecretBox(NEW)

    assert box.open(box.seal(bytes(2**16), "a"), "a") == bytes(2**16)
    with pytest.raises(ValueError, match="65,537 bytes"):
        box.seal(bytes(2**16 + 1), "a")
