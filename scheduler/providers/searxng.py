"""A SearXNG instance, which answers GOOGLE and GOOGLE_NEWS with what several search engines found.

The instance must allow JSON (`search: formats: [html, json]` in its settings.yml); most public ones do
not. Where its limiter is on, our address must be in `botdetection.ip_lists.pass_ip`: else it lets four
calls an hour through.

| of a task                     | becomes                                                            |
|-------------------------------|--------------------------------------------------------------------|
| `query`, or `q` of `url`      | `q`; a `!bang` or `:language` in it works, a `!!bang` is rejected  |
| the type                      | `categories`: general or news                                      |
| `hl`, `country`, `gl`         | `language`, such as de-AT: the language by the country if unsaid   |
| `pages`, `start` of `url`     | `pageno`, one call each, until a page is empty                     |
| `safe` of `url`, else setting | `safesearch`                                                       |
| `tbs=qdr:` of `url`           | `time_range`, for one day, week, month or year                     |

A page has as many hits as its engines find, mostly ten to forty; a hit is told once, however many
pages it stands on. It knows no device, no town, no AI overview and no HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr

from scheduler.errors import Misconfigured, RateLimited, Rejected, Unavailable
from scheduler.providers.base import Call, ProviderSettings
from scheduler.providers.classifying import excerpt, retry_after
from scheduler.providers.tools.decoding import objects_of, text_of, web_address
from scheduler.providers.tools.http import HttpProvider, HttpSettings, Reply
from scheduler.providers.tools.searching import HITS_A_PAGE, Search, search_of

_PATH: Final = "/search"
_FORBIDDEN, _EXHAUSTED = 403, 429
_CATEGORIES: Final = {"GOOGLE": "general", "GOOGLE_NEWS": "news"}
_SAFE: Final = {"off": 0, "moderate": 1, "strict": 2}
_PERIODS: Final = {"d": "day", "w": "week", "m": "month", "y": "year"}
_REDIRECTS: Final = "!!"  # in a query: go to another search engine, or to the first hit
_TOLD: Final = 5  # engines that are named when none of them answered


class SearxngSettings(HttpSettings):
    """What the provider can be told.

    Attributes:
        base_url: Where the instance is.
        authorization: The header `Authorization`, if something in front of the instance asks for it.
        engines: Which of its engines are asked, by their names there; none: those of the category.
        safe: Whether adult pages are left out, if the task does not say.
        timeout: Seconds that one call may take, all its pages together.
    """

    authorization: SecretStr | None = None
    engines: tuple[Annotated[str, Field(pattern=r"^[^,]{1,64}$")], ...] = Field(default=(), max_length=50)
    safe: Literal["off", "moderate", "strict"] = "off"
    timeout: float = Field(default=60.0, gt=0, le=3_600, allow_inf_nan=False)


class Searxng(HttpProvider):
    """A SearXNG instance; see the head of this module."""

    types: ClassVar[tuple[str, ...]] = ("GOOGLE", "GOOGLE_NEWS")
    Settings: ClassVar[type[ProviderSettings]] = SearxngSettings
    settings: SearxngSettings

    def headers(self) -> Mapping[str, str]:
        """Return what the instance looks at; without languages its limiter takes us for a robot."""
        headers = {"Accept": "application/json, text/html;q=0.1", "Accept-Language": "*"}
        if self.settings.authorization is not None:
            headers["Authorization"] = self.settings.authorization.get_secret_value()
        return headers

    def error_of(self, reply: Reply) -> Exception:
        """Return what to raise for an answer that is no success."""
        if reply.status == _FORBIDDEN:
            return Misconfigured(
                "the service answered 403: the instance does not allow format=json; "
                "add json to search.formats in its settings.yml"
            )
        if reply.status == _EXHAUSTED:
            return RateLimited(
                retry_after(reply.headers),
                "the service answered 429: its limiter is on; put our address into "
                "botdetection.ip_lists.pass_ip of its limiter.toml",
            )
        return super().error_of(reply)

    async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
        """Return the hits of all pages that the instance has."""
        search = search_of(payload)
        is_news = call.task_type == "GOOGLE_NEWS"
        hits: dict[str, dict[str, Any]] = {}
        related: dict[str, None] = {}
        for page in range(1, search.pages + 1):
            document = await self._page(search, _CATEGORIES[call.task_type], page)
            results = document.get("results")
            if not isinstance(results, list):
                raise Unavailable("the answer is none of SearXNG: it has no results")
            if not results:
                if not hits:
                    _check_engines(document)
                break
            for result in objects_of(results):
                link = web_address(result.get("url"))
                if link is not None and link not in hits:
                    hits[link] = _hit(result, link, len(hits) + 1, page, is_news=is_news)
            related.update(dict.fromkeys(_related(document)))
        if is_news:
            return {"newsResults": list(hits.values())}
        searches = [{"query": query} for query in related]
        return {"organicResults": list(hits.values()), "relatedSearches": searches or None}

    async def _page(self, search: Search, category: str, page: int) -> dict[str, Any]:
        params: dict[str, str | int] = {
            "q": search.query,
            "format": "json",
            "pageno": search.skip // HITS_A_PAGE + page,
            "language": language_tag(search),
            "safesearch": _SAFE[self.settings.safe] if search.safe is None else 2 * search.safe,
        }
        # Beside engines a category would add all of its own.
        if self.settings.engines:
            params["engines"] = ",".join(self.settings.engines)
        else:
            params["categories"] = category
        if search.period is not None and search.period[1] == 1:
            params["time_range"] = _PERIODS[search.period[0]]
        reply = await self.request("GET", _PATH, params=params)
        if "location" in reply.headers and _REDIRECTS in search.query:
            # The breaker must not open because of what somebody searched for.
            raise Rejected(f"a search with {_REDIRECTS} leads to another site, and has no result")
        return self.object_of(reply)


def language_tag(search: Search) -> str:
    """Return language and country as SearXNG takes them, such as `"de-AT"`; `"all"` if it takes neither."""
    language = search.language.partition("-")[0].lower()
    # Google's old code for Hebrew.
    language = "he" if language == "iw" else language
    if not (language.isascii() and language.isalpha() and 2 <= len(language) <= 3):  # noqa: PLR2004
        return "all"
    return f"{language}-{search.country}" if search.country else language


def _check_engines(document: Mapping[str, Any]) -> None:
    """Refuse an empty answer of which engines are missing: it does not mean that there is nothing.

    Raises:
        Unavailable: If an engine did not answer.
    """
    silent = document.get("unresponsive_engines")
    if not isinstance(silent, list) or not silent:
        return
    told = ", ".join(
        ": ".join(str(word) for word in engine[:2]) if isinstance(engine, list) else str(engine)
        for engine in silent[:_TOLD]
    )
    raise Unavailable(f"nothing was found, and engines of the instance did not answer: {excerpt(told)}")


def _hit(result: Mapping[str, Any], link: str, position: int, page: int, *, is_news: bool) -> dict[str, Any]:
    hit = {
        "position": position,
        "title": text_of(result.get("title")) or link,
        "link": link,
        "snippet": text_of(result.get("content")),
        "date": text_of(result.get("publishedDate")),
        "page": page,
    }
    if is_news:
        hit["source"] = text_of(result.get("author")) or str(urlsplit(link).hostname).removeprefix("www.")
        hit["thumbnail"] = web_address(result.get("thumbnail")) or web_address(result.get("img_src"))
    return hit


def _related(document: Mapping[str, Any]) -> list[str]:
    """Return the corrections and suggestions of an answer; older instances have objects in their place."""
    found = []
    for name in ("corrections", "suggestions"):
        given = document.get(name)
        for each in given if isinstance(given, list) else []:
            query = text_of(each.get("title") if isinstance(each, dict) else each)
            if query is not None:
                found.append(query)
    return found
