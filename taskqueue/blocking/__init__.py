"""The queue for code without an event loop: `BlockingTaskQueue`."""

from taskqueue.blocking.queue import BlockingTaskQueue

__all__ = ["BlockingTaskQueue"]
