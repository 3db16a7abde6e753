"""What happened, written down outside of the server: a file a process, a line an event.

A call is two lines: that it was made, and how it ended. One that never ended, or ended without an
answer, is *unknown*: the server may have run it, or may run it yet. A note is one line, about
something that happened by itself. Times are those of the machine's monotonic clock, in nanoseconds:
all processes of a run are on one machine, and no fault moves that clock.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["ok", "refused", "unknown"]

NEVER = math.inf
"""The end of a call that nobody saw end."""


class Recorder:
    """Writes the file of one process. Each line is one write: a process that is killed leaves whole lines.

    Args:
        folder: Where the files of the run are.
        process: Name of the process, unique in its run.
    """

    def __init__(self, folder: Path, process: str) -> None:
        self.process = process
        self._file = os.open(folder / f"{process}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._numbers = itertools.count(1)

    def invoke(self, what: str, **given: Any) -> int:
        """Write that a call is about to be made; return its number."""
        number = next(self._numbers)
        self._write({"call": number, "what": what, "given": given})
        return number

    def end(self, number: int, outcome: Outcome, **answer: Any) -> None:
        """Write how a call ended: `ok`, `refused` if the server said no, `unknown` if it said nothing."""
        self._write({"call": number, "outcome": outcome, "answer": answer})

    def note(self, what: str, **details: Any) -> None:
        """Write something that happened."""
        self._write({"what": what, "details": details})

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._file, json.dumps({"at": time.monotonic_ns(), **line}).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a process made. `end` is NEVER if nothing was heard of it."""

    what: str
    process: str
    start: float
    end: float
    outcome: Outcome
    given: Mapping[str, Any]
    answer: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a process saw or did."""

    what: str
    process: str
    at: float
    details: Mapping[str, Any]


@dataclass(slots=True)
class History:
    """Everything that the processes of a run wrote, in the order of time."""

    calls: list[Call] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def called(self, what: str) -> list[Call]:
        """Return the calls of one kind."""
        return [call for call in self.calls if call.what == what]

    def noted(self, what: str) -> list[Note]:
        """Return the notes of one kind."""
        return [note for note in self.notes if note.what == what]


def read_history(folder: Path) -> History:
    """Read the files of all processes; also while they are being written."""
    history = History()
    for path in sorted(folder.glob("*.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith(b"\n")]
        _add(history, path.stem, events)
    history.calls.sort(key=lambda call: call.start)
    history.notes.sort(key=lambda note: note.at)
    return history


class Follower:
    """Reads notes as they are written, each once; cheap, however long the history has become."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}

    def new_notes(self, what: str) -> list[Note]:
        """Return the notes of a kind that came since the last time."""
        found = []
        for path in self._folder.glob("*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                whole, newline, _ = file.read().rpartition(b"\n")
            self._read[path] = self._read.get(path, 0) + len(whole) + len(newline)
            events = [json.loads(line) for line in whole.splitlines()]
            found += [
                Note(what, path.stem, event["at"], event["details"])
                for event in events
                if event.get("what") == what and "details" in event
            ]
        return found


def _add(history: History, process: str, events: Iterable[dict[str, Any]]) -> None:
    begun: dict[int, dict[str, Any]] = {}
    for event in events:
        if "call" not in event:
            history.notes.append(Note(event["what"], process, event["at"], event["details"]))
        elif "outcome" not in event:
            begun[event["call"]] = event
        else:
            history.calls.append(_call(process, begun.pop(event["call"]), event))
    history.calls += [_call(process, event, None) for event in begun.values()]


def _call(process: str, begun: dict[str, Any], ended: dict[str, Any] | None) -> Call:
    outcome: Outcome = "unknown" if ended is None else ended["outcome"]
    end = NEVER if ended is None or outcome == "unknown" else ended["at"]
    answer = {} if ended is None else ended["answer"]
    return Call(begun["what"], process, begun["at"], end, outcome, begun["given"], answer)
