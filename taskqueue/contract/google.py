"""The payloads of Google's engines: AI Mode, search and news.

Contract: the sync monitor endpoints aimode, google and google/news, whose request bodies are the
payloads of tasks.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from taskqueue.contract.fields import (
    Absent,
    Code,
    LongText,
    Part,
    Payload,
    Token,
    absent,
    flag,
    not_null,
    refuse,
    without_null,
)
from taskqueue.contract.geography import check_country, check_gl
from taskqueue.contract.google_url import LONGEST_SEARCH_URL, MOST_PAGES, read_google_url
from taskqueue.contract.places import is_served

EITHER_PLACE = "Provide gl (or country, which is deprecated)"
EITHER_TARGET = "Provide either query or url"
ONE_TOWN = "Cannot set both location and uule; provide only one"
PLACE_OF_URL = "Provide gl, or include gl= in the url so it can be derived"

Device = Literal["desktop", "mobile", "ios", "android"]
Pages = Annotated[int, Field(ge=1, le=MOST_PAGES)]
Url = Annotated[str, StringConstraints(strip_whitespace=True)]


def _text(what: str, example: str) -> Any:
    return Field(
        description=f"{what}: 1 to 10,000 characters, without the spaces around it.", examples=[example]
    )


def _country(pattern: str) -> Any:
    return absent(
        description="Where the search is made from: an ISO 3166-1 alpha-2 code of a country that the "
        "engine serves; see `GET /v1/countries`. `gl` does the same.",
        examples=["US"],
        schema={"pattern": pattern},
    )


def _gl() -> Any:
    # Looked at even where it is left out: one of gl and country must be there.
    return absent(
        description="As `country`, under Google's name for it, in capital or small letters.",
        examples=["us"],
        schema={"pattern": "^[A-Za-z]{2}$"},
        validate_default=True,
    )


def _hl() -> Any:
    return absent(
        description="Language of the interface as Google writes it; else that of the country.",
        examples=["en"],
    )


def _location() -> Any:
    return absent(
        description="Town to search from, by Google's canonical name. Not together with `uule`.",
        examples=["New York,New York,United States"],
    )


def _uule() -> Any:
    return absent(
        description="Town to search from, as Google encodes it. Not together with `location`.",
        examples=["w+CAIQICINVW5pdGVkIFN0YXRlcw"],
    )


def _device() -> Any:
    return Field(
        default="desktop",
        description="Device the search is made from; `mobile` is another name for `android`.",
        examples=["desktop"],
    )


def _pages() -> Any:
    return Field(
        default=1, description="How many pages of results; each after the first costs more.", examples=[1]
    )


def _ignored() -> Any:
    return Field(default=False, exclude=True, description="Ignored.", json_schema_extra={"deprecated": True})


class Placed(Payload):
    """A payload whose place is said by `country` or, in Google's own words, by `gl`.

    The fields are declared by the models below, in the order in which they are looked at.

    Attributes:
        any_case: Whether `country` may be written in small letters, as `gl` may.
    """

    any_case: ClassVar[bool] = True

    @field_validator("country", check_fields=False)
    @classmethod
    def _is_served(cls, value: str) -> str:
        upper = value.upper() if cls.any_case and value.isascii() else value
        return check_country(upper, cls.served_as) if value else value

    @field_validator("gl", check_fields=False)
    @classmethod
    def _is_placed(cls, value: str, info: ValidationInfo) -> str:
        # A field that was refused is not in the data; one that was left out is there, and empty.
        country = info.data.get("country")
        if value:
            return check_gl(value, cls.served_as, country)
        if country == "":
            _check_place_of_url(info, cls.served_as, has_url="url" in cls.model_fields and _has_url(info))
        return value

    @field_validator("hl", check_fields=False)
    @classmethod
    def _is_lower(cls, value: str) -> str:
        # Other letters can grow when they are made small, beyond what the field may hold.
        return value.lower() if value.isascii() else value

    @field_validator("uule", check_fields=False)
    @classmethod
    def _is_the_only_town(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("location"):
            refuse(ONE_TOWN)
        return value


class AimodeInclude(Part):
    """What the answer shall include beside its text."""

    html: bool = flag("Include a link to the answer as HTML.")
    markdown: bool = flag("Include the answer as Markdown.")
    expand_products: bool = flag(
        "Include the offers of the products shown, of six at most; each one returned costs more."
    )
    google_goto: bool = _ignored()


class AimodePayload(Placed):
    """A prompt for Google AI Mode."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["prompt", "country"]}, {"required": ["prompt", "gl"]}],
            "examples": [
                {"prompt": "Best running shoes", "country": "US", "include": {"expandProducts": True}}
            ],
        }
    )
    served_as: ClassVar[str] = "aimode"
    any_case: ClassVar[bool] = False

    prompt: LongText = _text("The prompt", "Best running shoes")
    country: Code = _country("^[A-Z]{2}$")
    gl: Token = _gl()
    hl: Token = _hl()
    location: Token = _location()
    uule: Token = _uule()
    device: Literal["desktop", "mobile"] = Field(
        default="desktop", description="Device the prompt is given on.", examples=["desktop"]
    )
    include: AimodeInclude = Field(
        default_factory=AimodeInclude, description="What the answer shall include beside its text."
    )


class NewsInclude(Part):
    """What the result shall include beside the news."""

    html: bool = flag("Include links to the pages as HTML.")


class GoogleNewsPayload(Placed):
    """A search on Google News."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["query", "country"]}, {"required": ["query", "gl"]}],
            "examples": [{"query": "climate change", "country": "US", "pages": 2}],
        }
    )
    # There is no list of countries for news: it serves those of search, which are all.
    served_as: ClassVar[str] = "google"

    query: LongText = _text("The search", "climate change")
    country: Code = _country("^[A-Za-z]{2}$")
    gl: Token = _gl()
    hl: Token = _hl()
    device: Device = _device()
    pages: Pages = _pages()
    include: NewsInclude = Field(
        default_factory=NewsInclude, description="What the result shall include beside the news."
    )


class AiOverview(Part):
    """How the AI overview shall come."""

    markdown: bool = flag("Include the AI overview as Markdown.")


class GoogleInclude(Part):
    """What the result shall include beside the links."""

    html: bool = flag("Include links to the pages as HTML.")
    aioverview: Annotated[AiOverview | None, BeforeValidator(not_null)] = Field(
        default=None,
        description="Include the AI overview; costs more, once together with `paaAioverview`.",
        examples=[{"markdown": True}],
        json_schema_extra=without_null,
    )
    paa_aioverview: bool = flag("Include AI overviews among the questions that people also ask.")
    google_goto: bool = _ignored()


class GooglePayload(Placed):
    """A Google search: a query and a place, or a complete search address."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["query", "country"]},
                {"required": ["query", "gl"]},
                {"required": ["url"]},
            ],
            "examples": [
                {"query": "best laptops", "country": "US", "pages": 3, "include": {"aioverview": {}}},
                {"url": "https://www.google.com/search?q=best+laptops&gl=us&num=30"},
            ],
        }
    )
    served_as: ClassVar[str] = "google"

    # Looked at first, because it owns what some of the others say.
    url: Url = absent(
        description="A complete Google search address in place of `query`, `location`, `uule` and `pages`. "
        "Read from it: q, gl, hl, uule, num (as depth), start, tbs and safe; tbm is refused.",
        examples=["https://www.google.com/search?q=best+laptops&gl=us&num=30"],
        schema={"format": "uri", "maxLength": LONGEST_SEARCH_URL},
    )
    query: LongText = Field(
        default_factory=Absent,
        validate_default=True,
        description="The search: 1 to 10,000 characters, without the spaces around it.",
        examples=["best laptops"],
    )
    country: Code = _country("^[A-Za-z]{2}$")
    gl: Token = _gl()
    hl: Token = _hl()
    location: Token = _location()
    uule: Token = _uule()
    device: Device = _device()
    pages: Pages = _pages()
    include: GoogleInclude = Field(
        default_factory=GoogleInclude, description="What the result shall include beside the links."
    )

    @field_validator("url")
    @classmethod
    def _is_a_search(cls, value: str) -> str:
        if value:
            try:
                read_google_url(value)
            except ValueError as error:
                refuse(str(error))
        return value

    @field_validator("query", mode="wrap")
    @classmethod
    def _is_the_only_target(
        cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> str:
        if isinstance(value, Absent):
            if not _has_url(info):
                refuse(EITHER_TARGET)
            return ""
        checked: str = handler(value)
        _refuse_beside_url("query", info)
        return checked

    @field_validator("location", "uule")
    @classmethod
    def _is_not_the_urls(cls, value: str, info: ValidationInfo) -> str:
        if value and info.field_name:
            _refuse_beside_url(info.field_name, info)
        return value

    @field_validator("country", "gl", "hl")
    @classmethod
    def _agrees_with_the_url(cls, value: str, info: ValidationInfo) -> str:
        # Runs after the validators above: the value is in the letters that it is used in.
        url = info.data.get("url")
        if value and url:
            told = read_google_url(url)
            said = told.language if info.field_name == "hl" else told.country
            if said and said.lower() != value.lower():
                refuse(f"Cannot set both url and {info.field_name}; the URL owns this value")
        return value

    @field_validator("pages")
    @classmethod
    def _is_not_the_depth(cls, value: int, info: ValidationInfo) -> int:
        _refuse_beside_url("pages", info)
        return value


def _has_url(info: ValidationInfo) -> bool:
    """Whether an address was given: one that was refused is not in the data."""
    return bool(info.data.get("url", "refused"))


def _refuse_beside_url(field: str, info: ValidationInfo) -> None:
    if _has_url(info):
        refuse(f"Cannot set both url and {field}; the URL owns this value")


def _check_place_of_url(info: ValidationInfo, model: str, *, has_url: bool) -> None:
    """Refuse a payload without `country` and `gl`, unless it has an address that says the place."""
    if not has_url:
        refuse(EITHER_PLACE)
    if "url" in info.data:
        country = read_google_url(info.data["url"]).country
        if country is None:
            refuse(PLACE_OF_URL)
        if not is_served(country, model):
            refuse(f"The gl of the url is not supported. Use a code from `GET /v1/countries?model={model}`.")
