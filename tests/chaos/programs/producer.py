"""A producer of the laboratory: it offers tasks at a steady pace and writes down what became of each call.

A call whose fate is unknown is made again with the same id, as a careful client does. From time to time
it offers a task twice, cancels one, or looks at one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
from collections import deque
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from taskqueue import (
    DurabilityNotReached,
    InsufficientCredits,
    QueueFull,
    ServerUnavailable,
    TaskNotFound,
    TaskQueue,
    TaskQueueError,
)
from taskqueue.errors import ServerFull
from tests.chaos.controls import take_guard_away
from tests.chaos.history import Outcome, Recorder

METERED = "metered"
_CALLERS = 4
_REMEMBERED = 50
_PATIENCE = 2.0  # seconds
_BURST, _BURST_EVERY = 12, 40
"""Of so many tasks, how many are offered without a pause: else there would be no order to keep."""


def main() -> None:
    """Offer tasks until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("queue")
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, default=30.0, help="tasks a second")
    parser.add_argument("--durability", default="memory")
    parser.add_argument("--slowest", type=float, default=2.0, help="seconds that the longest tasks take")
    parser.add_argument("--poor", action="store_true", help="most tasks are of a tenant with few credits")
    parser.add_argument("--webhooks", default="", help="an address that every task tells of its end")
    parser.add_argument("--interrupt", action="store_true", help="cancel calls of its own at random")
    parser.add_argument("--without", default="", help="a guard that is taken away")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if options.without:
        take_guard_away(options.without)
    asyncio.run(produce(options))


async def produce(options: argparse.Namespace) -> None:
    """Run the callers until SIGTERM, then let each finish what it is at."""
    recorder, stopping = Recorder(options.folder, options.name), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with TaskQueue.connect(options.url, name=options.queue, patience=_PATIENCE) as queue:
        logging.getLogger("producer").info("offers tasks")
        async with asyncio.TaskGroup() as group:
            for number in range(_CALLERS):
                caller = Caller(queue, recorder, options, number)
                group.create_task(caller.run(stopping))


class Caller:
    """Offers one task after the other."""

    def __init__(
        self, queue: TaskQueue, recorder: Recorder, options: argparse.Namespace, number: int
    ) -> None:
        self._queue = queue
        self._recorder = recorder
        self._options = options
        self._name = f"{options.name}-{number}"
        self._dice = Random(f"{options.seed} {self._name}")
        self._offers: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._count = self._dice.randrange(_BURST_EVERY)

    async def run(self, stopping: asyncio.Event) -> None:
        """Go on until it is told to stop; then finish the task that it is at."""
        pause = _CALLERS / self._options.rate
        while not stopping.is_set():
            self._count += 1
            offer = self._new_offer()
            self._offers.append(offer)
            while not await self._offer(offer) and not stopping.is_set():
                await asyncio.sleep(0.05)
            await self._something_else()
            if self._count % _BURST_EVERY < _BURST:
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause * self._dice.uniform(0.5, 2))

    def _new_offer(self) -> dict[str, Any]:
        dice = self._dice
        seconds = (
            dice.choice([0, 0, 0.01, 0.05])
            if dice.random() < 0.97
            else dice.uniform(0.5, 1) * (self._options.slowest)
        )
        payload: dict[str, Any] = {"seconds": seconds}
        offer: dict[str, Any] = {
            "id": f"{self._name}-{self._count}",
            "type": "NOTE" if dice.random() < 0.7 else "OTHER",
            "payload": payload,
            "priority": dice.randint(1, 10),
            "durability": self._options.durability,
        }
        if dice.random() < 0.05:
            payload["fails"] = dice.randint(1, 2)
        if dice.random() < 0.05:
            offer["delay"] = timedelta(seconds=dice.uniform(0.1, 1.5))
        if self._options.webhooks:
            offer["webhook"] = self._options.webhooks
        if dice.random() < (0.6 if self._options.poor else 0.2):
            cost = dice.randint(1, 3)
            offer |= {"tenant": METERED, "cost": cost, "hold": cost + 2}
            payload["charge"] = dice.choice([None, dice.randint(0, cost + 2)])
        return offer

    async def _offer(self, offer: dict[str, Any]) -> bool:
        """Make the call once; return whether its fate is known."""
        number = self._recorder.invoke(
            "enqueue",
            task=offer["id"],
            type=offer["type"],
            tenant=offer.get("tenant", "default"),
            priority=offer["priority"],
            plain="delay" not in offer and not (self._options.poor and "cost" in offer),
            cost=offer.get("cost", 0),
            hold=offer.get("hold", 0),
        )
        outcome: Outcome = "unknown"
        try:
            await self._perhaps_interrupted(self._queue.enqueue(**offer))
            outcome = "ok"
        except ServerFull:
            # It was not stored, and may be when there is room again.
            outcome = "refused"
            return False
        except (ServerUnavailable, DurabilityNotReached, TimeoutError):
            return False
        except (InsufficientCredits, QueueFull):
            outcome = "refused"
        except TaskQueueError as error:
            logging.getLogger("producer").warning("%s was refused: %s", offer["id"], error)
            outcome = "refused"
        finally:
            self._recorder.end(number, outcome)
        return True

    async def _perhaps_interrupted(self, call: Any) -> None:
        if not self._options.interrupt or self._dice.random() < 0.5:
            await call
            return
        async with asyncio.timeout(self._dice.uniform(0, 0.004)):
            await call

    async def _something_else(self) -> None:
        dice, offer = self._dice, self._dice.choice(self._offers)
        chance = dice.random()
        if chance < 0.02:
            await self._offer(offer)
        elif chance < 0.05:
            await self._look("cancel", offer["id"])
        elif chance < 0.15:
            await self._look("read", offer["id"])

    async def _look(self, what: str, task_id: str) -> None:
        number = self._recorder.invoke(what, task=task_id)
        try:
            task = await (self._queue.cancel(task_id) if what == "cancel" else self._queue.get(task_id))
        except TaskNotFound:
            task = None
        except (ServerUnavailable, TimeoutError):
            self._recorder.end(number, "unknown")
            return
        self._recorder.end(number, "ok", state=None if task is None else str(task.state))


if __name__ == "__main__":
    main()
