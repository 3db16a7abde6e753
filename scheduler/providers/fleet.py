"""The configured providers as handlers of a scheduler: opened together, asked by type, closed together."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from scheduler.context import Context
from scheduler.errors import Misconfigured, Unavailable
from scheduler.providers.answering import answer_task
from scheduler.providers.base import Provider
from scheduler.providers.configuration import (
    Configuration,
    ConfigurationRefused,
    Problem,
    read_configuration,
)
from scheduler.providers.hiding import without
from scheduler.registry import Handlers
from taskqueue.contract import PriceList, payload_model
from taskqueue.settings import redact

logger = logging.getLogger("scheduler.providers")

_OPENING = 30.0  # seconds that a provider gets to open
_CLOSING = 10.0  # seconds that it gets to close
_REACHING = 3.0  # seconds in which an address must take a connection
_PORTS: Final = {"http": 80, "https": 443}

Ask = Callable[[Any, Context], Coroutine[Any, Any, dict[str, Any]]]


class Providers:
    """Configured providers, to be included into a scheduler.

    >>> scheduler.include(Providers.load("providers.toml").handlers())

    Args:
        configuration: What was read.
        prices: What an answer may cost beyond its task's price, by what came back; None takes the
            contract's.

    Raises:
        ConfigurationRefused: If it is strict and has problems.
    """

    def __init__(self, configuration: Configuration, prices: PriceList | None = None) -> None:
        self._prices = prices or PriceList.default()
        if configuration.strict and configuration.problems:
            raise ConfigurationRefused(configuration.problems)
        self.configuration = configuration
        self._open: dict[str, Provider] = {}
        self._unopened: dict[str, str] = {}

    @classmethod
    def load(cls, path: Path | str | None = None, *, environ: Mapping[str, str] | None = None) -> Providers:
        """Read a configuration; log each of its problems, and go on with what is healthy.

        Args:
            path: The file; None takes `TASKQUEUE_PROVIDERS`, or only the environment's own settings.
            environ: The environment; None is this process's.

        Raises:
            ConfigurationRefused: If it is strict and has problems; it lists them all.
        """
        variables = os.environ if environ is None else environ
        chosen = path if path is not None else variables.get("TASKQUEUE_PROVIDERS") or None
        configuration = read_configuration(None if chosen is None else Path(chosen), variables)
        if not configuration.strict:
            for problem in configuration.problems:
                logger.error("%s", problem)
        return cls(configuration)

    @property
    def types(self) -> tuple[str, ...]:
        """The task types that have a healthy provider."""
        return tuple(self.configuration.chains)

    def handlers(self, *, skipping: Collection[str] = ()) -> Handlers:
        """Return a handler for each type that has a healthy provider, as a group.

        Args:
            skipping: Types that have handlers of their own.
        """
        types = [task_type for task_type in self.types if task_type not in skipping]
        group = Handlers(partial(self.opened, types))
        for task_type in types:
            chain = self.configuration.chains[task_type]
            group.handler(task_type, providers=chain)(self._asking(task_type))
        return group

    @asynccontextmanager
    async def opened(self, types: Collection[str] | None = None) -> AsyncIterator[None]:
        """Open every provider that stands in a chain, and close them in the end.

        One that cannot be opened is logged; its tasks go to the next of their chains.

        Args:
            types: Whose chains are meant; None: all.
        """
        chains = self.configuration.chains
        names = {
            name for task_type in chains if types is None or task_type in types for name in chains[task_type]
        }
        try:
            await asyncio.gather(*(self._open_one(self.configuration.providers[name]) for name in names))
            yield
        finally:
            opened, self._open = self._open, {}
            await asyncio.gather(*(_close(provider) for provider in opened.values()))

    async def unreachable(self) -> list[Problem]:
        """Return a problem for every provider whose address takes no connection within 3 s."""
        wanted = [
            (name, address)
            for name, provider in self.configuration.providers.items()
            if (address := provider.address) is not None
        ]
        found = await asyncio.gather(*(_reach(address) for _, address in wanted))
        return [
            Problem("providers", f"{name}: {redact(address)}", what)
            for (name, address), what in zip(wanted, found, strict=True)
            if what is not None
        ]

    def _asking(self, task_type: str) -> Ask:
        async def ask(payload: Any, context: Context) -> dict[str, Any]:
            name = context.provider or ""
            provider = self._open.get(name)
            if provider is None:
                if name in self._unopened:
                    raise Misconfigured(self._unopened[name])
                raise Unavailable(f"provider {name!r} is not open in this worker")
            answer = await answer_task(provider, payload, context)
            self._charge(context, answer)
            return answer

        # Payloads are checked by the scheduler, as those of every other handler.
        ask.__annotations__["payload"] = payload_model(task_type, strict=False)
        return ask

    def _charge(self, context: Context, answer: Mapping[str, Any]) -> None:
        """Charge what is paid for by what came back, beyond the price that the task was accepted with."""
        task = context.task
        price = self._prices.price(task.type, task.payload)
        more = self._prices.charge(task.type, task.payload, answer) - price.charge
        if more > 0:
            context.charge(task.cost + more)

    async def _open_one(self, provider: Provider) -> None:
        self._unopened.pop(provider.name, None)
        try:
            async with asyncio.timeout(_OPENING):
                await provider.open()
        except Exception as error:  # noqa: BLE001  the code may be anybody's; the others shall work
            is_said = isinstance(error, Misconfigured)
            reason = without(str(error), provider.secrets) if is_said else type(error).__name__
            logger.error("provider %s cannot be opened: %s", provider.name, reason)  # noqa: TRY400  said by it
            self._unopened[provider.name] = f"it could not be opened: {reason}"
        else:
            self._open[provider.name] = provider


async def _close(provider: Provider) -> None:
    try:
        async with asyncio.timeout(_CLOSING):
            await provider.close()
    except Exception as error:  # noqa: BLE001  likewise
        logger.warning("provider %s did not close: %s", provider.name, type(error).__name__)


async def _reach(address: str) -> str | None:
    """Return why an address takes no connection; None if it does."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 443)
        if not host:
            return "it has no host"
        async with asyncio.timeout(_REACHING):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"it takes no connection within {_REACHING:g} s"
    except OSError as error:
        return f"it cannot be reached: {error.strerror or error}"
    except ValueError:
        # A port beyond 65535, or what is no name of a host.
        return "it is no address"
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return None
