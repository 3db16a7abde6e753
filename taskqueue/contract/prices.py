"""What a task costs: before it is run, at most, and once it is done.

Contract: prices of asynchronous tasks, and what a synchronous call costs more. The numbers are
data (`prices.toml`), which the operator of a service may replace.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from taskqueue.contract.google_url import MOST_PAGES, read_google_url
from taskqueue.contract.price_file import LARGEST_FILE, Prices, Results, read_prices
from taskqueue.contract.types import check_task_type
from taskqueue.errors import InvalidSetting


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one task, in credits.

    Attributes:
        charge: What it costs by its payload alone; the contract's `creditsToCharge`.
        hold: The highest that it can cost, whatever comes back; never below `charge`.
    """

    charge: int
    hold: int


class PriceList:
    """What tasks cost; made by `PriceList.default()` or `PriceList.from_file()`."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    @classmethod
    def default(cls) -> PriceList:
        """Return the contract's own prices."""
        return _default()

    @classmethod
    def from_file(cls, path: str | Path) -> PriceList:
        """Return the prices of a TOML file in the shape of this package's `prices.toml`.

        Raises:
            InvalidSetting: If the file cannot be read, is larger than 64 KiB, or is no price
                list; the message names the line's place in the file, such as `GOOGLE.page`.
        """
        name = f"price list {path}"
        try:
            with Path(path).open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
            # What is cut off may be half a letter, so that only a whole file is read as text.
            text = content.decode("utf-8") if len(content) <= LARGEST_FILE else None
        except (OSError, ValueError) as error:
            raise InvalidSetting(name, str(error), "a file in UTF-8 that can be read") from None
        if text is None:
            raise InvalidSetting(name, "a larger file", f"a file of at most {LARGEST_FILE:,} bytes")
        return cls(read_prices(text, name))

    def price(self, task_type: str, payload: object, *, sync: bool = False) -> Price:
        """Return what a task will cost.

        Args:
            task_type: One of `TASK_TYPES`.
            payload: Its payload, as `check_payload()` returned it. Others are priced by the
                fields that make sense in them.
            sync: Whether its caller waits for it, which costs more, once.

        Raises:
            InvalidTask: If there is no such task type.
        """
        charge = self._charge(task_type, payload, sync=sync)
        results = self._results(task_type, payload)
        return Price(charge, charge + (results.most * results.credits if results else 0))

    def charge(self, task_type: str, payload: object, result: object, *, sync: bool = False) -> int:
        """Return what a completed task costs, in credits: at most the `hold` of its price.

        It differs from the `charge` of its price only where entries of the result are paid for,
        as those of AI Mode's `productResults` are when they were asked for.

        Args:
            task_type: One of `TASK_TYPES`.
            payload: Its payload, as `check_payload()` returned it.
            result: What came back: `{"productResults": [...], ...}`, not wrapped.
            sync: Whether its caller waited for it.

        Raises:
            InvalidTask: If there is no such task type.
        """
        charge = self._charge(task_type, payload, sync=sync)
        results = self._results(task_type, payload)
        found = _at(result, results.count) if results else None
        if results is None or not isinstance(found, list | tuple):
            return charge
        return charge + min(results.most, len(found)) * results.credits

    def _charge(self, task_type: str, payload: object, *, sync: bool) -> int:
        prices = self._prices.types[check_task_type(task_type)]
        charge = prices.base + (self._prices.sync if sync else 0)
        if _is_asked(payload, "state"):
            charge += prices.state
        if prices.page:
            charge += prices.page * (_pages(payload) - 1)
        for option in prices.options:
            if any(_is_asked(payload, path) for path in option.any):
                charge += option.credits
        return charge

    def _results(self, task_type: str, payload: object) -> Results | None:
        results = self._prices.types[check_task_type(task_type)].results
        return results if results is not None and _is_asked(payload, results.when) else None


@cache
def _default() -> PriceList:
    text = files("taskqueue.contract").joinpath("prices.toml").read_text(encoding="utf-8")
    return PriceList(read_prices(text, "prices.toml"))


def _at(value: Any, path: str) -> object:
    """Return what is at *path* in *value*, or None."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _is_asked(payload: object, path: str) -> bool:
    """Whether the field at *path* asks for something; an empty object does, as in `aioverview: {}`."""
    return _at(payload, path) not in (None, False, "")


def _pages(payload: object) -> int:
    """Return how many pages of results a search asks for: 1 to 10."""
    url = _at(payload, "url")
    if isinstance(url, str) and url:
        try:
            return read_google_url(url).pages
        except ValueError:
            return 1
    pages = _at(payload, "pages")
    return max(1, min(MOST_PAGES, pages)) if type(pages) is int else 1
