"""OpenAI-compatible services: OpenAI, Perplexity, xAI, Gemini's compatible side, and servers of one's own.

    [providers.openai]
    kind = "openai"
    model = "gpt-5-mini"
    api_key = { env = "OPENAI_API_KEY" }
    api = "responses"
    parameters = { tools = [{ type = "web_search" }] }

| of a task                                  | becomes                                                 |
|--------------------------------------------|---------------------------------------------------------|
| `prompt`                                   | the message of the user, or the input                   |
| `country`, `gl`, `state`, `location`, `hl` | words of the setting `instructions`; the place of a     |
|                                            | search by `responses`, where a tool for it is configured |
| `disableWebSearch`                         | no `tool_choice`                                        |
| `include.markdown`, `html`, `rawResponse`  | the text as it was written, a data: URL, what came      |
| `include.searchQueries`                    | what the service says that it searched for              |
| `include.ads`, `shopping`, `legacy`        | nothing: the protocol has no such things                |

Each call is one request: what fails is tried again by the engine, not by the client. What a service's
errors mean is in `scheduler.providers.openai.errors`; of answers:

| the answer                                           | then                                          |
|------------------------------------------------------|-----------------------------------------------|
| was cut at its limit of tokens                       | it is kept, as far as it came                 |
| is a refusal, or was stopped by a content filter     | `Rejected`, with what the service says        |
| wants a function to be called                        | `Misconfigured`: nobody here would call it    |
| is empty, breaks off, or ends without saying why     | `Unavailable`                                 |
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar, Final

import httpx
import openai
from pydantic import BaseModel

from scheduler.errors import Misconfigured, Rejected, Unavailable
from scheduler.providers.base import Call, Provider, ProviderSettings
from scheduler.providers.classifying import excerpt
from scheduler.providers.openai.answer import Answer, ChatReader, ErrorInside, ResponsesReader
from scheduler.providers.openai.errors import error_inside, error_of
from scheduler.providers.openai.question import question_of
from scheduler.providers.openai.settings import OpenAiSettings
from scheduler.providers.tools.decoding import json_object
from scheduler.providers.tools.http import failure_of, http_client, user_agent
from scheduler.providers.tools.rendering import html_of

_NO_KEY: Final = "none"
"""Keeps the library from looking for a key of its own; the header is made here."""

_KEPT_HEADERS: Final = ("Host", "Accept", "Content-Type", "Content-Length", "Connection", "Idempotency-Key")

_Reader = ChatReader | ResponsesReader


class OpenAi(Provider):
    """A service that speaks OpenAI's protocol; see the head of this module."""

    types: ClassVar[tuple[str, ...]] = ("AIMODE", "CHATGPT", "COPILOT", "GEMINI", "GROK", "PERPLEXITY")
    Settings: ClassVar[type[ProviderSettings]] = OpenAiSettings
    settings: OpenAiSettings

    _client: openai.AsyncOpenAI | None = None

    async def open(self) -> None:
        """Make the client.

        Raises:
            Misconfigured: If `ca_file` cannot be used, or the key cannot be sent as a header.
        """
        settings, own = self.settings, {"User-Agent": user_agent(), **self.settings.headers}
        if settings.api_key:
            own["Authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
        if settings.organization is not None:
            own["OpenAI-Organization"] = settings.organization

        async def send_only_ours(request: httpx.Request) -> None:
            """Leave out what the library adds: its reports, and headers from variables that it reads."""
            kept = {name: request.headers[name] for name in _KEPT_HEADERS if name in request.headers}
            request.headers = httpx.Headers({**kept, **own})

        http = http_client(settings, own, event_hooks={"request": [send_only_ours]})
        self._client = openai.AsyncOpenAI(
            api_key=_NO_KEY,
            base_url=settings.base_url,
            timeout=settings.timeout,
            max_retries=0,
            http_client=http,  # type: ignore[arg-type]  # it takes httpx's too, and says only httpx2's
        )

    async def close(self) -> None:
        """Close the client and its connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def address(self) -> str:
        """Where the service is."""
        return self.settings.base_url

    async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
        """Return what the service answers; partial texts are told as they come."""
        if self._client is None:
            raise Unavailable(f"provider {self.name!r} is not open")
        reader: _Reader = ChatReader() if self.settings.api == "chat" else ResponsesReader()
        include = getattr(payload, "include", None)
        reader.answer.raw.is_wanted = getattr(include, "raw_response", False)
        try:
            await self._ask(self._client, question_of(self.settings, payload), reader, call)
        except openai.APIStatusError as error:
            answer = error.response
            raise self._refusal(answer.status_code, answer.headers, answer.content) from None
        except openai.APIConnectionError as error:
            raise self._breakdown(error.__cause__) from None
        except httpx.HTTPError as error:  # of a body that is read here, or let through by the library
            raise self._breakdown(error) from None
        except (openai.APIError, ErrorInside) as error:
            raise error_inside(error.body, settings=self.settings, secrets=self.secrets) from None
        finally:
            call.spend(reader.answer.tokens)
        self._judge(reader.answer)
        return await _result_of(reader.answer, include)

    async def _ask(
        self, client: openai.AsyncOpenAI, body: dict[str, Any], reader: _Reader, call: Call
    ) -> None:
        options: Any = {"headers": {"Idempotency-Key": call.idempotency_key}}
        # Asked for as plain objects: the library's models take what they get, whatever its types.
        if not self.settings.stream:
            response = await client.post(reader.path, cast_to=httpx.Response, body=body, options=options)
            reader.read_whole(self._document(response))
            return
        stream = await client.post(
            reader.path,
            cast_to=object,
            body=body,
            options=options,
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        async with stream:
            if _media_type(stream.response).endswith(("json", "html")):
                await stream.response.aread()
                reader.read_whole(self._document(stream.response))
                return
            async for event in self._events(stream):
                reader.read_event(event)
                if reader.answer.has_grown:
                    await call.partial(reader.answer.text)

    async def _events(self, stream: openai.AsyncStream[object]) -> AsyncIterator[object]:
        """Yield the events of a stream.

        Raises:
            Unavailable: If one of them is no JSON.
        """
        try:
            async for event in stream:
                yield event
        except (ValueError, RecursionError) as error:
            # Also what is no UTF-8. The text of the error could be the answer's.
            raise Unavailable(f"an event of the answer is no JSON: {type(error).__name__}") from None

    def _document(self, response: Any) -> dict[str, Any]:
        return json_object(response.content, media_type=_media_type(response), secrets=self.secrets)

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
        return error_of(status, headers, body, settings=self.settings, secrets=self.secrets)

    def _breakdown(self, error: BaseException | None) -> Exception:
        if isinstance(error, httpx.HTTPError):
            return Unavailable(failure_of(error, self.settings, self.secrets))
        return Unavailable(f"the connection broke: {type(error).__name__}")

    def _judge(self, answer: Answer) -> None:
        """Raise what an answer comes to that is none."""
        has_text = bool(answer.text.strip())
        if answer.ended == "content_filter":
            raise Rejected("the answer was stopped by the service's content filter")
        if answer.refusal and not has_text:
            raise Rejected(f"the model refuses: {excerpt(answer.refusal, self.secrets)}")
        if answer.functions and not has_text:
            name = excerpt(answer.functions[0], self.secrets)
            raise Misconfigured(
                f"the model wants the function {name!r} to be called, which nobody here does: take it out "
                "of the parameter `tools`"
            )
        if not answer.ended:
            raise Unavailable("the answer broke off: its end is missing")
        if answer.ended in _BROKEN:
            raise Unavailable(f"the answer broke off: {answer.ended}")
        if not has_text:
            is_cut = answer.ended == "length"
            why = ": its limit of tokens was used up before a text began" if is_cut else ""
            raise Unavailable(f"the answer is empty{why}")


_BROKEN: Final = frozenset({"error", "insufficient_system_resource"})
"""Ends of an answer that are none: of OpenRouter and of DeepSeek."""


async def _result_of(answer: Answer, include: BaseModel | None) -> dict[str, Any]:
    """Return the contract's result.

    Searches are part of what every engine tells, except CHATGPT, where they are asked for.
    """
    text = answer.text
    result: dict[str, Any] = {"text": text, "sources": answer.sources}
    if answer.model:
        result["model"] = answer.model
    if answer.queries and getattr(include, "search_queries", True):
        result["searchQueries"] = list(answer.queries)
    if getattr(include, "markdown", False):
        result["markdown"] = text
    if getattr(include, "html", False):
        result["html"] = await asyncio.to_thread(html_of, text)
    if answer.raw.is_wanted:
        result["rawResponse"] = answer.raw.parts
    return result


def _media_type(response: Any) -> str:
    named: str = response.headers.get("content-type", "")
    return named.partition(";")[0].strip().lower()
