"""What a provider is: an outside service that answers tasks, behind one small class.

A provider of your own is a class with one method::

    class Echo(Provider):
        '''Answers with the question.'''

        async def answer(self, payload: BaseModel, call: Call) -> Mapping[str, Any]:
            return {"text": f"You said: {payload.prompt}"}

It is named in the configuration by its module (`kind = "my_module:Echo"`) or by an entry point of its
package in the group `taskqueue.providers`. What it returns is checked against the contract's result of
the task's type; what it raises says how the task goes on:

| raises          | when                                            | then                              |
|-----------------|-------------------------------------------------|-----------------------------------|
| `Retry`         | this one call failed; it says nothing of others | the attempt is spent, later again |
| `RateLimited`   | it takes no more for now                        | it cools; the next of the chain   |
| `Unavailable`   | it does not work, or its answers make no sense  | its breaker counts; the next      |
| `Misconfigured` | it refuses us: a key, a model, an address       | its breaker opens; the next       |
| `Rejected`      | it works, and will never answer this task       | the task has FAILED               |
| anything else   | a mistake in the provider's code                | as `Unavailable`                  |
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from taskqueue.contract import TASK_TYPES


class Call(Protocol):
    """One question to a provider: what it may know of the task, and what it may tell while it works."""

    @property
    def task_type(self) -> str:
        """The type of the task, such as `CHATGPT`."""

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at the task: for services that remove duplicates."""

    @property
    def deliveries(self) -> int:
        """How often the task was given to a handler, this time included: another one for each call."""

    @property
    def remaining(self) -> timedelta:
        """How long this call may still take; it is stopped then."""

    async def partial(self, text: str) -> None:
        """Tell how much of the answer's text has come so far, all of it from its beginning.

        It reaches the task's event stream, at most twice a second; what comes quicker is left out.
        """

    def spend(self, tokens: int) -> None:
        """Say how many tokens were used, more than once if need be; they count in the provider's limit.

        Args:
            tokens: 0 or more.
        """


class ProviderSettings(BaseModel):
    """What every provider can be told; a provider's own `Settings` adds to it.

    Attributes:
        timeout: Seconds that one call may take; what remains of the attempt if that is less.
        cooldown: Seconds for which a provider that takes no more is left alone, if it does not say so
            itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    timeout: float = Field(default=120.0, gt=0, le=3_600, allow_inf_nan=False)
    cooldown: float = Field(default=5.0, ge=0.1, le=3_600, allow_inf_nan=False)


class Provider(ABC):
    """An outside service that answers tasks.

    It is made once for each name in the configuration, opened in the scheduler's event loop before its
    first call, asked by many tasks at the same time, and closed after the last of them has ended.

    Args:
        name: What the configuration calls it.
        settings: Checked; of the class `Settings`.

    Attributes:
        types: Task types that it can answer.
        speaks_contract: Whether its results are kept whole, once they fit, because it may know more fields
            of the contract than we do; else fields that are not named in `results` are dropped.
        Settings: What it can be told in the configuration. A field of the type `SecretStr` is read from
            the environment or a file, never from the configuration itself.
    """

    types: ClassVar[tuple[str, ...]] = TASK_TYPES
    speaks_contract: ClassVar[bool] = False
    Settings: ClassVar[type[ProviderSettings]] = ProviderSettings

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        self.name = name
        self.settings = settings

    @abstractmethod
    async def answer(self, payload: BaseModel, call: Call) -> BaseModel | Mapping[str, Any]:
        """Return the result of one task in the contract's shape.

        It is cancelled when the task is, when its time is over and at the end of a shutdown's grace
        period: let that stop the call.

        Args:
            payload: The contract's model of the task's type; see `taskqueue.contract.payload_model()`.
            call: What to know of the task.

        Raises:
            Retry, RateLimited, Unavailable, Misconfigured, Rejected: See the head of this module.
        """

    async def open(self) -> None:  # noqa: B027 - most have nothing to open
        """Open what all calls share, such as an HTTP client; called once, before the first of them.

        Raises:
            Misconfigured: If it cannot work as it is configured.
        """

    async def close(self) -> None:  # noqa: B027 - likewise
        """Close what `open()` opened."""

    @property
    def address(self) -> str | None:
        """The URL that it calls, for a look at the start whether it can be reached; None: there is none."""
        return None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown: texts of services are searched for it before they are kept."""
        values = [getattr(self.settings, name) for name in type(self.settings).model_fields]
        shown = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        return tuple(secret for secret in shown if secret)


class LooseCall:
    """A call without a task: for `taskqueue providers check`, and for tests of a provider.

    Args:
        task_type: What is asked for.
        timeout: Seconds that it may take.
        idempotency_key: What the service may be told.
        deliveries: How often the task was given to a handler, this time included.

    Attributes:
        partials: Every text that was told so far.
        tokens: How many were spent.
    """

    def __init__(
        self,
        task_type: str,
        timeout: float = 60.0,
        idempotency_key: str = "check",
        *,
        deliveries: int = 1,
    ) -> None:
        self.task_type = task_type
        self.idempotency_key = idempotency_key
        self.deliveries = deliveries
        self.partials: list[str] = []
        self.tokens = 0
        self._ends_at = time.monotonic() + timeout

    @property
    def remaining(self) -> timedelta:
        """How long it may still take."""
        return timedelta(seconds=max(0.0, self._ends_at - time.monotonic()))

    async def partial(self, text: str) -> None:
        """Note how much has come."""
        self.partials.append(text)

    def spend(self, tokens: int) -> None:
        """Count tokens."""
        self.tokens += tokens
