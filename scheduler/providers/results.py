"""The results of the eight task types, as they are checked and bounded before they are stored.

Contract: the results of the sync monitor endpoints. What a provider returns is made by somebody else's
service, so nothing of it is taken on trust: texts are bounded, lists are cut, addresses are web
addresses, and fields that the contract does not name are dropped, unless the provider speaks the
contract itself. Optional blocks are left out rather than null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from scheduler.errors import Unavailable

LONGEST_TEXT: Final = 400_000
"""Characters of an answer: far more than any engine writes, and little enough for the record's 1 MiB."""

MOST_ITEMS: Final = 200
"""Sources, hits and the like that are kept: the first ones."""

DEEPEST: Final = 16
"""Levels of what is passed through as it came."""

_LONGEST_LINE: Final = 4_000
_LONGEST_URL: Final = 8_000


def _cut(value: object) -> object:
    return value[:MOST_ITEMS] if isinstance(value, list | tuple) else value


def _short(value: object) -> object:
    return value[:_LONGEST_LINE] if isinstance(value, str) else value


def _web_address(value: str) -> str:
    if not value.startswith(("https://", "http://")):
        raise ValueError("it must be an http:// or https:// address")
    return value


Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Line = Annotated[str, BeforeValidator(_short)]
Url = Annotated[str, Field(max_length=_LONGEST_URL), AfterValidator(_web_address)]


class Block(BaseModel):
    """A part of a result: snake_case here, camelCase as it is stored; what is unknown is dropped."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", hide_input_in_errors=True
    )


class Source(Block):
    """A page that an answer leans on.

    Attributes:
        position: From 1.
        url: Of the page.
        label: What it is called.
        description: What is on it.
    """

    position: int = Field(ge=1)
    url: Url
    label: Line = ""
    description: Line = ""


class AnswerResult(Block):
    """The result of an answer engine: AIMODE, CHATGPT, COPILOT, GEMINI, GROK, PERPLEXITY.

    Attributes:
        text: The answer.
        sources: What it leans on, in their order.
        markdown: The answer as Markdown, if it was asked for.
        html: Where the answer is as HTML, if it was asked for: a data: URL, which needs no host.
        model: Which model wrote it, as the service says.
        search_queries: What it searched for, where that is told.
        raw_response: The service's reply as it came, if it was asked for.
        product_results: Products with their stores, if AIMODE was asked for them; each costs.
    """

    text: Annotated[Text, Field(min_length=1)]
    sources: Annotated[list[Source], BeforeValidator(_cut)] = []
    markdown: Text | None = None
    html: Annotated[str, Field(max_length=3 * LONGEST_TEXT)] | None = None
    model: Line | None = None
    search_queries: Annotated[list[Line], BeforeValidator(_cut)] | None = None
    raw_response: Annotated[list[Any], BeforeValidator(_cut)] | None = None
    product_results: Annotated[list[dict[str, Any]], BeforeValidator(_cut)] | None = None


class OrganicResult(Block):
    """One hit of a search.

    Attributes:
        position: From 1, over all pages.
        title: Of the page.
        link: Where it is.
        displayed_link: How it is shown.
        snippet: What of it fits the query.
        date: When it was written, as the service says.
        page: On which page of results it stands, from 1.
    """

    position: int = Field(ge=1)
    title: Line
    link: Url
    displayed_link: Line | None = None
    snippet: Line | None = None
    date: Line | None = None
    page: int = Field(ge=1)


class RelatedSearch(Block):
    """Another search that may help."""

    query: Line
    link: Url | None = None


class SearchResult(Block):
    """The result of GOOGLE.

    Attributes:
        organic_results: Hits, in their order; none is an answer too.
        related_searches: What else to search for, where the service says so.
    """

    organic_results: Annotated[list[OrganicResult], BeforeValidator(_cut)]
    related_searches: Annotated[list[RelatedSearch], BeforeValidator(_cut)] | None = None


class NewsItem(Block):
    """One piece of news.

    Attributes:
        position: From 1, over all pages.
        title: Its headline.
        link: Where it is.
        snippet: What it says.
        source: Who published it.
        date: When, as the service says.
        thumbnail: A picture of it.
        page: On which page of results it stands, from 1.
    """

    position: int = Field(ge=1)
    title: Line
    link: Url
    snippet: Line | None = None
    source: Line | None = None
    date: Line | None = None
    thumbnail: Url | None = None
    page: int = Field(ge=1)


class NewsResult(Block):
    """The result of GOOGLE_NEWS: pieces of news, in their order; none is an answer too."""

    news_results: Annotated[list[NewsItem], BeforeValidator(_cut)]


_RESULTS: Final[Mapping[str, type[Block]]] = {"GOOGLE": SearchResult, "GOOGLE_NEWS": NewsResult}


def result_model(task_type: str) -> type[Block]:
    """Return the model of what a task of this type results in."""
    return _RESULTS.get(task_type, AnswerResult)


def checked_result(
    task_type: str, result: BaseModel | Mapping[str, Any], *, keep_unknown: bool = False
) -> dict[str, Any]:
    """Return what is stored of a provider's answer.

    Args:
        task_type: What was asked for.
        result: What the provider returned.
        keep_unknown: Store it as it came, once it fits: for services that speak the contract
            themselves, and know fields of it that are not named here.

    Raises:
        Unavailable: If it is no result of this type.
    """
    given = result.model_dump(by_alias=True) if isinstance(result, BaseModel) else result
    if not isinstance(given, Mapping):
        raise Unavailable(f"the answer is no object but {type(given).__name__}")
    if depth_of(given) > DEEPEST:
        raise Unavailable(f"the answer is nested deeper than {DEEPEST} levels")
    try:
        checked = result_model(task_type).model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "the answer"
        raise Unavailable(f"the answer does not fit {task_type}: {where}: {first['msg']}") from None
    if not keep_unknown:
        return checked.model_dump(by_alias=True, exclude_none=True)
    return {name: value for name, value in given.items() if value is not None}


def depth_of(value: object) -> int:
    """Return how deep *value* is nested, at most one more than `DEEPEST`: 0 for what has no parts."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        parts = [part for each in level for part in _parts(each)]
        if not any(isinstance(each, Mapping | list | tuple) for each in level):
            break
        depth += 1
        level = parts
    return depth


def _parts(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []
