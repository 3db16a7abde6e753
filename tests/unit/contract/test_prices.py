"""What tasks cost: the contract's worked examples, and what depends on the result."""

from __future__ import annotations

from typing import Any

import pytest

from taskqueue.contract import TASK_TYPES, Price, PriceList, check_payload
from taskqueue.errors import InvalidTask
from tests.unit.contract.refusals import SMALLEST, with_fields

URL = "https://www.google.com/search?q=a&gl=us"
BASES = {
    "AIMODE": 4,
    "GOOGLE": 3,
    "GOOGLE_NEWS": 3,
    "GEMINI": 4,
    "CHATGPT": 5,
    "COPILOT": 5,
    "PERPLEXITY": 4,
    "GROK": 4,
}
SYNC_BASES = {
    "AIMODE": 6,
    "GOOGLE": 5,
    "GOOGLE_NEWS": 5,
    "GEMINI": 6,
    "CHATGPT": 7,
    "COPILOT": 7,
    "PERPLEXITY": 6,
    "GROK": 6,
}
EXAMPLES: list[tuple[str, dict[str, Any], int]] = [
    ("CHATGPT", {"include": {"shopping": True, "ads": True}, "state": "NY"}, 9),
    ("CHATGPT", {"include": {"html": True, "markdown": True}}, 5),
    ("CHATGPT", {"include": {"shopping": False}, "legacy": True, "disableWebSearch": True}, 5),
    *(
        ("CHATGPT", {"include": {flag: True}}, 7)
        for flag in ("rawResponse", "searchQueries", "ads", "shopping")
    ),
    ("GEMINI", {"state": "NY"}, 6),
    ("GEMINI", {"include": {"rawResponse": True}}, 4),
    ("PERPLEXITY", {"state": "NY"}, 6),
    ("COPILOT", {}, 5),
    ("COPILOT", {"state": "NY"}, 7),
    ("GROK", {"state": "NY"}, 6),
    ("GOOGLE", {"pages": 3, "include": {"aioverview": {}}}, 9),
    ("GOOGLE", {"include": {"aioverview": {"markdown": False}}}, 5),
    ("GOOGLE", {"include": {"paaAioverview": True}}, 5),
    ("GOOGLE", {"include": {"paaAioverview": True, "aioverview": {}}}, 5),
    ("GOOGLE", {"include": {"paaAioverview": False, "html": True, "googleGoto": True}}, 3),
    ("GOOGLE", {"pages": 10}, 21),
    ("GOOGLE_NEWS", {"pages": 1}, 3),
    ("GOOGLE_NEWS", {"pages": 2}, 5),
    ("AIMODE", {"include": {"html": True, "expandProducts": False}}, 4),
]
PRODUCTS = with_fields("AIMODE", include={"expandProducts": True})


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_the_base_price_of_a_task(task_type: str) -> None:
    """The contract's, and two more when its caller waits."""
    prices = PriceList.default()
    base, sync = BASES[task_type], SYNC_BASES[task_type]

    assert prices.price(task_type, SMALLEST[task_type]) == Price(base, base)
    assert prices.price(task_type, SMALLEST[task_type], sync=True) == Price(sync, sync)


@pytest.mark.parametrize(("task_type", "fields", "charge"), EXAMPLES)
def test_what_is_asked_for_is_added(task_type: str, fields: dict[str, Any], charge: int) -> None:
    """Known before the task is run, held as it is, and charged whatever comes back."""
    prices = PriceList.default()
    payload = check_payload(task_type, with_fields(task_type, **fields))

    assert prices.price(task_type, payload) == Price(charge, charge)
    assert prices.price(task_type, payload, sync=True) == Price(charge + 2, charge + 2)
    assert prices.charge(task_type, payload, {"productResults": [{}] * 3}) == charge
    assert prices.charge(task_type, payload, None, sync=True) == charge + 2


@pytest.mark.parametrize(
    ("num", "charge"), [("", 3), ("&num=10", 3), ("&num=30", 7), ("&num=31", 9), ("&num=250", 21)]
)
def test_an_address_is_priced_by_its_depth(num: str, charge: int) -> None:
    """Pages of ten results, ten pages at most."""
    payload = check_payload("GOOGLE", {"url": URL + num})

    assert PriceList.default().price("GOOGLE", payload) == Price(charge, charge)


@pytest.mark.parametrize(("sync", "more"), [(False, 0), (True, 2)])
def test_products_are_held_for_six(sync: bool, more: int) -> None:
    """How many come back is known only in the end: the charge leaves them out, the hold does not."""
    assert PriceList.default().price("AIMODE", PRODUCTS, sync=sync) == Price(4 + more, 10 + more)


@pytest.mark.parametrize(
    ("result", "charge"),
    [
        ({"productResults": [{"title": "shoe"}] * 3}, 7),
        ({"productResults": []}, 4),
        ({"productResults": [{}] * 6}, 10),
        ({"productResults": [{}] * 7}, 10),
        ({"text": "none found"}, 4),
        ({"productResults": None}, 4),
        ({"productResults": {"0": {}}}, 4),
        ({"productResults": "shoes"}, 4),
        ({}, 4),
        (None, 4),
        ([1, 2, 3], 4),
    ],
)
def test_products_are_charged_as_they_came(result: object, charge: int) -> None:
    """One credit each, up to the hold; a result of another shape has none."""
    prices = PriceList.default()

    assert prices.charge("AIMODE", PRODUCTS, result) == charge
    assert prices.charge("AIMODE", PRODUCTS, result, sync=True) == charge + 2
    assert prices.charge("AIMODE", SMALLEST["AIMODE"], result) == 4


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "text",
        {"pages": True},
        {"pages": "9"},
        {"pages": -5},
        {"url": "nonsense&num=90"},
        {"url": 5},
        {"include": []},
    ],
)
def test_a_payload_that_was_never_checked_costs_its_base(payload: object) -> None:
    """What makes no sense in it is not asked for."""
    assert PriceList.default().price("GOOGLE", payload) == Price(3, 3)


def test_unchecked_pages_are_capped() -> None:
    """No more than ten can be asked for."""
    assert PriceList.default().price("GOOGLE_NEWS", {"pages": 10**9}) == Price(21, 21)


@pytest.mark.parametrize("task_type", ["google", "", None, 5])
def test_an_unknown_task_type_has_no_price(task_type: Any) -> None:
    """Neither before nor after."""
    prices = PriceList.default()
    with pytest.raises(InvalidTask):
        prices.price(task_type, {})
    with pytest.raises(InvalidTask):
        prices.charge(task_type, {}, {})
