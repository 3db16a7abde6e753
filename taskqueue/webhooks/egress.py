"""Where webhooks may go. Tenants write the URLs; without this guard they could reach what we can.

The decision is made on the addresses to which a name leads, never on the name, and the connection is
made to an address that was approved (`posting`): what a name server says a moment later changes
nothing. The contract publishes no rules for URLs, so these are our choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Final

from taskqueue.errors import InvalidSetting
from taskqueue.webhooks.addresses import Address, Network, is_loopback, is_public
from taskqueue.webhooks.endpoint import USUAL_PORTS, Endpoint, parse_endpoint
from taskqueue.webhooks.outcomes import DeliveryFailed, DeliveryRefused
from taskqueue.webhooks.resolving import Resolver, resolve

DEFAULT_PORTS: Final = frozenset({80, 443, 8443})

_HIGHEST_PORT = 65_535
_MOST_ADDRESSES = 64


class EgressPolicy:
    """Which receivers may be called.

    An address must be on the public internet, by Python's tables and by our own; or be the loopback
    if that is allowed. All addresses of a host must be allowed, not only the one that is called.

    Args:
        schemes: `"https"`, `"http"` or both; only https by default, so that nobody on the way can
            read results.
        ports: Ports that may be called; 80, 443 and 8443 by default, None is every port.
        allow_loopback: Also allow `127.0.0.0/8` and `::1`. For tests and for work on one machine:
            it lets tenants reach whatever listens there.
        deny: Further networks that may not be called, such as `"198.51.100.0/24"`: the public
            addresses of this machine and of its neighbours belong here.
        resolve_timeout: Seconds for a host's addresses to be found.
        resolver: Finds them; the system's resolver by default.

    Raises:
        InvalidSetting: If an option breaks its rule.
    """

    def __init__(
        self,
        *,
        schemes: Iterable[str] = ("https",),
        ports: Iterable[int] | None = DEFAULT_PORTS,
        allow_loopback: bool = False,
        deny: Iterable[str] = (),
        resolve_timeout: float = 3.0,
        resolver: Resolver = resolve,
    ) -> None:
        self._schemes = _schemes(schemes)
        self._ports = None if ports is None else _ports(ports)
        self._allow_loopback = allow_loopback
        self._denied = tuple(_network(text) for text in deny)
        self._resolve_timeout = resolve_timeout
        self._resolver = resolver

    def parse(self, url: object) -> Endpoint:
        """Return *url* taken apart, if its form, its scheme and its port are allowed.

        It looks nothing up, so it can be used where a task is accepted. An address in the place of a
        host is judged here already.

        Raises:
            DeliveryRefused: If something is not allowed.
        """
        endpoint = parse_endpoint(url)
        if endpoint.scheme not in self._schemes:
            raise DeliveryRefused(f"the URL must start with {' or '.join(f'{s}://' for s in self._schemes)}")
        if self._ports is not None and endpoint.port not in self._ports:
            allowed = ", ".join(str(port) for port in sorted(self._ports))
            raise DeliveryRefused(f"port {endpoint.port} is not allowed; allowed: {allowed}")
        if endpoint.literal is not None and not self.allows(endpoint.literal):
            raise DeliveryRefused(f"the address {endpoint.host} is not allowed: it must be a public one")
        return endpoint

    async def approve(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Return the addresses of *endpoint*, in the order in which to try them, if all are allowed.

        Asks anew each time: what a name means can change between two attempts.

        Raises:
            DeliveryRefused: If one of them is not allowed, or if there are more than 64.
            DeliveryFailed: If none are found in time.
        """
        if endpoint.literal is not None:
            found = [endpoint.host]
        else:
            found = await self._resolve(endpoint.host)
        if len(found) > _MOST_ADDRESSES:
            raise DeliveryRefused(f"the host {endpoint.host} has more than {_MOST_ADDRESSES} addresses")
        for text in found:
            if not self.allows(text):
                raise DeliveryRefused(
                    f"the host {endpoint.host} leads to an address that is not allowed: all of its "
                    "addresses must be public",
                    address=text,
                )
        return tuple(found)

    def allows(self, address: str | Address) -> bool:
        """Whether *address* may be called. Text that is no address may not."""
        try:
            judged = ip_address(address)
        except ValueError:
            return False
        if any(judged in network for network in self._denied):
            return False
        return is_public(judged) or (self._allow_loopback and is_loopback(judged))

    async def _resolve(self, host: str) -> list[str]:
        try:
            async with asyncio.timeout(self._resolve_timeout):
                found = await self._resolver(host)
        except TimeoutError:
            reason = f"no address was found for it within {self._resolve_timeout:g} s"
            raise DeliveryFailed(host, reason) from None
        except OSError:
            raise DeliveryFailed(host, "no address was found for it") from None
        if not found:
            raise DeliveryFailed(host, "no address was found for it")
        return found


def _schemes(given: Iterable[str]) -> tuple[str, ...]:
    schemes = tuple(sorted(set(given), reverse=True))
    if not schemes or not set(schemes) <= set(USUAL_PORTS):
        raise InvalidSetting("schemes", schemes, 'one or both of "https" and "http"')
    return schemes


def _ports(given: Iterable[int]) -> frozenset[int]:
    ports = frozenset(given)
    if not ports or not all(type(port) is int and 0 < port <= _HIGHEST_PORT for port in ports):
        raise InvalidSetting("ports", sorted(ports, key=str), "numbers from 1 to 65535, or None for all")
    return ports


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise InvalidSetting("deny", text, "a network such as 198.51.100.0/24 or 2001:db8::/32") from None
