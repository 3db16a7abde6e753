"""How one delivery of a webhook can end: delivered, failed for now, or refused for good.

    TaskQueueError
    ├── DeliveryFailed      no 2xx this time: try again later
    └── DeliveryRefused     the address may not be called: never try again

Neither shows what a receiver answered, nor the path and query of its address, which may be secret.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskqueue.errors import TaskQueueError


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver answered with a 2xx, which is the acknowledgement of the contract."""

    status: int


class DeliveryFailed(TaskQueueError):
    """This attempt was not acknowledged; by the contract the next one follows some minutes later.

    It may be shown to the tenant and written to logs.

    Attributes:
        host: Host of the receiver.
        reason: What went wrong, in words.
        status: Status of the reply; None if there was none.
        retry_after: Seconds that the receiver asked us to wait, from 0 to a day; None if it did not.
    """

    def __init__(
        self, host: str, reason: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"webhook to {host}: {reason}")
        self.host = host
        self.reason = reason
        self.status = status
        self.retry_after = retry_after


class DeliveryRefused(TaskQueueError):
    """The address may not be called: its form, its scheme, its port, or where its host leads.

    Attributes:
        reason: What is not allowed and what would be, in words. It never names an address that a
            lookup found, which would tell a tenant what our name servers know.
        address: The address that a lookup found and that is not allowed, for the operator's log
            only; None where it did not come to that.
    """

    def __init__(self, reason: str, *, address: str | None = None) -> None:
        super().__init__(f"webhook refused: {reason}")
        self.reason = reason
        self.address = address
