"""A priority task queue on Redis or Valkey: what producers and operators use.

    async with TaskQueue.connect("redis://localhost:6379/0") as queue:
        task = await queue.enqueue("CHATGPT", {"prompt": "..."}, priority=5)
        task = await queue.wait(task.id, timeout=30)

The package `scheduler` runs the tasks. `taskqueue.errors` draws the tree of all exceptions, and
`taskqueue.testing` helps to test code that uses a queue.

The names are imported when they are first used: the client of the server takes a third of a second
to import, which `taskqueue --help` and a program that only catches our errors need not wait for.
"""

from typing import TYPE_CHECKING

from taskqueue.lazily import lazy_names

if TYPE_CHECKING:
    from taskqueue.blocking import BlockingTaskQueue
    from taskqueue.errors import (
        DurabilityNotReached,
        IdempotencyConflict,
        InsufficientCredits,
        InvalidTask,
        LimitReached,
        PayloadTooLarge,
        QueueFull,
        ServerUnavailable,
        ServerUnsuitable,
        TaskNotFound,
        TaskQueueError,
        WaitTimeout,
    )
    from taskqueue.queue import TaskQueue
    from taskqueue.store import Stats
    from taskqueue.task import Durability, Task, TaskError, TaskSpec, TaskState

__all__ = [
    "BlockingTaskQueue",
    "Durability",
    "DurabilityNotReached",
    "IdempotencyConflict",
    "InsufficientCredits",
    "InvalidTask",
    "LimitReached",
    "PayloadTooLarge",
    "QueueFull",
    "ServerUnavailable",
    "ServerUnsuitable",
    "Stats",
    "Task",
    "TaskError",
    "TaskNotFound",
    "TaskQueue",
    "TaskQueueError",
    "TaskSpec",
    "TaskState",
    "WaitTimeout",
]

_HOME_OF = dict.fromkeys(__all__, "taskqueue.errors") | {
    "BlockingTaskQueue": "taskqueue.blocking",
    "TaskQueue": "taskqueue.queue",
    "Stats": "taskqueue.store",
    **dict.fromkeys(("Durability", "Task", "TaskError", "TaskSpec", "TaskState"), "taskqueue.task"),
}

# Type checkers know the names from above, and shall report any other.
if not TYPE_CHECKING:  # pragma: no branch - it is never true where this runs
    __getattr__, __dir__ = lazy_names(__name__, _HOME_OF)
