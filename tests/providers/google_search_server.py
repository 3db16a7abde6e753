"""Google's Custom Search JSON API as its reference describes it: pages of a search, and errors."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.providers.servers import Answer, Asked, says_json


def page(
    start: int = 1, count: int = 10, total: int = 1_000, query: str = "best laptops", **more: Any
) -> dict[str, Any]:
    """One page of a search that has *total* hits."""
    request = {
        "title": f"Google Custom Search - {query}",
        "totalResults": str(total),
        "searchTerms": query,
        "count": count,
        "startIndex": start,
        "inputEncoding": "utf8",
        "outputEncoding": "utf8",
        "safe": "off",
        "cx": "017576662512468239146:omuauf_lfve",
    }
    queries = {"request": [request]}
    if start + count <= total:
        queries["nextPage"] = [request | {"startIndex": start + count}]
    found: dict[str, Any] = {
        "kind": "customsearch#search",
        "url": {"type": "application/json", "template": "https://www.googleapis.com/customsearch/v1?q={q}"},
        "queries": queries,
        "context": {"title": "Everything"},
        "searchInformation": {
            "searchTime": 0.31,
            "formattedSearchTime": "0.31",
            "totalResults": str(total),
            "formattedTotalResults": f"{total:,}",
        },
    }
    if items := [item(number) for number in range(start, min(start + count, total + 1))]:
        found["items"] = items
    return found | more


def item(number: int, **more: Any) -> dict[str, Any]:
    """One hit."""
    return {
        "kind": "customsearch#result",
        "title": f"Laptop {number} - Reviews",
        "htmlTitle": f"<b>Laptop</b> {number} - Reviews",
        "link": f"https://reviews.example/laptops/{number}",
        "displayLink": "reviews.example",
        "snippet": f"Laptop {number}: the one to buy ...",
        "htmlSnippet": f"<b>Laptop</b> {number}: the one to buy&nbsp;<b>...</b>",
        "cacheId": "abc",
        "formattedUrl": f"https://reviews.example/laptops/{number}",
        "htmlFormattedUrl": f"https://reviews.example/<b>laptops</b>/{number}",
        "pagemap": {"metatags": [{"og:title": "Laptops"}], "cse_image": [{"src": "https://a.example/1.png"}]},
    } | more


def pages(total: int = 1_000) -> Answer:
    """Every page that is asked for, as the API has it: refused beyond the hundredth hit."""

    async def answer(asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start, count = int(asked.params["start"]), int(asked.params["num"])
        if not 1 <= count <= 10 or start + count - 1 > 100:
            reply = says_json(error(400, "Request contains an invalid argument.", "badRequest"), 400)
        else:
            reply = says_json(page(start, count, total, asked.params["q"]))
        await reply(asked, reader, writer)

    return answer


def error(code: int, message: str, reason: str, **more: Any) -> dict[str, Any]:
    """An error in the API's first shape, with what the second one adds."""
    told = {"message": message, "domain": "global", "reason": reason}
    return {"error": {"code": code, "message": message, "errors": [told], **more}}


PER_DAY = error(
    429,
    "Quota exceeded for quota metric 'Queries' and limit 'Queries per day' of service "
    "'customsearch.googleapis.com' for consumer 'project_number:1'.",
    "rateLimitExceeded",
    status="RESOURCE_EXHAUSTED",
    details=[
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "googleapis.com",
            "metadata": {
                "service": "customsearch.googleapis.com",
                "quota_metric": "customsearch.googleapis.com/requests",
                "quota_limit": "DefaultPerDayPerProject",
                "quota_limit_value": "100",
                "consumer": "projects/1",
            },
        }
    ],
)
"""What a project without billing is told by its 101st query of a day."""

BAD_KEY = error(
    400,
    "API key not valid. Please pass a valid API key.",
    "badRequest",
    status="INVALID_ARGUMENT",
    details=[
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "customsearch.googleapis.com"},
        }
    ],
)
