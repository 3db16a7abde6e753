"""What the service counts, and how Prometheus reads it. No tenant has a name here."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from taskqueue.store import Condition, ProviderState, Stats

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0)
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class Metrics:
    """Counts of one process.

    Attributes:
        in_flight: Requests that have no whole answer yet.
        waiting: Synchronous requests that wait for their results.
        streams: Event streams that are open.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.waiting = 0
        self.streams = 0
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def count(self, endpoint: str, method: str, status: int, started: float) -> None:
        """Count a request that is done; *started* by `time.perf_counter()`."""
        # A method is the client's own text: without a bound it could fill the memory.
        method = method if method in _METHODS else "other"
        seconds = time.perf_counter() - started
        self._requests[endpoint, method, status] += 1
        buckets = self._buckets.get(endpoint)
        if buckets is None:
            buckets = self._buckets[endpoint] = [0] * (len(_BOUNDS) + 1)
        buckets[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds[endpoint] = self._seconds.get(endpoint, 0.0) + seconds

    def text(self, stats: Stats | None, providers: Sequence[ProviderState] = ()) -> str:
        """Return everything in the text format of Prometheus.

        Args:
            stats: Of the whole queue; None: it could not be counted.
            providers: What they are at.
        """
        return "\n".join([*self._process_lines(), *_queue_lines(stats), *_provider_lines(providers), ""])

    def _process_lines(self) -> Iterator[str]:
        yield "# HELP taskqueue_http_requests_total Requests answered, by endpoint, method and status."
        yield "# TYPE taskqueue_http_requests_total counter"
        for (endpoint, method, status), number in sorted(self._requests.items()):
            labels = f'endpoint="{endpoint}",method="{method}",status="{status}"'
            yield f"taskqueue_http_requests_total{{{labels}}} {number}"
        name = "taskqueue_http_request_seconds"
        yield f"# HELP {name} From a request's arrival to the end of its answer."
        yield f"# TYPE {name} histogram"
        for endpoint, buckets in sorted(self._buckets.items()):
            total = 0
            for bound, number in zip((*_BOUNDS, "+Inf"), buckets, strict=True):
                total += number
                yield f'{name}_bucket{{endpoint="{endpoint}",le="{bound}"}} {total}'
            yield f'{name}_sum{{endpoint="{endpoint}"}} {self._seconds[endpoint]:.6f}'
            yield f'{name}_count{{endpoint="{endpoint}"}} {total}'
        yield from _gauge("http_requests_in_flight", "Requests without a whole answer.", self.in_flight)
        yield from _gauge("http_sync_waiting", "Synchronous requests that wait.", self.waiting)
        yield from _gauge("http_event_streams", "Event streams that are open.", self.streams)


def _queue_lines(stats: Stats | None) -> Iterator[str]:
    yield from _gauge("up", "Whether the queue's server answers.", int(stats is not None))
    if stats is None:
        return
    yield from _gauge("queued", "QUEUED tasks, delayed ones included.", stats.queued)
    yield from _gauge("delayed", "QUEUED tasks that wait for an instant.", stats.delayed)
    yield from _gauge("processing", "PROCESSING tasks.", stats.processing)
    age = 0.0 if stats.oldest_age is None else stats.oldest_age.total_seconds()
    yield from _gauge("oldest_age_seconds", "Age of the oldest task that could run now.", age)
    yield "# HELP taskqueue_queued_by_priority QUEUED tasks of each priority."
    yield "# TYPE taskqueue_queued_by_priority gauge"
    for priority, number in stats.by_priority.items():
        yield f'taskqueue_queued_by_priority{{priority="{priority}"}} {number}'
    yield "# HELP taskqueue_running Tasks of a type that run."
    yield "# TYPE taskqueue_running gauge"
    # Of a whole queue these are types alone.
    for limit in stats.limits:
        yield f'taskqueue_running{{type="{limit.name}"}} {limit.used}'


_OF_PROVIDERS: tuple[tuple[str, str, Callable[[ProviderState], float | None]], ...] = (
    ("running", "Tasks that run at a provider.", lambda state: state.used),
    ("allowed", "Tasks that may run at a limited provider at present.", lambda state: state.allowed),
    ("failures", "Failures of a provider in a row.", lambda state: state.failures),
    ("opens_in_seconds", "Until time may let a provider take tasks.", lambda state: state.opens_in or 0.0),
    ("waiting_types", "Types that wait for room at a provider.", lambda state: len(state.waiting)),
)


def _provider_lines(providers: Sequence[ProviderState]) -> Iterator[str]:
    if not providers:
        return
    name = "taskqueue_provider_condition"
    yield f"# HELP {name} 1 for what a provider is in: ready, full, cooling, open, probing or paused."
    yield f"# TYPE {name} gauge"
    for state in providers:
        for condition in get_args(Condition):
            labels = f'provider="{state.name}",condition="{condition}"'
            yield f"{name}{{{labels}}} {int(state.condition == condition)}"
    for what, told, read in _OF_PROVIDERS:
        yield f"# HELP taskqueue_provider_{what} {told}"
        yield f"# TYPE taskqueue_provider_{what} gauge"
        for state in providers:
            value = read(state)
            if value is not None:
                yield f'taskqueue_provider_{what}{{provider="{state.name}"}} {value}'


def _gauge(name: str, told: str, value: float) -> Iterator[str]:
    yield f"# HELP taskqueue_{name} {told}"
    yield f"# TYPE taskqueue_{name} gauge"
    yield f"taskqueue_{name} {value}"
