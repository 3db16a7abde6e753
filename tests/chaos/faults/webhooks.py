"""Receivers of webhooks that hang: deliveries wait for them, and nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from random import Random

from taskqueue import TaskQueue
from taskqueue.names import WEBHOOK_TYPE
from tests.chaos.faults.fault import Fault
from tests.chaos.laboratory import QUEUE, Laboratory, Setup
from tests.chaos.processes import LaboratoryError

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_DELIVERED = 60.0  # seconds
_SETTINGS = (
    ("TASKQUEUE_LOCAL_WEBHOOKS", "true"),
    ("TASKQUEUE_WEBHOOK_ATTEMPTS", "20"),
    ("TASKQUEUE_WEBHOOK_BACKOFF", "100ms"),
)


class Receiver:
    """Takes webhooks, or lets them hang."""

    def __init__(self) -> None:
        self.is_hanging = True
        self.hung = 0
        self.taken = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold a connection until it is closed, or answer it."""
        with contextlib.suppress(OSError):
            while await reader.read(65_536):
                if self.is_hanging:
                    self.hung += 1
                    continue
                self.taken += 1
                writer.write(_ANSWER)
                break
        writer.close()


async def hang(laboratory: Laboratory, dice: Random) -> None:
    """Every task of one producer has a webhook, and its receiver says nothing, until it answers again."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        producer = await laboratory.add_producer(f"--webhooks=http://127.0.0.1:{port}/")
        await laboratory.goes_on(100)
        await laboratory.healed()
        producer.terminate()
        await producer.ended()
        del laboratory.producers[producer.name]
        if not receiver.hung:
            raise LaboratoryError("no delivery was under way")
        receiver.is_hanging = False
        await _all_delivered(laboratory)
        if not receiver.taken:
            raise LaboratoryError("no delivery was taken")
    finally:
        server.close()
        await server.wait_closed()


async def _all_delivered(laboratory: Laboratory) -> None:
    async with TaskQueue.connect(laboratory.place.direct_url, name=QUEUE) as queue:
        await laboratory.nothing_left(queue, _DELIVERED, type_=WEBHOOK_TYPE)


def _delivering(setup: Setup) -> Setup:
    return replace(setup, working=("--deliver",), environment=_SETTINGS)


WEBHOOKS = (Fault("F29", "receivers of webhooks that hang", hang, adapt=_delivering),)
