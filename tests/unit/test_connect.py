"""URLs: what each of them means, what is refused, and that no password is ever shown."""

from __future__ import annotations

import asyncio
import builtins
import sys
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool

from taskqueue.connect import Client, Connector, connector, sentinels
from taskqueue.connect.address import Address, Login, Tls, parse_address, scrubbed
from taskqueue.errors import InvalidSetting, ServerUnsuitable

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start every test without the variables of whoever runs it, and far from their data."""
    monkeypatch.delenv("TASKQUEUE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"kind": "redis", "hosts": (("localhost", 6379),)}),
        ("redis://h", {"hosts": (("h", 6379),), "db": 0}),
        ("redis://h:7000/3", {"hosts": (("h", 7000),), "db": 3}),
        ("redis://h?db=3", {"db": 3}),
        ("REDIS://h/", {"hosts": (("h", 6379),), "db": 0}),
        ("redis://:7000", {"hosts": (("localhost", 7000),)}),
        ("redis://[::1]:7000", {"hosts": (("::1", 7000),)}),
        ("redis://[fe80::1]", {"hosts": (("fe80::1", 6379),)}),
        ("redis://me:p%40%2Fs@h", {"login": Login("me", "p@/s")}),
        ("redis://:pw@h", {"login": Login(None, "pw")}),
        ("redis://me:@h", {"login": Login("me", None)}),
        ("redis://h?username=me&password=p%26w", {"login": Login("me", "p&w")}),
        ("rediss://h", {"kind": "redis", "tls": Tls()}),
        (
            "rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_check_hostname=False",
            {"tls": Tls("/ca.pem", "/c.pem", "/k.pem", "required", check_hostname=False)},
        ),
        ("rediss://h?ssl_cert_reqs=NONE", {"tls": Tls(cert_reqs="none", check_hostname=False)}),
        ("unix:///run/redis.sock", {"kind": "unix", "path": "/run/redis.sock", "db": 0}),
        ("unix:///run/a%20b.sock?db=2", {"path": "/run/a b.sock", "db": 2}),
        ("unix://me:pw@/run/s", {"path": "/run/s", "login": Login("me", "pw")}),
        (
            "redis+sentinel://a,b:5,[::1]:6/main/4",
            {
                "kind": "sentinel",
                "hosts": (("a", 26379), ("b", 5), ("::1", 6)),
                "service": "main",
                "db": 4,
                "tls": None,
            },
        ),
        (
            "redis+sentinel://me:pw@a/main?sentinel_username=s&sentinel_password=sp",
            {"login": Login("me", "pw"), "sentinel_login": Login("s", "sp"), "db": 0},
        ),
        ("rediss+sentinel://a/main", {"kind": "sentinel", "tls": Tls()}),
        ("redis+cluster://a,b:7001", {"kind": "cluster", "hosts": (("a", 6379), ("b", 7001))}),
        ("rediss+cluster://:pw@a/0", {"kind": "cluster", "tls": Tls(), "login": Login(None, "pw")}),
        ("embedded://", {"kind": "embedded", "path": "", "fsync": "everysec", "linger": 3.0}),
        ("embedded:///", {"path": ""}),
        ("embedded:///srv/my%20tasks/", {"path": "/srv/my tasks"}),
        ("embedded:///srv/q?fsync=always&linger=0.5", {"path": "/srv/q", "fsync": "always", "linger": 0.5}),
        ("memory://", {"kind": "memory", "path": ""}),
        ("memory://Some-Name_1.x", {"path": "Some-Name_1.x"}),
    ],
)
def test_a_url_means(url: str, expected: dict[str, object]) -> None:
    """Every form, with and without its optional parts."""
    address = parse_address(url)

    assert {name: getattr(address, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "begins with one of"),
        ("localhost:6379", "begins with one of"),
        ("http://h", r"redis://, rediss://, unix://, redis\+sentinel://.*embedded://, memory://"),
        ("redis:/h", "begins with one of"),
        ("redis://[::1", "well-formed"),
        ("redis://h:0", "port from 1 to 65535"),
        ("redis://h:65536", "port from 1 to 65535"),
        ("redis://h:٣", "port from 1 to 65535"),
        ("redis://h:1:2", "port from 1 to 65535"),
        ("redis://[::1]x", "IPv6"),
        ("redis://a,b", "one host"),
        ("redis://h/x", "database that is a number"),
        ("redis://h/-1", "database that is a number"),
        ("redis://h/1/2", "one number of a database"),
        ("redis://h/1?db=1", "one number of a database"),
        ("redis://h?db=", "database that is a number"),
        ("redis://h#x", "%23"),
        ("redis://h?x@y", "%40"),
        ("redis://me@h", "user:password@"),
        ("redis://h?timeout=3", r"without the option 'timeout' \(one of db, password, username\)"),
        ("redis://h?ssl_cert_reqs=none", "TLS needs rediss://"),
        ("rediss://h?ssl_cert_reqs=maybe", "required, optional, none"),
        ("rediss://h?ssl_check_hostname=perhaps", "true or false"),
        ("rediss://h?ssl_ca_certs=%2Fca%00.pem", "which have no NUL"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix://", "three slashes"),
        ("unix:///", "three slashes"),
        ("redis+sentinel://a,b", "name of the master"),
        ("redis+sentinel://a/main/1/2", "one number of a database"),
        ("redis+cluster://a/1", "only number 0"),
        ("embedded://folder", "three slashes"),
        ("embedded:///a%00b", "three slashes"),
        ("embedded:///a?fsync=no", "fsync=everysec or fsync=always"),
        ("embedded:///a?linger=-1", "from 0 to 86400"),
        ("embedded:///a?linger=nan", "from 0 to 86400"),
        ("embedded:///a?linger=soon", "from 0 to 86400"),
        ("embedded:///a?db=1", "'db'"),
        ("memory://a/b", "memory:// and a name"),
        ("memory://a%20b", "memory:// and a name"),
        ("memory://a?db=1", r"'db' \(none is known for this scheme\)"),
    ],
)
def test_a_url_that_breaks_a_rule_is_refused_with_the_rule(url: str, rule: str) -> None:
    """What was given, by which name, and what would be right."""
    with pytest.raises(InvalidSetting, match=rule) as refusal:
        parse_address(url, "TASKQUEUE_URL")

    assert refusal.value.setting == "TASKQUEUE_URL"


@pytest.mark.parametrize("password", ["a@canary", "canary@b", "a@canary@b", "x:y@canary/z?q"])
@pytest.mark.parametrize("option", ["password", "Password", "sentinel_password"])
def test_a_password_among_the_options_may_have_an_at(option: str, password: str) -> None:
    """It should have been escaped, which the refusal says without a piece of it."""
    url = f"redis+sentinel://h/main?db=1&{option}={password}"

    assert "canary" not in scrubbed(url)
    with pytest.raises(InvalidSetting) as refused:
        parse_address(url)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://me:{SECRET}@h:6379/0",
        f"redis://:{SECRET}@h",
        f"redis://h?password={SECRET}",
        f"redis://h?username=me&PASSWORD={SECRET}",
        f"rediss://me:{SECRET}@h",
        f"unix://:{SECRET}@/run/s",
        f"redis+sentinel://:{SECRET}@a,b/main?sentinel_password={SECRET}",
        f"redis+cluster://:{SECRET}@a,b",
        # And some that are wrong:
        f"http://me:{SECRET}@h",
        f"me:{SECRET}@h:6379",
        f"redis://{SECRET}@h",
        f"redis://:a/{SECRET}@h",
        f"redis://:a#{SECRET}@h",
        f"redis://:a?{SECRET}@h",
        f"redis://:a@{SECRET}@h:x",
        f"redis://:{SECRET}",
        f"redis://h:{SECRET}",
        f"redis://[{SECRET}",
        f"redis://me:{SECRET}@[h",
        f"redis://me:{SECRET}@h/1/2",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    """Neither by what was made of the URL, nor by the error that refused it, nor by what led to that."""
    try:
        made = Connector.parse(url)
    except InvalidSetting as refusal:
        # The traceback quotes no values, but the errors behind this one would.
        shown = "".join(traceback.format_exception(refusal)) + repr(refusal) + repr(vars(refusal))
    else:
        shown = repr(made) + str(made) + made.url_shown + repr(made._address)

    assert SECRET not in shown
    assert "***" in shown or "..." in shown


def test_the_host_behind_a_password_with_an_at_is_shown() -> None:
    """Else nobody could tell which of several addresses it is that is wrong."""
    assert scrubbed("redis://me:p@ss@host:6379/0?db=1") == "redis://me:***@host:6379/0?db=1"


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_what_stands_before_the_last_at_sign_is_hidden(password: str, rest: str) -> None:
    """Whatever characters a password has that should have been encoded, and were not."""
    password, rest = f"<<{password}>>".replace("@", "a"), rest.replace("@", "a")

    assert password not in scrubbed(f"redis://me:{password}@{rest}")
    assert password not in scrubbed(f"redis://{password}@{rest}")
    assert password not in scrubbed(f"{password}@{rest}")


def test_the_users_name_is_shown() -> None:
    """It is what one needs to see when the server refuses."""
    assert Connector.parse(f"redis://me:{SECRET}@h:1/2").url_shown == "redis://me:***@h:1/2"


def test_the_environment_is_asked_when_there_is_no_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TASKQUEUE_URL, else REDIS_URL, else embedded in the user's data folder; empty means not set."""
    assert Connector.parse().url_shown == f"embedded://{tmp_path}/taskqueue"
    monkeypatch.setenv("REDIS_URL", "redis://one")
    assert Connector.parse(None).url_shown == "redis://one"
    monkeypatch.setenv("TASKQUEUE_URL", "")
    assert Connector.parse().url_shown == "redis://one"
    monkeypatch.setenv("TASKQUEUE_URL", "redis://two")
    assert Connector.parse().url_shown == "redis://two"

    assert Connector.parse("redis://three").url_shown == "redis://three"


def test_an_error_names_the_variable_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever set it elsewhere must find it."""
    monkeypatch.setenv("REDIS_URL", "amqp://h")

    with pytest.raises(InvalidSetting, match=r"^REDIS_URL: 'amqp://h' is not accepted"):
        Connector.parse()


def test_an_empty_url_is_not_no_url() -> None:
    """It is a slip, such as an empty flag: using some other server would surprise."""
    with pytest.raises(InvalidSetting, match="begins with one of"):
        Connector.parse("")


def options_of(client: Client) -> dict[str, Any]:
    """Return what its connections will be made with."""
    return cast("Redis", client).connection_pool.connection_kwargs


@pytest.mark.parametrize("url", ["redis://h", "unix:///run/s", "embedded://", "redis+sentinel://a/main"])
def test_clients_do_not_retry_and_have_time_limits(url: str) -> None:
    """A lost reply must be repeated once, by the one who knows how; nobody waits for ever."""
    made = Connector.parse(url)

    plain = options_of(made.client())

    assert plain["retry"].get_retries() == 0
    assert plain["socket_timeout"] is None  # the store and its wires bound their calls
    assert plain["protocol"] == 2
    assert plain["decode_responses"] is False
    assert plain["health_check_interval"] == 0
    assert plain["client_name"] == "taskqueue"
    assert cast("Redis", made.client()).connection_pool.max_connections >= 1000


def test_every_client_is_a_new_one() -> None:
    """Each belongs to one event loop; a connector belongs to none."""
    made = Connector.parse("redis://h")
    one, other = cast("Redis", made.client()), cast("Redis", made.client())

    assert one is not other
    assert one.connection_pool is not other.connection_pool


def test_a_client_of_one_server_goes_where_the_url_says() -> None:
    """Host, port, database, login, keepalive."""
    options = options_of(Connector.parse("redis://me:pw@h:7000/3").client())

    assert (options["host"], options["port"], options["db"]) == ("h", 7000, 3)
    assert (options["username"], options["password"]) == ("me", "pw")
    assert options["socket_keepalive"] is True


def test_certificates_and_host_names_are_checked_unless_the_url_says_otherwise() -> None:
    """Older versions of redis-py would not check the name by themselves."""
    checked = options_of(Connector.parse("rediss://h?ssl_ca_certs=/ca.pem").client())
    unchecked = options_of(Connector.parse("rediss://h?ssl_cert_reqs=none").client())

    assert checked["ssl_cert_reqs"] == "required"
    assert checked["ssl_check_hostname"] is True
    assert checked["ssl_ca_certs"] == "/ca.pem"
    assert unchecked["ssl_cert_reqs"] == "none"


async def test_a_client_of_a_cluster_starts_at_its_nodes() -> None:
    """And does not repeat commands by itself either."""
    client = Connector.parse("redis+cluster://:pw@10.0.0.1,10.0.0.2:7001").client()

    assert isinstance(client, RedisCluster)
    assert [(node.host, node.port) for node in client.startup_nodes] == [
        ("10.0.0.1", 6379),
        ("10.0.0.2", 7001),
    ]
    assert client.connection_kwargs["password"] == "pw"
    assert client.retry.get_retries() == 0
    await client.aclose()


def test_the_sentinels_have_a_login_of_their_own() -> None:
    """That of the server is no business of theirs, and who they name is asked whether it is the master."""
    url = "rediss+sentinel://me:pw@a,b/main/2?sentinel_username=s&sentinel_password=sp"

    pool = cast("Redis", Connector.parse(url).client()).connection_pool

    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "main"
    assert pool.connection_kwargs["db"] == 2
    assert pool.connection_kwargs["redis_connect_func"] is sentinels.greet_master
    assert (pool.connection_kwargs["username"], pool.connection_kwargs["password"]) == ("me", "pw")
    for sentinel, host in zip(pool.sentinel_manager.sentinels, ("a", "b"), strict=True):
        asking = options_of(sentinel)
        assert (asking["host"], asking["username"], asking["password"]) == (host, "s", "sp")
        assert asking["retry"].get_retries() == 0
        assert asking["ssl_check_hostname"] is True


@pytest.mark.parametrize("missing", ["fakeredis", "lupa"])
def test_without_fakeredis_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """At once, not at the first command."""
    monkeypatch.setattr(connector, "find_spec", lambda name: None if name == missing else find_spec(name))

    with pytest.raises(ServerUnsuitable, match=r"pip install 'taskqueue-engine\[memory\]'"):
        Connector.parse("memory://")


def test_where_files_have_no_locks_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    real: Callable[..., Any] = builtins.__import__

    def without_locks(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "taskqueue.embedded":
            raise ModuleNotFoundError("No module named 'fcntl'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_locks)

    with pytest.raises(ServerUnsuitable, match=r"needs Linux or macOS.*TASKQUEUE_URL"):
        Connector.parse()


async def test_memory_is_shared_by_name() -> None:
    """Two connectors of one name see the same, and another name sees nothing of it."""
    same, again, other = (Connector.parse(url) for url in ("memory://a1", "memory://a1", "memory://b1"))
    await same.open()

    await same.client().set("word", "hello")

    assert await again.client().get("word") == b"hello"
    assert await other.client().get("word") is None
    assert (same.kind, same.url_shown) == ("memory", "memory://a1")
    await same.close()


async def test_a_client_in_memory_may_be_closed_twice() -> None:
    """And used in between, as one of a real server."""
    client = cast("Redis", Connector.parse("memory://twice").client())
    for _ in range(2):
        await client.set("word", "hello")
        await client.connection_pool.disconnect()
        await client.connection_pool.disconnect()
    await client.aclose()


async def test_memory_runs_scripts_and_answers_like_a_server() -> None:
    """Bytes, integers, lists: what the store expects."""
    client = cast("Redis", Connector.parse("memory://scripts").client())

    sha = await client.script_load("return {KEYS[1], 5, {'a', false}}")

    assert await client.evalsha(sha, 1, "key") == [b"key", 5, [b"a", None]]
    await client.aclose()


async def test_memory_wakes_a_waiting_client_of_another_event_loop() -> None:
    """A service in one thread, a scheduler in another: one server in both. A ball goes to and fro."""
    made = Connector.parse("memory://loops")
    rounds = 20

    async def play(mine: str, other: str) -> list[Any]:
        client = cast("Redis", made.client())
        got = []
        for _ in range(rounds):
            got.append(await client.blpop([mine], timeout=5))
            await client.eval("return redis.call('RPUSH', KEYS[1], 'ball')", 1, other)
        await client.aclose()
        return got

    far = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(play("far", "near"))))
    server = cast("Redis", made.client())
    await server.rpush("far", "ball")

    assert await play("near", "far") == [(b"near", b"ball")] * rounds
    assert await far == [(b"far", b"ball")] * rounds
    await server.aclose()


async def test_a_cancelled_wait_takes_nothing_with_it() -> None:
    """On a real server the connection closes and the wait is over; so it must be in memory."""
    made = Connector.parse("memory://cancelled")
    waiting, pushing = (cast("Redis", made.client()) for _ in range(2))
    wait = asyncio.ensure_future(waiting.blpop(["wake"], timeout=5))
    await asyncio.sleep(0.05)

    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    await pushing.rpush("wake", "now")
    await asyncio.sleep(0.05)

    assert await pushing.lrange("wake", 0, -1) == [b"now"]
    assert await waiting.blpop(["wake"], timeout=1) == (b"wake", b"now")
    await waiting.aclose()
    await pushing.aclose()


def test_an_address_can_be_compared_and_kept_in_a_set() -> None:
    """It is a value."""
    assert parse_address("redis://h") == parse_address("redis://h")
    assert {parse_address("redis://h"), parse_address("redis://h")} == {
        Address(kind="redis", shown="redis://h", hosts=(("h", 6379),))
    }


def test_importing_does_not_need_fakeredis() -> None:
    """It is an extra that few install."""
    assert "fakeredis" not in vars(sys.modules["taskqueue.connect.connector"])
