"""The search feed of Google News, in the shape in which it is served."""

from __future__ import annotations

from xml.sax.saxutils import escape

from tests.providers.servers import Answer, says


def feed(*items: str, head: str = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>') -> str:
    """A feed of these items."""
    return (
        f'{head}<rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/"><channel>'
        "<generator>NFE/5.0</generator><title>&quot;climate&quot; - Google News</title>"
        "<link>https://news.google.com/search?q=climate&amp;hl=de&amp;gl=AT&amp;ceid=AT:de</link>"
        "<language>de</language><webMaster>news-webmaster@google.com</webMaster>"
        "<copyright>Copyright</copyright><lastBuildDate>Tue, 24 Nov 2026 08:00:00 GMT</lastBuildDate>"
        "<image><title>Google News</title><url>https://lh3.example/x</url><link>https://news.google.com/</link>"
        f"<height>256</height><width>256</width></image><description>Google News</description>"
        f"{''.join(items)}</channel></rss>"
    )


def item(
    number: int,
    title: str | None = None,
    *,
    link: str | None = None,
    text: str | None = None,
    date: str = "Tue, 24 Nov 2026 07:00:00 GMT",
    source: str | None = "Der Standard",
) -> str:
    """One piece: the publisher stands behind the headline, and both again in the description."""
    shown = f"Nachricht {number} & mehr" if title is None else title
    place = f"https://news.google.com/rss/articles/CBMi{number}?oc=5" if link is None else link
    by = "" if source is None else source
    description = (
        f'<a href="{place}" target="_blank">{escape(shown)}</a>&nbsp;&nbsp;<font color="#6f6f6f">{by}</font>'
    )
    publisher = "" if source is None else f'<source url="https://www.derstandard.at">{escape(by)}</source>'
    return (
        f"<item><title>{escape(f'{shown} - {by}' if by else shown)}</title><link>{escape(place)}</link>"
        f'<guid isPermaLink="false">CBMi{number}</guid><pubDate>{date}</pubDate>'
        f"<description>{escape(description if text is None else text)}</description>{publisher}</item>"
    )


def says_feed(text: str | bytes, kind: str = "application/xml; charset=utf-8") -> Answer:
    """An answer that is a feed, or claims to be one."""
    return says(text, kind=kind)
