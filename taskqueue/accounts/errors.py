"""What can be wrong with a request before it is looked at.

    TaskQueueError
    ├── KeyMalformed (ValueError)   no API key looks like this: contract code INVALID_API_KEY_FORMAT
    ├── KeyUnknown (LookupError)    unknown, expired or revoked: contract code INVALID_OR_EXPIRED_API_KEY
    └── RateExceeded                too many requests in this second: contract code RATE_LIMIT_EXCEEDED

None of them shows any part of what was presented as a key.
"""

from __future__ import annotations

from taskqueue.errors import TaskQueueError
from taskqueue.store.rates import RateExceeded

__all__ = ["KeyMalformed", "KeyUnknown", "RateExceeded"]


class KeyMalformed(TaskQueueError, ValueError):
    """What was presented does not have the form of an API key. The server was not asked."""

    def __init__(self) -> None:
        super().__init__(
            "this does not have the form of an API key; it must be sk_live_ and the 61 letters and digits "
            "behind it, copied as a whole"
        )


class KeyUnknown(TaskQueueError, LookupError):
    """The API key has the right form and is not accepted: it is unknown, expired or revoked.

    It is not told which, and finding out takes the same work for all of them.

    Attributes:
        key_id: The id that an operator gave; None for a key that was presented.
    """

    def __init__(self, key_id: str | None = None) -> None:
        which = "this API key" if key_id is None else f"an API key with the id {key_id!r}"
        super().__init__(f"{which} is unknown, expired or revoked; make a new one")
        self.key_id = key_id
