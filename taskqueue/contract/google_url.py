"""A complete Google search address, which a task may carry in place of a query.

Contract: google's `url`. It must be an absolute http(s) address on a web search host, with the
path /search and a non-empty `q`; `tbm` is refused, because it asks for another kind of search.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

LONGEST_SEARCH_URL = 10_000
"""Longest address, in characters. Ours: the contract names no limit; a query may be as long."""

RESULTS_A_PAGE = 10
MOST_PAGES = 10

# What anybody may register is kept out: google.abc.xyz is no host of Google's.
_HOST = re.compile(
    r"(?:www\.)?google\.(?:com|cat|[a-z]{2}|com?\.[a-z]{2}|it\.ao|off\.ai)", re.ASCII | re.IGNORECASE
)
_NUMBER = re.compile(r"\s*\+?([0-9]+)")


@dataclass(frozen=True, slots=True)
class GoogleUrl:
    """What is read from a search address; everything else in it is not used.

    Attributes:
        query: The text of `q`, without spaces around it.
        country: `gl` in capital letters, or None.
        language: `hl` in small letters, or None.
        uule: The encoded place, as it was written, or None.
        pages: Pages of ten results, from `num`: 1 to 10; 1 without a usable `num`.
        start: How many results are skipped, from `start`: 0 without a usable one.
        tbs: Google's search tools filter, or None.
        safe: Google's SafeSearch setting, or None.
    """

    query: str
    country: str | None
    language: str | None
    uule: str | None
    pages: int
    start: int
    tbs: str | None
    safe: str | None


def read_google_url(text: str) -> GoogleUrl:
    """Return what the search address *text* asks for.

    Raises:
        ValueError: If it is not a usable address; the message is one sentence that says why.
    """
    query = _query_of(text)
    # The first of each name counts. Nothing here is longer than the address was.
    fields: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        fields.setdefault(name, value.strip())
    if "tbm" in fields:
        raise ValueError("url must not set tbm; a news search is a task of its own type, GOOGLE_NEWS")
    if not fields.get("q"):
        raise ValueError("url must include a non-empty q parameter")
    depth = _count(fields.get("num"), RESULTS_A_PAGE)
    return GoogleUrl(
        query=fields["q"],
        country=_upper(fields.get("gl", "")) or None,
        language=fields.get("hl", "").lower() or None,
        uule=_as_written(query, "uule"),
        pages=max(1, min(MOST_PAGES, -(-depth // RESULTS_A_PAGE))),
        start=_count(fields.get("start"), 0),
        tbs=fields.get("tbs") or None,
        safe=fields.get("safe") or None,
    )


def _query_of(text: str) -> str:
    """Return the part behind the question mark, once the parts before it are as they must be."""
    if len(text) > LONGEST_SEARCH_URL:
        raise ValueError(f"url is too long (max {LONGEST_SEARCH_URL:,} characters)")
    # Clients read spaces, backslashes and control characters differently.
    if not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("url must be a valid absolute http(s) URL")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("url must be a valid absolute http(s) URL") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("url must be a valid absolute http(s) URL")
    # The whole of it: a user name or a port has no place in a search address.
    if _HOST.fullmatch(parts.netloc) is None:
        raise ValueError("url must be on a Google web search host, such as www.google.com or google.co.uk")
    if parts.path != "/search":
        raise ValueError("url path must be /search")
    return parts.query


def _count(text: str | None, otherwise: int) -> int:
    """Return the whole number that *text* begins with; a caller's slip is no reason to refuse."""
    match = _NUMBER.match(text) if text else None
    # Cut before it is read: nobody asks for a million, and long numbers take long to read.
    return int(match[1].lstrip("0")[:7] or "0") if match else otherwise


def _upper(code: str) -> str:
    """Return *code* in capital letters, unless it has letters that only become A to Z by that."""
    return code.upper() if code.isascii() else code


def _as_written(query: str, wanted: str) -> str | None:
    """Return a value in which a plus is a plus: in an encoded place it is not a space."""
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if unquote(name) == wanted:
            return unquote(value).strip() or None
    return None
