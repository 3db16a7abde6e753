"""Tenants' accounts: API keys, the rate of their requests, the facts of their plans.

`Accounts` is the way in; `load_secret` finds the secret that it needs. Credits are the queue's own
business: `TaskQueue.grant()` and `TaskQueue.balance()`.
"""

from __future__ import annotations

from taskqueue.accounts.accounts import Accounts
from taskqueue.accounts.errors import KeyMalformed, KeyUnknown, RateExceeded
from taskqueue.accounts.records import Admission, KeyInfo, NewKey, Plan, Principal
from taskqueue.accounts.secret import load_secret

__all__ = [
    "Accounts",
    "Admission",
    "KeyInfo",
    "KeyMalformed",
    "KeyUnknown",
    "NewKey",
    "Plan",
    "Principal",
    "RateExceeded",
    "load_secret",
]
