"""What search services are told of a task: words, place, language, pages."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from scheduler.providers.tools.languages import _SPOKEN, language_of
from scheduler.providers.tools.searching import Search, search_of
from taskqueue.contract import countries, payload_model

URL = "https://www.google.com/search?q=best+laptops"


@pytest.mark.parametrize(
    ("task_type", "payload", "expected"),
    [
        ("GOOGLE", {"query": "a", "country": "DE"}, Search("a", "DE", "de", 1)),
        ("GOOGLE", {"query": "a", "gl": "at", "hl": "EN", "pages": 3}, Search("a", "AT", "en", 3)),
        ("GOOGLE_NEWS", {"query": "a", "country": "TW", "pages": 2}, Search("a", "TW", "zh-TW", 2)),
        ("GOOGLE", {"url": f"{URL}&gl=de"}, Search("best laptops", "DE", "de", 1)),
        ("GOOGLE", {"url": f"{URL}&hl=fr", "country": "CH"}, Search("best laptops", "CH", "fr", 1)),
        ("GOOGLE", {"url": URL, "gl": "ch", "hl": "it"}, Search("best laptops", "CH", "it", 1)),
        (
            "GOOGLE",
            {"url": f"{URL}&gl=us&num=25&start=7&safe=strict&tbs=sbd:1,qdr:d"},
            Search("best laptops", "US", "en", 3, skip=7, period=("d", 1), safe=True),
        ),
        ("GOOGLE", {"url": f"{URL}&gl=us&safe=off"}, Search("best laptops", "US", "en", 1, safe=False)),
        ("GOOGLE", {"url": f"{URL}&gl=us&tbs=qdr:h"}, Search("best laptops", "US", "en", 1)),
        (
            "GOOGLE",
            {"url": f"{URL}&gl=us&tbs=qdr:w0"},
            Search("best laptops", "US", "en", 1, period=("w", 1)),
        ),
        ("GOOGLE", {"url": f"{URL}&gl=us&tbs=xqdr:w"}, Search("best laptops", "US", "en", 1)),
    ],
)
def test_a_task_is_read_as_a_search(task_type: str, payload: dict[str, Any], expected: Search) -> None:
    """In words of its own, or in Google's."""
    assert search_of(payload_model(task_type).model_validate(payload)) == expected


def test_every_country_has_a_language() -> None:
    """Each stands in the table once; where none is known, English is asked for."""
    named = Counter(country for line in _SPOKEN.strip().splitlines() for country in line.split()[1:])

    assert [country for country, times in named.items() if times > 1] == []
    assert set(named) <= set(countries())
    assert all(language_of(country) for country in countries())
    assert [language_of(code) for code in ("US", "BR", "CN", "HK", "IL", "XX")] == [
        "en",
        "pt",
        "zh-CN",
        "zh-TW",
        "iw",
        "en",
    ]
