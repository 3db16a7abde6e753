"""What the store does when the server answers badly, late, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from redis import exceptions as redis_errors

from taskqueue.codec import encode_entry
from taskqueue.connect import Connector, Wire
from taskqueue.connect.passing import may_be_retried
from taskqueue.errors import (
    DurabilityNotReached,
    QueueCorrupt,
    ServerFull,
    ServerUnavailable,
    ServerUnsuitable,
)
from taskqueue.keys import Keys
from taskqueue.store import Accepted, ClaimRequest, Completion, Store
from taskqueue.task import Durability, TaskSpec
from tests.servers import RealServer, wait_until


def entry(**fields: Any) -> Any:
    """An encoded task."""
    spec = TaskSpec(type="GROK", payload={"prompt": "hi"}, **fields)
    return encode_entry(spec, max_bytes=1000)


@asynccontextmanager
async def opened(server: RealServer, **options: Any) -> AsyncIterator[Store]:
    """A store on a server of the test's own."""
    connector = Connector.parse(server.url)
    await connector.open()
    store = Store(connector.client(), Keys("calling"), **options)
    try:
        await store.open()
        yield store
    finally:
        await store.close()
        await connector.close()


class Flaky:
    """A wire that meets an error before, or after, the first calls of scripts are run."""

    def __init__(self, wire: Any, errors: list[Exception], *, after: bool) -> None:
        self._wire = wire
        self.errors = errors
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    async def call(self, command: str, *arguments: Any) -> Any:
        error = self.errors.pop(0) if self.errors and command in {"EVALSHA", "FCALL"} else None
        if error is not None and not self._after:
            raise error
        reply = await self._wire.call(command, *arguments)
        if error is not None:
            raise error
        return reply


PASSING = [
    redis_errors.ConnectionError("gone"),
    redis_errors.TimeoutError("late"),
    redis_errors.BusyLoadingError("LOADING"),
    redis_errors.ReadOnlyError("READONLY"),
    redis_errors.TryAgainError("TRYAGAIN"),
    redis_errors.ClusterDownError("CLUSTERDOWN"),
    redis_errors.MasterDownError("MASTERDOWN"),
    redis_errors.ResponseError("BUSY Redis is busy running a script"),
    redis_errors.ResponseError("NOREPLICAS Not enough good replicas to write."),
    redis_errors.ResponseError("MISCONF Errors writing to the AOF file"),
    redis_errors.ResponseError("UNBLOCKED force unblock from blocking operation"),
    redis_errors.ResponseError("Script attempted to access a non local key in a cluster node"),
    ConnectionResetError("reset"),
    TimeoutError(),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
@pytest.mark.parametrize("after", [False, True], ids=["not run", "run, reply lost"])
async def test_a_passing_problem_is_overcome_and_stores_one_task(
    store: Store, error: Exception, after: bool
) -> None:
    """Two calls fail; the task is stored once all the same."""
    await store.enqueue([entry()])  # the server knows the script now
    flaky = Flaky(store._caller.wire, [error, error], after=after)
    store._caller.wire = cast("Wire", flaky)

    outcomes = await store.enqueue([entry()])

    assert isinstance(outcomes[0], Accepted)
    assert flaky.errors == []
    assert (await store.stats()).queued == 2


async def test_a_flushed_script_is_sent_again(store: Store, client: Any) -> None:
    """SCRIPT FLUSH between two calls is not noticed."""
    await store.enqueue([entry()])
    client.script_flush()

    await store.enqueue([entry()])

    assert (await store.stats()).queued == 2


@pytest.mark.parametrize("level", [Durability.REPLICATED, Durability.FSYNC])
async def test_a_flushed_script_is_sent_again_at_every_level(level: Durability) -> None:
    """The same for calls that wait for their durability."""
    with RealServer(appendonly="yes") as server:
        async with opened(server, replicas=0) as store:
            await store.enqueue([entry(durability=level)])
            with server.client() as client:
                client.script_flush()

            outcomes = await store.enqueue([entry(durability=level)])

            assert isinstance(outcomes[0], Accepted)
            assert (await store.stats()).queued == 2


async def test_a_mistake_of_our_own_is_not_dressed_up(store: Store) -> None:
    """What the client refuses to send is neither tried again nor called something else."""
    mistake = redis_errors.DataError("Invalid input of type: 'NoneType'")
    store._caller.wire = cast("Wire", Flaky(store._caller.wire, [mistake], after=False))

    with pytest.raises(redis_errors.DataError) as raised:
        await store.enqueue([entry()])

    assert raised.value is mistake
    assert (await store.stats()).queued == 0


async def test_patience_ends_with_what_was_tried(store: Store) -> None:
    """A server that never answers well is given up, and the error says how often it was asked."""
    flaky = Flaky(store._caller.wire, [redis_errors.ConnectionError("gone")] * 1000, after=False)
    store._caller.wire = cast("Wire", flaky)
    store._caller.patience = 0.2

    with pytest.raises(
        ServerUnavailable, match=r"enqueue: no usable answer after \d+ tries in 0\.\d s; .*gone"
    ):
        await store.enqueue([entry()])


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    """It is frozen: connections stay, replies do not come. Each try has its time, and then an end."""
    with RealServer() as server:
        async with opened(server, patience=0.5) as store:
            await store._caller.wire.aclose()
            store._caller.wire = Wire(store._client, reply_timeout=0.2)
            server.pause()
            try:
                with pytest.raises(ServerUnavailable, match=r"after \d tries in [01]\.\d s"):
                    await store.enqueue([entry()])
            finally:
                server.resume()

            assert isinstance((await store.enqueue([entry()]))[0], Accepted)


async def test_a_full_server_refuses_new_tasks_and_finishes_old_ones() -> None:
    """At its memory limit it takes nothing new; claims and completions go on."""
    with RealServer(maxmemory_policy="noeviction") as server:
        async with opened(server) as store:
            await store.enqueue([entry() for _ in range(3)])
            with server.client() as client:
                client.config_set("maxmemory", "1mb")

            with pytest.raises(ServerFull, match="memory limit"):
                await store.enqueue([entry()])
            claim = await store.claim(ClaimRequest("w", "r", {"GROK": 3}, 3, 15_000))
            words, _ = await store.complete(
                [Completion(task.id, task.token, b"\xc0") for task in claim.tasks]
            )

            assert words == ["completed"] * 3


async def test_a_user_without_rights_is_told_so() -> None:
    """An ACL that forbids scripts is no passing problem."""
    with RealServer() as server:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "weak", "on", ">pw", "~*", "&*", "+@all", "-evalsha")
        connector = Connector.parse(f"unix://weak:pw@{server.socket}")
        store = Store(connector.client(), Keys("calling"))
        try:
            with pytest.raises(ServerUnsuitable, match="refuses this user"):
                await store.open()
        finally:
            await store.close()


async def test_a_key_of_the_wrong_kind_is_corruption(store: Store, client: Any, keys: Keys) -> None:
    """The error names the script and what the server said."""
    client.lpush(keys.tenants, "x")

    with pytest.raises(QueueCorrupt, match=r"enqueue: .*WRONGTYPE"):
        await store.enqueue([entry()])
    client.delete(keys.tenants)


async def test_replicated_without_a_replica_is_not_confirmed() -> None:
    """The task is stored; the caller learns that nobody else has it."""
    with RealServer() as server:
        async with opened(server) as store:
            store_call = store.enqueue([entry(durability="replicated"), entry()])
            async with asyncio.timeout(20):
                replicated, plain = await store_call

            assert isinstance(replicated, DurabilityNotReached)
            assert (replicated.wanted, replicated.reached) == (1, 0)
            assert isinstance(plain, Accepted)
            assert (await store.stats()).queued == 2


async def test_replicated_with_a_replica_is_confirmed() -> None:
    """One replica has it when the call returns."""
    with RealServer(tcp=True) as server, RealServer(replicaof=f"127.0.0.1 {server.port}") as replica:
        await _until(lambda: _link_is_up(replica), "the replica follows")
        async with opened(server) as store:
            outcomes = await store.enqueue([entry(durability="replicated")])

            assert isinstance(outcomes[0], Accepted)
            with replica.client() as client:
                assert client.exists(Keys("calling").seq) == 1


async def test_fsync_is_refused_before_anything_is_written_without_an_append_only_file() -> None:
    """The server cannot give the level, so nothing is stored at a lower one."""
    with RealServer() as server:
        async with opened(server) as store:
            with pytest.raises(ServerUnsuitable, match="appendonly yes"):
                await store.enqueue([entry(durability="fsync")])

            assert (await store.stats()).queued == 0


async def test_fsync_needs_no_waiting_where_the_server_syncs_each_write() -> None:
    """`appendfsync always` has synced before it answers."""
    with RealServer(acl=False, appendonly="yes", appendfsync="always") as server:
        async with opened(server) as store:
            assert isinstance((await store.enqueue([entry(durability="fsync")]))[0], Accepted)
            assert store._synced_by_server


async def test_a_wiped_queue_is_made_again(store: Store, client: Any) -> None:
    """Somebody empties the server: the next call goes on with an empty queue."""
    await store.enqueue([entry()])
    first = store.settings.dataset
    client.flushall()

    await store.enqueue([entry()])

    assert (await store.stats()).queued == 1
    assert store.settings.dataset != first


async def test_a_wiped_queue_is_made_again_at_every_level() -> None:
    """The same for a call that waits for its durability."""
    with RealServer(appendonly="yes") as server, server.client() as client:
        async with opened(server) as store:
            await store.enqueue([entry(durability="fsync")])
            client.flushall()

            outcomes = await store.enqueue([entry(durability="fsync")])

            assert isinstance(outcomes[0], Accepted)
            assert (await store.stats()).queued == 1


@pytest.mark.parametrize("change", ["the replicas are gone", "nothing is written to disk any more"])
async def test_what_the_server_cannot_give_any_more_does_not_cost_a_result(
    change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The task ran; that it has ended is reported at the level that is left, and logged as less."""
    is_fsync = "disk" in change
    with RealServer(appendonly="yes") as server, server.client() as client:
        async with opened(server) as store:
            await store.enqueue([entry(id="a", durability="fsync" if is_fsync else "replicated")])
        if is_fsync:
            client.config_set("appendonly", "no")
        async with opened(server) as worker:
            [claimed] = (await worker.claim(ClaimRequest("w", "r", {"GROK": 1}, 1, 60_000))).tasks
            level = Durability.FSYNC if is_fsync else Durability.REPLICATED
            done = Completion(claimed.id, claimed.token, b"", durability=level)

            words, _ = await worker.complete([done])

            assert words == ["completed"]
    told = "completions are reported at level memory" if is_fsync else "0 of 1 confirmations in time"
    assert told in caplog.text


def test_what_is_not_ours_to_repeat_is_not_repeated() -> None:
    """Refusals that will not pass by themselves."""
    assert not may_be_retried(redis_errors.NoPermissionError("no"))
    assert not may_be_retried(redis_errors.AuthenticationError("no"))
    assert not may_be_retried(redis_errors.ResponseError("WRONGTYPE Operation against a key"))


def _link_is_up(replica: RealServer) -> bool:
    with replica.client() as client:
        return bool(client.info("replication").get("master_link_status") == "up")


async def _until(predicate: Callable[[], bool], description: str) -> None:
    await asyncio.to_thread(wait_until, predicate, description)
