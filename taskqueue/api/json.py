"""JSON on the way out; what comes in is read by `taskqueue.strict_json`."""

from __future__ import annotations

from functools import partial

from pydantic_core import to_json

dumps = partial(to_json, bytes_mode="base64", inf_nan_mode="constants")
"""Encode a value as UTF-8 JSON. Bytes, which JSON has no form for, become base64 text."""
