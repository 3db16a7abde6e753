"""Who asks: inside of `/v1` every request shows its API key, before anything else is looked at."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from taskqueue.accounts import Accounts
from taskqueue.api.errors import missing_key
from taskqueue.api.exchange import KEY, Exchange

_SCHEME = b"Bearer "
UNMATCHED = "unmatched"
"""The bucket of everything inside of `/v1` that is no endpoint."""


class Authentication:
    """Lets requests inside of `/v1` pass if they show a key; others pass as they are.

    It comes before the routing, so that nobody can find out without a key what there is.

    Args:
        app: What comes after it.
        accounts: Knows the keys.
    """

    def __init__(self, app: ASGIApp, accounts: Accounts) -> None:
        self._app = app
        self._accounts = accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate one request.

        Raises:
            ApiError: If it shows no key, or more than one.
            KeyMalformed: If what it shows is none; `KeyUnknown` if it is not known.
        """
        if scope["type"] == "http" and is_guarded(_route_path(scope)):
            exchange: Exchange = scope[KEY]
            exchange.principal = await self._accounts.authenticate(presented_key(scope["headers"]))
        await self._app(scope, receive, send)


def _route_path(scope: Scope) -> str:
    """Return the path as the routing sees it: below the place where the service is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
        return path[len(root) :]
    return path


def is_guarded(path: str) -> bool:
    """Whether requests to *path* need an API key: all inside of `/v1`."""
    return path.startswith("/v1") and (len(path) == len("/v1") or path[3] == "/")


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the API key of a request: what follows exactly `Authorization: Bearer ` (contract: auth).

    Raises:
        ApiError: 401 `MISSING_API_KEY` if there is no such header, more than one, or another scheme;
            the scheme's case matters.
    """
    found = None
    for name, value in headers:
        if name == b"authorization":
            if found is not None:
                raise missing_key()
            found = value
    if found is None or not found.startswith(_SCHEME) or len(found) == len(_SCHEME):
        raise missing_key()
    return found[len(_SCHEME) :].decode("latin-1")
