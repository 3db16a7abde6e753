"""Is this server fit to keep tasks? What it says of itself, and what to do about it.

Everything is read from `INFO`, since managed servers often refuse `CONFIG`. An *error* means that
the promises cannot be kept; a *warning*, that they are worth less than they may seem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoPermissionError

from taskqueue.errors import ServerUnsuitable

Info = Mapping[str, Any]

_OLDEST = {"Redis": (7, 0), "Valkey": (7, 2)}
_VERSION_ADVICE = "Use Redis >= 7.0 or Valkey >= 7.2."
_VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: `"error"`: the server must not be used; `"warning"`: say it loudly; `"ok"`.
        name: What was looked at, such as `"eviction"`.
        message: What was found.
        advice: What to do about it; empty if all is well.
    """

    level: Literal["error", "warning", "ok"]
    name: str
    message: str
    advice: str = ""


async def check_server(client: Redis | RedisCluster) -> list[Finding]:
    """Return what there is to say about the server, or about each primary of a cluster.

    `memory://` is no server and gets no findings.

    Raises:
        redis.exceptions.RedisError: If the server does not answer.
    """
    if type(client).__module__.startswith("fakeredis"):
        return []
    try:
        found = await _read_info(client)
    except NoPermissionError as error:
        return [
            Finding(
                "warning",
                "access",
                f"the server does not let this user ask for INFO, so it was not checked ({error})",
                "Allow `+info` to the user in the server's ACL.",
            )
        ]
    findings = findings_of(found)
    if any(info.get("cluster_enabled") for info in found.values()):
        findings.append(await _check_cluster(client))
    return findings


def findings_of(infos: Mapping[str, Info]) -> list[Finding]:
    """Return the findings for what `INFO` said, by the name of the node; `""` is the only one."""
    findings: list[Finding] = []
    for node, info in infos.items():
        for finding in (
            _check_version(info),
            _check_eviction(info),
            _check_persistence(info),
            _check_last_writes(info),
            _check_role(info),
        ):
            message = f"{node}: {finding.message}" if node else finding.message
            findings.append(Finding(finding.level, finding.name, message, finding.advice))
    return findings


def refuse_unsuitable(findings: Iterable[Finding]) -> None:
    """Refuse a server that has errors.

    Raises:
        ServerUnsuitable: With all of them in one message.
    """
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        text = "; ".join(f"{error.message}. {error.advice}".rstrip() for error in errors)
        raise ServerUnsuitable(f"this server cannot be used: {text}")


async def _read_info(client: Redis | RedisCluster) -> dict[str, Info]:
    if not isinstance(client, RedisCluster):
        return {"": await client.info()}
    await client.initialize()
    return {node.name: await client.info(target_nodes=node) for node in client.get_primaries()}


async def _check_cluster(client: Redis | RedisCluster) -> Finding:
    knows_cluster = isinstance(client, RedisCluster)
    found = await (client.cluster_info() if isinstance(client, RedisCluster) else client.cluster("INFO"))
    state = found.get("cluster_state")
    if not knows_cluster and int(found["cluster_size"]) > 1:
        return Finding(
            "error",
            "cluster",
            "the URL names one node of a cluster, which refuses the queues that live on others",
            "Use redis+cluster://host:port.",
        )
    if state != "ok":
        return Finding(
            "error",
            "cluster",
            f"the cluster is in state {state} and refuses to serve",
            "Look into `redis-cli --cluster check host:port`.",
        )
    return Finding("ok", "cluster", "the cluster is complete")


def _check_version(info: Info) -> Finding:
    # Valkey says which version of Redis it is compatible with, and its own under another name.
    product = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get(f"{product.lower()}_version", "unknown"))
    match = _VERSION.match(version)
    if match is None:
        return Finding(
            "warning", "version", f"the server does not say its version ({version})", _VERSION_ADVICE
        )
    if (int(match[1]), int(match[2])) < _OLDEST[product]:
        oldest = ".".join(map(str, _OLDEST[product]))
        return Finding("error", "version", f"{product} {version} is older than {oldest}", _VERSION_ADVICE)
    return Finding("ok", "version", f"{product} {version}")


def _check_eviction(info: Info) -> Finding:
    policy = info.get("maxmemory_policy")
    advice = "Set `maxmemory-policy noeviction` in the server's configuration."
    if policy is None:
        return Finding("warning", "eviction", "the server does not say its maxmemory-policy", advice)
    if policy != "noeviction":
        return Finding(
            "error",
            "eviction",
            f"maxmemory-policy is {policy}: when its memory is full, the server deletes tasks",
            advice,
        )
    return Finding("ok", "eviction", "maxmemory-policy is noeviction")


def _check_persistence(info: Info) -> Finding:
    if info.get("aof_enabled"):
        return Finding("ok", "persistence", "the append-only file is on")
    advice = "Set `appendonly yes` in the server's configuration."
    if "aof_enabled" not in info:
        return Finding(
            "warning", "persistence", "the server does not say whether it keeps what it stores", advice
        )
    return Finding(
        "warning",
        "persistence",
        "THE APPEND-ONLY FILE IS OFF: a crash of the server loses every task accepted since its last "
        "snapshot, and all of them if it takes none",
        advice,
    )


def _check_last_writes(info: Info) -> Finding:
    if info.get("aof_enabled") and info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            "error",
            "last write",
            "the server could not write its append-only file, and refuses all writes until it can",
            "Look at its log and the space on its disk.",
        )
    for name, what in (
        ("aof_last_bgrewrite_status", "rewrite its append-only file"),
        ("rdb_last_bgsave_status", "take its last snapshot"),
    ):
        if info.get(name, "ok") != "ok":
            return Finding(
                "warning",
                "last write",
                f"the server could not {what}, and may refuse writes because of that",
                "Look at its log, its memory and the space on its disk.",
            )
    return Finding("ok", "last write", "the server could write to its disk")


def _check_role(info: Info) -> Finding:
    if info.get("role") == "slave":
        return Finding(
            "error",
            "role",
            "this is a replica, which refuses writes",
            "Use the address of its master, or redis+sentinel:// to find it.",
        )
    return Finding("ok", "role", "this is a master")
