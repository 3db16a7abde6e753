"""What runs the tasks of `taskqueue serve --demo`: the simulated handlers, where worker processes find them."""

from __future__ import annotations

from scheduler import Scheduler
from scheduler.providers import simulated

scheduler = Scheduler()
scheduler.include(simulated.handlers())
