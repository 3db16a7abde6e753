"""Outside services that answer tasks: how they are configured, and how to write one.

>>> scheduler.include(Providers.load("providers.toml").handlers())
"""

from scheduler.errors import Misconfigured, RateLimited, Rejected, Retry, Unavailable
from scheduler.providers.base import Call, LooseCall, Provider, ProviderSettings
from scheduler.providers.configuration import Problem
from scheduler.providers.fleet import Providers
from scheduler.providers.results import checked_result

__all__ = [
    "Call",
    "LooseCall",
    "Misconfigured",
    "Problem",
    "Provider",
    "ProviderSettings",
    "Providers",
    "RateLimited",
    "Rejected",
    "Retry",
    "Unavailable",
    "checked_result",
]
