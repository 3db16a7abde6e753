"""Runs the tasks of a `taskqueue`: claims them in order, calls their handlers, reports what came of it.

from scheduler import Scheduler, Context, Retry, GiveUp

scheduler = Scheduler("redis://localhost:6379/0", name="default", concurrency=100)

@scheduler.handler("CHATGPT", concurrency=20, timeout=timedelta(seconds=120), max_attempts=5)
async def chatgpt(payload: ChatPayload, context: Context) -> dict: ...

await scheduler.run()            # or: async with scheduler: ...   (inside of a service)
"""

from scheduler.backoff import Backoff, Exponential, Fixed
from scheduler.context import Context
from scheduler.errors import GiveUp, Misconfigured, RateLimited, Rejected, Retry, Unavailable
from scheduler.executor import CallNext, Middleware
from scheduler.loop import Summary
from scheduler.registry import Handlers
from scheduler.scheduler import Lifespan, Scheduler

__all__ = [
    "Backoff",
    "CallNext",
    "Context",
    "Exponential",
    "Fixed",
    "GiveUp",
    "Handlers",
    "Lifespan",
    "Middleware",
    "Misconfigured",
    "RateLimited",
    "Rejected",
    "Retry",
    "Scheduler",
    "Summary",
    "Unavailable",
]
