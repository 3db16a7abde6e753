"""From the text of a URL to what is connected to and asked for: read once, by one strict parser.

Two parsers that read one text differently are how an address passes a check and another is called.
So the text is taken apart here and nowhere else, and what is unusual is refused, not interpreted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote

import idna

from taskqueue.webhooks.addresses import Address
from taskqueue.webhooks.outcomes import DeliveryRefused

LONGEST_URL: Final = 2048
USUAL_PORTS: Final = {"http": 80, "https": 443}

_LONGEST_HOST = 253
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# Programs that call hosts read such a name as an IPv4 address, each in its own way.
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ASCII = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL, taken apart.

    Attributes:
        scheme: `"http"` or `"https"`.
        host: Host in small ASCII letters, without the dot at its end; an IPv6 address without its
            brackets. Certificates are checked against it.
        port: Port, the scheme's usual one where none was given.
        target: Path and query, in ASCII, from `/` on.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted and the receiver's certificate checked."""
        return self.scheme == "https"

    @property
    def host_header(self) -> str:
        """The value of the header `Host`: without the port where it is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == USUAL_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def literal(self) -> Address | None:
        """The address, where the URL names one instead of a host."""
        if ":" in self.host:
            return IPv6Address(self.host)
        try:
            return IPv4Address(self.host)
        except AddressValueError:
            return None


def parse_endpoint(url: object) -> Endpoint:
    """Return *url* taken apart.

    Refused are, besides what is no http or https URL of at most 2,048 characters: spaces, control
    characters and backslashes, a fragment, user name and password, anything escaped in the host, a
    zone of an IPv6 address, and every form of an IPv4 address but four plain decimal numbers.

    Raises:
        DeliveryRefused: If it is refused, with the rule that it breaks.
    """
    if not isinstance(url, str) or not 0 < len(url) <= LONGEST_URL:
        raise DeliveryRefused(f"the URL must be text of 1 to {LONGEST_URL:,} characters")
    # isprintable() is False for control characters, for spaces but the plain one, for marks that
    # turn the direction of writing, and for half a surrogate pair.
    if not url.isprintable() or " " in url or "\\" in url:
        raise DeliveryRefused("the URL must be without spaces, control characters and backslashes")
    if "#" in url:
        raise DeliveryRefused("the URL must be without a fragment (#)")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in USUAL_PORTS:
        raise DeliveryRefused("the URL must start with https:// or http://")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise DeliveryRefused("the URL must be without user name and password")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise DeliveryRefused("the URL must have a host, and at most one port after it")
    return Endpoint(
        scheme=scheme,
        host=_host(match["host"]),
        port=_port(match["port"], USUAL_PORTS[scheme]),
        target=_target(rest[len(authority) :]),
    )


def _host(text: str) -> str:
    if text.startswith("["):
        return _ipv6(text[1:-1])
    name = _ascii_name(text).removesuffix(".")
    labels = name.split(".")
    if len(name) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise DeliveryRefused("the host must be a name of letters, digits, `-` and `_` between dots")
    if _NUMERIC.fullmatch(labels[-1]):
        return _ipv4(name)
    return name


def _ascii_name(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Longer ones cannot be names, and would take long to encode.
    if len(text) > _LONGEST_HOST:
        raise DeliveryRefused(f"the host must have at most {_LONGEST_HOST} characters")
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except UnicodeError:
        raise DeliveryRefused("the host must be a valid internationalised name (IDNA 2008)") from None


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise DeliveryRefused(
            "an IPv4 address must be four decimal numbers from 0 to 255, without leading zeros"
        ) from None


def _ipv6(text: str) -> str:
    try:
        if "%" not in text:
            return str(IPv6Address(text))
    except AddressValueError:
        pass
    raise DeliveryRefused("an IPv6 address must be well formed, in [ ] and without a zone")


def _port(text: str | None, usual: int) -> int:
    if text is None:
        return usual
    port = int(text)
    if not 0 < port <= 65_535:  # noqa: PLR2004 - the highest port there is
        raise DeliveryRefused("the port must be a number from 1 to 65535")
    return port


def _target(text: str) -> str:
    path = text if text.startswith("/") else f"/{text}"
    # What is escaped already stays as it is; the rest becomes %XX of its UTF-8.
    return quote(path, safe=_ASCII)
