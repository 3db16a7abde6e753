"""GOOGLE by Google's own API: pages, places, the hundredth hit, quotas."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scheduler.errors import Misconfigured, RateLimited, Rejected, Unavailable
from scheduler.providers import Provider
from scheduler.providers.google.search import GoogleSearch
from taskqueue import TaskQueue, TaskState
from tests.providers.asking import asked, opened, ran
from tests.providers.google_search_server import BAD_KEY, PER_DAY, error, item, page, pages
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

KEY = "AIzaSyA-key-that-nobody-may-see-012345"
SEARCH = {"query": "best laptops", "country": "DE"}


@asynccontextmanager
async def searching(*answers: Answer, **settings: Any) -> AsyncIterator[tuple[Provider, Service]]:
    """A provider in front of a service with these answers."""
    given = {"api_key": KEY, "cx": "engine-1"} | settings
    async with service(*answers) as server, opened(GoogleSearch, base_url=server.url, **given) as provider:
        yield provider, server


async def found(*answers: Answer, **payload: Any) -> dict[str, Any]:
    """The result of a search."""
    async with searching(*answers) as (provider, _):
        return await asked(provider, "GOOGLE", payload or SEARCH)


async def test_a_search_is_told_with_its_place_and_without_the_key_in_the_address() -> None:
    """Query, engine, country and language; addresses are logged, headers are not."""
    async with searching(pages()) as (provider, server):
        result = await asked(provider, "GOOGLE", SEARCH)

    assert [hit["position"] for hit in result["organicResults"]] == list(range(1, 11))
    assert result["organicResults"][0] == {
        "position": 1,
        "title": "Laptop 1 - Reviews",
        "link": "https://reviews.example/laptops/1",
        "displayedLink": "https://reviews.example/laptops/1",
        "snippet": "Laptop 1: the one to buy ...",
        "page": 1,
    }
    assert "relatedSearches" not in result
    (request,) = server.asked
    assert request.path == "/customsearch/v1"
    assert request.headers["x-goog-api-key"] == KEY
    assert request.params == {
        "q": "best laptops",
        "cx": "engine-1",
        "num": "10",
        "start": "1",
        "safe": "off",
        "hl": "de",
        "gl": "de",
    }


async def test_positions_count_over_all_pages() -> None:
    """Three pages are three calls; each hit knows its page."""
    async with searching(pages()) as (provider, server):
        result = await asked(provider, "GOOGLE", SEARCH | {"pages": 3, "hl": "en"})

    assert [(hit["position"], hit["page"]) for hit in result["organicResults"]] == [
        (number, (number - 1) // 10 + 1) for number in range(1, 31)
    ]
    assert [request.params["start"] for request in server.asked] == ["1", "11", "21"]
    assert {request.params["hl"] for request in server.asked} == {"en"}


async def test_pages_that_google_does_not_have_are_not_asked_for() -> None:
    """Each is a query of the quota: of 13 hits there are two pages."""
    async with searching(pages(total=13)) as (provider, server):
        result = await asked(provider, "GOOGLE", SEARCH | {"pages": 10})

    assert len(result["organicResults"]) == 13
    assert len(server.asked) == 2


async def test_a_search_without_hits_is_an_answer() -> None:
    """An empty list, and not a failure."""
    assert await found(pages(total=0)) == {"organicResults": []}


async def test_an_address_says_all_that_the_api_understands() -> None:
    """The place, how many, from where, how old and how clean; what is not understood is left out."""
    url = (
        "https://www.google.com/search?q=best+laptops&gl=at&hl=en&num=20&start=5&safe=active"
        "&tbs=qdr:w2,sbd:1&uule=w+CAIQICI"
    )
    async with searching(pages()) as (provider, server):
        result = await asked(provider, "GOOGLE", {"url": url})

    assert len(result["organicResults"]) == 20
    assert result["organicResults"][0]["link"] == "https://reviews.example/laptops/6"
    assert [result["organicResults"][n]["position"] for n in (0, 19)] == [1, 20]
    assert server.asked[1].params == {
        "q": "best laptops",
        "cx": "engine-1",
        "num": "10",
        "start": "16",
        "safe": "active",
        "hl": "en",
        "gl": "at",
        "dateRestrict": "w2",
    }


async def test_nothing_is_asked_beyond_the_hundredth_hit() -> None:
    """The API refuses that: ten pages from the 92nd on are the nine hits that are left."""
    url = "https://www.google.com/search?q=laptops&gl=us&num=100&start={}"
    async with searching(pages()) as (provider, server):
        last = await asked(provider, "GOOGLE", {"url": url.format(91)})
        none = await asked(provider, "GOOGLE", {"url": url.format(100)})

    assert [hit["link"].rpartition("/")[2] for hit in last["organicResults"]] == [
        str(number) for number in range(92, 101)
    ]
    assert none == {"organicResults": []}
    assert len(server.asked) == 1


async def test_a_corrected_spelling_is_a_related_search() -> None:
    """The API has no other related searches."""
    spelled = page(spelling={"correctedQuery": "best laptops", "htmlCorrectedQuery": "best <b>laptops</b>"})

    assert (await found(says_json(spelled)))["relatedSearches"] == [{"query": "best laptops"}]


async def test_a_hit_that_is_odd_spoils_no_others() -> None:
    """Without a link it is left out; without a title its link is one; a page's own date is kept."""
    dated = {"metatags": [{"article:published_time": "2026-11-20T08:00:00Z"}]}
    items = [
        item(1, link="javascript:alert(1)"),
        item(2, link=None),
        item(3, link="https://example.org/" + "x" * 9_000),
        "no hit",
        item(4, title=None, snippet=7, formattedUrl=None, pagemap=[]),
        item(5, pagemap=dated),
        item(6, title="x" * 5_000),
    ]

    result = await found(says_json(page(items=items, queries=[])))

    first, second, third = result["organicResults"]
    assert first == {
        "position": 1,
        "title": "https://reviews.example/laptops/4",
        "link": "https://reviews.example/laptops/4",
        "displayedLink": "reviews.example",
        "page": 1,
    }
    assert second["date"] == "2026-11-20T08:00:00Z"
    assert (third["position"], len(third["title"])) == (3, 4_000)


async def test_safe_search_may_be_set_for_all_tasks() -> None:
    """A task's own address says otherwise."""
    url = "https://www.google.com/search?q=laptops&gl=us&safe=off"
    async with searching(pages(), safe="active") as (provider, server):
        await asked(provider, "GOOGLE", SEARCH)
        await asked(provider, "GOOGLE", {"url": url})

    assert [request.params["safe"] for request in server.asked] == ["active", "off"]


@pytest.mark.parametrize(("status", "headers", "kind", "after"), REFUSALS)
async def test_a_refusal_without_reasons_is_judged_by_its_status(
    status: int, headers: tuple[str, ...], kind: type[Exception], after: float | None
) -> None:
    """Whatever stands before the API answers with pages of its own."""
    with pytest.raises(kind, match=f"the service answered {status}: <html>No") as caught:
        await found(says("<html>No", status, *headers, kind="text/html"))

    if after is not None:
        assert seconds_of(caught.value) == after


@pytest.mark.parametrize(
    ("status", "body", "kind", "after", "what"),
    [
        (429, PER_DAY, RateLimited, 3_600, "429: Quota exceeded for quota metric 'Queries' and limit"),
        (403, error(403, "Daily Limit Exceeded", "dailyLimitExceeded"), RateLimited, 3_600, "403: Daily"),
        (403, error(403, "Slow down", "rateLimitExceeded"), RateLimited, 5, "Slow down"),
        (403, error(403, "Slow down", "userRateLimitExceeded"), RateLimited, 5, "Slow down"),
        (403, error(403, "Used up", "quotaExceeded"), RateLimited, 5, "Used up"),
        (403, error(403, "API not enabled", "accessNotConfigured"), Misconfigured, None, "not enabled"),
        (400, BAD_KEY, Misconfigured, None, "400: API key not valid"),
        (400, error(400, "Bad Request", "keyInvalid"), Misconfigured, None, "Bad Request"),
        (400, error(400, "Invalid Value", "invalid"), Rejected, None, "400: Invalid Value"),
        (404, error(404, "Requested entity was not found.", "notFound"), Misconfigured, None, "404"),
        (410, error(410, "The API is gone.", "gone"), Misconfigured, None, "410: The API is gone."),
        (500, error(500, "Backend Error", "backendError"), Unavailable, None, "Backend Error"),
        (403, {"error": {"errors": "odd", "details": 7, "message": 8}}, Misconfigured, None, "403"),
        (429, [{"error": {"message": "No"}}], RateLimited, 5, "429: No"),
        (400, {"error": "text"}, Rejected, None, "400"),
    ],
)
async def test_a_refusal_is_judged_by_its_reason(
    status: int, body: Any, kind: type[Exception], after: float | None, what: str
) -> None:
    """Quotas cool the provider, for an hour if they are for a day; keys and engines open its breaker."""
    with pytest.raises(kind, match=what) as caught:
        await found(says_json(body, status))

    assert seconds_of(caught.value) == after


async def test_how_long_a_daily_quota_cools_may_be_set() -> None:
    """For who knows when it begins anew; a quota of another kind is not meant."""
    slow = error(429, "Slow down", "rateLimitExceeded")
    async with searching(says_json(PER_DAY, 429), says_json(slow, 429), quota_cooldown=900) as (provider, _):
        for after in (900, 5):
            with pytest.raises(RateLimited) as caught:
                await asked(provider, "GOOGLE", SEARCH)
            assert seconds_of(caught.value) == after


@pytest.mark.parametrize("after", [2, 3])
async def test_a_quota_that_ends_between_two_pages_gives_the_task_back(after: int) -> None:
    """Half a result would look like a whole one."""
    answers = [pages()] * (after - 1) + [says_json(PER_DAY, 429)]
    with pytest.raises(RateLimited):
        await found(*answers, **SEARCH, pages=3)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (says_json({}), "the answer is none of the search API: {}"),
        (says_json({"success": False}), "none of the search API"),
        (says("<html>Hello", kind="text/html"), "the answer is no JSON but text/html"),
        (says(json.dumps(page())[:900]), "the answer is no JSON"),
        (resets(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "the connection broke"),
        (says_json(error(500, "Backend Error", "backendError")), "the service answered 500: Backend Error"),
    ],
)
async def test_an_answer_that_is_none_is_a_failure(answer: Answer, what: str) -> None:
    """Whatever comes with 200."""
    with pytest.raises(Unavailable, match=what):
        await found(answer)


async def test_an_error_inside_of_a_200_is_that_error() -> None:
    """Some proxies lose the status."""
    with pytest.raises(RateLimited, match="the service answered 429: Quota exceeded"):
        await found(says_json(PER_DAY))


async def test_a_service_that_is_silent_is_left_after_the_timeout() -> None:
    """The time is for all pages together."""
    async with searching(pages(), holds(), timeout=0.3) as (provider, server):
        with pytest.raises(Unavailable, match=r"0\.3 s"):
            await asked(provider, "GOOGLE", SEARCH | {"pages": 2})
        async with asyncio.timeout(5):
            await server.left.wait()

    assert len(server.asked) == 2


async def test_cancelling_a_task_stops_its_call_on_the_wire() -> None:
    """The service sees the connection go."""
    async with searching(holds()) as (provider, server):
        call = asyncio.create_task(asked(provider, "GOOGLE", SEARCH))
        async with asyncio.timeout(5):
            await server.arrived.wait()
            call.cancel()
            await server.left.wait()


async def test_the_key_is_in_no_error_and_no_look_at_the_provider() -> None:
    """Also if the service repeats it."""
    async with searching(says(f"key {KEY} is not good", 400)) as (provider, _):
        with pytest.raises(Rejected, match=r"key \[hidden\] is not good"):
            await asked(provider, "GOOGLE", SEARCH)
        assert KEY not in repr(provider) + repr(provider.settings) + str(vars(provider))


async def test_a_task_goes_through_a_file_and_a_real_queue(queue: TaskQueue, tmp_path: Path) -> None:
    """The key comes from the environment; the result is stored with the task."""
    async with service(pages(total=15)) as server:
        toml = f"""
            [providers.search]
            kind = "google-search"
            base_url = "{server.url}"
            cx = "engine-1"
            api_key = {{ env = "SEARCH_KEY" }}
            [types]
            GOOGLE = ["search"]
        """
        task = await ran(queue, tmp_path, toml, "GOOGLE", SEARCH | {"pages": 2}, SEARCH_KEY=KEY)

    assert (task.state, task.attempt) == (TaskState.COMPLETED, 1)
    assert len(task.result["organicResults"]) == 15
    assert server.asked[0].headers["x-goog-api-key"] == KEY
