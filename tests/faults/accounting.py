"""Stories of accounts: API keys, rates, plans, the secrets of webhooks."""

from __future__ import annotations

from datetime import UTC, datetime

from taskqueue.accounts import Accounts
from taskqueue.store import RateRequest
from tests.faults.exploring import Story
from tests.faults.staging import Stage

SECRET = b"s" * 32


async def two_keys(stage: Stage) -> None:
    """Two tenants have a key each."""
    for number, tenant in enumerate(("acme", "zeta")):
        await stage.store.create_key(f"key-{number}", f"digest-{number}", tenant=tenant, name="", rate=2)


async def keeping(stage: Stage) -> None:
    """A key is made, used, replaced with an overlap and at once, and revoked."""
    store, ask = stage.store, stage.ask
    await ask(lambda: store.create_key("key-2", "digest-2", tenant="acme", name="new", rate=5))
    await ask(lambda: store.create_key("key-0", "digest-9", tenant="acme", name="", rate=5))
    await ask(lambda: store.touch_keys(["key-2", "unknown"], 1000))
    await ask(lambda: store.rotate_key("key-2", "key-3", "digest-3", 60_000))
    await ask(lambda: store.rotate_key("key-1", "key-4", "digest-4", 0))
    await ask(lambda: store.rotate_key("key-1", "key-5", "digest-5", 0))
    await ask(lambda: store.revoke_key("key-4"), repeated=lambda was_there: not was_there)
    await ask(lambda: store.revoke_key("key-4"))
    await ask(lambda: store.find_keys(["key-0", "key-2", "key-4"]))
    await ask(store.list_keys)


async def a_key_of_a_service(stage: Stage) -> None:
    """A service has made a key, which its client has."""
    accounts = Accounts(stage.queue, SECRET)
    stage.ledger.kept["key"] = (await accounts.create_key("acme", rate=2)).key
    await accounts.close()


async def planning(stage: Stage) -> None:
    """A plan is set, read and taken away, by what a service holds."""
    accounts = Accounts(stage.queue, SECRET)
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    await stage.ask(lambda: accounts.set_plan("acme", per_cycle=500, resets_at=ends))
    await stage.ask(lambda: accounts.plan("acme"))
    await stage.ask(lambda: accounts.set_plan("acme", per_cycle=None, resets_at=None))
    await stage.ask(lambda: accounts.authenticate(stage.ledger.kept["key"]))
    await accounts.close()


async def letting_in(stage: Stage) -> None:
    """Requests are counted; after a lost reply fewer may be let in, never more."""
    asked = [RateRequest("key-0", "GET /a", 5)] * 2
    for _ in range(3):
        await stage.ask(lambda: stage.store.admit(asked), repeated=_lets_fewer_in)


def _lets_fewer_in(answer: list[int | None]) -> bool:
    return sum(left is not None for left in answer) <= 2


async def signing(stage: Stage) -> None:
    """A secret is set, renewed with an overlap, told about, and taken away."""
    store, ask = stage.store, stage.ask
    await ask(lambda: store.set_webhook_standard("acme", wanted=True))
    await ask(lambda: store.set_webhook_secret("acme", b"first", 1000))
    await ask(lambda: store.set_webhook_secret("acme", b"second", 1000))
    await ask(lambda: store.set_webhook_standard("acme", wanted=True))
    await ask(lambda: store.webhook_secrets("acme"))
    await ask(lambda: store.remove_webhook_secret("acme"), repeated=lambda were_there: not were_there)
    await ask(lambda: store.remove_webhook_secret("acme"))


STORIES = [
    Story(
        "API keys", keeping, ("create_key", "rotate_key", "revoke_key", "find_keys", "touch_keys"), two_keys
    ),
    Story("plans", planning, ("set_plan", "find_keys", "touch_keys"), a_key_of_a_service),
    Story("rates", letting_in, ("admit",)),
    Story(
        "secrets of webhooks", signing, ("set_webhook_secret", "set_webhook_standard", "find_webhook_secrets")
    ),
]
