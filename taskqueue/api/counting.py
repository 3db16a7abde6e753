"""How a request is counted against the rate of its API key: whoever is over it learns nothing else.

What is refused for its rate has left nothing behind, and `RATE_LIMIT_EXCEEDED` goes before every other
refusal. That needs no call to the server of its own where the request makes one anyway: see `Counted`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from enum import Enum
from typing import Any, Final, TypeVar

from taskqueue.accounts import Accounts, Principal
from taskqueue.api.exchange import Exchange
from taskqueue.api.replies import Header
from taskqueue.errors import ServerFull, ServerUnavailable
from taskqueue.store.rates import RateTicket

ReplyT = TypeVar("ReplyT")

SHORT_BODY: Final = 64 * 1024
"""Bytes of a body that may be read before its request is counted."""

_KEY: Final = "taskqueue.counting"


class Counted(Enum):
    """When a request is counted."""

    FIRST = "first"
    """Before anything else is done for it: what changes something, opens something or asks nobody."""

    BESIDE = "beside"
    """While what it asks for is read: both go out in the same moment, and no answer is given without
    the count."""

    WITHIN = "within"
    """By the call that stores its tasks. What never gets there is counted when that is known."""


class Counting:
    """The count of one request. It also sees to the headers that tell of it.

    Args:
        accounts: Knows the counts.
        exchange: The request.
        principal: Whose API key it shows.
        endpoint: The bucket that it falls into.
    """

    __slots__ = ("_accounts", "_asked", "_exchange", "_ticket")

    def __init__(self, accounts: Accounts, exchange: Exchange, principal: Principal, endpoint: str) -> None:
        self._accounts = accounts
        self._exchange = exchange
        self._ticket = accounts.ticket(principal, endpoint)
        self._asked: asyncio.Future[int | None] | None = None
        # What is said if counting fails: nothing is known to be left.
        exchange.limits = _limits(principal.rate, 0)

    @property
    def ticket(self) -> RateTicket | None:
        """What the request is still to be counted by; None if it was."""
        return self._ticket if self._ticket.remaining is None else None

    async def settle(self) -> None:
        """Count the request if it was not counted, and note the headers.

        Raises:
            RateExceeded: If there were too many in this second.
            ServerUnavailable: If it could not be counted.
        """
        ticket = self._ticket
        try:
            if ticket.remaining is None:
                await self._accounts.count(ticket, self._asked or self._ask())
        finally:
            if ticket.remaining is not None:  # pragma: no branch - it is None only after an error
                self._exchange.limits = _limits(ticket.request.limit, ticket.remaining)

    async def beside(self, work: Coroutine[Any, Any, ReplyT]) -> ReplyT:
        """Return what *work* returns, once the request was counted; stop it if the request is refused."""
        try:
            self._ask()
        except BaseException:
            work.close()
            raise
        working = asyncio.create_task(work)
        try:
            await self.settle()
            return await working
        except BaseException:
            working.cancel()
            # It has ended before the request has, and what it raised is taken.
            await asyncio.gather(working, return_exceptions=True)
            raise

    async def within(self, work: Coroutine[Any, Any, ReplyT]) -> ReplyT:
        """Return what *work* returns, which counts the request; or count it, if *work* did not."""
        self._exchange.scope[_KEY] = self
        try:
            reply = await work
        except Exception as error:
            is_away = isinstance(error, ServerUnavailable) and not isinstance(error, ServerFull)
            # A server that is away would only be waited for again.
            if not is_away or self.ticket is None:
                await self.settle()
            raise
        await self.settle()
        return reply

    def _ask(self) -> asyncio.Future[int | None]:
        self._asked = self._accounts.ask(self._ticket)
        return self._asked


def counting_of(exchange: Exchange) -> Counting:
    """Return the count of a request that is counted within its work."""
    counting: Counting = exchange.scope[_KEY]
    return counting


async def before_body(exchange: Exchange) -> None:
    """Count a request before its body is read, unless that is short, and says so.

    Keys that are over their rate must not have this process hold long bodies, and decode them, or wait
    for those without an end: their requests are refused before, for a call to the server more.
    """
    counting: Counting | None = exchange.scope.get(_KEY)
    if counting is not None and not _is_short(exchange.scope["headers"]):
        await counting.settle()


def _is_short(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    length = b""
    for name, value in headers:
        if name == b"transfer-encoding":
            return False
        if name == b"content-length":
            length = value
    return length.isdigit() and len(length) <= len(str(SHORT_BODY)) and int(length) <= SHORT_BODY


def _limits(limit: int, remaining: int) -> tuple[Header, ...]:
    return (b"x-ratelimit-limit", b"%d" % limit), (b"x-ratelimit-remaining", b"%d" % remaining)
