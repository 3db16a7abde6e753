"""What the providers that speak plain HTTP share: one client, bounded answers, JSON that is JSON.

A provider built on it asks by `get_json()` and `post_json()`, or by `request()` where it wants status,
headers and bytes, and says by `error_of()` what its service's refusals mean. Promised for each call:

- TLS is verified, redirects are not followed, and neither a proxy nor anything else is taken from the
  environment: a key goes to the configured address and nowhere else.
- An answer is read up to `largest_response` bytes, counted after decompression, and never decompressed
  further than that: a small answer that unpacks to gigabytes costs no more than any other.
- Whatever goes wrong is one of the errors of `scheduler.errors`, with a short excerpt and no secrets.
- Cancelling the call closes its connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import httpx
from pydantic import Field, field_validator

from scheduler.errors import Misconfigured, Rejected, Unavailable
from scheduler.providers.base import Provider, ProviderSettings
from scheduler.providers.classifying import error_of_status, excerpt
from scheduler.providers.tools.decoding import json_object
from scheduler.providers.tools.transport import BoundedTransport, UnreadableAnswer

_NO_HEADER: Final = "a setting, such as the key, has characters that no header may have"


def user_agent() -> str:
    """Return how we introduce ourselves, such as `taskqueue-engine/0.1.0`."""
    try:
        return f"taskqueue-engine/{version('taskqueue-engine')}"
    except PackageNotFoundError:
        return "taskqueue-engine"


def check_base_url(value: str) -> str:
    """Return an address that paths are appended to, without a slash at its end.

    Raises:
        ValueError: If it is no http(s) address, or says more than scheme, host, port and path. The
            text does not repeat it: a key may stand in it.
    """
    rule = "it must be an http:// or https:// address"
    if not value.isascii() or not value.isprintable() or " " in value or "\\" in value:
        raise ValueError(f"{rule}, in ASCII and without spaces")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(f"{rule} with a port from 1 to 65535") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(f"{rule} with a host")
    if "@" in parts.netloc:
        raise ValueError(f"{rule} without a user name: addresses are shown; a key has a setting of its own")
    if "?" in value or "#" in value:
        raise ValueError(f"{rule} without ? and #: paths are appended to it")
    return value.rstrip("/")


class HttpSettings(ProviderSettings):
    """What every provider behind plain HTTP can be told.

    Attributes:
        base_url: Where the service is; paths are appended to it. No user name, no `?`, no `#`.
        connect_timeout: Seconds that a connection may take; the whole call has `timeout`.
        largest_response: Bytes of an answer, after decompression; a longer one is a failure.
        ca_file: Certificates (PEM) that its TLS certificate is checked against; None: the public ones.
    """

    base_url: str
    connect_timeout: float = Field(default=10.0, gt=0, le=600, allow_inf_nan=False)
    largest_response: int = Field(default=4 * 1024 * 1024, ge=1_024, le=256 * 1024 * 1024)
    ca_file: Path | None = None

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return check_base_url(value)


def http_client(settings: HttpSettings, headers: Mapping[str, str], **options: Any) -> httpx.AsyncClient:
    """Return a client that keeps the promises at the head of this module; for clients of services, too.

    Args:
        settings: Of the provider.
        headers: Sent with every call.
        options: Other arguments of `httpx.AsyncClient`, such as `event_hooks`.

    Raises:
        Misconfigured: If `ca_file` cannot be used, or a header cannot be sent.
    """
    if not all(
        value.isascii() and value.isprintable() and value == value.strip() for value in headers.values()
    ):
        raise Misconfigured(_NO_HEADER)
    transport = BoundedTransport(
        settings.largest_response, settings.connect_timeout, verify=certificates(settings.ca_file)
    )
    return httpx.AsyncClient(
        transport=transport,
        headers=headers,
        trust_env=False,
        follow_redirects=False,
        timeout=settings.timeout,
        **options,
    )


def failure_of(error: httpx.HTTPError, settings: HttpSettings, secrets: Iterable[str] = ()) -> str:
    """Return why there is no answer, for people."""
    said = excerpt(str(error), secrets)
    match error:
        case UnreadableAnswer():
            return said
        case httpx.ConnectTimeout():
            return f"it took no connection within {min(settings.connect_timeout, settings.timeout):g} s"
        case httpx.TimeoutException():
            return f"it said nothing for {settings.timeout:g} s"
        case httpx.ConnectError():
            return f"it cannot be reached: {said or 'the connection failed'}"
    return f"the connection broke: {said or type(error).__name__}"


@cache
def _public_certificates() -> ssl.SSLContext:
    # Read once: it takes longer than many a call.
    return httpx.create_ssl_context(trust_env=False)


def certificates(ca_file: Path | None) -> ssl.SSLContext:
    """Return what certificates are checked against: those of a file, or the public ones.

    Raises:
        Misconfigured: If the file cannot be used.
    """
    if ca_file is None:
        return _public_certificates()
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:  # ssl.SSLError is one
        what = error.strerror or "it holds no certificates"
        raise Misconfigured(f"ca_file cannot be used: {what}") from None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered, whatever its status.

    Attributes:
        status: Of the answer.
        headers: Of the answer; names in any case.
        body: Decompressed. Of an answer that is no success only the beginning.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004

    @property
    def media_type(self) -> str:
        """What it says to be, in small letters and without parameters; "" if nothing."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class HttpProvider(Provider):
    """A provider behind plain HTTP; see the head of this module.

    Attributes:
        accept: What is asked for.
        not_found: What a 404 means: `Misconfigured`, the address; `Rejected`, the question.
    """

    Settings: ClassVar[type[ProviderSettings]] = HttpSettings
    settings: HttpSettings
    accept: ClassVar[str] = "application/json"
    not_found: ClassVar[type[Rejected | Misconfigured]] = Misconfigured

    _client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Make the client.

        Raises:
            Misconfigured: If `ca_file` cannot be used, or a setting cannot be sent as a header.
        """
        self._client = http_client(self.settings, {**self.default_headers(), **self.headers()})

    async def close(self) -> None:
        """Close the client and its connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @property
    def address(self) -> str:
        """Where the service is."""
        return self.settings.base_url

    def headers(self) -> Mapping[str, str]:
        """Return what is sent with every call, such as the key; nothing unless overridden."""
        return {}

    def default_headers(self) -> Mapping[str, str]:
        """Return what is sent with every call beside `headers()`."""
        return {"User-Agent": user_agent(), "Accept": self.accept}

    def error_of(self, reply: Reply) -> Exception:
        """Return what to raise for an answer that is no success; override it where bodies say more."""
        return error_of_status(
            reply.status, reply.headers, reply.body, secrets=self.secrets, not_found=self.not_found
        )

    async def get_json(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the JSON object that a GET is answered with.

        Args:
            path: Appended to the base URL as it is: parts of it that are anybody's must be quoted.
            params: What follows the question mark; quoted here.
            headers: Beside those of every call.

        Raises:
            Rejected, Misconfigured, RateLimited, Unavailable: As `error_of()` says; `Unavailable` also if
                there is no answer, or none that is a JSON object.
        """
        return self.object_of(await self.request("GET", path, params=params, headers=headers))

    async def post_json(
        self, path: str, body: Any, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the JSON object that a POST of JSON is answered with; see `get_json()`."""
        return self.object_of(await self.request("POST", path, body=body, headers=headers))

    def object_of(self, reply: Reply) -> dict[str, Any]:
        """Return the JSON object that an answer holds.

        Raises:
            Rejected, Misconfigured, RateLimited, Unavailable: See `get_json()`.
        """
        if not reply.is_success:
            raise self.error_of(reply)
        return json_object(reply.body, media_type=reply.media_type, secrets=self.secrets)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Return what the service answers, whatever its status.

        Args:
            method: Such as `"GET"`.
            path: As in `get_json()`.
            params: As in `get_json()`.
            body: Sent as JSON; None sends none.
            headers: As in `get_json()`.

        Raises:
            Unavailable: If there is no answer, or one that is too long or broken.
            Rejected: If the question is too long for an address.
            Misconfigured: If a setting cannot be sent as a header.
        """
        client = self._client
        if client is None:
            raise Unavailable(f"provider {self.name!r} is not open")
        try:
            request = client.build_request(
                method, self.settings.base_url + path, params=params, json=body, headers=headers
            )
            # Read to the end, and closed whatever happens.
            response = await client.send(request)
        except httpx.InvalidURL:
            raise Rejected("the question does not fit into the service's address: it is too long") from None
        except (httpx.LocalProtocolError, UnicodeEncodeError):
            # The text of the error repeats the header, which may be a secret.
            raise Misconfigured(_NO_HEADER) from None
        except httpx.HTTPError as error:
            raise Unavailable(failure_of(error, self.settings, self.secrets)) from None
        return Reply(response.status_code, response.headers, response.content)
