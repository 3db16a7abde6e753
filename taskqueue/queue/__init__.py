"""What producers and operators hold: `TaskQueue`, and how it is opened."""

from taskqueue.queue.opening import QueueOptions, open_store
from taskqueue.queue.task_queue import TaskQueue

__all__ = ["QueueOptions", "TaskQueue", "open_store"]
