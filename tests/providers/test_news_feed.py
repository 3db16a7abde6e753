"""GOOGLE_NEWS by the public feed: editions, pages, and what may come in the place of a feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import feedparser
import pytest

from scheduler.errors import Misconfigured, RateLimited, Unavailable
from scheduler.providers import Provider
from scheduler.providers.news.feed import text_of_html
from scheduler.providers.news.provider import NewsFeed, edition
from scheduler.providers.tools.searching import Search
from taskqueue import TaskQueue, TaskState
from tests.providers.asking import asked, opened, ran
from tests.providers.news_feed_server import feed, item, says_feed
from tests.providers.servers import (
    REFUSALS,
    Answer,
    Service,
    holds,
    resets,
    says,
    seconds_of,
    service,
    writes,
)

NEWS = {"query": "climate when:7d", "country": "AT"}
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + "]>"
)


@asynccontextmanager
async def reading(*answers: Answer, **settings: Any) -> AsyncIterator[tuple[Provider, Service]]:
    """A provider in front of a service with these answers."""
    async with service(*answers) as server, opened(NewsFeed, base_url=server.url, **settings) as provider:
        yield provider, server


async def found(answer: Answer, **payload: Any) -> list[dict[str, Any]]:
    """The news in an answer."""
    async with reading(answer) as (provider, _):
        result = await asked(provider, "GOOGLE_NEWS", NEWS | payload)
    news: list[dict[str, Any]] = result["newsResults"]
    return news


async def test_a_feed_becomes_news() -> None:
    """The headline without its publisher, the date in ISO 8601; a text that only repeats them is left out."""
    answer = says_feed(feed(item(1), item(2, text="<p>Mehr &amp; <b>genauer</b><br>erz&auml;hlt</p>")))
    async with reading(answer) as (provider, server):
        result = await asked(provider, "GOOGLE_NEWS", NEWS)

    assert result["newsResults"] == [
        {
            "position": 1,
            "title": "Nachricht 1 & mehr",
            "link": "https://news.google.com/rss/articles/CBMi1?oc=5",
            "source": "Der Standard",
            "date": "2026-11-24T07:00:00Z",
            "page": 1,
        },
        {
            "position": 2,
            "title": "Nachricht 2 & mehr",
            "link": "https://news.google.com/rss/articles/CBMi2?oc=5",
            "snippet": "Mehr & genauererzählt",
            "source": "Der Standard",
            "date": "2026-11-24T07:00:00Z",
            "page": 1,
        },
    ]
    (request,) = server.asked
    assert (request.method, request.path) == ("GET", "/rss/search")
    assert request.params == {"q": "climate when:7d", "hl": "de", "gl": "AT", "ceid": "AT:de"}
    assert request.headers["accept"].startswith("application/rss+xml")


@pytest.mark.parametrize(("pages", "count"), [(1, 10), (3, 30), (10, 100)])
async def test_the_one_page_of_the_feed_is_cut_into_pages_of_ten(pages: int, count: int) -> None:
    """It has 105 pieces; there is no second page to ask for."""
    answer = says_feed(feed(*(item(number) for number in range(1, 106))))
    async with reading(answer) as (provider, server):
        result = await asked(provider, "GOOGLE_NEWS", NEWS | {"pages": pages})

    assert [(each["position"], each["page"]) for each in result["newsResults"]] == [
        (number, (number - 1) // 10 + 1) for number in range(1, count + 1)
    ]
    assert len(server.asked) == 1


async def test_a_feed_without_news_is_an_answer() -> None:
    """Nobody wrote about it."""
    assert await found(says_feed(feed())) == []


async def test_a_piece_that_is_odd_spoils_no_others() -> None:
    """Without a link it is left out, without a date or publisher it stays; markup in a headline is read."""
    items = [
        item(1, link=""),
        item(2, link="javascript:alert(1)"),
        item(3, date="yesterday", source=None),
        item(4, title="A <b>bold</b> &amp; B"),
        item(5, date="Tue, 99 Nov 2026 07:00:00 GMT"),
        item(6, date="9999-12-31T23:59:59-23:59"),  # in UTC a year that a date cannot have
        item(7, date="Mon, 01 Jan 0001 00:00:00 +0000"),
    ]

    third, fourth, fifth, sixth, seventh = await found(says_feed(feed(*items)))

    assert (third["position"], third["title"]) == (1, "Nachricht 3 & mehr")
    assert not {"date", "source"} & third.keys()
    assert fourth["title"] == "A bold & B"
    assert "date" not in fifth
    assert "date" not in sixth
    assert seventh["date"] == "0001-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("language", "country", "hl", "ceid"),
    [
        ("en", "US", "en-US", "US:en"),
        ("en-gb", "GB", "en-GB", "GB:en"),
        ("de", "AT", "de", "AT:de"),
        ("es", "ES", "es", "ES:es"),
        ("es", "MX", "es-419", "MX:es-419"),
        ("pt", "BR", "pt-BR", "BR:pt-419"),
        ("pt-br", "PT", "pt-PT", "PT:pt-150"),
        ("fr", "CA", "fr-CA", "CA:fr"),
        ("fr", "FR", "fr", "FR:fr"),
        ("zh-CN", "CN", "zh-CN", "CN:zh-Hans"),
        ("zh-tw", "TW", "zh-TW", "TW:zh-Hant"),
        ("zh-TW", "HK", "zh-HK", "HK:zh-Hant"),
        ("iw", "IL", "he", "IL:he"),
    ],
)
def test_a_place_has_an_edition(language: str, country: str, hl: str, ceid: str) -> None:
    """As Google News itself writes it."""
    assert edition(Search("q", country, language, 1)) == {"hl": hl, "gl": country, "ceid": ceid}


async def test_a_place_without_an_edition_is_led_to_the_nearest() -> None:
    """Inside the same service a redirect is followed, up to three times."""
    nearer = says("", 302, "Location: /rss/search?q=climate&hl=en-US&gl=US&ceid=US:en")
    async with reading(nearer, says_feed(feed(item(1)))) as (provider, server):
        assert len((await asked(provider, "GOOGLE_NEWS", NEWS))["newsResults"]) == 1
        assert server.asked[1].params == {"q": "climate", "hl": "en-US", "gl": "US", "ceid": "US:en"}
        server.answers = [nearer]
        with pytest.raises(Misconfigured, match="redirects are not followed"):
            await asked(provider, "GOOGLE_NEWS", NEWS)
        assert len(server.asked) == 2 + 4


@pytest.mark.parametrize(
    ("location", "kind", "what"),
    [
        (
            "https://consent.google.com/ml?continue=x",
            Misconfigured,
            "asks this machine's address for its cons",
        ),
        ("https://www.google.com/sorry/index?continue=x", RateLimited, "takes this machine for a robot"),
        ("https://example.org/", Misconfigured, "redirects are not followed"),
        ("//example.org/rss", Misconfigured, "redirects are not followed"),
        ("http://[broken", Misconfigured, "redirects are not followed"),
    ],
)
async def test_a_redirect_to_elsewhere_is_not_followed(
    location: str, kind: type[Exception], what: str
) -> None:
    """Where it leads says what is the matter."""
    async with reading(says("", 302, f"Location: {location}")) as (provider, server):
        with pytest.raises(kind, match=what):
            await asked(provider, "GOOGLE_NEWS", NEWS)

    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "headers", "kind", "after"), REFUSALS)
async def test_a_refusal_is_judged_by_its_status(
    status: int, headers: tuple[str, ...], kind: type[Exception], after: float | None
) -> None:
    """As that of every other service."""
    with pytest.raises(kind, match=f"the service answered {status}") as caught:
        await found(says("<html>No", status, *headers, kind="text/html"))

    if after is not None:
        assert seconds_of(caught.value) == after


@pytest.mark.parametrize(
    ("page", "kind", "what"),
    [
        ("<!doctype html><form action='https://consent.google.com/save'>", Misconfigured, "for its consent"),
        (" <HTML lang=de><p>Our systems have detected unusual traffic", RateLimited, "for a robot"),
        ("<html><p>Wartung", Unavailable, "the answer is a page and no feed: <html><p>Wartung"),
    ],
)
@pytest.mark.parametrize("media", ["text/html; charset=utf-8", "application/xml"])
async def test_a_page_is_no_feed(page: str, kind: type[Exception], what: str, media: str) -> None:
    """Whatever it calls itself."""
    with pytest.raises(kind, match=what):
        await found(says_feed(page, media))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("", "the feed is broken"),
        ("No feed today", "the feed is broken"),
        ('{"error": "no"}', "the feed is broken"),
        (feed(item(1))[:700], "the feed is broken"),
        (feed(item(1)) + "<more/>", "the feed is broken"),
        (feed(item(1)).replace("&amp;", "&nbsp;"), "the feed is broken"),
        (feed(item(1)).replace("<channel>", "<channel><x:y/>"), "the feed is broken"),
        (feed(item(1, "Grüße")).encode("latin-1"), "the feed is broken"),
        (feed(item(1)).encode("utf-16"), "the feed is broken"),
        ('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "XML, and no feed"),
        ("<a>" * 100 + "</a>" * 100, "nested deeper than 32 levels"),
        (BOMB + "<rss version='2.0'><channel><title>&j;</title></channel></rss>", "a document type"),
        (feed(head='<!DOCTYPE rss SYSTEM "http://127.0.0.1:1/x.dtd">'), "a document type"),
        (
            feed(head='<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
            "document",
        ),
    ],
)
async def test_what_is_no_feed_never_reaches_the_parser(
    body: str | bytes, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken ones, bombs, files of this machine; feedparser would guess at them."""
    seen: list[object] = []
    real = feedparser.parse

    def watched(*given: Any, **options: Any) -> Any:
        seen.append(given)
        return real(*given, **options)

    monkeypatch.setattr(feedparser, "parse", watched)

    with pytest.raises(Unavailable, match=what):
        await found(says_feed(body))

    assert bool(seen) is (what == "XML, and no feed")


async def test_a_feed_that_its_parser_takes_for_broken_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It then guesses at what is meant: half of the news would be none."""

    def guess(*_: object, **__: object) -> dict[str, Any]:
        return {"version": "rss20", "bozo": 1, "bozo_exception": ValueError("odd"), "entries": []}

    monkeypatch.setattr(feedparser, "parse", guess)

    with pytest.raises(Unavailable, match="the feed is broken: ValueError"):
        await found(says_feed(feed(item(1))))


@pytest.mark.parametrize("name", ["utf-7", "latin-1", "utf-16", "nonsense"])
async def test_a_declared_encoding_does_not_change_how_a_feed_is_read(name: str) -> None:
    """It is UTF-8 whatever it says, so that nothing can hide in another one."""
    head = f'<?xml version="1.0" encoding="{name}"?>'

    (news,) = await found(says_feed(feed(item(1, "Grüße +ADw-b+AD4-"), head=head)))

    assert news["title"] == "Grüße +ADw-b+AD4-"


async def test_an_address_in_a_feeds_place_is_not_fetched(tmp_path: Path) -> None:
    """Given a text, feedparser takes it for an address or the name of a file."""
    (tmp_path / "feed.xml").write_text(feed(item(1)))
    async with service(says_feed(feed(item(1)))) as other:
        for body in (other.url, str(tmp_path / "feed.xml")):
            with pytest.raises(Unavailable, match="the feed is broken"):
                await found(says_feed(body))

    assert other.asked == []


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p>\n<p>two &lt;three&gt; &nbsp; four</p>", "One two <three> four"),
        ("a <b>b<script>alert(1)</script>", "a balert(1)"),
        ("&#0; &bogus; &amp", "\ufffd &bogus; &"),
    ],
)
def test_text_is_read_from_html(html: str, text: str) -> None:
    """Tags are gone, entities are read, it is on one line."""
    assert text_of_html(html) == text


async def test_a_feed_is_read_up_to_its_bound() -> None:
    """As every answer."""
    async with reading(says_feed(feed(item(1, "x" * 2_000))), largest_response=1_024) as (provider, _):
        with pytest.raises(Unavailable, match="longer than 1,024 bytes"):
            await asked(provider, "GOOGLE_NEWS", NEWS)


@pytest.mark.parametrize(
    "answer", [resets(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<"), writes(b"HTTP/1.1 200 OK\r\n")]
)
async def test_a_connection_that_breaks_is_a_failure(answer: Answer) -> None:
    """In the middle of the feed."""
    with pytest.raises(Unavailable, match="the connection broke"):
        await found(answer)


async def test_a_service_that_is_silent_is_left_after_the_timeout() -> None:
    """The connection is closed."""
    async with reading(holds(), timeout=0.1) as (provider, server):
        with pytest.raises(Unavailable, match=r"0\.1 s"):
            await asked(provider, "GOOGLE_NEWS", NEWS)
        async with asyncio.timeout(5):
            await server.left.wait()


async def test_cancelling_a_task_stops_its_call_on_the_wire() -> None:
    """The service sees the connection go."""
    async with reading(holds(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<")) as (provider, server):
        call = asyncio.create_task(asked(provider, "GOOGLE_NEWS", NEWS))
        async with asyncio.timeout(5):
            await server.arrived.wait()
            call.cancel()
            await server.left.wait()


async def test_a_task_goes_through_a_file_and_a_real_queue(queue: TaskQueue, tmp_path: Path) -> None:
    """Without any key."""
    async with service(says_feed(feed(item(1), item(2)))) as server:
        toml = f"""
            [providers.news]
            kind = "news-feed"
            base_url = "{server.url}"
            [types]
            GOOGLE_NEWS = ["news"]
        """
        task = await ran(queue, tmp_path, toml, "GOOGLE_NEWS", NEWS)

    assert (task.state, task.attempt) == (TaskState.COMPLETED, 1)
    assert [news["source"] for news in task.result["newsResults"]] == ["Der Standard", "Der Standard"]
