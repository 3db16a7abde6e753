"""What a task of GOOGLE or GOOGLE_NEWS asks for, as every search service needs it: words, place, pages."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pydantic import BaseModel

from scheduler.providers.tools.languages import language_of
from taskqueue.contract import read_google_url

HITS_A_PAGE: Final = 10

_PERIOD: Final = re.compile(r"(?:^|,)qdr:([dwmy])([0-9]{0,3})(?:,|$)")
_STRICT: Final = frozenset({"active", "strict", "on"})


class Search(NamedTuple):
    """A search.

    Attributes:
        query: The words.
        country: Where it is made from: an ISO 3166-1 alpha-2 code in capital letters.
        language: As Google writes it, such as `"de"` or `"zh-TW"`: what was asked for, else that of the
            country.
        pages: How many pages of ten hits are wanted, 1 to 10.
        skip: How many hits are left out before the first page.
        period: How old a hit may be, as a unit (`d`, `w`, `m`, `y`) and how many of it; None: any age.
        safe: Whether adult pages are left out; None if the task does not say.
    """

    query: str
    country: str
    language: str
    pages: int
    skip: int = 0
    period: tuple[str, int] | None = None
    safe: bool | None = None


def search_of(payload: BaseModel) -> Search:
    """Return what a payload of GOOGLE or GOOGLE_NEWS asks for, in words of its own or by an address."""
    said = str(getattr(payload, "country", "") or getattr(payload, "gl", "")).upper()
    language = str(getattr(payload, "hl", ""))
    address = str(getattr(payload, "url", ""))
    if not address:
        query, pages = str(getattr(payload, "query", "")), int(getattr(payload, "pages", 1))
        return Search(query, said, language or language_of(said), pages)
    url = read_google_url(address)
    country = said or url.country or ""
    return Search(
        query=url.query,
        country=country,
        language=language or url.language or language_of(country),
        pages=url.pages,
        skip=url.start,
        period=_period(url.tbs),
        safe=None if url.safe is None else url.safe in _STRICT,
    )


def _period(tbs: str | None) -> tuple[str, int] | None:
    """Return the age that Google's search tools filter allows; None if it says something else."""
    found = _PERIOD.search(tbs or "")
    return None if found is None else (found[1], max(1, int(found[2] or 1)))
