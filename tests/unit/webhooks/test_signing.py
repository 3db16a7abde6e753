"""Signatures: verified by receivers of our own making, and by the reference of Standard Webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.errors import InvalidTask
from taskqueue.webhooks import new_webhook_secret, sign, standard_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"task":{"id":"task_abc123"},"response":{"text":"\xc3\xbc"}}'


def is_ours(secret: str, headers: dict[str, str], body: bytes, now: int) -> bool:
    """Verify as the contract tells receivers to: from the header's number, in constant time."""
    timestamp = int(headers["X-Cloro-Timestamp"])
    text = f"{timestamp}.".encode() + body
    expected = hmac.new(secret.encode("utf-8"), text, hashlib.sha256).hexdigest()
    given_ = headers["X-Cloro-Signature"].removeprefix("v1=")
    return abs(now - timestamp) <= 300 and hmac.compare_digest(expected, given_)


def test_the_three_headers_of_the_contract() -> None:
    """A known answer, computed by OpenSSL on the command line."""
    headers = sign("whsec_secret", b'{"a":1}', "task_abc123", 2, 1_700_000_000)

    assert headers == {
        "X-Cloro-Timestamp": "1700000000",
        "X-Cloro-Signature": "v1=94d16e1619634d17316fbd1ec4703d0969ff5871235e5d41f28a0cd9bcf6da7c",
        "X-Cloro-Webhook-Id": "task_abc123-2",
    }


@given(st.binary(max_size=200), st.integers(0, 10**10), st.integers(1, 1000))
def test_receivers_that_follow_the_contract_accept_it(body: bytes, now: int, attempt: int) -> None:
    """Whatever the bytes are, and only those bytes."""
    headers = sign(SECRET, body, "task_1", attempt, now)

    assert is_ours(SECRET, headers, body, now)
    assert not is_ours(SECRET, headers, body + b" ", now)
    assert not is_ours(SECRET + "x", headers, body, now)
    assert headers["X-Cloro-Webhook-Id"] == f"task_1-{attempt}"


def test_each_attempt_is_signed_anew() -> None:
    """The last attempt is sent half an hour after the first; receivers accept five minutes."""
    first, last = sign(SECRET, BODY, "task_1", 1, 1000), sign(SECRET, BODY, "task_1", 5, 2800)

    assert not is_ours(SECRET, first, BODY, 2800)
    assert is_ours(SECRET, last, BODY, 2800)


@pytest.mark.parametrize("task_id", ["", "a.b", "a\r\nX: y", "a" * 65, None])
def test_an_id_that_is_none_is_not_signed(task_id: str) -> None:
    """It could end a header line, or move the dots of the signed text."""
    with pytest.raises(InvalidTask):
        sign(SECRET, BODY, task_id, 1, 1)


@pytest.mark.parametrize("message_id", ["", "a.b", "a\r\nX: y", "a" * 129, None])
def test_a_message_is_not_named_by_what_is_no_id(message_id: str) -> None:
    """The same holds for the id of a message; it may be longer, because it also tells ends apart."""
    with pytest.raises(ValueError, match="message_id"):
        standard_headers([SECRET], BODY, message_id, 1)


@pytest.mark.parametrize("attempt", [0, -1, True, 1.0])
def test_attempts_count_from_one(attempt: int) -> None:
    """Receivers read the number."""
    with pytest.raises(ValueError, match="attempt"):
        sign(SECRET, BODY, "t", attempt, 1)


@pytest.mark.parametrize("now", [-1, True, 1.5, "1"])
def test_the_timestamp_is_a_plain_whole_number(now: int) -> None:
    """Receivers parse it and print it again to verify."""
    with pytest.raises(ValueError, match="now"):
        sign(SECRET, BODY, "t", 1, now)
    with pytest.raises(ValueError, match="now"):
        standard_headers([SECRET], BODY, "t", now)


@pytest.mark.parametrize("secret", ["", "whsec_hunter2\n", "\ud800hunter2", b"hunter2"])
def test_a_secret_that_is_none_is_refused_without_being_shown(secret: str) -> None:
    """An empty key would sign, and prove nothing."""
    with pytest.raises(ValueError, match="secret") as refused:
        sign(secret, BODY, "t", 1, 1)

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "secrets", [[], SECRET, [SECRET] * 5, ["hunter2"], ["whsec_"], ["whsec_hunter2!"], ["whsec_hunter2A!"]]
)
def test_standard_headers_need_secrets_in_base64(secrets: list[str]) -> None:
    """A secret that would be decoded to something else by the receiver is refused, not shown."""
    with pytest.raises(ValueError, match="secrets") as refused:
        standard_headers(secrets, BODY, "t", 1)

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("secrets", [[None], [b"whsec_aHVudGVyMg=="], [SECRET, "hunter2"]])
def test_each_of_the_secrets_must_be_one(secrets: list[Any]) -> None:
    """The second as well as the first, and bytes are none."""
    with pytest.raises(ValueError, match="secrets") as refused:
        standard_headers(secrets, BODY, "t", 1)

    assert str(refused.value) == (
        "secrets: each must be whsec_ and base64, as new_webhook_secret() makes them"
    )


def test_four_secrets_the_longest_id_and_the_first_second_are_signed() -> None:
    """The ends of what is accepted: one signature a secret, in the order given."""
    made = [new_webhook_secret() for _ in range(4)]
    alone = [standard_headers([secret], BODY, "a" * 128, 0)["webhook-signature"] for secret in made]

    headers = standard_headers(made, BODY, "a" * 128, 0)

    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("a" * 128, "0")
    assert headers["webhook-signature"] == " ".join(alone)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sign(SECRET, BODY, "t", 0, 1),
            "attempt: 0 is not accepted; it must be a whole number from 1 on",
        ),
        (
            lambda: sign(SECRET, BODY, "t", 1, -1),
            "now: -1 is not accepted; it must be a whole number from 0 on",
        ),
        (
            lambda: standard_headers([SECRET], BODY, "t", -1),
            "now: -1 is not accepted; it must be a whole number from 0 on",
        ),
        (
            lambda: sign("", BODY, "t", 1, 1),
            "secret: it must be printable text, such as new_webhook_secret() makes",
        ),
        (
            lambda: standard_headers([SECRET], BODY, "a.b", 1),
            "message_id: 'a.b' is not accepted; it must be 1 to 128 of A-Z a-z 0-9 _ -",
        ),
        (
            lambda: standard_headers([], BODY, "t", 1),
            "secrets: give a sequence of 1 to 4 secrets",
        ),
    ],
)  # fmt: skip
def test_a_refusal_says_what_was_given_and_what_would_do(call: Callable[[], object], message: str) -> None:
    """Word for word, for it is all that is shown."""
    with pytest.raises(ValueError, match=r"must be|give") as refused:
        call()

    assert str(refused.value) == message


def test_new_secrets_differ_and_have_256_bits() -> None:
    """In the form that both kinds of signatures take."""
    made = {new_webhook_secret() for _ in range(100)}

    assert len(made) == 100
    for secret in made:
        assert secret.startswith("whsec_")
        assert len(base64.b64decode(secret[6:], validate=True)) == 32


class TestReference:
    """`standardwebhooks`, the reference implementation, in both directions."""

    def test_it_verifies_what_we_sign(self) -> None:
        """With the old secret and with the new one, while both are valid; not with a third."""
        standardwebhooks = pytest.importorskip("standardwebhooks")
        old, new, other = (new_webhook_secret() for _ in range(3))
        headers = standard_headers([new, old], BODY, "task_1", int(time.time()))

        for secret in (old, new):
            assert standardwebhooks.Webhook(secret).verify(BODY, headers)["task"]["id"] == "task_abc123"
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(other).verify(BODY, headers)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(new).verify(BODY + b" ", headers)

    def test_we_sign_as_it_does(self) -> None:
        """Byte for byte, the message id being the task's."""
        standardwebhooks = pytest.importorskip("standardwebhooks")
        from datetime import UTC, datetime

        instant = datetime.fromtimestamp(1_700_000_000, UTC)
        expected = standardwebhooks.Webhook(SECRET).sign("task_1", instant, BODY.decode())

        assert standard_headers([SECRET], BODY, "task_1", 1_700_000_000) == {
            "webhook-id": "task_1",
            "webhook-timestamp": "1700000000",
            "webhook-signature": expected,
        }
