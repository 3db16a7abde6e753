"""Names to addresses by the system's resolver, which blocks and cannot be told to stop.

A tenant chooses the name, and so the name server, which may take its time. Lookups therefore run on
threads of their own: a slow one takes no thread from the event loop's pool and does not hold up the
end of the program, and there is a bound on how many can be under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Final

Resolver = Callable[[str], Awaitable[list[str]]]
"""Takes a host in ASCII; returns all its addresses as text. Raises OSError if there are none."""

MOST_LOOKUPS: Final = 64
"""How many lookups can be under way in one process."""

_free_lookups = threading.BoundedSemaphore(MOST_LOOKUPS)


async def resolve(host: str) -> list[str]:
    """Return all addresses of *host*, IPv4 and IPv6, in the order in which to try them.

    Cancelling it leaves the lookup to its thread.

    Raises:
        OSError: If there are none, or if too many lookups are under way.
    """
    if not _free_lookups.acquire(blocking=False):
        raise OSError(f"{MOST_LOOKUPS} lookups of names are under way")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def look_up() -> None:
        found: list[str] | OSError
        try:
            found = _addresses_of(host)
        except OSError as error:
            found = error
        finally:
            _free_lookups.release()
        # Nobody waits any more if the loop was closed meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, answer, found)

    try:
        threading.Thread(target=look_up, name="webhook-lookup", daemon=True).start()
    except RuntimeError as error:
        _free_lookups.release()
        raise OSError(f"no thread for a lookup: {error}") from error
    return await answer


def _addresses_of(host: str) -> list[str]:
    # As bytes: text would go through Python's own encoding of names, an older one than ours.
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _settle(answer: asyncio.Future[list[str]], found: list[str] | OSError) -> None:
    if answer.done():
        return
    if isinstance(found, OSError):
        answer.set_exception(found)
    else:
        answer.set_result(found)
