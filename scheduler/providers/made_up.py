"""What the simulated providers answer: in the contract's shape, and made up, as every result says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypedDict
from urllib.parse import quote_plus

ANSWER_ENGINES: Final[Mapping[str, str]] = {
    "AIMODE": "Google AI Mode",
    "CHATGPT": "ChatGPT",
    "COPILOT": "Copilot",
    "GEMINI": "Gemini",
    "GROK": "Grok",
    "PERPLEXITY": "Perplexity",
}
"""Task type -> name, of the providers that answer a prompt."""

_HITS_A_PAGE = 10
_LONGEST_REPEATED = 200
"""Characters of a prompt that links and titles repeat: a prompt may have 10,000, a page a hundred hits."""


class Source(TypedDict):
    """A page that an answer leans on."""

    position: int
    url: str
    label: str
    description: str


class Answer(TypedDict):
    """Result of an answer engine."""

    simulated: Literal[True]
    text: str
    sources: list[Source]


class Hit(TypedDict):
    """One result of a search."""

    position: int
    title: str
    link: str
    snippet: str
    page: int


class SearchResult(TypedDict):
    """Result of GOOGLE."""

    simulated: Literal[True]
    organicResults: list[Hit]


class NewsResult(TypedDict):
    """Result of GOOGLE_NEWS."""

    simulated: Literal[True]
    newsResults: list[Hit]


def answer(task_type: str, prompt: str) -> Answer:
    """Return the answer of the engine behind *task_type* to a prompt."""
    sources: list[Source] = [
        {
            "position": position,
            "url": f"https://example.org/source/{position}?q={quote_plus(prompt[:_LONGEST_REPEATED])}",
            "label": f"Example source {position}",
            "description": "Made up; nobody was asked.",
        }
        for position in (1, 2, 3)
    ]
    text = f"A simulated answer of {ANSWER_ENGINES[task_type]} to: {prompt}"
    return {"simulated": True, "text": text, "sources": sources}


def search(query: str, pages: int) -> SearchResult:
    """Return so many pages of hits for a query."""
    return {"simulated": True, "organicResults": _hits(query, pages)}


def news(query: str, pages: int) -> NewsResult:
    """Return so many pages of news for a query."""
    return {"simulated": True, "newsResults": _hits(query, pages)}


def _hits(query: str, pages: int) -> list[Hit]:
    query = query[:_LONGEST_REPEATED]
    return [
        {
            "position": position,
            "title": f"Simulated result {position} for {query}",
            "link": f"https://example.org/result/{position}?q={quote_plus(query)}",
            "snippet": "Made up; nobody was asked.",
            "page": (position - 1) // _HITS_A_PAGE + 1,
        }
        for position in range(1, pages * _HITS_A_PAGE + 1)
    ]
