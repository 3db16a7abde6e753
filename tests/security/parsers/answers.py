"""What outside services answer, how providers are configured, and what a crash leaves of a server's file."""

from __future__ import annotations

import base64
import json
import re
import tempfile
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from google.genai import types
from pydantic import BaseModel, ValidationError

from scheduler.errors import Misconfigured, RateLimited, Rejected, Retry, Unavailable
from scheduler.providers.base import LooseCall
from scheduler.providers.classifying import LONGEST_PAUSE, excerpt, retry_after
from scheduler.providers.configuration import read_configuration
from scheduler.providers.google.genai_answer import Gathered
from scheduler.providers.google.search import GoogleSearch, GoogleSearchSettings
from scheduler.providers.news.feed import Item, read_feed, text_of_html
from scheduler.providers.openai.answer import ChatReader, ErrorInside, ResponsesReader
from scheduler.providers.openai.errors import error_inside, error_of
from scheduler.providers.openai.settings import OpenAiSettings
from scheduler.providers.results import checked_result
from scheduler.providers.searxng import Searxng, SearxngSettings
from scheduler.providers.tools.decoding import json_object
from scheduler.providers.tools.http import HttpProvider, Reply
from scheduler.providers.tools.rendering import html_of
from scheduler.providers.upstream import Upstream, UpstreamSettings
from taskqueue.contract import payload_model
from taskqueue.embedded.binary import find_server_binary
from taskqueue.embedded.mending import mend
from taskqueue.values import encode_value
from taskqueue.webhooks import posting
from tests.security.fuzzing import CANARY, Parser, text_of

REFUSALS = (Unavailable, Misconfigured, RateLimited, Rejected, Retry)
STATUSES = (302, 400, 401, 402, 403, 404, 409, 410, 429, 500, 503)
LARGEST = 2**24
_SEARCH = payload_model("GOOGLE").model_validate({"query": "q", "country": "US", "pages": 2})
_NEWS = payload_model("GOOGLE_NEWS").model_validate({"query": "q", "country": "US"})
_PROMPT = payload_model("CHATGPT").model_validate({"prompt": "p", "country": "US"})
_OPENAI = OpenAiSettings(api_key=CANARY, model="m")
_SECRETS = (CANARY,)


def check_told(error: Exception) -> None:
    """An error of a provider is one of those that there are, can be shown, and has no secret."""
    assert type(error) in REFUSALS, error
    str(error).encode()
    assert CANARY not in f"{error} {error!r}"
    after = getattr(error, "after", None)
    assert after is None or 0 <= after.total_seconds() <= 86_400


def asked(provider: HttpProvider, reply: Reply, task_type: str, payload: BaseModel) -> dict[str, Any]:
    """Return the checked result of a provider whose service gives one answer to everything."""

    async def request(*_: object, **__: object) -> Reply:
        return reply

    provider.request = request  # type: ignore[method-assign]
    answering = provider.answer(payload, LooseCall(task_type))
    try:
        answering.send(None)
    except StopIteration as ended:
        result = checked_result(task_type, ended.value, keep_unknown=provider.speaks_contract)
    except REFUSALS as error:
        check_told(error)
        raise
    else:
        raise AssertionError("it waited for something")
    encode_value(result, field="result", max_bytes=LARGEST)
    return result


def answers_of(
    made: Callable[[], HttpProvider], task_type: str, payload: BaseModel
) -> Callable[[bytes], object]:
    """Return a reader of a service's answers: as a success, and with every kind of failure."""

    def read(data: bytes) -> object:
        provider = made()
        for status in STATUSES:
            check_told(provider.error_of(Reply(status, {"retry-after": "7"}, data)))
        return asked(provider, Reply(200, {}, data), task_type, payload)

    return read


def searxng() -> HttpProvider:
    """One whose key is the canary."""
    return Searxng("s", SearxngSettings(base_url="http://s", authorization=CANARY))


def google() -> HttpProvider:
    """One whose key is the canary."""
    return GoogleSearch("g", GoogleSearchSettings(api_key=CANARY, cx="c"))


def upstream() -> HttpProvider:
    """One whose key is the canary."""
    return Upstream("u", UpstreamSettings(base_url="http://u", api_key=CANARY))


def read_object(data: bytes) -> dict[str, Any]:
    """An object that was accepted can be stored, as far as it is not too deep."""
    try:
        found = json_object(data, media_type="text/plain", secrets=_SECRETS)
    except Unavailable as error:
        check_told(error)
        raise
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    return found


def read_openai(data: bytes) -> object:
    """An answer that comes as one or as lines of events, by both protocols; or an error of any status."""
    for status in STATUSES:
        check_told(error_of(status, {}, data, settings=_OPENAI, secrets=_SECRETS))
    for made in (ChatReader, ResponsesReader):
        reader = made()
        reader.answer.raw.is_wanted = True
        try:
            for line in data.splitlines()[:-1]:
                reader.read_event(_event(line))
            reader.read_whole(json_object(data.splitlines()[-1] if data else b"", secrets=_SECRETS))
        except ErrorInside as error:
            check_told(error_inside(error.body, settings=_OPENAI, secrets=_SECRETS))
            continue
        answer = reader.answer
        result = {"text": answer.text or "-", "sources": answer.sources, "rawResponse": answer.raw.parts}
        checked = checked_result("CHATGPT", {**result, "searchQueries": list(answer.queries)})
        encode_value(checked, field="result", max_bytes=LARGEST)
        assert type(answer.tokens) is int
        excerpt(answer.refusal, _SECRETS).encode()
    return data


def _event(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def read_gemini(data: bytes) -> object:
    """A part of Gemini's answer, as Google's library reads it."""
    document = json_object(data)
    gathered = Gathered(keeps_raw=True)
    try:
        with warnings.catch_warnings():
            # Of words that the library does not know yet.
            warnings.simplefilter("ignore")
            gathered.add(types.GenerateContentResponse.model_validate(document))
    except (ValidationError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return None  # the provider tells it as Unavailable
    gathered.check()
    assert gathered.text
    encode_value(gathered.raw.parts, field="raw", max_bytes=LARGEST)
    return gathered.text


def read_rss(data: bytes) -> list[Item]:
    """Of a feed come bounded texts, and links by http or https."""
    items = read_feed(data, 100)
    assert len(items) <= 100
    for item in items:
        assert item.link.startswith(("http://", "https://"))
        assert item.date is None or re.fullmatch(r"\d{1,4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", item.date)
    encode_value([list(item) for item in items], field="items", max_bytes=LARGEST)
    return items


def read_html(data: bytes) -> str:
    """The text of HTML is one line."""
    text = text_of_html(data.decode("utf-8", "replace"))
    assert "\n" not in text
    return text


def read_markdown(data: bytes) -> str:
    """An answer as HTML is a page in ASCII, in which no address of a script is a link."""
    url = html_of(data.decode("utf-8", "replace"))
    page = base64.b64decode(url.partition(",")[2], validate=True).decode("utf-8", "replace").lower()
    body = page.partition("<body>")[2]
    assert "<script" not in body
    assert not re.search(r'(?:href|src)="\s*(?:javascript|vbscript|file):', body)
    return url


def read_retry_after(data: bytes) -> float | None:
    """A pause is from 0 to an hour, of a receiver of webhooks from 0 to a day; or none is told."""
    text = data.decode("latin-1")
    pauses = [retry_after({name: text}, now=1.7e9) for name in ("Retry-After", "Retry-After-Ms")]
    assert all(pause is None or 0 <= pause <= LONGEST_PAUSE for pause in pauses)
    head: Any = SimpleNamespace(headers=[(b"retry-after", data)])
    of_receiver = posting._retry_after(head)
    assert of_receiver is None or 0 <= of_receiver <= posting.LONGEST_RETRY_AFTER
    return pauses[0]


def read_excerpt(data: bytes) -> str:
    """What is shown of an answer is short, on one line, and without the key."""
    shown = excerpt(data, _SECRETS)
    assert len(shown) <= 200
    assert CANARY not in shown
    for each in (shown, excerpt(text_of(data), _SECRETS), excerpt(data.decode("latin-1"), _SECRETS)):
        assert len(each) <= 200
        assert not {unicodedata.category(sign) for sign in each} & {"Cc", "Cs", "Zl", "Zp"}
        assert not {unicodedata.bidirectional(sign) for sign in each} & {"RLO", "LRO", "RLI", "FSI", "PDF"}
    return shown


def read_providers(data: bytes) -> bool:
    """A configuration names only healthy providers, and tells no secret; nothing of it is an error."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        found = read_configuration(Path(file.name), {"KEY": CANARY, "EMPTY": ""})
    for chain in found.chains.values():
        assert set(chain) <= found.providers.keys() <= found.kinds.keys()
    for problem in found.problems:
        assert CANARY not in str(problem)
        str(problem).encode()
    assert found.providers or not found.chains
    return not found.problems


def read_aof(data: bytes) -> bool:
    """What remains of an append-only file is its beginning, and mending it again changes nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "appendonlydir")
        folder.mkdir()
        aof = folder / "appendonly.aof.1.incr.aof"
        aof.write_bytes(data)
        (folder / "appendonly.aof.manifest").write_bytes(b"file %b seq 1 type i\n" % aof.name.encode())
        lost = mend(Path(name), find_server_binary())
        left = aof.read_bytes()
        assert data.startswith(left)
        assert lost == len(data) - len(left)
        assert mend(Path(name), find_server_binary()) == 0
        assert aof.read_bytes() == left
    return lost == 0


PARSERS = (
    Parser("answer-object", read_object, (Unavailable,)),
    Parser("searxng", answers_of(searxng, "GOOGLE", _SEARCH), REFUSALS),
    Parser("searxng-news", answers_of(searxng, "GOOGLE_NEWS", _NEWS), REFUSALS),
    Parser("google-search", answers_of(google, "GOOGLE", _SEARCH), REFUSALS),
    Parser("upstream", answers_of(upstream, "CHATGPT", _PROMPT), REFUSALS),
    Parser("openai", read_openai, REFUSALS),
    Parser("gemini", read_gemini, REFUSALS),
    Parser("feed", read_rss, (Unavailable,), weight=2),
    Parser("html", read_html),
    Parser("markdown", read_markdown, weight=2),
    Parser("retry-after", read_retry_after),
    Parser("excerpt", read_excerpt),
    Parser("providers", read_providers, weight=2),
    Parser("aof", read_aof, weight=10),
)
