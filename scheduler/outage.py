"""Says once that the server went away, and once that it is back."""

from __future__ import annotations

import logging
import math
import threading
import time
from datetime import timedelta
from random import Random

from scheduler.backoff import Exponential

logger = logging.getLogger("scheduler.connection")

_RECONNECT = Exponential(base=timedelta(milliseconds=100), cap=timedelta(seconds=2))


class Outage:
    """One for a whole scheduler: many of its parts, in two threads, notice the same outage.

    Args:
        server: What messages call the server; each partition of a queue has an outage of its own.
    """

    def __init__(self, server: str = "the server") -> None:
        self._server = server
        self._lock = threading.Lock()
        self._since: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether the server is away, as far as is known."""
        return self._since is not None

    def noticed(self, error: Exception) -> None:
        """Log that the server cannot be reached, unless that was said already."""
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic()
        logger.warning("%s is away; running handlers go on, their results are kept: %s", self._server, error)

    def over(self) -> None:
        """Log that the server is back, if it was away."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            logger.info("%s is back after %.1f s", self._server, time.monotonic() - since)


def retry_delay(failures: int, random: Random, longest: float = math.inf) -> float:
    """Return how long to wait before the next try, in seconds, after so many failures in a row.

    Args:
        failures: The first is 1.
        random: Source of chance for the jitter.
        longest: Seconds that it is never longer than; 2 s in any case.
    """
    return min(_RECONNECT.ceiling(failures).total_seconds(), longest) * random.random()
