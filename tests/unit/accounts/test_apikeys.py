"""The form of API keys, and their digest."""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.accounts import KeyMalformed
from taskqueue.accounts.apikeys import KeyDigest, check_key_id, id_of, make_key
from taskqueue.errors import InvalidSetting

SECRET = bytes(range(32))
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
MADE = make_key()


def test_a_key_has_a_prefix_an_id_a_secret_and_a_checksum() -> None:
    """8 + 12 + 43 + 6 characters, all of one word, so that a double click takes it as a whole."""
    made = make_key()

    assert len(made.key) == 69
    assert made.key.startswith(f"sk_live_{made.id}")
    assert made.key.replace("_", "").isalnum()
    assert made.key.isascii()
    assert id_of(made.key) == made.id


def test_a_secret_has_256_random_bits() -> None:
    """43 letters out of 62, each equally likely: no letter is missing or favoured in 1,000 keys."""
    assert 62**43 >= 2**256
    text = "".join(make_key().key[8:63] for _ in range(1000))

    counts = [text.count(letter) for letter in LETTERS]
    expected = len(text) / len(LETTERS)
    assert all(expected * 0.7 < count < expected * 1.3 for count in counts)


def test_keys_differ() -> None:
    """So do their ids."""
    made = [make_key() for _ in range(1000)]

    assert len({each.key for each in made}) == len({each.id for each in made}) == 1000


def test_the_checksum_is_crc32_in_base_62() -> None:
    """As anybody who scans for leaked keys can compute it."""
    number = zlib.crc32(MADE.key[:-6].encode())
    expected = "".join(LETTERS[number // 62**power % 62] for power in range(5, -1, -1))

    assert MADE.key[-6:] == expected


@pytest.mark.parametrize("at", range(8, 69))
def test_one_wrong_letter_is_noticed(at: int) -> None:
    """Anywhere in the key: the server is not even asked."""
    wrong = "x" if MADE.key[at] != "x" else "y"

    with pytest.raises(KeyMalformed):
        id_of(MADE.key[:at] + wrong + MADE.key[at + 1 :])


@pytest.mark.parametrize(
    "change",
    [
        lambda key: "",
        lambda key: key[:-1],
        lambda key: key + "x",
        lambda key: key + "\n",
        lambda key: " " + key,
        lambda key: f"Bearer {key}",
        lambda key: key.replace("live", "test"),
        lambda key: key.upper(),
        lambda key: "sk_live_" + "0" * 32,
        lambda key: "sk_live_",
        lambda key: key.replace(key[20], "\u0660", 1),
        lambda key: key.replace(key[20], "\ud800", 1),
        lambda key: "sk_live_" + "a" * 10_000_000,
        lambda key: key.encode(),
        lambda key: None,
        lambda key: 7,
        lambda key: [key],
    ],
)
def test_anything_else_is_malformed(change: Callable[[str], object]) -> None:
    """Of any type and any length; digits of other scripts are no digits."""
    with pytest.raises(KeyMalformed) as caught:
        id_of(change(MADE.key))
    assert MADE.key[20:63] not in str(caught.value)


@given(st.text(max_size=100))
def test_no_text_breaks_the_check(text: str) -> None:
    """It is refused with the one error, behind the prefix as well."""
    for presented in (text, f"sk_live_{text}"):
        with pytest.raises(KeyMalformed):
            id_of(presented)


def test_a_digest_is_of_the_whole_key_under_the_secret() -> None:
    """The same for the same; another for another key or another secret; and it shows neither."""
    digest, other = KeyDigest(SECRET), KeyDigest(SECRET[::-1])

    stored = digest.of(MADE.key)
    assert len(stored) == 64
    assert stored == KeyDigest(SECRET).of(MADE.key)
    assert digest.matches(MADE.key, stored.encode())
    assert not digest.matches(make_key().key, stored.encode())
    assert not other.matches(MADE.key, stored.encode())
    assert not digest.matches(MADE.key, None)
    assert not digest.matches(MADE.key, b"")
    assert not digest.matches(MADE.key, b"0" * 64)


def test_the_pepper_is_not_the_secret_itself() -> None:
    """Another use of the same secret, such as for sealing, gives nothing away about digests."""
    assert KeyDigest(SECRET).of(MADE.key) != hmac.digest(SECRET, MADE.key.encode(), "sha256").hex()


@pytest.mark.parametrize("secret", [b"", b"x" * 31, "x" * 64, None])
def test_a_short_secret_is_refused(secret: object) -> None:
    """32 bytes at least. The message does not show it."""
    with pytest.raises(InvalidSetting, match="at least 32 bytes") as caught:
        KeyDigest(secret)  # type: ignore[arg-type]  # on purpose
    assert "xxx" not in str(caught.value)


def test_neither_a_made_key_nor_a_digest_shows_its_secret() -> None:
    """In the forms that end up in logs."""
    for shown in (repr(MADE), str(MADE), f"{MADE}", repr(KeyDigest(SECRET)), str([MADE])):
        assert MADE.key not in shown
        assert MADE.key[20:63] not in shown
    assert repr(SECRET) not in repr(KeyDigest(SECRET))


def test_the_id_of_a_key_is_not_the_key() -> None:
    """Who pastes the key where its id belongs is told so, without seeing it in the message."""
    assert check_key_id(MADE.id) == MADE.id
    for given_id in (MADE.key, MADE.id + "x", "", None, MADE.id + "\n"):
        with pytest.raises(InvalidSetting, match="12 letters and digits") as caught:
            check_key_id(given_id)
        assert MADE.key not in str(caught.value)
        assert MADE.key not in repr(vars(caught.value))
