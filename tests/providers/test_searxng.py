"""GOOGLE and GOOGLE_NEWS by a SearXNG instance: pages, languages, engines that do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from scheduler.errors import Misconfigured, RateLimited, Rejected, Unavailable
from scheduler.providers import Provider
from scheduler.providers.searxng import Searxng, SearxngSettings, language_tag
from scheduler.providers.tools.searching import Search
from taskqueue import TaskQueue, TaskState
from tests.providers.asking import asked, opened, ran
from tests.providers.searxng_server import answer, news, result
from tests.providers.servers import (
    REFUSALS,
    Answer,
    Service,
    holds,
    resets,
    says,
    says_json,
    seconds_of,
    service,
)

SEARCH = {"query": "best laptops", "country": "AT"}
FIRST = answer(*(result(number) for number in range(1, 21)))
SECOND = answer(*(result(number) for number in range(16, 31)))


@asynccontextmanager
async def searching(*answers: Answer, **settings: Any) -> AsyncIterator[tuple[Provider, Service]]:
    """A provider in front of an instance with these answers."""
    async with service(*answers) as server, opened(Searxng, base_url=server.url, **settings) as provider:
        yield provider, server


async def found(*answers: Any, task_type: str = "GOOGLE", **payload: Any) -> dict[str, Any]:
    """The result of a search; answers that are none yet are JSON."""
    ready = [each if callable(each) else says_json(each) for each in answers]
    async with searching(*ready) as (provider, _):
        return await asked(provider, task_type, SEARCH | payload)


async def test_a_search_is_told_with_language_and_country() -> None:
    """German is the language of Austria; the category follows from the type."""
    async with searching(says_json(FIRST)) as (provider, server):
        hits = (await asked(provider, "GOOGLE", SEARCH))["organicResults"]

    assert [(hit["position"], hit["page"]) for hit in hits] == [(number, 1) for number in range(1, 21)]
    assert hits[0] == {
        "position": 1,
        "title": "Laptop 1",
        "link": "https://www.reviews.example/laptops/1",
        "snippet": "Laptop 1: the one to buy",
        "page": 1,
    }
    (request,) = server.asked
    assert request.path == "/search"
    assert request.params == {
        "q": "best laptops",
        "format": "json",
        "pageno": "1",
        "language": "de-AT",
        "safesearch": "0",
        "categories": "general",
    }
    # Without these the instance's limiter takes a caller for a robot.
    assert "text/html" in request.headers["accept"]
    assert request.headers["accept-language"] == "*"
    assert "Python" not in request.headers["user-agent"]
    assert "authorization" not in request.headers


async def test_a_hit_is_told_once_whatever_pages_it_stands_on() -> None:
    """Pages of metasearch overlap; positions stay without gaps, and an empty page is the last."""
    answers = [says_json(FIRST), says_json(SECOND), says_json(answer())]
    async with searching(*answers) as (provider, server):
        hits = (await asked(provider, "GOOGLE", SEARCH | {"pages": 10}))["organicResults"]

    assert [hit["position"] for hit in hits] == list(range(1, 31))
    assert [hit["page"] for hit in hits] == [1] * 20 + [2] * 10
    assert [request.params["pageno"] for request in server.asked] == ["1", "2", "3"]


async def test_news_have_a_source_and_a_picture() -> None:
    """The publisher is the author, or else the site."""
    items = [news(1), news(2, author="Daily News"), news(3, thumbnail="/proxy?x", img_src="data:x")]
    async with searching(says_json(answer(*items))) as (provider, server):
        result = await asked(provider, "GOOGLE_NEWS", SEARCH)

    assert result["newsResults"][0] == {
        "position": 1,
        "title": "News 1",
        "link": "https://www.daily.example/1",
        "snippet": "It has happened.",
        "source": "daily.example",
        "date": "2026-11-24T07:00:00",
        "thumbnail": "https://img.example/1.jpg",
        "page": 1,
    }
    assert result["newsResults"][1]["source"] == "Daily News"
    assert "thumbnail" not in result["newsResults"][2]
    assert server.asked[0].params["categories"] == "news"


async def test_suggestions_and_corrections_are_related_searches() -> None:
    """As texts, or as the objects of older instances; each once."""
    more: dict[str, Any] = {
        "suggestions": ["cheap laptops", "gaming laptops", "", 7],
        "corrections": [{"url": "/search?q=x", "title": "cheap laptops"}, "best laptop"],
    }

    related = (await found(answer(result(1), **more)))["relatedSearches"]

    assert [each["query"] for each in related] == ["cheap laptops", "best laptop", "gaming laptops"]


async def test_engines_may_be_chosen() -> None:
    """Beside them a category would add all of its own."""
    async with searching(says_json(FIRST), engines=["brave", "mojeek"], safe="strict") as (provider, server):
        await asked(provider, "GOOGLE", SEARCH)

    assert server.asked[0].params["engines"] == "brave,mojeek"
    assert server.asked[0].params["safesearch"] == "2"
    assert "categories" not in server.asked[0].params


@pytest.mark.parametrize("engines", [["a,b"], [""], ["x" * 65], ["a"] * 51, "brave"])
def test_names_of_engines_are_checked(engines: Any) -> None:
    """They are joined by commas."""
    with pytest.raises(ValidationError, match="engines"):
        SearxngSettings(base_url="http://127.0.0.1", engines=engines)


@pytest.mark.parametrize(
    ("tbs", "told"), [("qdr:d", "day"), ("qdr:y,sbd:1", "year"), ("qdr:m3", None), ("cdr:1", None)]
)
async def test_an_address_says_all_that_an_instance_understands(tbs: str, told: str | None) -> None:
    """Its first page is where it starts; ages are those that SearXNG has."""
    url = f"https://www.google.com/search?q=laptops&gl=ch&hl=fr&num=20&start=20&safe=active&tbs={tbs}"
    async with searching(says_json(FIRST), says_json(SECOND)) as (provider, server):
        hits = (await asked(provider, "GOOGLE", {"url": url}))["organicResults"]

    assert (hits[0]["position"], hits[0]["page"]) == (1, 1)
    assert [request.params["pageno"] for request in server.asked] == ["3", "4"]
    assert server.asked[0].params["language"] == "fr-CH"
    assert server.asked[0].params["safesearch"] == "2"
    assert server.asked[0].params.get("time_range") == told


@pytest.mark.parametrize(
    ("language", "country", "tag"),
    [
        ("de", "AT", "de-AT"),
        ("pt-br", "PT", "pt-PT"),
        ("zh-TW", "TW", "zh-TW"),
        ("iw", "IL", "he-IL"),
        ("en", "", "en"),
        ("", "US", "all"),
        ("x-klingon", "US", "all"),
        ("d3", "US", "all"),
        ("ä", "US", "all"),
    ],
)
def test_a_language_is_told_as_an_instance_takes_it(language: str, country: str, tag: str) -> None:
    """What it would refuse with 400 is not told."""
    assert language_tag(Search("q", country, language, 1)) == tag


async def test_nothing_found_is_an_answer_only_if_all_engines_answered() -> None:
    """An empty page of engines that are blocked does not mean that there is nothing."""
    silent = [["brave", "Suspended: too many requests"], ["google", "timeout"], "odd", ["x"]]

    assert await found(answer()) == {"organicResults": []}
    assert await found(answer(), task_type="GOOGLE_NEWS") == {"newsResults": []}
    with pytest.raises(Unavailable, match=r"nothing was found.*brave: Suspended: too many requests, google"):
        await found(answer(unresponsive_engines=silent))
    some = await found(answer(result(1), unresponsive_engines=silent), answer(unresponsive_engines=silent))
    assert len(some["organicResults"]) == 1


async def test_pages_behind_the_first_may_be_missing() -> None:
    """Engines that tire on the second page leave what the first one had."""
    pages = [FIRST, answer(unresponsive_engines=[["brave", "timeout"]])]

    assert len((await found(*pages, pages=3))["organicResults"]) == 20


@pytest.mark.parametrize(("status", "headers", "kind", "after"), REFUSALS)
async def test_a_refusal_is_judged_by_its_status(
    status: int, headers: tuple[str, ...], kind: type[Exception], after: float | None
) -> None:
    """Two of them have a reason that an operator can do something about."""
    with pytest.raises(kind, match=f"the service answered {status}") as caught:
        await found(says("<html>No", status, *headers, kind="text/html"))

    if after is not None:
        assert seconds_of(caught.value) == after
    if status == 403:
        assert "add json to search.formats in its settings.yml" in str(caught.value)
    if status == 429:
        assert "botdetection.ip_lists.pass_ip" in str(caught.value)


async def test_a_bang_that_leads_away_is_the_fault_of_the_query() -> None:
    """Whoever searches for it does not open the breaker of everybody."""
    away = says("", 302, "Location: https://www.google.com/search?q=x")
    with pytest.raises(Rejected, match="a search with !! leads to another site"):
        await found(away, query="!!g laptops")
    with pytest.raises(Misconfigured, match="redirects are not followed"):
        await found(away)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (says("<html>Verifying your browser", kind="text/html"), "no JSON but text/html: <html>Verifying"),
        ({}, "none of SearXNG: it has no results"),
        ({"results": {}}, "none of SearXNG: it has no results"),
        ({"error": "search error"}, "none of SearXNG"),
        (resets(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "the connection broke"),
    ],
)
async def test_an_answer_that_is_none_is_a_failure(given: Any, what: str) -> None:
    """Also a page that wants a browser."""
    with pytest.raises(Unavailable, match=what):
        await found(given)


async def test_a_hit_that_is_odd_spoils_no_others() -> None:
    """Magnet links, missing titles, wrong types, half an address."""
    hits: list[Any] = [
        result(1, url="magnet:?xt=1"),
        "x",
        result(2, title=None, content=["x"]),
        result(3, url="http://[b"),
        result(4, url="https:///path"),
    ]

    (hit,) = (await found(answer(*hits)))["organicResults"]

    assert hit == {"position": 1, "title": hit["link"], "link": hit["link"], "page": 1}


async def test_a_service_that_is_silent_is_left_after_the_timeout() -> None:
    """The time is for all pages together."""
    async with searching(says_json(FIRST), holds(), timeout=0.3) as (provider, server):
        with pytest.raises(Unavailable, match=r"0\.3 s"):
            await asked(provider, "GOOGLE", SEARCH | {"pages": 2})
        async with asyncio.timeout(5):
            await server.left.wait()


async def test_cancelling_a_task_stops_its_call_on_the_wire() -> None:
    """The instance sees the connection go."""
    async with searching(holds()) as (provider, server):
        call = asyncio.create_task(asked(provider, "GOOGLE", SEARCH))
        async with asyncio.timeout(5):
            await server.arrived.wait()
            call.cancel()
            await server.left.wait()


async def test_a_password_in_front_of_the_instance_is_sent_and_not_shown() -> None:
    """It is a secret like any other."""
    secret = "Basic bm9ib2R5OnNob3VsZC1zZWU="
    refused = says(f"no: {secret}", 401)
    async with searching(refused, authorization=secret) as (provider, server):
        with pytest.raises(Misconfigured, match=r"401: no: \[hidden\]"):
            await asked(provider, "GOOGLE", SEARCH)

    assert server.asked[0].headers["authorization"] == secret


async def test_tasks_of_both_types_go_through_a_file_and_a_real_queue(
    queue: TaskQueue, tmp_path: Path
) -> None:
    """One instance for both."""
    async with service(says_json(FIRST), says_json(answer(news(1)))) as server:
        toml = f"""
            [providers.own]
            kind = "searxng"
            base_url = "{server.url}"
            [types]
            GOOGLE = ["own"]
            GOOGLE_NEWS = ["own"]
        """
        search = await ran(queue, tmp_path, toml, "GOOGLE", SEARCH)
        headlines = await ran(queue, tmp_path, toml, "GOOGLE_NEWS", SEARCH)

    assert (search.state, len(search.result["organicResults"])) == (TaskState.COMPLETED, 20)
    assert (headlines.state, len(headlines.result["newsResults"])) == (TaskState.COMPLETED, 1)


async def test_a_limiter_that_says_for_how_long_is_left_alone_for_that() -> None:
    """Else for the provider's cooldown."""
    for headers, after in (((), 5), (("Retry-After: 60",), 60)):
        with pytest.raises(RateLimited) as caught:
            await found(says("", 429, *headers))
        assert seconds_of(caught.value) == after
