"""open: a queue keeps the settings that it was made with; who wants others is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import redis

from taskqueue.codec import encode_entry
from taskqueue.connect import Connector
from taskqueue.errors import InvalidSetting, QueueCorrupt, QueueMismatch, ServerUnsuitable
from taskqueue.keys import Keys
from taskqueue.ranking import Order
from taskqueue.store import Accepted, Store
from taskqueue.task import TaskSpec
from tests.lua.conftest import MakeScene


async def test_a_new_queue_is_made_as_asked(make_scene: MakeScene) -> None:
    """Its settings, a random name of its data, and when it was made."""
    scene = await make_scene(Order(7, 0, 20), "fair_tenants", timedelta(hours=2))

    meta = scene.hash(scene.keys.meta)
    assert len(meta.pop("dataset")) == 16
    assert meta == {
        "schema": "1",
        "order": "bounded:7",
        "lowest_priority": "0",
        "highest_priority": "20",
        "stride": "7",
        "bounded": "1",
        "max_sequence": str(2**45 - 1),
        "policy": "fair_tenants",
        "retention": str(2 * 3600 * 1000),
        "created_at": str(scene.clock()),
    }


async def test_a_new_queue_is_strict(make_scene: MakeScene) -> None:
    """When nothing is asked for."""
    scene = await make_scene()

    settings = scene.store.settings
    assert (settings.order, settings.policy, settings.schema) == (Order(), "strict", 1)
    assert settings.retention == timedelta(hours=24)


async def test_who_asks_for_nothing_follows(make_scene: MakeScene) -> None:
    """Order, policy and retention of whoever made the queue; the data has one name."""
    first = await make_scene(Order(7), "fair_tenants", timedelta(hours=2))
    before = first.snapshot()
    first.advance(60_000)

    second = await make_scene()

    assert second.store.settings == first.store.settings
    assert second.snapshot() == before


@pytest.mark.parametrize(
    ("order", "policy", "setting"),
    [
        (Order(8), None, "stride"),
        (Order(), None, "stride"),
        (Order(7, 1, 9), None, "highest_priority"),
        (Order(7, 0, 10), None, "lowest_priority"),
        (None, "strict", "policy"),
    ],
)
async def test_who_asks_for_something_else_is_refused(
    make_scene: MakeScene, order: Order | None, policy: str | None, setting: str
) -> None:
    """The error says which setting; the queue is left as it is."""
    first = await make_scene(Order(7), "fair_tenants")
    before = first.snapshot()

    with pytest.raises(QueueMismatch) as refusal:
        await make_scene(order, policy)

    assert refusal.value.setting == setting
    assert first.snapshot() == before


async def test_the_retention_is_the_last_one_asked_for(make_scene: MakeScene) -> None:
    """It may be changed, because it changes nobody's place."""
    await make_scene(retention=timedelta(hours=2))

    scene = await make_scene(retention=timedelta(hours=3))

    assert scene.store.settings.retention == timedelta(hours=3)
    assert (await make_scene()).store.settings.retention == timedelta(hours=3)


@pytest.mark.parametrize("retention", [timedelta(0), timedelta(microseconds=999), timedelta(seconds=-1)])
async def test_a_retention_of_nothing_is_refused(make_scene: MakeScene, retention: timedelta) -> None:
    """Before anything is made."""
    with pytest.raises(InvalidSetting, match="retention"):
        await make_scene(retention=retention)


async def test_a_queue_of_a_newer_version_is_refused(make_scene: MakeScene) -> None:
    """Its layout is not known here."""
    scene = await make_scene()
    scene.client.hset(scene.keys.meta, "schema", 2)

    with pytest.raises(ServerUnsuitable, match="layout 2"):
        await make_scene()


async def test_a_policy_that_this_process_does_not_know_is_refused(make_scene: MakeScene) -> None:
    """Its Lua function is not here."""
    scene = await make_scene()
    scene.client.hset(scene.keys.meta, "policy", "somebody_elses")

    with pytest.raises(InvalidSetting, match="somebody_elses"):
        await make_scene()
    scene.client.hset(scene.keys.meta, "policy", "strict")


@pytest.mark.parametrize(
    ("field", "value"), [("order", "loose"), ("highest_priority", "many"), ("dataset", None)]
)
async def test_settings_that_nobody_wrote_are_corrupt(
    make_scene: MakeScene, field: str, value: str | None
) -> None:
    """Better no queue than a queue in the wrong order."""
    scene = await make_scene()
    stored = scene.hash(scene.keys.meta)
    if value is None:
        scene.client.hdel(scene.keys.meta, field)
    else:
        scene.client.hset(scene.keys.meta, field, value)

    with pytest.raises(QueueCorrupt):
        await make_scene()
    scene.client.hset(scene.keys.meta, mapping=stored)


async def test_the_clock_is_the_servers(url: str, keys: Keys, client: redis.Redis) -> None:
    """Where no test has one of its own: instants lie between two looks at it."""
    connector = Connector.parse(url)
    await connector.open()
    store = Store(connector.client(), keys)
    await store.open()

    before = server_ms(client)
    [accepted] = await store.enqueue([encode_entry(TaskSpec(type="GROK", payload={}))])
    after = server_ms(client)

    assert isinstance(accepted, Accepted)
    assert before <= accepted.created_ms <= after
    await store.close()
    await connector.close()


def server_ms(client: redis.Redis) -> int:
    """Return what the server's clock says, in epoch milliseconds."""
    asking: Any = client  # redis-py declares replies for both of its modes
    seconds, microseconds = asking.time()
    return int(seconds * 1000 + microseconds // 1000)
