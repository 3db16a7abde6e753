"""The scheduler of `taskqueue serve --demo`, where its worker processes find it too."""

from __future__ import annotations

from scheduler import Scheduler
from scheduler.providers import simulated

scheduler = Scheduler()
scheduler.include(simulated.handlers())
