"""Google's Custom Search JSON API, which answers GOOGLE with web search in JSON.

Google has closed this API to new customers and ends it on 1 January 2027; it is for those who have a key.
Until then each page of ten hits is one query of its quota (100 a day without billing), and it never
tells more than 100 hits: of pages beyond that there is nothing in the result, and they are not asked for.

| of a task                     | becomes                                                    |
|-------------------------------|------------------------------------------------------------|
| `query`, or `q` of `url`      | `q`                                                        |
| `country`, `gl`               | `gl`                                                       |
| `hl`, else by the country     | `hl`                                                       |
| `pages`, or `num` of `url`    | that many calls, until Google has no next page             |
| `start` of `url`              | `start`; positions in the result count from 1 all the same |
| `safe` of `url`, else setting | `safe`                                                     |
| `tbs=qdr:` of `url`           | `dateRestrict`, for days, weeks, months and years          |

It knows no device, no town (`location`, `uule`), no other `tbs`, no AI overview and no HTML: these are
not told to it, and their blocks are not in the result. A corrected spelling comes as a related search.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from scheduler.errors import Unavailable
from scheduler.providers.base import Call, ProviderSettings
from scheduler.providers.classifying import excerpt
from scheduler.providers.google.errors import google_error
from scheduler.providers.tools.decoding import objects_of, text_of, web_address
from scheduler.providers.tools.http import HttpProvider, HttpSettings, Reply
from scheduler.providers.tools.searching import HITS_A_PAGE, Search, search_of

MOST_HITS: Final = 100
"""Of one query: the API refuses what would go beyond."""

_PATH: Final = "/customsearch/v1"


class GoogleSearchSettings(HttpSettings):
    """What the provider can be told.

    Attributes:
        base_url: Where the API is.
        api_key: Of a Google Cloud project in which the API is enabled. It is sent as a header, because
            addresses are logged.
        cx: Id of a Programmable Search Engine.
        safe: Whether adult pages are left out, if the task does not say.
        timeout: Seconds that one call may take, all its pages together.
        quota_cooldown: Seconds for which the API is left alone once its quota of the day is used up; the
            day begins at midnight in California.
    """

    base_url: str = "https://customsearch.googleapis.com"
    api_key: SecretStr = Field(min_length=1)
    cx: str = Field(min_length=1, max_length=200)
    safe: Literal["off", "active"] = "off"
    timeout: float = Field(default=60.0, gt=0, le=3_600, allow_inf_nan=False)
    quota_cooldown: float = Field(default=3_600.0, ge=1, le=86_400, allow_inf_nan=False)


class GoogleSearch(HttpProvider):
    """Google by its own API; see the head of this module."""

    types: ClassVar[tuple[str, ...]] = ("GOOGLE",)
    Settings: ClassVar[type[ProviderSettings]] = GoogleSearchSettings
    settings: GoogleSearchSettings

    def headers(self) -> Mapping[str, str]:
        """Return the header with the key."""
        return {"X-Goog-Api-Key": self.settings.api_key.get_secret_value()}

    def error_of(self, reply: Reply) -> Exception:
        """Return what to raise for an answer that is no success."""
        return google_error(
            reply.status,
            reply.headers,
            reply.body,
            quota_cooldown=self.settings.quota_cooldown,
            secrets=self.secrets,
        )

    async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:  # noqa: ARG002
        """Return the hits of all pages that Google has."""
        search = search_of(payload)
        hits: list[dict[str, Any]] = []
        related: list[dict[str, str]] = []
        for page in range(1, search.pages + 1):
            before = search.skip + (page - 1) * HITS_A_PAGE
            if before >= MOST_HITS:
                break
            document = await self._page(search, before)
            for item in objects_of(document.get("items")):
                link = web_address(item.get("link"))
                if link is not None:
                    hits.append(_hit(item, link, len(hits) + 1, page))
            related = related or _spelling(document)
            if not _has_next(document):
                break
        return {"organicResults": hits, "relatedSearches": related or None}

    async def _page(self, search: Search, before: int) -> dict[str, Any]:
        params: dict[str, str | int] = {
            "q": search.query,
            "cx": self.settings.cx,
            "num": min(HITS_A_PAGE, MOST_HITS - before),
            "start": before + 1,
            "safe": self.settings.safe if search.safe is None else ("active" if search.safe else "off"),
            "hl": search.language,
            "gl": search.country.lower(),
        }
        if search.period is not None:
            unit, count = search.period
            params["dateRestrict"] = f"{unit}{count}"
        document = await self.get_json(_PATH, {name: value for name, value in params.items() if value != ""})
        error = document.get("error")
        if isinstance(error, dict) and isinstance(code := error.get("code"), int):
            raise self.error_of(Reply(code, {}, json.dumps(document).encode()))
        # A search without hits has no items, but it says that it was one.
        if not isinstance(document.get("searchInformation"), dict) and "items" not in document:
            said = excerpt(json.dumps(document), self.secrets)
            raise Unavailable(f"the answer is none of the search API: {said}")
        return document


def _hit(item: Mapping[str, Any], link: str, position: int, page: int) -> dict[str, Any]:
    return {
        "position": position,
        "title": text_of(item.get("title")) or link,
        "link": link,
        "displayedLink": text_of(item.get("formattedUrl")) or text_of(item.get("displayLink")),
        "snippet": text_of(item.get("snippet")),
        "date": _date(item),
        "page": page,
    }


def _date(item: Mapping[str, Any]) -> str | None:
    """Return when a page says of itself that it was published."""
    pagemap = item.get("pagemap")
    tags = objects_of(pagemap.get("metatags")) if isinstance(pagemap, dict) else []
    return next((date for tag in tags if (date := text_of(tag.get("article:published_time")))), None)


def _spelling(document: Mapping[str, Any]) -> list[dict[str, str]]:
    spelling = document.get("spelling")
    corrected = text_of(spelling.get("correctedQuery")) if isinstance(spelling, dict) else None
    return [] if corrected is None else [{"query": corrected}]


def _has_next(document: Mapping[str, Any]) -> bool:
    queries = document.get("queries")
    return isinstance(queries, dict) and bool(objects_of(queries.get("nextPage")))
