"""The public RSS feed of Google News, which answers GOOGLE_NEWS without a key.

The feed has one page of at most 100 pieces: of these the task gets the first `10 * pages`, ten to a
page, and nothing beyond. The feed has no pictures, and its text seldom says more than the headline: it is
kept as the snippet where it does. Links lead to the article by way of news.google.com. The feed asks for
no key, and does not promise to answer many calls: give the provider a limit.

| of a task               | becomes                                                               |
|-------------------------|-----------------------------------------------------------------------|
| `query`                 | `q`; operators such as `when:7d` or `site:` work                      |
| `country`, `gl`         | `gl`                                                                  |
| `hl`, else by country   | `hl`, and `ceid` together with the country: the edition               |

A place that has no edition is led to the nearest by Google: redirects are followed inside `base_url`, up to
three; this provider has no secret. It knows no device and no HTML.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, Field

from scheduler.errors import Misconfigured, RateLimited, Unavailable
from scheduler.providers.base import Call, ProviderSettings
from scheduler.providers.classifying import excerpt, retry_after
from scheduler.providers.news.feed import Item, read_feed
from scheduler.providers.tools.http import HttpProvider, HttpSettings, Reply
from scheduler.providers.tools.searching import HITS_A_PAGE, Search, search_of

MOST_ITEMS: Final = 100
"""Of one query: the feed has no second page."""

_PATH: Final = "/rss/search"
_MOST_REDIRECTS: Final = 3
_LOOKED_AT: Final = 64 * 1024
_PAGE: Final = re.compile(rb"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_CONSENT: Final = (
    "Google asks this machine's address for its consent to cookies before it answers: "
    "let it call from another place, or take another provider"
)
_ROBOT: Final = "Google takes this machine for a robot and asks for a CAPTCHA"


class NewsFeedSettings(HttpSettings):
    """What the provider can be told.

    Attributes:
        base_url: Where the feed is.
        timeout: Seconds that one call may take.
    """

    base_url: str = "https://news.google.com"
    timeout: float = Field(default=30.0, gt=0, le=3_600, allow_inf_nan=False)


class NewsFeed(HttpProvider):
    """Google News as RSS; see the head of this module."""

    types: ClassVar[tuple[str, ...]] = ("GOOGLE_NEWS",)
    Settings: ClassVar[type[ProviderSettings]] = NewsFeedSettings
    accept: ClassVar[str] = "application/rss+xml, application/xml;q=0.9"

    async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:  # noqa: ARG002
        """Return the first pieces of the feed."""
        search = search_of(payload)
        reply = await self._feed({"q": search.query, **edition(search)})
        wanted = min(HITS_A_PAGE * search.pages, MOST_ITEMS)
        # In a thread: a large feed takes longer than other tasks should wait for the event loop.
        items = await asyncio.to_thread(read_feed, reply.body, wanted)
        return {"newsResults": [_news(item, position) for position, item in enumerate(items, 1)]}

    async def _feed(self, params: Mapping[str, str]) -> Reply:
        """Return the answer that is a feed.

        Raises:
            RateLimited, Misconfigured, Rejected, Unavailable: If it is none.
        """
        reply = await self.request("GET", _PATH, params=params)
        asked = f"{self.settings.base_url}{_PATH}"
        for _ in range(_MOST_REDIRECTS):
            target = _target(asked, reply)
            if target is None or not target.startswith(self.settings.base_url + "/"):
                break
            asked = target
            reply = await self.request("GET", target.removeprefix(self.settings.base_url))
        if not reply.is_success:
            raise self._refusal(_target(asked, reply), reply)
        if reply.media_type == "text/html" or _PAGE.match(reply.body):
            raise _page_error(reply, self.secrets)
        return reply

    def _refusal(self, target: str | None, reply: Reply) -> Exception:
        if target is not None:
            if (urlsplit(target).hostname or "").startswith("consent."):
                return Misconfigured(_CONSENT)
            if urlsplit(target).path.startswith("/sorry"):
                return RateLimited(None, _ROBOT)
        return self.error_of(reply)


def edition(search: Search) -> dict[str, str]:
    """Return the parameters that name an edition of Google News, such as `de`, `AT` and `AT:de`."""
    country = search.country
    language = search.language.partition("-")[0]
    shown, named = language, language
    match language:
        case "en":
            shown = f"en-{country}"
        case "es" if country != "ES":
            shown = named = "es-419"
        case "fr" if country == "CA":
            shown = "fr-CA"
        case "iw":
            shown = named = "he"
        case "pt":
            shown, named = ("pt-PT", "pt-150") if country == "PT" else ("pt-BR", "pt-419")
        case "zh":
            is_simple = search.language.lower() in ("zh", "zh-cn", "zh-sg")
            shown = "zh-CN" if is_simple else ("zh-HK" if country in ("HK", "MO") else "zh-TW")
            named = "zh-Hans" if is_simple else "zh-Hant"
    return {"hl": shown, "gl": country, "ceid": f"{country}:{named}"}


def _target(asked: str, reply: Reply) -> str | None:
    """Return where an answer leads to; None if it leads nowhere."""
    location = reply.headers.get("location", "")
    if not 300 <= reply.status < 400 or not location:  # noqa: PLR2004
        return None
    try:
        target = urljoin(asked, location)
        urlsplit(target)
    except ValueError:
        return None
    return target


def _page_error(reply: Reply, secrets: tuple[str, ...]) -> Exception:
    """Return what to raise for a page in the place of a feed."""
    page = reply.body[:_LOOKED_AT]
    if b"consent.google" in page or b"consent.youtube" in page:
        return Misconfigured(_CONSENT)
    if b"/sorry/" in page or b"unusual traffic" in page:
        return RateLimited(retry_after(reply.headers), _ROBOT)
    return Unavailable(f"the answer is a page and no feed: {excerpt(page, secrets)}")


def _news(item: Item, position: int) -> dict[str, Any]:
    title = item.title
    if item.source is not None:
        # The feed writes the publisher behind the headline.
        title = title.removesuffix(f" - {item.source}") or title
    says_more = item.text is not None and item.text not in (title, item.title, f"{title} {item.source}")
    return {
        "position": position,
        "title": title,
        "link": item.link,
        "snippet": item.text if says_more else None,
        "source": item.source,
        "date": item.date,
        "page": (position - 1) // HITS_A_PAGE + 1,
    }
