"""News by the public RSS feed of a search."""

from scheduler.providers.news.provider import NewsFeed

__all__ = ["NewsFeed"]
