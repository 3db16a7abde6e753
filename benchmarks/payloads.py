"""The payload of every task: about 150 bytes as JSON. It is also made where there is no taskqueue."""

from __future__ import annotations

from typing import Any


def payload(number: int) -> dict[str, Any]:
    return {
        "i": number,
        "prompt": "Which harbours of the North Sea freeze over in winter?",
        "region": "en-GB",
        "sources": ["web", "news"],
        "depth": 3,
        "budget": 0.25,
        "is_draft": False,
    }
