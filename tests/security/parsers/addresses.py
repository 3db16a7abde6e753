"""Addresses: of servers, of receivers of webhooks, of searches, of services; and who may be called."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from scheduler.providers.tools.decoding import web_address
from scheduler.providers.tools.http import check_base_url
from taskqueue.connect.address import Address, Login, parse_address, scrubbed
from taskqueue.contract import GoogleUrl, read_google_url
from taskqueue.errors import InvalidSetting
from taskqueue.settings import redact
from taskqueue.webhooks import DeliveryRefused, EgressPolicy, Endpoint
from taskqueue.webhooks.addresses import is_loopback, is_public
from taskqueue.webhooks.endpoint import LONGEST_URL, parse_endpoint
from tests.security.fuzzing import CANARY, Parser, assert_hidden, text_of

_OPTION = re.compile(r"\?(?:[^#]*&)?(?:sentinel_)?password=[^&]*\Z", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z0-9+.-]*://")
_ANYWHERE = EgressPolicy(schemes=("https", "http"), ports=None, allow_loopback=True)
_USUAL = EgressPolicy()


def holds_password(url: str) -> bool:
    """Whether the canary stands in *url* where a password is: before the last @, or in an option."""
    before, canary, after = url.partition(CANARY)
    if not canary or CANARY in after:
        return False
    if "@" in after:
        _, is_behind_scheme, login = before.partition("://")
        # A scheme is shown, a wrong one too: nobody finds the slip else.
        return ":" in login if is_behind_scheme else _SCHEME.match(url) is None
    return _OPTION.search(before) is not None


def is_no_login(url: str) -> bool:
    """Whether *url* is none, or one with a path of this machine, in which an @ means nothing."""
    return "://" not in url.partition(CANARY)[0] or url.startswith(("embedded:", "unix:"))


def is_login(login: Login) -> bool:
    """Whether the canary is the password, and not the name."""
    return CANARY in (login.password or "") and CANARY not in (login.username or "")


def read_address(data: bytes) -> Address:
    """No password gets into what is shown, or into an error."""
    url = text_of(data)
    is_secret = holds_password(url)
    if is_secret:
        assert CANARY not in scrubbed(url)
        assert CANARY not in redact(url) or is_no_login(url)
    try:
        address = parse_address(url)
    except InvalidSetting as error:
        assert_hidden(CANARY if is_secret else "", error, vars(error))
        raise
    if url.count(CANARY) == 1 and (is_login(address.login) or is_login(address.sentinel_login)):
        assert CANARY not in f"{address.shown} {address!r}"
    assert all(0 < port < 65_536 for _, port in address.hosts)
    assert 0 <= address.linger <= 86_400
    assert not any("\0" in part for part in (address.path, *(name for name, _ in address.hosts)))
    return address


def read_endpoint(data: bytes) -> Endpoint:
    """What is read is read again, also by others, and no header can be ended by it."""
    endpoint = parse_endpoint(text_of(data))
    spelled = f"{endpoint.scheme}://{endpoint.host_header}{endpoint.target}"
    # What was written in other letters grows when it is escaped.
    if len(spelled) <= LONGEST_URL:
        assert parse_endpoint(spelled) == endpoint
    parts = urlsplit(spelled)
    assert (parts.scheme, parts.hostname) == (endpoint.scheme, endpoint.host)
    assert parts.username is None
    for part in (endpoint.host_header, endpoint.target):
        assert part.isascii()
        assert part.isprintable()
        assert " " not in part
    literal = endpoint.literal
    assert literal is None or str(literal) == endpoint.host
    # Nothing that a system's resolver takes for a number gets by as a name.
    assert literal is not None or not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", endpoint.host.rpartition(".")[2])
    return endpoint


def read_egress(data: bytes) -> Endpoint:
    """The guard lets no more through than the parser, and no private address at all."""
    url = text_of(data)
    endpoint = _ANYWHERE.parse(url)
    assert endpoint == parse_endpoint(url)
    literal = endpoint.literal
    try:
        _USUAL.parse(url)
    except DeliveryRefused:
        return endpoint
    assert endpoint.scheme == "https"
    assert endpoint.port in (80, 443, 8443)
    assert literal is None or (literal.is_global and not literal.is_private and not literal.is_multicast)
    return endpoint


def read_judged(data: bytes) -> bool:
    """Text that names no address may not be called; what may be called is public by two judgements."""
    text = text_of(data)
    allowed = _USUAL.allows(text)
    try:
        found = ip_address(text)
    except ValueError:
        assert not allowed
        return allowed
    assert not (allowed and (is_loopback(found) or found.is_private or found.is_link_local))
    assert allowed == is_public(found)
    return allowed


def read_search(data: bytes) -> GoogleUrl:
    """What a search asks for is bounded."""
    found = read_google_url(text_of(data))
    assert found.query.strip() == found.query != ""
    assert 1 <= found.pages <= 10
    assert 0 <= found.start < 10**7
    return found


def read_base_url(data: bytes) -> str:
    """An address that was accepted is accepted again, and has no secret part."""
    url = check_base_url(text_of(data))
    assert check_base_url(url) == url
    parts = urlsplit(url)
    assert (parts.username, parts.query, parts.fragment) == (None, "", "")
    return url


def read_link(data: bytes) -> str | None:
    """A link of an answer is an address by http or https, or none."""
    link = web_address(text_of(data))
    assert link is None or link.lower().startswith(("http://", "https://"))
    return link


PARSERS = (
    Parser("address", read_address, (InvalidSetting,)),
    Parser("endpoint", read_endpoint, (DeliveryRefused,)),
    Parser("egress", read_egress, (DeliveryRefused,)),
    Parser("ip-address", read_judged),
    Parser("google-url", read_search, (ValueError,)),
    Parser("base-url", read_base_url, (ValueError,)),
    Parser("link", read_link),
)
