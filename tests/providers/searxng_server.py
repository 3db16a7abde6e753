"""A SearXNG instance as its documentation describes its search API."""

from __future__ import annotations

from typing import Any


def answer(*results: dict[str, Any], query: str = "best laptops", **more: Any) -> dict[str, Any]:
    """One page."""
    return {
        "query": query,
        "number_of_results": 0,
        "results": list(results),
        "answers": [],
        "corrections": [],
        "infoboxes": [],
        "suggestions": [],
        "unresponsive_engines": [],
    } | more


def result(number: int, **more: Any) -> dict[str, Any]:
    """One hit of the category general."""
    url = f"https://www.reviews.example/laptops/{number}"
    return {
        "url": url,
        "title": f"Laptop {number}",
        "content": f"Laptop {number}: the one to buy",
        "thumbnail": "",
        "engine": "brave",
        "template": "default.html",
        "parsed_url": ["https", "www.reviews.example", f"/laptops/{number}", "", "", ""],
        "img_src": "",
        "priority": "",
        "engines": ["brave", "duckduckgo"],
        "positions": [number, number],
        "score": 2.0 / number,
        "category": "general",
        "publishedDate": None,
    } | more


def news(number: int, **more: Any) -> dict[str, Any]:
    """One hit of the category news."""
    return (
        result(
            number,
            url=f"https://www.daily.example/{number}",
            title=f"News {number}",
            content="It has happened.",
            category="news",
            publishedDate="2026-11-24T07:00:00",
            thumbnail=f"https://img.example/{number}.jpg",
            author="",
        )
        | more
    )
