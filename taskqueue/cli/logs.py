"""What a long-running command logs, on stderr: lines for people, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from taskqueue.cli.output import plain, utc


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


class Lines(logging.Formatter):
    """One line a record, control characters escaped; tracebacks follow below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        at = datetime.fromtimestamp(record.created, UTC)
        text = f"{utc(at)} {record.levelname:7} {record.name}: {plain(record.getMessage())}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


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
        return json.dumps(document, ensure_ascii=False)
