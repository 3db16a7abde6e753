"""What an operator can set about the HTTP service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from taskqueue.contract import TASK_TYPES, PriceList
from taskqueue.errors import InvalidSetting
from taskqueue.rules import check_count
from taskqueue.webhooks import EgressPolicy

MOST_TASKS = 500
"""Tasks of one batch (contract: batch rules)."""

_LARGEST_BODY = 2**30
_LONGEST_TIME = 86_400.0  # seconds


@dataclass(slots=True, kw_only=True)
class ApiOptions:
    """How the service behaves; the defaults are what the contract says, or our choice where it is silent.

    Attributes:
        prices: What tasks cost.
        strict: Whether unknown fields of a payload are refused; else they are dropped. Unknown
            fields beside the payload are always refused.
        types: Task types that are accepted; None for all of the contract.
        max_body_bytes: Longest body of a batch: 500 prompts of 10,000 characters fit in any script.
        max_task_bytes: Longest body of every other request.
        body_timeout: Seconds in which a body must have come.
        max_queued: QUEUED tasks that a tenant may have; open the queue with the same number.
        sync_timeout: Seconds for which a synchronous request waits for its result.
        max_waiting: Synchronous requests that this process holds at once, all tenants together.
        max_streams: Event streams that this process holds at once, all tenants together.
        max_streams_per_tenant: Event streams that one tenant may hold in this process.
        stream_poll: Seconds between two looks at a task that is streamed; its end needs no look.
        heartbeat: Seconds after which a silent stream gets a comment, so that proxies keep it open.
        stream_lifetime: Seconds after which a stream is ended; the client may open it again.
        retry_after: Seconds that a 503 asks the client to wait.
        egress: Where webhooks may go, checked as far as an address by itself tells; who delivers them
            checks where it leads. None looks only at its form.
        resolve_goto: Finds where a redirect link leads, for links that do not say so themselves;
            raises anything if it cannot.
        goto_timeout: Seconds that it may take (contract: the redirect target has 10 seconds).
        metrics: Whether `/metrics` answers; it names no tenants.
        docs: Whether `/docs` answers, a page that shows the OpenAPI document and tries it.
        demo: Whether results are made up: the service then says so.
    """

    prices: PriceList = field(default_factory=PriceList.default)
    strict: bool = True
    types: Collection[str] | None = None
    max_body_bytes: int = 24 * 2**20
    max_task_bytes: int = 2 * 2**20
    body_timeout: float = 30.0
    max_queued: int = 100_000
    sync_timeout: float = 300.0
    max_waiting: int = 1_000
    max_streams: int = 1_000
    max_streams_per_tenant: int = 20
    stream_poll: float = 0.5
    heartbeat: float = 15.0
    stream_lifetime: float = 3_600.0
    retry_after: int = 1
    egress: EgressPolicy | None = None
    resolve_goto: Callable[[str], Awaitable[str]] | None = None
    goto_timeout: float = 10.0
    metrics: bool = True
    docs: bool = True
    demo: bool = False

    def __post_init__(self) -> None:
        if self.types is not None:
            unknown = sorted(set(self.types) - set(TASK_TYPES))
            if unknown or not self.types:
                raise InvalidSetting("types", sorted(self.types), f"some of {', '.join(TASK_TYPES)}, or None")
        for name in ("max_body_bytes", "max_task_bytes"):
            check_count(name, getattr(self, name), 1, _LARGEST_BODY)
        check_count("max_queued", self.max_queued, 1, 10**12)
        check_count("retry_after", self.retry_after, 0, 3_600)
        for name in ("max_waiting", "max_streams", "max_streams_per_tenant"):
            check_count(name, getattr(self, name), 0, 10**6)
        for name in (
            "body_timeout",
            "sync_timeout",
            "stream_poll",
            "heartbeat",
            "stream_lifetime",
            "goto_timeout",
        ):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 < value <= _LONGEST_TIME
            ):
                raise InvalidSetting(name, value, "a number of seconds above 0, at most a day")

    @property
    def served(self) -> tuple[str, ...]:
        """The task types that are accepted, in the contract's order."""
        return tuple(name for name in TASK_TYPES if self.types is None or name in self.types)
