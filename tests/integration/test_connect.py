"""Connectors on real servers: what answers, what does not, and what comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from taskqueue.connect import Connector, Wire, close_client, sentinels
from taskqueue.connect.passing import may_be_retried
from taskqueue.embedded import EmbeddedServer
from taskqueue.embedded.layout import Layout
from taskqueue.embedded.locks import is_held
from taskqueue.errors import ServerUnavailable, ServerUnsuitable
from tests.servers import RealSentinel, RealServer, free_port, wait_until

SECRET = "hunter2"


@pytest.fixture
def embedded() -> Iterator[Path]:
    """A folder for an embedded server, at rest after the test."""
    with tempfile.TemporaryDirectory(prefix="tq-") as path:
        folder = Path(path).resolve() / "queue"
        yield folder
        layout = Layout(folder)
        guard = layout.read_guard()
        if guard is not None and is_held(layout.guard):
            os.kill(guard[0], signal.SIGTERM)
        wait_until(lambda: not is_held(layout.guard) and not is_held(layout.server), "it is at rest")


@pytest.fixture
async def opened(embedded: Path) -> AsyncIterator[Connector]:
    """A connector of an embedded server that runs."""
    made = Connector.parse(f"embedded://{embedded}?linger=0.3")
    await made.open()
    yield made
    await made.close()


async def ping(made: Connector) -> bool:
    """Ask through a client of its own."""
    client = made.client()
    try:
        return bool(await client.ping())
    finally:
        await client.aclose()


async def test_a_server_that_answers_is_open() -> None:
    """By its socket and by its port, with and without a password, in every database."""
    with RealServer(tcp=True, requirepass=SECRET) as server:
        for url in (
            server.url.replace("unix://", f"unix://:{SECRET}@"),
            server.url + f"?password={SECRET}&db=2",
            server.tcp_url.replace("redis://", f"redis://default:{SECRET}@") + "/3",
        ):
            made = Connector.parse(url)
            await made.open()

            assert await ping(made)
            await made.close()


async def test_replies_of_scripts_are_bytes_integers_and_lists() -> None:
    """Whatever the version of the client library prefers."""
    with RealServer(acl=False) as server:
        client = cast("Redis", Connector.parse(server.url).client())
        reply = await client.eval("return {KEYS[1], 5, {'a', false}, redis.call('HGETALL', 'h')}", 1, "key")
        names = {info["name"] for info in await client.client_list()}
        await client.aclose()

    assert reply == [b"key", 5, [b"a", None], []]
    assert names == {"taskqueue"}


async def test_one_connector_serves_several_event_loops() -> None:
    """Blocking code runs a loop in a thread of its own."""
    with RealServer() as server:
        made = Connector.parse(server.url)
        await made.open()

        answers = await asyncio.gather(*(asyncio.to_thread(asyncio.run, ping(made)) for _ in range(3)))

        assert answers == [True, True, True]


async def test_where_nothing_listens_the_error_says_what_was_tried_and_how_long() -> None:
    """No server at the address; the time limit holds, and the way on is told."""
    made = Connector.parse(f"redis://me:{SECRET}@127.0.0.1:{free_port()}/0")
    began = time.monotonic()

    with pytest.raises(ServerUnavailable) as caught:
        await made.open(timeout=0.4)

    assert time.monotonic() - began < 1.0
    said = str(caught.value)
    assert made.url_shown in said
    assert "within 0." in said
    assert ": connection refused. " in said
    assert "TASKQUEUE_URL" in said
    assert SECRET not in said


async def test_a_socket_that_is_not_there_is_an_error_too() -> None:
    """The server never ran, or its file is elsewhere."""
    with pytest.raises(ServerUnavailable, match=r"unix:///nowhere/redis\.sock.*there is no such socket"):
        await Connector.parse("unix:///nowhere/redis.sock").open(timeout=0.2)


async def test_a_host_that_nobody_knows_is_said_so() -> None:
    """A slip in its name."""
    with pytest.raises(ServerUnavailable, match="the name of the host is not known"):
        await Connector.parse("redis://no-such-host.invalid").open(timeout=0.5)


async def test_a_server_that_accepts_but_never_answers_is_unavailable() -> None:
    """It hangs, or it is no such server at all."""
    with RealServer() as server:
        server.pause()
        began = time.monotonic()

        with pytest.raises(ServerUnavailable, match="Check the address"):
            await Connector.parse(server.url).open(timeout=0.3)

        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("login", ["", "me:wrong@", ":wrong@"])
async def test_a_wrong_password_is_refused_at_once(login: str) -> None:
    """Trying it again would not help, and may lock the user out."""
    with RealServer(tcp=True, requirepass=SECRET) as server:
        made = Connector.parse(server.tcp_url.replace("redis://", f"redis://{login}"))
        began = time.monotonic()

        with pytest.raises(ServerUnavailable, match="Check the user and the password") as caught:
            await made.open(timeout=20)

    assert time.monotonic() - began < 5
    assert "wrong" not in str(caught.value).lower().replace("wrongpass", "")


async def test_a_server_that_refuses_for_another_reason_is_quoted() -> None:
    """A database that it does not have."""
    with (
        RealServer() as server,
        pytest.raises(ServerUnavailable, match=r"DB index.*The server is there but refuses"),
    ):
        await Connector.parse(f"{server.url}?db=99").open(timeout=5)


async def test_a_server_that_comes_late_is_waited_for() -> None:
    """A program and its server are started together."""
    with RealServer() as server:
        server.stop()
        start = threading.Timer(0.3, server.start)
        start.start()

        await Connector.parse(server.url).open(timeout=10)

        start.join()


async def test_opening_an_embedded_server_starts_it(opened: Connector, embedded: Path) -> None:
    """And its connector says where it is."""
    assert await ping(opened)
    assert opened.kind == "embedded"
    assert opened.url_shown == f"embedded://{embedded}?linger=0.3"
    assert str(embedded) in repr(opened)


async def test_closing_the_last_share_ends_the_embedded_server(embedded: Path) -> None:
    """One connector, opened twice by two parts of a program."""
    made = Connector.parse(f"embedded://{embedded}?linger=0")
    await made.open()
    await made.open()

    await made.close()
    assert await ping(made)
    await made.close()

    wait_until(lambda: [path.name for path in embedded.iterdir()] == ["data"], "only the data remains")


async def test_clients_bring_an_embedded_server_back(opened: Connector, embedded: Path) -> None:
    """Its guard is killed under them: the next command, or the one after, finds a server again."""
    client = cast("Redis", opened.client())
    await client.set("word", "kept")
    guard = Layout(embedded).read_guard()
    assert guard is not None

    os.kill(guard[0], signal.SIGKILL)
    wait_until(lambda: not is_held(Layout(embedded).server), "guard and server have ended")

    assert await answer_of(client, "word") == b"kept"
    await client.aclose()


async def answer_of(client: Redis, key: str) -> Any:
    """Read *key*; a connection that the server closed may fail once."""
    try:
        return await client.get(key)
    except RedisConnectionError:
        return await client.get(key)


async def test_a_client_of_a_connector_that_is_not_open_is_an_error(embedded: Path) -> None:
    """It must not start a server that nobody would end."""
    client = Connector.parse(f"embedded://{embedded}").client()

    with pytest.raises(RedisConnectionError, match="has not joined"):
        await client.ping()

    assert not embedded.exists()


async def test_a_cancelled_open_leaves_no_share_behind(embedded: Path) -> None:
    """The program gives up while the server is starting: it must end again."""
    made = Connector.parse(f"embedded://{embedded}?linger=0")
    opening = asyncio.create_task(made.open())
    while not embedded.exists():
        await asyncio.sleep(0.001)

    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening

    await asyncio.to_thread(
        wait_until, lambda: {path.name for path in embedded.iterdir()} == {"data"}, "at rest"
    )


async def test_a_cancelled_open_that_fails_has_nothing_to_give_back(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program has given up; later the server turns out not to start."""
    begun, go = threading.Event(), threading.Event()
    left: list[EmbeddedServer] = []

    def fail(server: EmbeddedServer, timeout: float) -> str:
        begun.set()
        go.wait(10)
        raise ServerUnavailable("it does not start")

    monkeypatch.setattr(EmbeddedServer, "join", fail)
    monkeypatch.setattr(EmbeddedServer, "leave", left.append)
    opening = asyncio.create_task(Connector.parse(f"embedded://{embedded}").open())
    await asyncio.to_thread(begun.wait, 10)

    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    joining = [each for each in threading.enumerate() if each.name.startswith("taskqueue-embedded")]
    go.set()
    for each in joining:
        await asyncio.to_thread(each.join, 10)

    assert joining
    assert left == []


async def test_an_embedded_server_that_cannot_be_is_an_error_as_it_is(tmp_path: Path) -> None:
    """The folder is a file: trying again would not help."""
    (tmp_path / "file").touch()

    with pytest.raises(ServerUnsuitable, match="cannot keep an embedded server in"):
        await Connector.parse(f"embedded://{tmp_path}/file").open()


async def test_a_server_that_joined_but_does_not_answer_gives_the_share_back(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open that failed must not need a close."""

    async def fail(*_: object) -> None:
        raise ServerUnavailable("no answer")

    made = Connector.parse(f"embedded://{embedded}?linger=0")
    monkeypatch.setattr(Connector, "_wait_for_answer", fail)

    with pytest.raises(ServerUnavailable):
        await made.open()

    wait_until(lambda: [path.name for path in embedded.iterdir()] == ["data"], "only the data remains")


async def test_a_cluster_is_reached_through_any_of_its_nodes() -> None:
    """Even when the first that is named does not answer."""
    with RealServer(tcp=True, cluster_enabled="yes") as server:
        with server.client() as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: admin.cluster("info")["cluster_state"] == "ok", "the cluster serves")
        made = Connector.parse(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{server.port}")
        await made.open()
        client = made.client()

        assert isinstance(client, RedisCluster)
        assert await client.eval("return {KEYS[1], 7}", 1, "{q}:key") == [b"{q}:key", 7]

        await client.aclose()


async def test_a_cluster_that_is_not_there_is_unavailable() -> None:
    """None of its nodes answers; the error names the address."""
    made = Connector.parse(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")

    with pytest.raises(ServerUnavailable, match=r"redis\+cluster://127\.0\.0\.1"):
        await made.open(timeout=0.5)


async def test_a_call_to_a_cluster_that_has_gone_may_be_made_again() -> None:
    """It never went out: no node answers, or none has the slot now. Later one may."""
    client = Connector.parse(f"redis+cluster://127.0.0.1:{free_port()}").client()
    gone = Wire(client, key="{q}")
    with pytest.raises(RedisConnectionError, match="the cluster: ") as lost:
        await gone.call("PING")
    assert may_be_retried(lost.value)
    await gone.aclose()
    await close_client(client)

    with RealServer(tcp=True, cluster_enabled="yes", cluster_require_full_coverage="no") as server:
        with server.client() as admin:
            # The slot of {q} is 11958.
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 100)
            wait_until(lambda: admin.cluster("info")["cluster_state"] == "ok", "the cluster serves")
        client = Connector.parse(f"redis+cluster://127.0.0.1:{server.port}").client()
        homeless = Wire(client, key="{q}")

        with pytest.raises(RedisConnectionError, match=r"the cluster: .*not covered") as lost:
            await homeless.call("PING")

        assert may_be_retried(lost.value)
        await homeless.aclose()
        await close_client(client)


async def test_the_sentinels_are_asked_again_at_every_connect() -> None:
    """The master moves, and connections to the old one break: clients follow without being told."""
    with (
        RealServer(tcp=True) as old,
        RealServer(tcp=True) as new,
        RealSentinel(old) as sentinel,
    ):
        made = Connector.parse(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/main/1")
        await made.open()
        client = cast("Redis", made.client())
        await client.set("who", "old")

        sentinel.watch(new)
        old.kill9()

        assert await answer_of(client, "who") is None
        await client.set("who", "new")
        with redis.Redis(port=cast("int", new.port), db=1) as looking:
            assert looking.get("who") == b"new"
        await client.aclose()


@pytest.mark.parametrize("is_one_away", [False, True])
async def test_without_a_master_the_sentinels_are_not_enough(is_one_away: bool) -> None:
    """They know nobody of that name; that one of them does not answer is not the reason."""
    with RealServer(tcp=True) as server, RealSentinel(server) as sentinel:
        away = f"127.0.0.1:{free_port()}," if is_one_away else ""
        made = Connector.parse(f"redis+sentinel://{away}127.0.0.1:{sentinel.port}/other")

        with pytest.raises(ServerUnavailable, match="the Sentinels name no living master 'other'"):
            await made.open(timeout=0.5)


async def test_a_replica_is_not_taken_for_the_master() -> None:
    """A Sentinel that was cut off may still name the master of yesterday."""
    with (
        RealServer(tcp=True) as master,
        RealServer(tcp=True, replicaof=f"127.0.0.1 {master.port}") as replica,
    ):
        client = Redis(
            port=cast("int", replica.port),
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=sentinels.greet_master,
        )

        with pytest.raises(RedisConnectionError, match="is a slave, not the master"):
            await client.ping()

        await client.aclose()
