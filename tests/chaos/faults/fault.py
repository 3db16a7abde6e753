"""The shape of a fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from tests.chaos.laboratory import Laboratory, Setup
from tests.chaos.places import OneServer, Place

Inject = Callable[[Laboratory, Random], Awaitable[None]]


def _one_server(dice: Random) -> Place:
    return OneServer(dice)


def _as_it_is(setup: Setup) -> Setup:
    return setup


async def _leave_it(laboratory: Laboratory, dice: Random) -> None:
    """Do nothing."""


def _nothing() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is done to a run, again and again for as long as it lasts.

    Attributes:
        name: `F1` and so on.
        title: What is done, in a few words.
        inject: Does it once, undoes it, and writes down what may follow from it. It returns when
            everything is as it was.
        place: Where the queue lives.
        adapt: What is special about the run.
        finish: Done once when no more tasks are offered, before what is left is drained.
        misses: Why it cannot be done on this machine; "" if it can.
    """

    name: str
    title: str
    inject: Inject
    place: Callable[[Random], Place] = _one_server
    adapt: Callable[[Setup], Setup] = _as_it_is
    finish: Inject = _leave_it
    misses: Callable[[], str] = _nothing
