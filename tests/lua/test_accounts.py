"""API keys, rates and plans: create_key, rotate_key, revoke_key, find_keys, touch_keys, admit, set_plan."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskqueue.errors import QueueCorrupt, ServerFull
from taskqueue.store import RateRequest, StoredKey
from taskqueue.store.accounting import MOST_KEYS
from tests.lua.scene import Scene

MINUTE = 60_000


async def create(scene: Scene, key_id: str, tenant: str = "acme", **fields: Any) -> StoredKey:
    """Create a key that must be new."""
    given: dict[str, Any] = {"name": "", "rate": 5} | fields
    key = await scene.store.create_key(key_id, f"digest of {key_id}", tenant=tenant, **given)
    assert key != "taken"
    return key


async def find(scene: Scene, key_id: str) -> StoredKey | None:
    """Look one key up."""
    _, [key] = await scene.store.find_keys([key_id])
    return key


async def admit(scene: Scene, count: int, key_id: str = "k", endpoint: str = "GET /a", limit: int = 5) -> int:
    """Let requests ask; return how many were let in."""
    left = await scene.store.admit([RateRequest(key_id, endpoint, limit)] * count)
    return sum(each is not None for each in left)


def index(scene: Scene, tenant: str = "acme") -> dict[str, float]:
    """Return the index of a tenant's keys."""
    members = scene.client.zrange(scene.keys.api_keys(tenant), 0, -1, withscores=True)
    return {member.decode(): score for member, score in members}


def owners(scene: Scene) -> set[bytes]:
    """Return the tenants that have keys."""
    found: set[bytes] = scene.client.smembers(scene.keys.owners)
    return found


# Keys --------------------------------------------------------------------------------------------


async def test_a_key_is_found_as_it_was_made(scene: Scene) -> None:
    """With its tenant, its name in any script, its rate, and the server's time."""
    made = await create(scene, "k", "acme", name="Schlüssel 鍵", rate=7)

    now, found = await scene.store.find_keys(["k", "other"])

    assert found == [made, None]
    assert made == StoredKey("k", b"digest of k", "acme", "Schlüssel 鍵", 7, scene.clock())
    assert now == scene.clock()
    assert (index(scene), owners(scene)) == ({"k": float("inf")}, {b"acme"})


async def test_a_creation_that_is_repeated_is_the_same(scene: Scene) -> None:
    """As after a lost reply: nothing is written again, and the answer is the first one."""
    made = await create(scene, "k")
    before = scene.snapshot()
    scene.advance(1000)

    again = await scene.store.create_key("k", "digest of k", tenant="acme", name="", rate=5)

    assert again == made
    assert scene.snapshot() == before


async def test_an_id_is_given_once(scene: Scene) -> None:
    """Another key cannot take its place, neither by creation nor by rotation."""
    await create(scene, "k")
    await create(scene, "other")
    before = scene.snapshot()

    assert await scene.store.create_key("k", "another", tenant="zeta", name="", rate=1) == "taken"
    assert await scene.store.rotate_key("other", "k", "another", 0) == "taken"
    assert scene.snapshot() == before


async def test_keys_are_listed_by_tenant_and_age(scene: Scene) -> None:
    """All of them, or those of one tenant."""
    for key_id, tenant in (("b", "zeta"), ("c", "acme"), ("a", "zeta")):
        await create(scene, key_id, tenant)
        scene.advance(1)

    assert [key.id for key in await scene.store.list_keys()] == ["c", "b", "a"]
    assert [key.id for key in await scene.store.list_keys("zeta")] == ["b", "a"]
    assert await scene.store.list_keys("nobody") == []


async def test_a_revoked_key_leaves_nothing_behind(scene: Scene) -> None:
    """Neither in the index nor, if it was the last, among the owners. Twice is once."""
    await create(scene, "a")
    await create(scene, "b")

    assert await scene.store.revoke_key("a")
    assert (index(scene), owners(scene)) == ({"b": float("inf")}, {b"acme"})
    assert await scene.store.revoke_key("b")
    assert not await scene.store.revoke_key("b")
    assert scene.names() == {scene.keys.meta.encode()}


async def test_a_rotated_key_and_its_successor_live_side_by_side_for_the_overlap(scene: Scene) -> None:
    """The new one has the old one's tenant, name and rate; the old one ends to the millisecond."""
    await create(scene, "old", name="ci", rate=9)
    scene.advance(5)

    new = await scene.store.rotate_key("old", "new", "digest of new", MINUTE)

    ends = scene.clock() + MINUTE
    assert new == StoredKey("new", b"digest of new", "acme", "ci", 9, scene.clock())
    scene.advance(MINUTE - 1)
    old = await find(scene, "old")
    assert old is not None
    assert old.expires_ms == ends
    assert await find(scene, "new") == new
    assert scene.expires(scene.keys.api_key("old")) == 1
    scene.advance(1)
    assert await find(scene, "old") is None
    assert await scene.store.list_keys() == [new]


async def test_a_rotation_without_overlap_ends_the_old_key_at_once(scene: Scene) -> None:
    """In the same script: there is no instant with two keys or with none."""
    await create(scene, "old")

    assert await scene.store.rotate_key("old", "new", "digest of new", 0) != "unknown"

    assert index(scene) == {"new": float("inf")}
    assert await find(scene, "old") is None


async def test_a_rotation_that_is_repeated_is_the_same(scene: Scene) -> None:
    """As after a lost reply: the overlap is not counted anew."""
    await create(scene, "old", name="ci")
    new = await scene.store.rotate_key("old", "new", "digest of new", MINUTE)
    before = scene.snapshot()
    scene.advance(1000)

    assert await scene.store.rotate_key("old", "new", "digest of new", MINUTE) == new
    assert scene.snapshot() == before


async def test_a_second_rotation_does_not_lengthen_the_life_of_a_key(scene: Scene) -> None:
    """It would end in a minute, and still does, or earlier."""
    await create(scene, "old")
    await scene.store.rotate_key("old", "new", "digest of new", MINUTE)
    ends = scene.clock() + MINUTE

    await scene.store.rotate_key("old", "new-2", "digest of new-2", 2 * MINUTE)
    assert index(scene)["old"] == ends
    await scene.store.rotate_key("old", "new-3", "digest of new-3", MINUTE // 2)
    assert index(scene)["old"] == ends - MINUTE // 2


async def test_a_key_that_has_ended_cannot_be_rotated_or_revoked(scene: Scene) -> None:
    """It is unknown, as one that never was."""
    await create(scene, "old")
    await scene.store.rotate_key("old", "new", "digest of new", MINUTE)
    scene.advance(MINUTE)

    assert await scene.store.rotate_key("old", "new-2", "digest of new-2", 0) == "unknown"
    assert await scene.store.rotate_key("never", "new-2", "digest of new-2", 0) == "unknown"
    assert not await scene.store.revoke_key("old")


async def test_traces_of_ended_keys_go_with_the_next_change(scene: Scene) -> None:
    """A tenant that rotates for ever keeps no index that grows for ever."""
    await create(scene, "k-0")
    for number in range(20):
        await scene.store.rotate_key(f"k-{number}", f"k-{number + 1}", f"digest {number}", MINUTE)
        scene.advance(MINUTE)

    assert len(index(scene)) == 2


async def test_many_keys_are_looked_up_in_several_calls(scene: Scene) -> None:
    """More than fit into one; each id gets its own answer."""
    await create(scene, "first")
    await create(scene, "last")
    unknown = [f"unknown-{number}" for number in range(MOST_KEYS)]

    _, found = await scene.store.find_keys(["first", *unknown, "last"])

    assert [key.id for key in (found[0], found[-1]) if key is not None] == ["first", "last"]
    assert not any(found[1:-1])
    assert await scene.store.find_keys([]) == (0, [])


@pytest.mark.parametrize("field", ["rate", "created", "expires", "used", "name"])
async def test_a_damaged_record_is_reported(scene: Scene, field: str) -> None:
    """It lets nobody in, and its digest is not told."""
    await create(scene, "k")
    sound = scene.snapshot()
    scene.client.hset(scene.keys.api_key("k"), field, b"\xff")

    with pytest.raises(QueueCorrupt, match="'k' is damaged") as caught:
        await scene.store.find_keys(["k"])
    assert "digest of k" not in str(caught.value)
    scene.restore(sound)


async def test_use_is_noted_once_a_minute(scene: Scene) -> None:
    """Later notes within it write nothing; a key that is unknown is not made."""
    await create(scene, "k")
    first = scene.clock()
    for passing, expected in ((0, first), (MINUTE - 1, first), (1, first + MINUTE)):
        scene.advance(passing)
        await scene.store.touch_keys(["k", "unknown"], MINUTE)
        key = await find(scene, "k")
        assert key is not None
        assert key.used_ms == expected

    assert scene.keys.api_key("unknown").encode() not in scene.names()


# Rates -------------------------------------------------------------------------------------------


async def test_a_second_lets_in_as_many_as_its_limit(scene: Scene) -> None:
    """In one call or in several; the first of them leaves most, and those refused count for nothing."""
    request = RateRequest("k", "GET /a", 5)

    assert await scene.store.admit([request] * 3) == [4, 3, 2]
    assert await scene.store.admit([request] * 3) == [1, 0, None]
    assert await scene.store.admit([request] * 2) == [None, None]
    assert scene.hash(scene.keys.rate("k"))["of:GET /a"] == "5"


async def test_the_next_second_of_the_clock_begins_at_zero(scene: Scene) -> None:
    """At its first millisecond, and not before; what was counted is replaced."""
    scene.advance(1000 - scene.clock() % 1000)
    assert await admit(scene, 9) == 5
    scene.advance(999)
    assert await admit(scene, 1) == 0
    scene.advance(1)

    assert await admit(scene, 2, endpoint="GET /b") == 2
    assert scene.hash(scene.keys.rate("k")) == {"second": str(scene.clock() // 1000), "of:GET /b": "2"}
    assert await admit(scene, 9) == 5


async def test_endpoints_and_keys_have_counts_of_their_own(scene: Scene) -> None:
    """All in one call: each is let in up to its own limit, and gets its own answers."""
    asked = [
        RateRequest(key_id, endpoint, limit)
        for _ in range(4)
        for key_id, endpoint, limit in (("k", "GET /a", 2), ("k", "GET /b", 3), ("l", "GET /a", 1))
    ]

    left = await scene.store.admit(asked)

    assert left[0::3] == [1, 0, None, None]
    assert left[1::3] == [2, 1, 0, None]
    assert left[2::3] == [0, None, None, None]


async def test_a_lowered_limit_holds_at_once(scene: Scene) -> None:
    """Two processes may know different limits of a key for some seconds: each is kept by whom it is told."""
    assert await admit(scene, 4, limit=5) == 4
    assert await admit(scene, 1, limit=3) == 0
    assert await scene.store.admit([RateRequest("k", "GET /a", 5), RateRequest("k", "GET /a", 6)]) == [0, 0]


async def test_an_endpoint_cannot_be_mistaken_for_the_second(scene: Scene) -> None:
    """Whatever it is called, it is only counted."""
    assert await admit(scene, 9, endpoint="second") == 5
    assert await admit(scene, 9, endpoint="of:second") == 5
    assert await admit(scene, 1, endpoint="second") == 0


async def test_counts_go_by_themselves(scene: Scene) -> None:
    """Ten seconds after their second began, by the server's clock."""
    await admit(scene, 1)

    assert 0 < scene.client.pttl(scene.keys.rate("k")) <= 10_000


# Plans -------------------------------------------------------------------------------------------


async def test_a_plan_is_kept_until_it_is_taken_away(scene: Scene) -> None:
    """Each fact by itself; with the last one the key goes."""
    assert await scene.store.plan("acme") == (None, None)
    await scene.store.set_plan("acme", per_cycle=500, resets_at_ms=2**45)
    assert await scene.store.plan("acme") == (500, 2**45)
    await scene.store.set_plan("acme", per_cycle=0, resets_at_ms=None)
    assert await scene.store.plan("acme") == (0, None)
    await scene.store.set_plan("acme", per_cycle=None, resets_at_ms=None)
    assert scene.keys.account("acme").encode() not in scene.names()


async def test_a_damaged_plan_is_reported(scene: Scene) -> None:
    """It is not taken for none."""
    scene.client.hset(scene.keys.account("acme"), "per_cycle", "many")

    with pytest.raises(QueueCorrupt, match="plan of tenant 'acme'"):
        await scene.store.plan("acme")


# A full server -----------------------------------------------------------------------------------


async def test_a_full_server_makes_no_keys_and_goes_on_with_those_that_there_are(scene: Scene) -> None:
    """Requests are let in, uses noted, keys revoked; it is all that a client needs to fetch its results."""
    await create(scene, "k")
    await create(scene, "other")
    before = scene.client.config_get("maxmemory")["maxmemory"]
    scene.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(ServerFull):
            await scene.store.create_key("new", "digest", tenant="acme", name="", rate=1)
        with pytest.raises(ServerFull):
            await scene.store.rotate_key("k", "new", "digest", 0)
        assert await find(scene, "k") is not None
        assert await admit(scene, 9) == 5
        await scene.store.touch_keys(["k"], MINUTE)
        assert await scene.store.revoke_key("other")
        await scene.store.set_plan("acme", per_cycle=1, resets_at_ms=None)
    finally:
        scene.client.config_set("maxmemory", before)


async def test_rolling_over_counts_exactly_in_every_second(scene: Scene) -> None:
    """Twenty seconds with ever more requests: each lets in its limit and no more."""
    for number in range(20):
        assert await admit(scene, number, limit=10) == min(number, 10)
        scene.clock.advance(timedelta(seconds=1))


async def test_a_new_key_tidies_up_after_those_that_have_ended(scene: Scene) -> None:
    """They went by themselves; their names in the tenant's index do not."""
    await scene.store.create_key("old", "digest-old", tenant="acme", name="", rate=5)
    await scene.store.rotate_key("old", "newer", "digest-newer", 60_000)
    scene.advance(60_000)

    await scene.store.create_key("newest", "digest-newest", tenant="acme", name="", rate=5)

    assert set(scene.client.zrange(scene.keys.api_keys("acme"), 0, -1)) == {b"newer", b"newest"}
