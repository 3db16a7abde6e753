"""The file of a price list: a good one is used, each way of being bad is refused by name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from taskqueue.contract import TASK_TYPES, Price, PriceList
from taskqueue.contract.price_file import HIGHEST_PRICE, LARGEST_FILE
from taskqueue.errors import InvalidSetting
from tests.unit.contract.refusals import SMALLEST, with_fields

DEFAULT = files("taskqueue.contract").joinpath("prices.toml").read_text(encoding="utf-8")
FLAT = "sync = 0\n" + "".join(f"[{task_type}]\nbase = 1\n" for task_type in TASK_TYPES)
MANY_DIGITS = "9" * 5_000
"""More than Python reads as a whole number."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a price list that is not yet written."""
    return tmp_path / "prices.toml"


def changed(old: str, new: str) -> str:
    """Return the contract's price list with one change."""
    assert DEFAULT.count(old) == 1
    return DEFAULT.replace(old, new)


def refusal_of(path: Path) -> str:
    """Return the message that the price list is refused with; it names the file."""
    with pytest.raises(InvalidSetting) as refusal:
        PriceList.from_file(path)
    assert str(refusal.value).startswith(f"price list {path}: ")
    assert len(str(refusal.value)) < 2_000
    return str(refusal.value).removeprefix(f"price list {path}: ")


def test_a_copy_of_the_contracts_list_costs_the_same(file: Path) -> None:
    """It is the file to begin with; the path may be a text."""
    file.write_text(DEFAULT, encoding="utf-8")
    payload = with_fields("AIMODE", include={"expandProducts": True})

    for prices in (PriceList.from_file(file), PriceList.from_file(str(file))):
        assert prices.price("AIMODE", payload, sync=True) == Price(6, 12)


def test_the_smallest_list_has_bases_only(file: Path) -> None:
    """What is not priced costs nothing more."""
    file.write_text(FLAT, encoding="utf-8")
    prices = PriceList.from_file(file)

    assert prices.price("GOOGLE", with_fields("GOOGLE", pages=9), sync=True) == Price(1, 1)
    assert prices.price("CHATGPT", with_fields("CHATGPT", state="NY")) == Price(1, 1)


def test_an_operators_prices_are_used(file: Path) -> None:
    """Several options add up, each once; fields of any depth may cost something."""
    option = '[[{}.options]]\nany = ["{}"]\ncredits = {}\n'
    text = FLAT.replace("sync = 0", "sync = 5").replace(
        "[GOOGLE]\nbase = 1\n",
        "[GOOGLE]\nbase = 0\npage = 7\n"
        + option.format("GOOGLE", "include.aioverview.markdown", 100)
        + option.format("GOOGLE", "location", HIGHEST_PRICE),
    )
    file.write_text(text, encoding="utf-8")
    prices = PriceList.from_file(file)
    overview = {"aioverview": {"markdown": True}}

    assert prices.price("GOOGLE", SMALLEST["GOOGLE"]).charge == 0
    assert prices.price("GOOGLE", with_fields("GOOGLE", pages=2, include=overview), sync=True).charge == 112
    assert prices.price("GOOGLE", with_fields("GOOGLE", location="Rome")).charge == HIGHEST_PRICE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sync = ", "a price list in TOML"),
        ("= 5", "a price list in TOML"),
        (changed("sync = 2", "sync = 2\nsync = 2"), "a price list in TOML"),
        (changed("sync = 2", f"sync = {MANY_DIGITS}"), "a price list in TOML"),
        (changed("sync = 2", "sync = " + "[" * 5_000), "a price list in TOML"),
        ("", "without AIMODE, GOOGLE, GOOGLE_NEWS"),
        (FLAT.replace("[GROK]", "[CLAUDE]"), "without GROK"),
        (FLAT + "[CLAUDE]\nbase = 1\n", "['CLAUDE'] is not accepted"),
        (FLAT.replace("sync = 0", "synchronous = 0"), "['synchronous'] is not accepted"),
        (FLAT.replace("sync = 0", ""), "sync: 'nothing' is not accepted; it must be given"),
        (
            FLAT.replace("[GROK]\nbase = 1", "[GROK]"),
            "GROK.base: 'nothing' is not accepted; it must be given",
        ),
        (FLAT.replace("sync = 0", "sync = 0\nGROK = 4").replace("[GROK]\nbase = 1\n", ""), "must be a table"),
        (FLAT + "bse = 4\n", "GROK.bse: 4 is not accepted; it must be left out"),
        (FLAT + "state = -1\n", "GROK.state: -1 is not accepted; it must be greater than or equal to 0"),
        (FLAT + "state = 1000001\n", "GROK.state: 1000001 is not accepted"),
        (FLAT + "state = 2.0\n", "GROK.state: 2.0 is not accepted; it must be a whole number of credits"),
        (FLAT + "state = true\n", "GROK.state: True is not accepted; it must be a whole number of credits"),
        (FLAT + 'state = "2"\n', "GROK.state: '2' is not accepted; it must be a whole number of credits"),
        (FLAT + "state = nan\n", "GROK.state: nan is not accepted; it must be a whole number of credits"),
        (FLAT + "page = 2\n", "GROK.page: 'pages' is not accepted; it must be a field of the payload"),
        (changed("[GOOGLE_NEWS]", "state = 2\n[GOOGLE_NEWS]"), "GOOGLE.state: 'state' is not accepted"),
        (changed('"include.aioverview"', '"include.aiOverview"'), "GOOGLE.options.any: 'include.aiOverview'"),
        (changed('"include.aioverview"', '"include.googleGoto"'), "GOOGLE.options.any: 'include.googleGoto'"),
        (changed('["include.aioverview", "include.paaAioverview"]', "[]"), "GOOGLE.options.0.any: []"),
        (changed('"include.aioverview"', '""'), "GOOGLE.options.0.any.0: ''"),
        (changed('when = "include.expandProducts"', 'when = "products"'), "AIMODE.results.when: 'products'"),
        (changed("most = 6", "most = 0"), "AIMODE.results.most: 0"),
        (changed("most = 6", "most = 1001"), "AIMODE.results.most: 1001"),
        (changed("most = 6, ", ""), "AIMODE.results.most: 'nothing' is not accepted; it must be given"),
    ],
)
def test_a_bad_list_is_refused(file: Path, text: str, said: str) -> None:
    """With its place in the file, the value and the rule: nothing is guessed where money is charged."""
    file.write_text(text, encoding="utf-8")

    assert said in refusal_of(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Not there, a folder, or not in UTF-8."""
    (tmp_path / "latin").write_bytes(b"# \xfc\n" + DEFAULT.encode())

    for path in (tmp_path / "missing", tmp_path, tmp_path / "latin"):
        assert "it must be a file in UTF-8 that can be read" in refusal_of(path)


@pytest.mark.parametrize("letter", ["x", "\u00fc", "\u20ac"])
def test_a_file_that_is_too_large_is_refused(file: Path, letter: str) -> None:
    """One byte above the limit; a letter cut in half is no reason to blame its writing."""
    size = len(letter.encode())
    note = "#" * ((LARGEST_FILE - len(DEFAULT.encode())) % size)
    fill = (LARGEST_FILE - len(DEFAULT.encode()) - 3 - len(note)) // size
    text = f"{DEFAULT}\n#{note}{letter * fill}"
    file.write_bytes((text + "x" * (LARGEST_FILE - len(text.encode()))).encode())
    PriceList.from_file(file)

    file.write_text(text + letter * 20_000, encoding="utf-8")

    assert (
        refusal_of(file)
        == f"'a larger file' is not accepted; it must be a file of at most {LARGEST_FILE:,} bytes"
    )
