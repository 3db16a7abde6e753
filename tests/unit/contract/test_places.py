"""Where tasks can be run from: the lists of countries and of states."""

from __future__ import annotations

from typing import Any

import pytest

from taskqueue.contract import MODELS, UnknownModel, countries, states
from taskqueue.contract.places import is_served

NOT_SERVED = {
    "aimode": "CN CU IR KP RU",
    "aioverview": "BL BV CN CU ET GF GP IR IS LK MF MQ NC PF PM RE TF WF YT",
    "chatgpt": "CN HK IR MO RU VE",
    "copilot": "BY CN RU SY VE",
    "gemini": "BY CN RU",
    "google": "",
    "grok": "BY CN HK RU VE",
    "perplexity": "CN",
}
COUNTS = {
    "aimode": 245,
    "aioverview": 231,
    "chatgpt": 244,
    "copilot": 245,
    "gemini": 247,
    "google": 250,
    "grok": 245,
    "perplexity": 249,
}


def test_there_are_250_countries() -> None:
    """All codes of ISO 3166-1 and Kosovo, each once, in order."""
    codes = countries()

    assert len(codes) == 250
    assert codes == sorted(set(codes))
    assert all(len(code) == 2 and code.isascii() and code.isalpha() and code.isupper() for code in codes)
    assert {"US", "DE", "XK", "AX", "UM", "EH"} < set(codes)


def test_the_models_are_the_contracts() -> None:
    """News has no list of its own."""
    assert list(MODELS) == sorted(NOT_SERVED)


@pytest.mark.parametrize(("model", "count"), COUNTS.items())
def test_a_model_serves_all_countries_but_a_few(model: str, count: int) -> None:
    """The contract's list of each model, and nothing that is no country taken off."""
    missing = NOT_SERVED[model].split()

    assert len(countries(model)) == count == 250 - len(missing)
    assert countries(model) == [code for code in countries() if code not in missing]
    assert not any(is_served(code, model) for code in missing)


@pytest.mark.parametrize("model", ["", "news", "CHATGPT", "google/news", 5])
def test_an_unknown_model_is_refused(model: Any) -> None:
    """With the value and the models that there are."""
    for ask in (lambda: countries(model), lambda: is_served("US", model)):
        with pytest.raises(UnknownModel, match=r"aimode, .*, perplexity") as refusal:
            ask()
        assert refusal.value.model == model
        assert repr(model) in str(refusal.value)


@pytest.mark.parametrize("model", [None, "google", "chatgpt"])
def test_a_list_of_countries_is_the_callers_own(model: str | None) -> None:
    """Changing it changes nobody else's."""
    countries(model).clear()
    states("US").clear()

    assert len(countries(model)) > 200
    assert len(states("US")) == 51


def test_there_are_51_states() -> None:
    """Fifty and the capital's district, by name, with the codes of the post."""
    rows = states("US")

    assert len(rows) == len({code for code, _ in rows}) == 51
    assert rows == sorted(rows, key=lambda state: state.name)
    assert rows[0] == ("AL", "Alabama")
    assert rows[-1] == ("WY", "Wyoming")
    assert ("DC", "District of Columbia") in rows
    assert not {code for code, _ in rows} & {"PR", "GU", "VI", "AS", "MP"}


@pytest.mark.parametrize("country", ["DE", "CA", "XX", "", "\ud800"])
def test_other_countries_have_no_states(country: str) -> None:
    """Known or not, the list is empty."""
    assert states(country) == []


def test_states_are_found_by_small_letters_too() -> None:
    """As the contract's own lookup does."""
    assert states("us") == states("US")
