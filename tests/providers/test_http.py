"""What every provider behind plain HTTP promises: bounds, no redirects, no secrets, errors with a name."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import socket
import ssl
import traceback
import zlib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme
from pydantic import BaseModel, Field, SecretStr, ValidationError

from scheduler.errors import Misconfigured, Rejected, Unavailable
from scheduler.providers import Call, ProviderSettings
from scheduler.providers.tools.http import HttpProvider, HttpSettings
from tests.providers.asking import asked, opened
from tests.providers.servers import (
    REFUSALS,
    Answer,
    Asked,
    chunks,
    holds,
    resets,
    says,
    says_json,
    says_packed,
    seconds_of,
    service,
    writes,
)

KEY = "a-key-that-nobody-may-see-0123456789"
LIMIT = 2_000
QUESTION = {"prompt": "Who is there?", "country": "US"}
HELLO = {"text": "Hello."}


class PlainSettings(HttpSettings):
    """A key and a small bound."""

    api_key: SecretStr = SecretStr(KEY)
    largest_response: int = Field(default=LIMIT)


class Plain(HttpProvider):
    """Posts the prompt, and returns what comes."""

    types: ClassVar[tuple[str, ...]] = ("CHATGPT",)
    Settings: ClassVar[type[ProviderSettings]] = PlainSettings
    settings: PlainSettings

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.settings.api_key.get_secret_value()}"}

    async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
        return await self.post_json("/ask", payload.model_dump(exclude_unset=True))


class Getting(Plain):
    """The same by GET, with the prompt in the address; a 404 blames the question."""

    not_found = Rejected

    async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
        return await self.get_json("/ask", {"q": payload.prompt}, {"X-One": "1"})  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def silent_key(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever happens, the key is in no log, not even in those of the client."""
    caplog.set_level(logging.DEBUG)
    yield
    assert KEY not in caplog.text


async def told(answer: Answer, kind: type[Plain] = Plain, **settings: Any) -> dict[str, Any]:
    """What a provider makes of an answer."""
    async with service(answer) as server, opened(kind, base_url=server.url, **settings) as provider:
        return await asked(provider, "CHATGPT", QUESTION)


async def test_a_question_is_posted_as_json_with_the_key() -> None:
    """The service sees path, body, key and who asks; a slash at the end of the address is not doubled."""
    async with service(says_json(HELLO)) as server, opened(Plain, base_url=f"{server.url}/v1/") as provider:
        assert await asked(provider, "CHATGPT", QUESTION) == {"text": "Hello.", "sources": []}
        assert provider.address == f"{server.url}/v1"

    (request,) = server.asked
    assert (request.method, request.path, request.json()) == ("POST", "/v1/ask", QUESTION)
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert re.fullmatch(r"taskqueue-engine/\d+\.\d+\.\d+", request.headers["user-agent"])
    assert request.headers["accept-encoding"] == "gzip"


async def test_a_question_is_quoted_in_an_address() -> None:
    """What stands for something in an address does not in a question."""
    prompt = "a&b=c #1 ä 100% ?x=/../"
    async with service(says_json(HELLO)) as server, opened(Getting, base_url=server.url) as provider:
        await asked(provider, "CHATGPT", QUESTION | {"prompt": prompt})

    assert (server.asked[0].path, server.asked[0].params) == ("/ask", {"q": prompt})
    assert server.asked[0].headers["x-one"] == "1"


@pytest.mark.parametrize(("status", "headers", "error", "after"), REFUSALS)
async def test_a_refusal_is_classified_with_an_excerpt(
    status: int, headers: tuple[str, ...], error: type[Exception], after: float | None
) -> None:
    """What the service said is told in short, on one line and without the key; a redirect leads nowhere."""
    with pytest.raises(error) as caught:
        await told(says(f"No:\r\n\x1b[31m {KEY} " + "x" * 900, status, *headers))

    assert str(caught.value).startswith(f"the service answered {status}: No: [31m [hidden] xxx")
    assert len(str(caught.value)) < 400
    if after is not None:
        assert seconds_of(caught.value) == after


async def test_a_provider_may_say_that_404_blames_the_question() -> None:
    """Where the address holds the question."""
    with pytest.raises(Rejected, match="the service answered 404"):
        await told(says("", 404), Getting)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (says(""), "the answer is no JSON: it is empty"),
        (says("<!doctype html>\n<p>Sorry", kind="text/html; charset=utf-8"), "no JSON but text/html: <!doc"),
        (says('{"text": "Hel'), 'the answer is no JSON: {"text": "Hel'),
        (says('{"text": "Grüße"}'.encode("latin-1")), "the answer is no JSON"),
        (says('{"text": NaN}'), "the answer is no JSON"),
        (says('{"text": 1e999}'), "the answer is no JSON"),
        (says('{"text": 18446744073709551616}'), "the answer is no JSON"),
        (says(b'{"text": ' + b"9" * 1_900 + b"}"), "the answer is no JSON"),
        (says(b'{"a":' * 300 + b"1" + b"}" * 300), "the answer does not fit|nested deeper"),
        (says("[" * 1_900), "the answer is no JSON"),
        (says("[1, 2]"), r"the answer is no JSON object: \[1, 2\]"),
        (says('"text"'), "the answer is no JSON object"),
        (says('{"text": 5}'), "does not fit CHATGPT: text: Input should be a valid string"),
        (says('{"text": ""}'), "does not fit CHATGPT: text"),
        (says('{"sources": []}'), "does not fit CHATGPT: text: Field required"),
        (says("", 204), "the answer is no JSON: it is empty"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_a_failure(answer: Answer, what: str) -> None:
    """Whatever comes with 200, the provider does not break: its breaker counts."""
    with pytest.raises(Unavailable, match=what):
        await told(answer)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
async def test_json_is_read_in_whatever_it_may_be_written(encoding: str) -> None:
    """Also with the mark at its beginning that some services leave."""
    assert (await told(says('{"text": "Grüße 😀"}'.encode(encoding))))["text"] == "Grüße 😀"


async def test_half_a_character_does_not_spoil_an_answer() -> None:
    """Services cut texts in the middle of an emoji; the half is replaced, whole ones are kept."""
    body = r'{"text": "\ud83d\ude00 cut \ud83d", "model": "\uDE00!", "searchQueries": ["\ud83d", "b"]}'

    assert await told(says(body)) == {
        "text": "😀 cut \ufffd",
        "model": "\ufffd!",
        "searchQueries": ["\ufffd", "b"],
        "sources": [],
    }


async def test_an_answer_may_be_as_long_as_its_bound() -> None:
    """To the byte, packed or not."""
    body = json.dumps({"text": "x" * (LIMIT - len(json.dumps({"text": ""})))}).encode()
    assert len(body) == LIMIT

    assert len((await told(says(body)))["text"]) == LIMIT - 12
    assert len((await told(says_packed(body)))["text"]) == LIMIT - 12
    for longer in (says(body + b" "), says_packed(body + b" "), chunks([body, b" "], "application/json")):
        with pytest.raises(Unavailable, match="the answer is longer than 2,000 bytes"):
            await told(longer)


async def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MiB come as 64 KiB; no more than the bound and a byte is ever unpacked at once."""
    unpacked: list[int] = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self, bits: int) -> None:
            self._real = real(bits)

        def decompress(self, data: bytes, most: int) -> bytes:
            found = self._real.decompress(data, most)
            unpacked.append(len(found))
            return found

        @property
        def eof(self) -> bool:
            return self._real.eof

    packed = gzip.compress(b"\0" * 64 * 1024 * 1024)
    monkeypatch.setattr("scheduler.providers.tools.transport.zlib.decompressobj", Watched)

    with pytest.raises(Unavailable, match="the answer is longer than 2,000 bytes"):
        await told(says_packed(b"", packed=packed))

    assert unpacked
    assert max(unpacked) <= LIMIT + 1


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (says_packed(b"", "br", b"\x0b\x02\x80{}\x03"), "packed by a means that was not asked for"),
        (says_packed(b"", "gzip, gzip", b"x"), "packed by a means that was not asked for"),
        (says_packed(b"", packed=b"no gzip at all"), "says that it is packed as gzip, and is not"),
        (says_packed(b"", packed=gzip.compress(b"{}" * 500)[:-9]), "packed as gzip, and its end is missing"),
        (says_packed(b"", packed=b""), "the answer is no JSON: it is empty"),
    ],
)
async def test_what_cannot_be_unpacked_is_a_failure(answer: Answer, what: str) -> None:
    """Only gzip is asked for."""
    with pytest.raises(Unavailable, match=what):
        await told(answer)


async def test_a_long_refusal_is_cut_and_a_packed_one_read() -> None:
    """Errors are no reason to read for long: the status counts."""
    packed = gzip.compress(b"Too many, says the service." + b" " * 1_000_000)
    page = f"HTTP/1.1 429 No\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    with pytest.raises(Exception, match="the service answered 429: Too many, says the service"):
        await told(writes(page.encode() + packed))
    with pytest.raises(Misconfigured, match="the service answered 401: yyy"):
        await told(says("y" * 1_000_000, 401))
    with pytest.raises(Misconfigured, match="the service answered 401"):
        await told(says(b"no gzip", 401, "Content-Encoding: gzip"))


@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_without_an_end_is_left_at_its_bound(status: int) -> None:
    """The connection is closed, and whoever goes on writing finds out."""

    async def endless(_: Asked, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} Whatever\r\n\r\n".encode())
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with service(endless) as server, opened(Plain, base_url=server.url) as provider:
        with pytest.raises(Unavailable, match=r"longer than 2,000 bytes|the service answered 500: xxx"):
            await asked(provider, "CHATGPT", QUESTION)
        async with asyncio.timeout(5):
            await server.left.wait()


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (resets(), "the connection broke"),
        (resets(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "the connection broke"),
        (writes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "the connection broke"),
        (chunks([b'{"text": "Hel'], ends=False), "the connection broke"),
        (writes(b""), "the connection broke"),
        (writes(b"SSH-2.0-OpenSSH_9.6\r\n"), "the connection broke"),
        (writes(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"), "the connection broke"),
    ],
)
async def test_a_connection_that_breaks_is_a_failure(answer: Answer, what: str) -> None:
    """Before the answer, in the middle of it, or with what is no HTTP at all."""
    with pytest.raises(Unavailable, match=what):
        await told(answer)


async def test_a_service_that_is_silent_is_left_after_the_timeout() -> None:
    """It took the question, and says nothing; the connection is closed."""
    async with service(holds()) as server, opened(Plain, base_url=server.url, timeout=0.1) as provider:
        with pytest.raises(Unavailable, match=r"it said nothing for 0\.1 s|did not answer within 0\.1 s"):
            await asked(provider, "CHATGPT", QUESTION)
        async with asyncio.timeout(5):
            await server.left.wait()


async def test_a_call_that_nobody_else_limits_is_left_after_the_timeout() -> None:
    """Of a method beside `answer()`, such as one that opens a session: its own timeout holds."""
    async with service(holds()) as server, opened(Plain, base_url=server.url, timeout=0.1) as provider:
        assert isinstance(provider, Plain)
        with pytest.raises(Unavailable, match=r"it said nothing for 0\.1 s"):
            await provider.get_json("/ask")
        async with asyncio.timeout(5):
            await server.left.wait()


async def test_a_provider_introduces_itself_though_nothing_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a source tree alone there is no version to tell."""

    def not_installed(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("scheduler.providers.tools.http.version", not_installed)
    async with service(says_json(HELLO)) as server, opened(Plain, base_url=server.url) as provider:
        await asked(provider, "CHATGPT", QUESTION)

    assert server.asked[0].headers["user-agent"] == "taskqueue-engine"


async def test_an_address_where_nobody_listens_is_a_failure() -> None:
    """The connection is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with opened(Plain, base_url=url) as provider:
            with pytest.raises(Unavailable, match="it cannot be reached"):
                await asked(provider, "CHATGPT", QUESTION)


async def test_a_connection_that_is_not_taken_is_given_up_early() -> None:
    """The backlog is full: the call does not wait for all of its time."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with opened(Plain, base_url=url, connect_timeout=0.1) as provider:
            with pytest.raises(Unavailable, match=r"it took no connection within 0\.1 s"):
                await asked(provider, "CHATGPT", QUESTION)


async def test_cancelling_a_call_stops_it_on_the_wire() -> None:
    """The service, in the middle of its answer, sees the connection go."""
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
    async with service(holds(begun)) as server, opened(Plain, base_url=server.url) as provider:
        call = asyncio.create_task(asked(provider, "CHATGPT", QUESTION))
        async with asyncio.timeout(5):
            await server.arrived.wait()
            assert not server.left.is_set()
            call.cancel()
            await server.left.wait()

    assert call.cancelled()


async def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A proxy of the machine would see the key, and so would a password file."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    async with service(says_json(HELLO)) as server, service(says_json({"text": "proxied"})) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with opened(Plain, base_url=server.url) as provider:
            assert (await asked(provider, "CHATGPT", QUESTION))["text"] == "Hello."

    assert (len(server.asked), len(proxy.asked)) == (1, 0)
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_certificate_must_be_signed_by_who_is_trusted(tmp_path: Path) -> None:
    """A private authority is named by `ca_file`; without it the service is not spoken to."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with service(says_json(HELLO), tls=context) as server:
        async with opened(Plain, base_url=server.url, ca_file=str(tmp_path / "ca.pem")) as provider:
            assert (await asked(provider, "CHATGPT", QUESTION))["text"] == "Hello."
        async with opened(Plain, base_url=server.url) as provider:
            with pytest.raises(Unavailable, match=r"it cannot be reached: .*certificate"):
                await asked(provider, "CHATGPT", QUESTION)

    assert len(server.asked) == 1


async def test_a_file_of_certificates_that_cannot_be_used_is_a_mistake(tmp_path: Path) -> None:
    """It is found when the provider is opened."""
    (tmp_path / "empty.pem").write_text("")
    for name, what in (("missing.pem", "No such file"), ("empty.pem", "it holds no certificates|NO_CERT")):
        with pytest.raises(Misconfigured, match=f"ca_file cannot be used: .*({what})"):
            async with opened(Plain, base_url="https://localhost", ca_file=str(tmp_path / name)):
                pass


@pytest.mark.parametrize(
    "key", ["ümlaut-key-0123456789", "two\nlines-0123456789", "nul\0-0123456789", " spaces "]
)
async def test_a_key_that_no_header_may_hold_is_not_repeated(key: str) -> None:
    """What HTTP libraries say of a bad header shows it."""
    with pytest.raises(Misconfigured, match="characters that no header may have") as caught:
        async with opened(Plain, base_url="http://127.0.0.1:1", api_key=key):
            pass

    assert key not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("value", [f"{KEY}\n", f"{KEY}ü"])
async def test_a_header_of_one_call_is_not_repeated_either(value: str) -> None:
    """It is found out when the call is made."""

    class Telling(Plain):
        async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
            return await self.get_json("/ask", headers={"X-Told": value})

    async with service(says_json(HELLO)) as server, opened(Telling, base_url=server.url) as provider:
        with pytest.raises(Misconfigured, match="characters that no header may have") as caught:
            await asked(provider, "CHATGPT", QUESTION)

    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_a_question_that_is_too_long_for_an_address_is_rejected() -> None:
    """10,000 characters are allowed, and each may take twelve in an address; nobody else could take them."""
    async with service(says_json(HELLO)) as server, opened(Getting, base_url=server.url) as provider:
        with pytest.raises(Rejected, match="does not fit into the service's address"):
            await asked(provider, "CHATGPT", QUESTION | {"prompt": "😀" * 10_000})


async def test_a_provider_that_is_not_open_says_so() -> None:
    """Before open() and after close(), which may be called twice."""
    provider = Plain("tested", PlainSettings(base_url="http://127.0.0.1:1"))
    with pytest.raises(Unavailable, match="provider 'tested' is not open"):
        await asked(provider, "CHATGPT", QUESTION)
    await provider.open()
    await provider.close()
    await provider.close()
    with pytest.raises(Unavailable, match="provider 'tested' is not open"):
        await asked(provider, "CHATGPT", QUESTION)


@pytest.mark.parametrize(
    "url",
    [
        "api.example.org",
        "ftp://example.org",
        "https:///path",
        "https://user:pass@example.org",
        "https://@example.org",
        "https://example.org/?key=abc",
        "https://example.org/#a",
        "https://example.org:0",
        "https://example.org:99999",
        "https://exa mple.org",
        "https://exämple.org",
        "https://example.org\\a",
        "https://[broken",
        "https://example.org/\n",
    ],
)
def test_an_address_that_paths_cannot_be_appended_to_is_refused(url: str) -> None:
    """The error does not repeat it: a key may stand in it."""
    with pytest.raises(ValidationError, match="it must be an http:// or https:// address") as caught:
        PlainSettings(base_url=url)

    assert url not in str(caught.value)
