"""Gemini by Google's own library, which answers GEMINI and AIMODE, with Google Search as its tool.

The answer comes in parts, which the task's event stream shows. Pages that it leans on are its sources:
Google gives their addresses as links of its own (vertexaisearch.cloud.google.com), which lead to the page
for some weeks; they are kept as they are, with the page's title as the label. Google's terms want its
search suggestions shown beside a grounded answer: they are in `rawResponse`, at
`groundingMetadata.searchEntryPoint`.

| of a task                                  | becomes                                              |
|--------------------------------------------|------------------------------------------------------|
| `prompt`                                   | the question                                         |
| `country`, `gl`, `state`, `location`, `hl` | words of the setting `instructions`                  |
| `include.markdown`, `html`, `rawResponse`  | the text as it was written, a data: URL, all parts   |

The API has no place of a user, no device and no `uule`. What a model of it writes is no copy of the page
that Google's AI Mode shows: it has no shopping cards, places and videos.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, ClassVar, Final, cast

import httpx
from google import genai
from google.genai import errors, types
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator

from scheduler.errors import GiveUp, RateLimited, Retry, Unavailable
from scheduler.providers.base import Call, Provider, ProviderSettings
from scheduler.providers.classifying import excerpt
from scheduler.providers.google.errors import google_error
from scheduler.providers.google.genai_answer import Gathered
from scheduler.providers.tools.http import HttpSettings, certificates, failure_of, http_client
from scheduler.providers.tools.instructing import DEFAULT_INSTRUCTIONS, instructions_of, place_of
from scheduler.providers.tools.rendering import html_of

_OURS: Final = frozenset({"automaticfunctioncalling", "candidatecount", "httpoptions", "systeminstruction"})


class GoogleGenaiSettings(HttpSettings):
    """What the provider can be told.

    Attributes:
        base_url: Where the API is, without its version.
        api_version: Of the API.
        api_key: Of Google AI Studio or Google Cloud. Nothing is taken from the variables that Google's
            library reads by itself.
        model: As Google calls it.
        search: Whether the model may search with Google; each search may cost.
        instructions: What the model is told beside the prompt; "" tells it nothing. `{country}` is
            replaced by the country's code, such as `US`, `{state}` by the name of the state, `{location}`
            by the town and `{language}` by the language (`hl`) of an AIMODE task, each by nothing if the
            task does not say.
        parameters: More fields of `GenerateContentConfig`, as Google's documentation has them:
            `temperature`, `max_output_tokens`, `thinking_config` and the like.
        quota_cooldown: Seconds for which the API is left alone once a quota of a day is used up, if it does
            not say for how long.
    """

    base_url: str = "https://generativelanguage.googleapis.com"
    api_version: str = Field(default="v1beta", pattern=r"^[A-Za-z0-9]{1,20}$")
    api_key: SecretStr = Field(min_length=1)
    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")
    search: bool = True
    instructions: str = Field(default=DEFAULT_INSTRUCTIONS, max_length=20_000)
    parameters: dict[str, Any] = Field(default_factory=dict)
    quota_cooldown: float = Field(default=3_600.0, ge=1, le=86_400, allow_inf_nan=False)

    @field_validator("parameters")
    @classmethod
    def _are_known(cls, value: dict[str, Any]) -> dict[str, Any]:
        refused = sorted(name for name in value if name.replace("_", "").lower() in _OURS)
        if refused:
            raise ValueError(f"{', '.join(refused)} cannot stand here: they are set by the provider")
        try:
            types.GenerateContentConfig.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            raise ValueError(f"Google's library does not take {where}: {first['msg']}") from None
        return value


class GoogleGenai(Provider):
    """Gemini with search; see the head of this module."""

    types: ClassVar[tuple[str, ...]] = ("GEMINI", "AIMODE")
    Settings: ClassVar[type[ProviderSettings]] = GoogleGenaiSettings
    settings: GoogleGenaiSettings

    _http: httpx.AsyncClient | None = None
    _client: genai.Client | None = None

    async def open(self) -> None:
        """Make the library's client on an HTTP client of ours: bounded, and without tries of its own.

        Raises:
            Misconfigured: If a setting cannot be used.
        """
        settings = self.settings
        key = settings.api_key.get_secret_value()
        self._http = http_client(settings, {"x-goog-api-key": key}, event_hooks={"response": [self._judge]})
        # For clients that the library makes and nobody uses: reading certificates takes long.
        trusted = certificates(settings.ca_file)
        options = types.HttpOptions(
            base_url=settings.base_url,
            api_version=settings.api_version,
            timeout=max(1, round(settings.timeout * 1_000)),
            httpx_async_client=self._http,
            client_args={"verify": trusted},
            async_client_args={"verify": trusted, "ssl": trusted},
        )
        self._client = genai.Client(vertexai=False, api_key=key, http_options=options)

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        http, self._http = self._http, None
        if client is not None:
            await client.aio.aclose()
            client.close()
        if http is not None:
            # The library leaves a client open that it was given.
            await http.aclose()

    @property
    def address(self) -> str:
        """Where the API is."""
        return self.settings.base_url

    async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
        """Return the answer, once it is whole; its parts are told as they come."""
        include = getattr(payload, "include", None)
        gathered = Gathered(keeps_raw=getattr(include, "raw_response", False))
        try:
            with self._classified():
                async with aclosing(await self._parts(payload)) as parts:
                    async for part in parts:
                        gathered.add(part)
                        if gathered.text:
                            await call.partial(gathered.text)
        finally:
            # Also of an answer that was cut off: it is paid for.
            call.spend(gathered.tokens)
        gathered.check()
        text = gathered.text
        wants_html = getattr(include, "html", False)
        return {
            "text": text,
            "sources": [
                {"position": position, "url": url, "label": title}
                for position, (url, title) in enumerate(gathered.sources.items(), 1)
            ],
            "markdown": text if getattr(include, "markdown", False) else None,
            "html": await asyncio.to_thread(html_of, text) if wants_html else None,
            "model": gathered.model or self.settings.model,
            "rawResponse": gathered.raw.parts or None,
        }

    async def _parts(self, payload: BaseModel) -> _Parts:
        if self._client is None:
            raise Unavailable(f"provider {self.name!r} is not open")
        config = types.GenerateContentConfig.model_validate(self.settings.parameters)
        place = place_of(payload)
        config.system_instruction = instructions_of(self.settings.instructions, place) or None
        config.automatic_function_calling = types.AutomaticFunctionCallingConfig(disable=True)
        if self.settings.search:
            config.tools = [*(config.tools or []), types.Tool(google_search=types.GoogleSearch())]
        stream = await self._client.aio.models.generate_content_stream(
            model=self.settings.model, contents=getattr(payload, "prompt", ""), config=config
        )
        return cast("_Parts", stream)

    async def _judge(self, response: httpx.Response) -> None:
        """Raise what an answer means that is no success, before the library makes its own of it."""
        if not response.is_success:
            await response.aread()
            raise self._refusal(response.status_code, response.headers, response.content)

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes | str) -> Exception:
        cooldown = self.settings.quota_cooldown
        return google_error(status, headers, body, quota_cooldown=cooldown, secrets=self.secrets)

    @contextmanager
    def _classified(self) -> Iterator[None]:
        """Turn what the library and its HTTP client raise into the errors of providers."""
        try:
            yield
        except (Retry, RateLimited, GiveUp):
            raise
        except errors.APIError as error:
            # It comes in the middle of an answer that began well.
            raise self._refusal(error.code or 0, {}, json.dumps(error.details, default=str)) from None
        except httpx.HTTPError as error:
            raise Unavailable(failure_of(error, self.settings, self.secrets)) from None
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            said = excerpt(f"{type(error).__name__}: {error}", self.secrets)
            raise Unavailable(f"the answer makes no sense to Google's library: {said}") from None


class _Parts(AsyncIterator[types.GenerateContentResponse]):
    """What the library's stream is: an async generator, which it does not say."""

    async def aclose(self) -> None:
        """Stop it."""
