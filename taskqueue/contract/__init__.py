"""The contract's own rules, without a server: payloads, prices, countries.

Nothing here talks to Redis or HTTP. `check_payload()` refuses or normalizes the payload of a task,
`PriceList` says what it costs, `countries()` and `states()` where it can be run from, and
`payload_model()` gives the pydantic model behind it, for schemas and for handlers.
"""

from __future__ import annotations

from taskqueue.contract.checking import check_payload
from taskqueue.contract.google_url import GoogleUrl, read_google_url
from taskqueue.contract.models import payload_model
from taskqueue.contract.places import MODELS, State, UnknownModel, countries, states
from taskqueue.contract.prices import Price, PriceList
from taskqueue.contract.problems import FieldProblem, PayloadInvalid
from taskqueue.contract.types import TASK_TYPES

__all__ = [
    "MODELS",
    "TASK_TYPES",
    "FieldProblem",
    "GoogleUrl",
    "PayloadInvalid",
    "Price",
    "PriceList",
    "State",
    "UnknownModel",
    "check_payload",
    "countries",
    "payload_model",
    "read_google_url",
    "states",
]
