"""URLs: what each means, and that all that two parsers might read differently is refused."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskqueue.webhooks import DeliveryRefused, Endpoint
from taskqueue.webhooks.endpoint import parse_endpoint


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example", Endpoint("https", "a.example", 443, "/")),
        ("https://a.example/", Endpoint("https", "a.example", 443, "/")),
        ("http://a.example/x?y=1&z=%20", Endpoint("http", "a.example", 80, "/x?y=1&z=%20")),
        ("https://a.example?q", Endpoint("https", "a.example", 443, "/?q")),
        ("https://a.example:8443/x", Endpoint("https", "a.example", 8443, "/x")),
        ("HTTPS://A.Example/X", Endpoint("https", "a.example", 443, "/X")),
        ("https://a.example./x", Endpoint("https", "a.example", 443, "/x")),
        ("https://a_b-c.example/", Endpoint("https", "a_b-c.example", 443, "/")),
        ("https://1.1.1.1/", Endpoint("https", "1.1.1.1", 443, "/")),
        ("https://[2606:4700:0::1111]:8443/", Endpoint("https", "2606:4700::1111", 8443, "/")),
        ("https://bücher.example/ü?ß", Endpoint("https", "xn--bcher-kva.example", 443, "/%C3%BC?%C3%9F")),
        ("https://faß.example/", Endpoint("https", "xn--fa-hia.example", 443, "/")),
        ("https://a.example/x@y:z//../%00", Endpoint("https", "a.example", 443, "/x@y:z//../%00")),
        ("https://①②⑦.0.0.1/", Endpoint("https", "127.0.0.1", 443, "/")),
        (
            "https://\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45\u3002com/",
            Endpoint("https", "example.com", 443, "/"),
        ),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: Endpoint) -> None:
    """Usual ports, one spelling of each host, and a target that can stand in a request line."""
    assert parse_endpoint(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "017700000001",
        "0",
        "0x",
        "127.0.0.1.",
        "127.0.0.0x1",
        "127.0.0.01",
        "1.2.3.4.5",
        "256.1.1.1",
        "a.example.0x7f",
        "①27.1",
        "\uff11\uff12\uff17.1",
        "٣.example.٣",
    ],
)
def test_every_odd_form_of_an_ipv4_address_is_refused_or_becomes_a_plain_one(url: str) -> None:
    """Systems read them as addresses, each in its own way: none may be left to them as a name."""
    try:
        endpoint = parse_endpoint(f"https://{url}/")
    except DeliveryRefused:
        return
    assert endpoint.literal is not None
    assert not endpoint.literal.is_global


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        (None, "text"),
        (b"https://a.example", "text"),
        ("", "text"),
        ("https://a.example/" + "x" * 2048, "2,048"),
        ("https://a.example/ x", "spaces"),
        (" https://a.example/", "spaces"),
        ("https://a.example/\r\nX-Evil: 1", "control"),
        ("https://a.exa\tmple/", "control"),
        ("https://a.example/\0", "control"),
        ("https://a.example/\ud800", "control"),
        ("https://a.example/\u202e", "control"),
        ("https://a.example\u3000/", "control"),
        ("https://a.example\\@b.example/", "backslashes"),
        ("https:/\\a.example/", "backslashes"),
        ("http://evil#@ok.example/", "fragment"),
        ("https://a.example/#x", "fragment"),
        ("http://a@b.example/", "user name"),
        ("http://a:b@c.example/", "user name"),
        ("http://a.example:80@b.example/", "user name"),
        ("http://@a.example/", "user name"),
        ("ftp://a.example/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("gopher://127.0.0.1:6379/_INFO", "https://"),
        ("javascript://a.example/", "https://"),
        ("//a.example/", "https://"),
        ("a.example", "https://"),
        ("https:a.example", "https://"),
        ("https:/a.example", "https://"),
        ("https://", "host"),
        ("https:///x", "host"),
        ("https://:443/", "host"),
        ("https://a.example:/", "host"),
        ("https://a.example:x/", "host"),
        ("https://a.example:443:443/", "host"),
        ("https://a.example:-1/", "host"),
        ("https://a.example:४४३/", "host"),
        ("https://a.example:0/", "port"),
        ("https://a.example:65536/", "port"),
        ("https://a.example:000443/", "host"),
        ("https://.a.example/", "host"),
        ("https://a..example/", "host"),
        ("https://a.example../", "host"),
        ("https://-a.example/", "host"),
        ("https://a%2eexample/", "host"),
        ("https://127%2e0.0.1/", "host"),
        ("https://a,b.example/", "host"),
        ("https://a;b.example/", "host"),
        ("https://" + "a" * 64 + ".example/", "host"),
        ("https://" + "a." * 130 + "example/", "host"),
        ("https://" + "é" * 300 + ".example/", "host"),
        ("https://℀.example/", "IDNA"),
        ("https://\u00ad/", "control"),
        ("https://xn--\u00e9.example/", "IDNA"),
        ("https://[::1/", "host"),
        ("https://::1/", "host"),
        ("https://[::1]x/", "host"),
        ("https://[]/", "IPv6"),
        ("https://[1.1.1.1]/", "IPv6"),
        ("https://[v1.x]/", "IPv6"),
        ("https://[fe80::1%eth0]/", "IPv6"),
        ("https://[fe80::1%25eth0]/", "IPv6"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(url: object, rule: str) -> None:
    """And the refusal says which rule was broken, in words that a tenant may read."""
    with pytest.raises(DeliveryRefused, match=rule) as refused:
        parse_endpoint(url)

    assert str(refused.value).startswith("webhook refused: ")
    assert refused.value.address is None


NAME_63 = "a" * 63


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "the URL must be text of 1 to 2,048 characters"),
        ("", "the URL must be text of 1 to 2,048 characters"),
        ("https://a.example/" + "x" * 2031, "the URL must be text of 1 to 2,048 characters"),
        ("x", "the URL must start with https:// or http://"),
        ("https://a.example/ x", "the URL must be without spaces, control characters and backslashes"),
        ("https://a.example/#x", "the URL must be without a fragment (#)"),
        ("http://a@b.example/", "the URL must be without user name and password"),
        ("https:///x", "the URL must have a host, and at most one port after it"),
        ("https://a..example/", "the host must be a name of letters, digits, `-` and `_` between dots"),
        (
            f"https://{NAME_63}.{NAME_63}.{NAME_63}.{'a' * 62}/",
            "the host must be a name of letters, digits, `-` and `_` between dots",
        ),
        ("https://" + "é" * 254 + "/", "the host must have at most 253 characters"),
        ("https://" + "é" * 253 + "/", "the host must be a valid internationalised name (IDNA 2008)"),
        (
            "https://1.2.3/",
            "an IPv4 address must be four decimal numbers from 0 to 255, without leading zeros",
        ),
        ("https://[1.1.1.1]/", "an IPv6 address must be well formed, in [ ] and without a zone"),
        ("https://[fe80::1%2]/", "an IPv6 address must be well formed, in [ ] and without a zone"),
        ("https://a.example:0/", "the port must be a number from 1 to 65535"),
        ("https://a.example:65536/", "the port must be a number from 1 to 65535"),
    ],
)
def test_a_refusal_is_a_sentence_that_a_tenant_reads(url: object, reason: str) -> None:
    """Whole, and at the very limit of each length."""
    with pytest.raises(DeliveryRefused) as refused:
        parse_endpoint(url)

    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/" + "x" * 2030, Endpoint("https", "a.example", 443, "/" + "x" * 2030)),
        (
            f"https://{NAME_63}.{NAME_63}.{NAME_63}.{'a' * 61}/",
            Endpoint("https", f"{NAME_63}.{NAME_63}.{NAME_63}.{'a' * 61}", 443, "/"),
        ),
        (
            f"https://{NAME_63}.{NAME_63}.{NAME_63}.{'a' * 60}\uff41/",
            Endpoint("https", f"{NAME_63}.{NAME_63}.{NAME_63}.{'a' * 61}", 443, "/"),
        ),
        ("https://a.example:1/", Endpoint("https", "a.example", 1, "/")),
        ("https://a.example:65535/", Endpoint("https", "a.example", 65535, "/")),
        ("https://a.example/x://y", Endpoint("https", "a.example", 443, "/x://y")),
        ("https://a.example?x/y", Endpoint("https", "a.example", 443, "/?x/y")),
    ],
)
def test_what_just_fits_is_accepted(url: str, expected: Endpoint) -> None:
    """The longest URL, the longest hosts, the first and the last port; and the first `://` counts."""
    assert parse_endpoint(url) == expected


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("https://a.example:443/", "a.example"),
        ("http://a.example:80/", "a.example"),
        ("http://a.example:443/", "a.example:443"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]"),
        ("https://[2606:4700::1111]:8443/", "[2606:4700::1111]:8443"),
    ],
)
def test_the_host_header_has_the_port_only_where_it_is_unusual(url: str, header: str) -> None:
    """As HTTP wants it, IPv6 addresses in brackets."""
    assert parse_endpoint(url).host_header == header


@given(st.text(max_size=60), st.text(max_size=60))
@example("a.example", "")
@example("\u2100", "/")
def test_whatever_is_accepted_can_be_sent_as_it_is(host: str, rest: str) -> None:
    """No text makes another error than a refusal, or a host or target that could break a request."""
    try:
        endpoint = parse_endpoint(f"https://{host}/{rest}")
    except DeliveryRefused:
        return
    assert endpoint.target.startswith("/")
    assert all("!" <= character <= "~" for character in endpoint.target)
    if endpoint.literal is None:
        assert set(endpoint.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")
        with pytest.raises(ValueError, match="does not appear"):
            ip_address(endpoint.host)
