"""A priority task queue on Redis or Valkey: what producers and operators use.

    async with TaskQueue.connect("redis://localhost:6379/0") as queue:
        task = await queue.enqueue("CHATGPT", {"prompt": "..."}, priority=5)
        task = await queue.wait(task.id, timeout=30)

The package `scheduler` runs the tasks. `taskqueue.errors` draws the tree of all exceptions, and
`taskqueue.testing` helps to test code that uses a queue.
"""

from taskqueue.blocking import BlockingTaskQueue
from taskqueue.errors import (
    DurabilityNotReached,
    IdempotencyConflict,
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
