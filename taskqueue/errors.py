"""Every exception of the package, in one tree.

    TaskQueueError
    ├── InvalidTask (ValueError)          a field breaks a rule: field, value, rule
    │   └── PayloadTooLarge               the encoded payload passes the limit
    ├── InvalidSetting (ValueError)       an option of the queue or the scheduler breaks a rule
    ├── TaskNotFound (LookupError)        no such task, or it was purged
    ├── TaskNotFinished                   redrive of a task that has not failed
    ├── IdempotencyConflict               the key, or the id, already names another task
    ├── QueueFull                         the tenant has as many queued tasks as it may
    ├── InsufficientCredits               the tenant's balance does not cover the price
    ├── LimitReached                      no free slot for a reserved task
    ├── WaitTimeout (TimeoutError)        the task did not finish in time
    ├── DurabilityNotReached              stored, but not as safely as was asked
    ├── ServerUnsuitable                  the server, or the queue on it, cannot keep the promises
    │   └── QueueMismatch                 the queue was made with other settings
    ├── ServerUnavailable (ConnectionError)   no answer within the time allowed
    │   └── ServerFull                    the server is out of memory and takes no new tasks
    └── QueueCorrupt                      a key of the queue holds what no version of us writes

A program that wants to survive all of them writes::

    try:
        task = await queue.enqueue("CHATGPT", {"prompt": "..."})
    except TaskQueueError as error:
        ...
"""

from __future__ import annotations

_SHOWN = 120


def shown(value: object) -> str:
    """Return *value* as an error message may show it: quoted, and cut after 120 characters."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a repr of the user's own may raise anything
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


class TaskQueueError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidTask(TaskQueueError, ValueError):
    """A task was refused before anything was stored, because one field breaks a rule.

    Attributes:
        field: Name of the field, such as `"priority"` or `"payload.query"`.
        value: What was given.
        rule: What would have been accepted, in words.
    """

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(f"{field}: {shown(value)} is not accepted; it must be {rule}")
        self.field = field
        self.value = value
        self.rule = rule


class PayloadTooLarge(InvalidTask):
    """The payload, encoded, is larger than the limit. `size` and `limit` are in bytes."""

    def __init__(self, size: int, limit: int, field: str = "payload") -> None:
        super().__init__(field, f"{size:,} bytes", f"at most {limit:,} bytes when encoded")
        self.size = size
        self.limit = limit


class InvalidSetting(TaskQueueError, ValueError):
    """An option of the queue, the scheduler or a handler breaks a rule."""

    def __init__(self, setting: str, value: object, rule: str) -> None:
        super().__init__(f"{setting}: {shown(value)} is not accepted; it must be {rule}")
        self.setting = setting
        self.value = value
        self.rule = rule


class TaskNotFound(TaskQueueError, LookupError):
    """No task has this id: it never existed, was cleared, or its record was purged."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task {shown(task_id)}: unknown, cleared, or purged after its retention")
        self.task_id = task_id


class TaskNotFinished(TaskQueueError):
    """Only a task that ended as FAILED or CANCELLED can be redriven."""

    def __init__(self, task_id: str, state: str) -> None:
        super().__init__(f"task {task_id} is {state}; only a FAILED or CANCELLED task can be redriven")
        self.task_id = task_id
        self.state = state


class IdempotencyConflict(TaskQueueError):
    """The idempotency key (or the caller's own id) already names a task of this tenant.

    Attributes:
        task_id: The task that holds the key.
        same_payload: Whether type and payload are the same as the holder's, so that the caller
            can tell its own repeat from a key used for two different things.
        key: The key, or None where the id itself was taken.
    """

    def __init__(self, task_id: str, *, same_payload: bool, key: str | None = None) -> None:
        what = f"idempotency key {shown(key)}" if key is not None else f"id {shown(task_id)}"
        same = "the same payload" if same_payload else "another payload"
        super().__init__(f"{what} already names task {task_id}, which has {same}")
        self.task_id = task_id
        self.same_payload = same_payload
        self.key = key


class QueueFull(TaskQueueError):
    """The tenant already has `limit` tasks queued; nothing was stored."""

    def __init__(self, tenant: str, limit: int) -> None:
        super().__init__(f"tenant {shown(tenant)} has reached its {limit:,} queued tasks; try again later")
        self.tenant = tenant
        self.limit = limit


class InsufficientCredits(TaskQueueError):
    """The tenant's balance does not cover the task's price; nothing was stored.

    Attributes:
        tenant: Whose balance.
        needed: The price.
        balance: What is left of its credits; in a bulk, less the prices of the tasks before.
    """

    def __init__(self, tenant: str, *, needed: int, balance: int) -> None:
        super().__init__(
            f"the task costs {needed:,} credits, and tenant {shown(tenant)} has {balance:,} left"
        )
        self.tenant = tenant
        self.needed = needed
        self.balance = balance


class LimitReached(TaskQueueError):
    """All `limit` concurrent slots of the tenant are taken; nothing was stored."""

    def __init__(self, tenant: str, limit: int) -> None:
        super().__init__(
            f"all {limit:,} concurrent slots of tenant {shown(tenant)} are taken; try again later"
        )
        self.tenant = tenant
        self.limit = limit


class WaitTimeout(TaskQueueError, TimeoutError):
    """The task had not finished when the time was up. It goes on; wait again, or cancel it."""

    def __init__(self, task_id: str, timeout: float) -> None:
        super().__init__(f"task {task_id} had not finished after {timeout:g} s; it goes on")
        self.task_id = task_id
        self.timeout = timeout


class DurabilityNotReached(TaskQueueError):
    """The write was made, but not confirmed at the level asked for. Retry with the same id.

    Attributes:
        wanted: Confirmations asked for.
        reached: Confirmations received in time.
        task_ids: The tasks concerned, stored at level `memory` at least.
    """

    def __init__(self, level: str, wanted: int, reached: int, task_ids: tuple[str, ...] = ()) -> None:
        super().__init__(
            f"stored, but durability {level!r} was not confirmed: {reached} of {wanted} in time; "
            "retry with the same id"
        )
        self.level = level
        self.wanted = wanted
        self.reached = reached
        self.task_ids = task_ids


class ServerUnsuitable(TaskQueueError):
    """The server cannot keep the promises: too old, or set up to throw tasks away."""


class QueueMismatch(ServerUnsuitable):
    """The queue exists with other settings than the caller's, so the two would not agree on order."""

    def __init__(self, name: str, setting: str, stored: object, wanted: object) -> None:
        super().__init__(
            f"queue {name!r} was made with {setting} = {shown(stored)}, this program asks for "
            f"{shown(wanted)}: leave the setting out to follow the queue, or use another queue name"
        )
        self.setting = setting
        self.stored = stored
        self.wanted = wanted


class ServerUnavailable(TaskQueueError, ConnectionError):
    """The server gave no usable answer within the time allowed. The call may be repeated."""


class ServerFull(ServerUnavailable):
    """The server has reached its memory limit: it finishes what it has and takes nothing new."""


class QueueCorrupt(TaskQueueError):
    """A key of the queue holds something that no version of this package writes."""
