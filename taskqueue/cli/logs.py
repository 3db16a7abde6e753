"""What commands log, on stderr: workers everything, in lines or in JSON; others nothing or warnings."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from taskqueue.cli.output import plain, utc

_PACKAGES = ("taskqueue", "scheduler")
_SILENCE = logging.NullHandler()
# The id of an API key stays: it finds the key in a list, and is no secret.
_SECRET = re.compile(r"(sk_live_[0-9A-Za-z]{12}|whsec_)[0-9A-Za-z+/=_-]+")


def silence_logging() -> None:
    """Log nothing, unless a command asks for it: what matters to its user is said by the command."""
    for package in _PACKAGES:
        logging.getLogger(package).addHandler(_SILENCE)


@contextmanager
def showing_warnings() -> Iterator[None]:
    """Show warnings as messages, such as that of a server that loses what it accepts when it crashes."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(Warnings())
    logger = logging.getLogger("taskqueue")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def configure_logging(level: str, *, as_json: bool) -> None:
    """Send the logs of both packages, and of the user's handlers, to stderr.

    Args:
        level: Least important level that is shown.
        as_json: Whether each record is a JSON object.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else Lines())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)


def _hidden(text: str) -> str:
    """Return *text* without API keys and webhook secrets: clients put them into addresses, by mistake."""
    return _SECRET.sub(r"\1***", text)


class Warnings(logging.Formatter):
    """A sentence after the program's name."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return _hidden(f"taskqueue: {record.levelname.lower()}: {plain(record.getMessage())}")


class Lines(logging.Formatter):
    """One line a record, control characters escaped; tracebacks follow below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        at = datetime.fromtimestamp(record.created, UTC)
        text = f"{utc(at)} {record.levelname:7} {record.name}: {plain(record.getMessage())}"
        if record.exc_info:
            text += f"\n{plain(self.formatException(record.exc_info))}"
        return _hidden(text)


class JsonLines(logging.Formatter):
    """One JSON object a record: at, level, logger, message, and error where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        document = {
            "at": utc(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["error"] = self.formatException(record.exc_info)
        return _hidden(json.dumps(document, ensure_ascii=False))
