"""The only file that spells a key.

Every key of a queue carries the hash tag `{name}`, so that all of them live in one slot of a
cluster and one script may touch them. docs/keys.md says what each of them holds. Lua receives
the prefix and adds the words that the caller cannot know in advance (see lua/_keys.lua, which a
test holds against this file).
"""

from __future__ import annotations

from dataclasses import dataclass, field

ROOT = "tq"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the queue called *name*."""

    name: str
    prefix: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", f"{ROOT}:{{{self.name}}}:")

    @property
    def meta(self) -> str:
        return f"{self.prefix}meta"

    @property
    def seq(self) -> str:
        return f"{self.prefix}seq"

    @property
    def types(self) -> str:
        return f"{self.prefix}types"

    @property
    def tenants(self) -> str:
        return f"{self.prefix}tenants"

    @property
    def due(self) -> str:
        return f"{self.prefix}due"

    @property
    def leased(self) -> str:
        return f"{self.prefix}leased"

    @property
    def dead(self) -> str:
        return f"{self.prefix}dead"

    @property
    def virtual(self) -> str:
        return f"{self.prefix}virtual"

    @property
    def limited(self) -> str:
        return f"{self.prefix}limited"

    @property
    def providers(self) -> str:
        return f"{self.prefix}providers"

    @property
    def workers(self) -> str:
        return f"{self.prefix}workers"

    @property
    def owners(self) -> str:
        return f"{self.prefix}owners"

    def task(self, task_id: str) -> str:
        return f"{self.prefix}task:{task_id}"

    def run(self, task_id: str) -> str:
        return f"{self.prefix}run:{task_id}"

    def waiters(self, task_id: str) -> str:
        return f"{self.prefix}waiters:{task_id}"

    def ready(self, type_: str, group: str) -> str:
        return f"{self.prefix}ready:{type_}:{group}"

    def lanes(self, type_: str) -> str:
        return f"{self.prefix}lanes:{type_}"

    def wake(self, type_: str) -> str:
        return f"{self.prefix}wake:{type_}"

    def delayed(self, tenant: str) -> str:
        return f"{self.prefix}delayed:{tenant}"

    def finished(self, tenant: str) -> str:
        return f"{self.prefix}finished:{tenant}"

    def limit_type(self, type_: str) -> str:
        return f"{self.prefix}limit:type:{type_}"

    def limit_tenant(self, tenant: str) -> str:
        return f"{self.prefix}limit:tenant:{tenant}"

    def limit_provider(self, provider: str) -> str:
        return f"{self.prefix}limit:provider:{provider}"

    def count_type(self, type_: str) -> str:
        return f"{self.prefix}count:type:{type_}"

    def count_tenant(self, tenant: str) -> str:
        return f"{self.prefix}count:tenant:{tenant}"

    def idem(self, tenant: str, digest: str) -> str:
        return f"{self.prefix}idem:{tenant}:{digest}"

    def claims(self, worker: str, number: int = 0) -> str:
        return f"{self.prefix}claims:{worker}:{number}" if number else f"{self.prefix}claims:{worker}"

    def answer(self, call_id: str) -> str:
        return f"{self.prefix}answer:{call_id}"

    def inbox(self, owner: str) -> str:
        return f"{self.prefix}inbox:{owner}"

    def api_key(self, key_id: str) -> str:
        return f"{self.prefix}key:{key_id}"

    def api_keys(self, tenant: str) -> str:
        return f"{self.prefix}keys:{tenant}"

    def rate(self, key_id: str) -> str:
        return f"{self.prefix}rate:{key_id}"

    def account(self, tenant: str) -> str:
        return f"{self.prefix}account:{tenant}"
