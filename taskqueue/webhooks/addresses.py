"""Which addresses of the internet may be called: a judgement on numbers, without any lookup.

Python's own `is_global` changed its mind over its releases, and calls some addresses global that
lead back inside. So there are lists of our own, and an address must satisfy both.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DENIED_IPV4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host: Linux takes 0.0.0.0 for the loopback
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind a carrier's translation; the metadata of a cloud as well
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # public by its number, but the inside of a cloud
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # assigned to protocols
        "192.0.2.0/24",  # for documents
        "192.88.99.0/24",  # relays from IPv6
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # for benchmarks
        "198.51.100.0/24",  # for documents
        "203.0.113.0/24",  # for documents
        "224.0.0.0/3",  # multicast, reserved and broadcast
    )
)

GLOBAL_IPV6: Final = IPv6Network("2000::/3")
"""All that is handed out for the internet; the rest is refused.

That is loopback, private, link-local and multicast, and the forms that wrap an IPv4 address:
compatible `::/96`, mapped `::ffff:0:0/96` and translated `64:ff9b::/96`. They are not unwrapped and
judged by what is inside: no receiver needs them.
"""

DENIED_IPV6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # assigned to protocols; tunnels that wrap an IPv4 address
        "2001:db8::/32",  # for documents
        "2002::/16",  # wraps an IPv4 address
        "3ffe::/16",  # a test network that was given back
        "3fff::/20",  # for documents
    )
)

_LOOPBACK: Final = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


def is_loopback(address: Address) -> bool:
    """Whether *address* is one of `127.0.0.0/8`, or `::1` without a zone."""
    return not _has_zone(address) and _is_in(address, _LOOPBACK)


def is_public(address: Address) -> bool:
    """Whether *address* can only be a machine on the public internet."""
    if _has_zone(address) or not address.is_global:
        return False
    if isinstance(address, IPv6Address):
        return address in GLOBAL_IPV6 and not _is_in(address, DENIED_IPV6)
    return not _is_in(address, DENIED_IPV4)


def _has_zone(address: Address) -> bool:
    """Whether it names a network interface too: only addresses that are not public need that."""
    return isinstance(address, IPv6Address) and address.scope_id is not None


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)
