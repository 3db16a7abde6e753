"""One queue on many nodes: `PartitionedQueue`, N queues with N hash tags that are used as one."""

from taskqueue.partitions.queue import PartitionedQueue
from taskqueue.partitions.routing import MOST_PARTITIONS

__all__ = ["MOST_PARTITIONS", "PartitionedQueue"]
