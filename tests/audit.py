"""Holds everything that a queue has on its server against what it should be.

Independent of the engine on purpose: it reads plain keys, recounts and recomputes. `audit` returns
what is wrong, one sentence each; an empty list is a sound queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import redis

from taskqueue.keys import Keys
from taskqueue.ranking import Order, policy

PLACES = ("ready", "delayed", "leased", "finished")
DELIVERIES_A_HOST = 4
ENDED = {"COMPLETED", "FAILED", "CANCELLED"}
LASTING = (
    "meta", "seq", "types", "tenants", "limited", "providers", "virtual", "due",
    "workers", "leased", "owners",
)  # fmt: skip
LASTING_KINDS = ("ready", "lanes", "delayed", "count", "limit", "wake", "keys", "account")
EXPIRING_KINDS = ("finished", "dead", "waiters", "inbox", "claims", "answer", "rate")


@dataclass
class Dump:
    """All keys of one queue, read once."""

    prefix: str
    values: dict[str, Any] = field(default_factory=dict)
    ttl: dict[str, int] = field(default_factory=dict)

    def of(self, *words: str) -> dict[str, Any]:
        """Return the keys that begin with these words, by what follows them."""
        start = ":".join(words) + ":"
        return {name[len(start) :]: value for name, value in self.values.items() if name.startswith(start)}

    def put(self, name: str, value: Any, ttl: int) -> None:
        """Add a key without its prefix: bytes, sets, lists, hashes, zsets as member and score; -1 lasts."""
        self.values[name], self.ttl[name] = _text(value), ttl


def dump(client: redis.Redis, queue: str) -> Dump:
    """Read everything that the queue has."""
    found = Dump(Keys(queue).prefix)
    readers: dict[Any, Callable[[Any], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"zset": lambda key: dict(cast("Any", client.zrange(key, 0, -1, withscores=True))),
        b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
    }
    for key in client.scan_iter(match=found.prefix.replace("{", "\\{") + "*", count=1000):
        kind = client.type(key)
        if kind == b"none":
            continue
        found.put(key.decode()[len(found.prefix) :], readers[kind](key), client.pttl(key))
    return found


def audit(client: redis.Redis, queue: str) -> list[str]:
    """Return what is wrong with the queue."""
    return problems_of(dump(client, queue))


def wipe(client: redis.Redis, queue: str) -> None:
    """Take away everything that the queue has."""
    for key in client.scan_iter(match=Keys(queue).prefix.replace("{", "\\{") + "*", count=1000):
        client.delete(key)


def problems_of(found: Dump) -> list[str]:
    """Return what is wrong with a queue that was read."""
    if "meta" not in found.values:
        return [f"a key without a queue: {name}" for name in found.values]
    auditor = _Auditor(found)
    auditor.places()
    auditor.counters()
    auditor.credits()
    auditor.providers()
    auditor.lanes()
    auditor.due()
    auditor.api_keys()
    auditor.lifetimes()
    return auditor.problems


class _Auditor:
    def __init__(self, found: Dump) -> None:
        self.found = found
        self.problems: list[str] = []
        meta = found.values["meta"]
        self.order = Order.parse(
            meta["order"],
            lowest_priority=int(meta["lowest_priority"]),
            highest_priority=int(meta["highest_priority"]),
        )
        self.policy = policy(meta["policy"])
        self.headers = headers_of(found)
        self.runs = found.of("run")
        self.states = {name: self.runs.get(name, {}).get("state", "QUEUED") for name in self.headers}

    def say(self, problem: str) -> None:
        self.problems.append(problem)

    def places(self) -> None:
        """Every task is in exactly one place, which agrees with its state and its score."""
        places: dict[str, list[tuple[str, float]]] = {}
        for place in ("ready", "delayed", "finished"):
            for owner, members in self.found.of(place).items():
                for task_id, score in members.items():
                    places.setdefault(task_id, []).append((f"{place}:{owner}", score))
        for task_id, deadline in self.found.values.get("leased", {}).items():
            places.setdefault(task_id, []).append(("leased", deadline))
        for task_id, where in places.items():
            if task_id not in self.headers:
                self.say(f"{task_id} is in {where} and has no record")
        for task_id, header in self.headers.items():
            self._place_of(task_id, header, places.get(task_id, []))
        for task_id in self.runs.keys() - self.headers.keys():
            self.say(f"{task_id} has a run and no record")

    def _place_of(self, task_id: str, header: dict[str, Any], where: list[tuple[str, float]]) -> None:
        state = self.states[task_id]
        expected = {
            "QUEUED": {f"ready:{header['type']}:{header['group']}", f"delayed:{header['tenant']}"},
            "PROCESSING": {"leased"},
        }.get(state, {f"finished:{header['tenant']}"})
        if len(where) != 1 or where[0][0] not in expected:
            self.say(f"{task_id} is {state} and stands in {where}")
        elif where[0][0].startswith("ready"):
            wanted, got = (header["priority"], header["sequence"]), self.order.invert(where[0][1])
            if got != wanted:
                self.say(f"{task_id} has the score of {got}, not of {wanted}")
        in_dead = task_id in self.found.values.get("dead", {})
        if in_dead != (state == "FAILED"):
            self.say(f"{task_id} is {state} and {'' if in_dead else 'not '}among the dead letters")
        if "R" not in header["flags"] and header["group"] != header["tenant"]:
            self.say(f"{task_id} stands in group {header['group']} without being reserved")

    def counters(self) -> None:
        """Stored counters equal a recount."""
        counts: dict[str, Counter[str]] = {}

        def add(name: str, field_name: str) -> None:
            counts.setdefault(name, Counter())[field_name] += 1

        for task_id, header in self.headers.items():
            type_, tenant, priority = header["type"], header["tenant"], header["priority"]
            state, reserved = self.states[task_id], "R" in header["flags"]
            if state == "QUEUED":
                add(f"count:type:{type_}", f"queued:{priority}")
                add(f"count:tenant:{tenant}", f"queued:{type_}:{priority}")
                add(f"count:tenant:{tenant}", "queued")
                if task_id in self.found.values.get(f"delayed:{tenant}", {}):
                    add(f"count:type:{type_}", "delayed")
                    add(f"count:tenant:{tenant}", f"delayed:{type_}")
            elif state == "PROCESSING":
                add(f"limit:type:{type_}", "used")
                add(f"count:tenant:{tenant}", f"processing:{type_}")
            if state not in ENDED and (reserved or state == "PROCESSING"):
                add(f"limit:tenant:{tenant}", "used")
        for scope in ("count:type", "count:tenant", "limit:type", "limit:tenant"):
            stored = {f"{scope}:{name}": fields for name, fields in self.found.of(*scope.split(":")).items()}
            names = stored.keys() | {name for name in counts if name.startswith(scope + ":")}
            for name in names:
                fields = {
                    key: int(value)
                    for key, value in stored.get(name, {}).items()
                    if scope.startswith("count") or key == "used"
                }
                if fields != dict(counts.get(name, {})):
                    self.say(f"{name} says {fields}, a recount {dict(counts.get(name, {}))}")

    def credits(self) -> None:
        """What is held is what PROCESSING tasks hold; what was spent is what ended ones were charged.

        The records of charged tasks go with their retention: until then nothing less was spent.
        """
        held: Counter[str] = Counter()
        charged: Counter[str] = Counter()
        for task_id, run in self.runs.items():
            tenant = self.headers[task_id]["tenant"] if task_id in self.headers else ""
            if "hold" in run and self.states[task_id] != "PROCESSING":
                self.say(f"{task_id} is {self.states[task_id]} and holds credits")
            held[tenant] += int(run.get("hold", 0))
            charged[tenant] += int(run.get("charged", 0))
        for tenant, limit in self.found.of("limit", "tenant").items():
            if int(limit.get("held", 0)) != held[tenant]:
                self.say(f"tenant {tenant} holds {limit.get('held', 0)}, its tasks {held[tenant]}")
            if "granted" in limit and int(limit.get("spent", 0)) < charged[tenant]:
                self.say(f"tenant {tenant} spent {limit.get('spent', 0)}, its tasks {charged[tenant]}")
            if "waits" in limit and not held[tenant]:
                self.say(f"tenant {tenant} waits for credits that nobody holds")

    def providers(self) -> None:
        """What runs at a provider is what PROCESSING tasks say; it has learned only what it can use."""
        used: Counter[str] = Counter()
        probes: Counter[str] = Counter()
        for task_id, run in self.runs.items():
            provider, state = run.get("provider"), self.states.get(task_id)
            if provider is not None and state == "PROCESSING":
                used[provider.removesuffix("!")] += 1
                probes[provider.removesuffix("!")] += provider.endswith("!")
            elif provider is not None and state == "QUEUED":
                self.say(f"{task_id} is QUEUED and sent to provider {provider}")
        stored = self.found.of("limit", "provider")
        if set(self.found.values.get("providers", ())) != stored.keys():
            self.say(f"providers is {self.found.values.get('providers')}, should be {sorted(stored)}")
        for name in stored.keys() | used.keys():
            fields = stored.get(name, {})
            says = (int(fields.get("used", 0)), int(fields.get("probes", 0)))
            if says != (used[name], probes[name]):
                self.say(f"provider {name} says {says}, a recount {(used[name], probes[name])}")
            if "allowed" in fields and "min" not in fields:
                self.say(f"provider {name} allows {fields['allowed']}, and has nothing to adapt between")
            unknown = set(fields.get("waiting", "").split()) - set(self.found.values.get("types", ()))
            if unknown:
                self.say(f"{unknown} wait for provider {name}, and nobody knows them")

    def lanes(self) -> None:
        """A lane is in its index, ranked by its head, if and only if it may run."""
        expected: dict[str, dict[str, float]] = {}
        for name, members in self.found.of("ready").items():
            type_, _, group = name.partition(":")
            tenant, reserved = group.removesuffix("!"), group.endswith("!")
            limit = self.found.values.get(f"limit:tenant:{tenant}", {})
            most = limit.get("max", DELIVERIES_A_HOST if tenant.startswith("_") else None)
            full = most is not None and int(limit.get("used", 0)) >= int(most)
            waits = "waits" in limit and "granted" in limit
            if limit.get("paused") == "1" or waits or (full and not reserved):
                continue
            head = int(max(members.values()))
            virtual = int(self.found.values.get("virtual", {}).get(tenant, 0))
            rank = self.policy.rank(head, self.order.invert(head)[0], virtual)
            expected.setdefault(type_, {})[group] = float(rank)
        stored = self.found.of("lanes")
        for type_ in stored.keys() | expected.keys():
            if stored.get(type_, {}) != expected.get(type_, {}):
                self.say(f"lanes:{type_} is {stored.get(type_)}, should be {expected.get(type_)}")

    def due(self) -> None:
        """`due` has the earliest instant of every tenant that has delayed tasks."""
        expected = {tenant: min(members.values()) for tenant, members in self.found.of("delayed").items()}
        if self.found.values.get("due", {}) != expected:
            self.say(f"due is {self.found.values.get('due')}, should be {expected}")

    def api_keys(self) -> None:
        """A key is in the index of its tenant, until its end has come; of what ended, traces may be left."""
        indexes, records = self.found.of("keys"), self.found.of("key")
        for key_id, record in records.items():
            end, tenant = float(record.get("expires", "inf")), record["tenant"]
            indexed = indexes.get(tenant, {}).get(key_id)
            if indexed != end and not (indexed is None and "expires" in record):
                self.say(f"API key {key_id} ends at {end}, and at {indexed} in the index of {tenant}")
        for tenant, index in indexes.items():
            lost = {key_id for key_id, end in index.items() if end == float("inf")} - records.keys()
            if lost:
                self.say(f"keys:{tenant} has {lost} without a record")
        if set(self.found.values.get("owners", ())) != indexes.keys():
            self.say(f"owners is {self.found.values.get('owners')}, should be {sorted(indexes)}")

    def lifetimes(self) -> None:
        """What must expire does, what must last does, and nothing else is there."""
        for name, ttl in self.found.ttl.items():
            kind, _, rest = name.partition(":")
            lasts = ttl == -1
            if name in LASTING or kind in LASTING_KINDS:
                expected = True
            elif kind in EXPIRING_KINDS:
                expected = False
            elif kind == "key":
                expected = "expires" not in self.found.values[name]
            elif kind in {"task", "run"}:
                expected = self.states.get(rest) not in ENDED
            elif kind == "idem":
                holder = self.found.values[name]
                expected = self.states.get(holder) not in ENDED
                if holder not in self.headers:
                    self.say(f"{name} names {holder}, which is unknown")
            else:
                self.say(f"nobody knows the key {name}")
                continue
            if lasts != expected:
                self.say(f"{name} {'lasts' if lasts else 'expires'}, and should not")


def headers_of(found: Dump) -> dict[str, dict[str, Any]]:
    """Return the headers of all records, by the ids of their tasks."""
    return {name: _header(record) for name, record in found.of("task").items()}


def _header(record: str) -> dict[str, Any]:
    names = ("version", "sequence", "created", "type", "tenant", "group", "priority", "cost", "flags")
    header: dict[str, Any] = dict(zip(names, record.partition("\n")[0].split("|"), strict=False))
    header["group"] = header["group"] or header["tenant"]
    header["priority"], header["sequence"] = int(header["priority"]), int(header["sequence"])
    return header


def _text(value: Any) -> Any:
    """Decode names and texts; record bodies may be any bytes and are kept readable enough."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict):
        return {_text(key): _text(item) for key, item in value.items()}
    if isinstance(value, (set, list)):
        return type(value)(_text(item) for item in value)
    return value
