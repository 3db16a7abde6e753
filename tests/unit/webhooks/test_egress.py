"""The policy: which schemes, ports and addresses are allowed, and that every address is judged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from taskqueue.errors import InvalidSetting
from taskqueue.webhooks import DeliveryFailed, DeliveryRefused, EgressPolicy

PUBLIC = "93.184.215.14"
PUBLIC_IPV6 = "2606:4700::1111"


class NameServer:
    """Answers lookups in turn, the last answer for ever; remembers what was asked."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


async def approved(policy: EgressPolicy, url: str = "https://hooks.example/") -> tuple[str, ...]:
    """The addresses of *url* that may be connected to."""
    return await policy.approve(policy.parse(url))


@pytest.mark.parametrize(
    ("options", "url", "is_allowed"),
    [
        ({}, "https://a.example/", True),
        ({}, "https://a.example:8443/", True),
        ({}, "http://a.example/", False),
        ({}, "https://a.example:22/", False),
        ({}, "https://a.example:6379/", False),
        ({"schemes": ["http"]}, "http://a.example/", True),
        ({"schemes": ["http"]}, "https://a.example/", False),
        ({"schemes": ["http", "https"]}, "https://a.example/", True),
        ({"ports": [9000]}, "https://a.example:9000/", True),
        ({"ports": [9000]}, "https://a.example/", False),
        ({"ports": None}, "https://a.example:6379/", True),
        ({}, "https://1.1.1.1/", True),
        ({}, "https://127.0.0.1/", False),
        ({}, "https://[::1]/", False),
        ({}, "https://[::ffff:127.0.0.1]/", False),
        ({}, "https://169.254.169.254/latest/meta-data/", False),
        ({"allow_loopback": True}, "https://127.0.0.1/", True),
        ({"allow_loopback": True}, "https://127.8.9.10/", True),
        ({"allow_loopback": True}, "https://[::1]/", True),
        ({"allow_loopback": True}, "https://[::ffff:127.0.0.1]/", False),
        ({"allow_loopback": True}, "https://0.0.0.0/", False),
        ({"allow_loopback": True}, "https://10.0.0.1/", False),
        ({"allow_loopback": True, "deny": ["127.0.0.2/32"]}, "https://127.0.0.2/", False),
        ({"deny": ["1.1.1.0/24"]}, "https://1.1.1.1/", False),
        ({"deny": ["2606:4700::/32"]}, f"https://[{PUBLIC_IPV6}]/", False),
    ],
)
def test_form_scheme_port_and_plain_addresses_are_judged_without_a_lookup(
    options: dict[str, Any], url: str, is_allowed: bool
) -> None:
    """So a task with a hopeless address can be refused when it is enqueued."""
    policy = EgressPolicy(**options, resolver=NameServer(AssertionError("looked up")))

    if is_allowed:
        policy.parse(url)
    else:
        with pytest.raises(DeliveryRefused):
            policy.parse(url)


@pytest.mark.parametrize(
    "options",
    [
        {"schemes": []},
        {"schemes": ["ftp"]},
        {"schemes": ["https", "HTTP"]},
        {"ports": []},
        {"ports": [0]},
        {"ports": [65536]},
        {"ports": [True]},
        {"ports": ["443"]},
        {"deny": ["10.0.0.1/8"]},
        {"deny": ["example.com"]},
    ],
)
def test_a_setting_that_means_nothing_is_refused_at_once(options: dict[str, Any]) -> None:
    """A mistyped network would otherwise protect nothing, in silence."""
    with pytest.raises(InvalidSetting, match=next(iter(options))):
        EgressPolicy(**options)


@pytest.mark.parametrize(
    ("options", "value", "rule"),
    [
        ({"schemes": ["HTTP", "https"]}, ("https", "HTTP"), 'one or both of "https" and "http"'),
        ({"schemes": []}, (), 'one or both of "https" and "http"'),
        ({"ports": ["443", 0]}, [0, "443"], "numbers from 1 to 65535, or None for all"),
        ({"deny": ["10.0.0.1/8"]}, "10.0.0.1/8", "a network such as 198.51.100.0/24 or 2001:db8::/32"),
    ],
)
def test_a_refused_setting_is_shown_with_its_rule(options: dict[str, Any], value: object, rule: str) -> None:
    """What was given, in an order that does not change from run to run, and what would be accepted."""
    with pytest.raises(InvalidSetting) as refused:
        EgressPolicy(**options)

    assert (refused.value.setting, refused.value.value) == (next(iter(options)), value)
    assert refused.value.rule == rule


def test_the_first_and_the_last_port_may_be_allowed() -> None:
    """Both ends of the range are ports."""
    policy = EgressPolicy(ports=[1, 65535])

    assert policy.parse("https://a.example:1/").port == 1
    assert policy.parse("https://a.example:65535/").port == 65535


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://a.example/", "the URL must start with https://"),
        ("https://a.example:22/", "port 22 is not allowed; allowed: 80, 443, 8443"),
        ("https://10.0.0.1/", "the address 10.0.0.1 is not allowed: it must be a public one"),
    ],
)
def test_a_refusal_says_what_is_not_allowed_and_what_would_be(url: str, reason: str) -> None:
    """The tenant that wrote the URL reads it."""
    with pytest.raises(DeliveryRefused) as refused:
        EgressPolicy().parse(url)

    assert refused.value.reason == reason


async def test_the_refusal_of_a_host_is_a_whole_sentence() -> None:
    """It names the host as it was given, and no address."""
    with pytest.raises(DeliveryRefused) as refused:
        await approved(EgressPolicy(resolver=NameServer(["10.0.0.1"])))

    assert refused.value.reason == (
        "the host hooks.example leads to an address that is not allowed: all of its addresses must be public"
    )


def test_a_lookup_has_three_seconds_by_default() -> None:
    """As the class says."""
    assert EgressPolicy()._resolve_timeout == 3.0


async def test_64_addresses_are_not_too_many() -> None:
    """The last number that is allowed."""
    found = [f"93.184.{number}.1" for number in range(64)]

    assert await approved(EgressPolicy(resolver=NameServer(found))) == tuple(found)


@pytest.mark.parametrize(
    "found",
    [[PUBLIC], [PUBLIC_IPV6], [PUBLIC_IPV6, PUBLIC], [f"93.184.215.{number}" for number in range(20)]],
    ids=["one", "IPv6 only", "both", "many"],
)
async def test_all_public_addresses_of_a_host_are_approved_in_their_order(found: list[str]) -> None:
    """The system's order is the one to try them in."""
    assert await approved(EgressPolicy(resolver=NameServer(found))) == tuple(found)


@pytest.mark.parametrize(
    "inside",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "0.0.0.0", "::1", "fe80::1%2", "fd00::1",
     "::ffff:93.184.215.14", "64:ff9b::5db8:d70e", "2002:5db8:d70e::", "100.64.0.1", "no address"],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 10, 19])
async def test_one_address_inside_among_twenty_refuses_them_all(inside: str, place: int) -> None:
    """The connection might go to any of them; and the refusal does not tell where the name leads."""
    found = [f"93.184.215.{number}" for number in range(20)]
    found[place] = inside

    with pytest.raises(DeliveryRefused, match=r"hooks\.example") as refused:
        await approved(EgressPolicy(resolver=NameServer(found)))

    assert inside not in str(refused.value)
    assert refused.value.address == inside


async def test_a_host_with_a_flood_of_addresses_is_refused() -> None:
    """Judging them takes time, and no receiver has so many."""
    found = [f"93.184.{number}.1" for number in range(65)]

    with pytest.raises(DeliveryRefused, match="more than 64"):
        await approved(EgressPolicy(resolver=NameServer(found)))


async def test_every_attempt_asks_anew() -> None:
    """A name that led outside at the first attempt may lead inside at the second."""
    names = NameServer([PUBLIC], ["10.0.0.1"], [PUBLIC])
    policy = EgressPolicy(resolver=names)

    assert await approved(policy) == (PUBLIC,)
    with pytest.raises(DeliveryRefused):
        await approved(policy)
    assert await approved(policy) == (PUBLIC,)
    assert names.asked == ["hooks.example"] * 3


async def test_an_address_in_the_place_of_a_host_is_not_looked_up() -> None:
    """What was judged is what is connected to."""
    policy = EgressPolicy(resolver=NameServer(AssertionError("looked up")))

    assert await approved(policy, "https://1.1.1.1/") == ("1.1.1.1",)
    assert await approved(policy, "https://[2606:4700:0:0::1111]/") == (PUBLIC_IPV6,)


@pytest.mark.parametrize("answer", [OSError("NXDOMAIN for secret.internal"), []], ids=["error", "nothing"])
async def test_a_name_without_addresses_has_failed_for_now(answer: Exception | list[str]) -> None:
    """Names come back: it is tried again. What the name server said stays here."""
    with pytest.raises(DeliveryFailed, match="no address was found") as failed:
        await approved(EgressPolicy(resolver=NameServer(answer)))

    assert (failed.value.status, failed.value.retry_after) == (None, None)
    assert (failed.value.host, failed.value.reason) == ("hooks.example", "no address was found for it")
    assert str(failed.value) == "webhook to hooks.example: no address was found for it"


async def test_a_lookup_has_a_bound_in_time() -> None:
    """The tenant's name server may never answer; it is told apart from a refusal."""
    was_cancelled = asyncio.Event()

    async def silent(host: str) -> list[str]:
        try:
            await asyncio.Event().wait()
        finally:
            was_cancelled.set()
        return []

    with pytest.raises(DeliveryFailed) as failed:
        await approved(EgressPolicy(resolver=silent, resolve_timeout=0.01))

    assert failed.value.host == "hooks.example"
    assert failed.value.reason == "no address was found for it within 0.01 s"
    assert was_cancelled.is_set()
