"""Which addresses may be called: every range that leads back inside is refused, whole."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.webhooks.addresses import is_loopback, is_public

# Written from the registries of special addresses, not from the lists of the code.
NOT_PUBLIC = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:db8::/32",
    "2002::/16",
    "3ffe::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]

WORTH_STEALING_FROM = [
    "169.254.169.254",  # metadata of most clouds
    "169.254.170.2",  # credentials of containers
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::808:808",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fe80::1%eth0",
    "2606:4700::1111%eth0",
]

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.15.255.255", "172.32.0.0", "100.63.255.255",
          "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888"]  # fmt: skip


@pytest.mark.parametrize("network", NOT_PUBLIC)
def test_special_networks_are_refused_from_end_to_end(network: str) -> None:
    """The first, the last and one in the middle: a mask that is one bit off would let one through."""
    block = ip_network(network)

    assert not is_public(block[0])
    assert not is_public(block[block.num_addresses // 2])
    assert not is_public(block[-1])


@pytest.mark.parametrize("address", WORTH_STEALING_FROM)
def test_what_attackers_ask_for_is_refused(address: str) -> None:
    """Metadata of clouds, IPv4 wrapped in IPv6 in every known way, and zones."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    """A guard that refuses everything would pass all other tests."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize("network", NOT_PUBLIC)
def test_our_lists_do_not_lean_on_pythons(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's `is_global` differs between its releases: ours alone refuse all that is special."""
    monkeypatch.setattr(IPv4Address, "is_global", True)
    monkeypatch.setattr(IPv6Address, "is_global", True)
    block = ip_network(network)

    assert not is_public(block[0])
    assert not is_public(block[-1])


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.255.255", True),
        ("::1", True),
        ("::1%lo", False),
        ("128.0.0.0", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_loopback_is_what_stays_on_this_machine(address: str, expected: bool) -> None:
    """And nothing that only ends there by a wrapping or by a habit of the system."""
    assert is_loopback(ip_address(address)) is expected


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_is_allowed_that_python_calls_special(address: IPv4Address | IPv6Address) -> None:
    """Our lists only narrow what Python knows."""
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )

    assert not (is_public(address) and special)
