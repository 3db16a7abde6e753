"""The user of docs/taskqueue.acl: it can do all that the engine does, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from scheduler import Context, RateLimited, Retry, Scheduler
from scheduler.backoff import Fixed
from taskqueue import TaskQueue, TaskSpec, TaskState
from taskqueue.accounts import Accounts
from taskqueue.api import ApiOptions, create_app
from taskqueue.errors import ServerUnsuitable
from taskqueue.keys import Keys
from taskqueue.scripts import AS_FUNCTIONS
from taskqueue.webhooks import SecretBox, WebhookSecrets
from tests.audit import audit
from tests.cli.conftest import Run
from tests.servers import (
    ACL_FILE,
    ACL_PASSWORD,
    ACL_USER,
    RealSentinel,
    RealServer,
    available_servers,
    wait_until,
)

LUA = Path(__file__).parents[2] / "taskqueue" / "lua"
SECRET = b"a secret of the tests, 32 bytes or more"
SECRET_HEX = "5f" * 16 + "0123456789abcdef" * 2

PLAIN = {"BLPOP", "DEL", "EXISTS", "GET", "HGET", "HMGET", "LPOP", "SMEMBERS", "TIME", "ZRANGE", "ZREM"}
"""What Python sends by itself; everything else is sent by scripts."""
SERVER = {
    "@connection", "info", "time", "role", "cluster|info", "cluster|slots",
    "eval", "evalsha", "fcall", "function|load", "script|load",
}  # fmt: skip

DANGEROUS = """
ACL LIST · ACL SETUSER taskqueue allkeys · ACL WHOAMI · BGREWRITEAOF · BGSAVE · CLIENT KILL ID 1 ·
CLIENT LIST · CLIENT PAUSE 1 · CLUSTER RESET · COPY tq:a tq:b · DUMP tq:a · CONFIG GET * ·
CONFIG SET maxmemory 1 · CONFIG REWRITE · DBSIZE · FAILOVER · FLUSHALL · FLUSHDB · FUNCTION DELETE x ·
FUNCTION FLUSH · FUNCTION LIST · FUNCTION KILL · KEYS * · LATENCY RESET · MIGRATE h 1 tq:a 0 1 ·
MODULE LIST · MONITOR · MOVE tq:a 1 · OBJECT HELP · PUBLISH tq:a b · RANDOMKEY · RENAME tq:a tq:b ·
REPLICAOF NO ONE · RESTORE tq:a 0 x · SAVE · SCAN 0 · SCRIPT FLUSH · SCRIPT KILL · SHUTDOWN ·
SLOWLOG GET · SORT tq:a · SUBSCRIBE tq:a · SWAPDB 0 1 · MULTI · UNLINK tq:a · XADD tq:a * a b
"""
ELSEWHERE = (
    "GET other", "SET other x", "DEL other", "HGETALL other", "ZADD other 1 a", "BLPOP other 1",
    "MSET tq:a x other y",
)  # fmt: skip
IN_SCRIPTS = (
    "redis.call('SET', 'other', 'x')",
    "redis.call('GET', 'other')",
    "redis.call('FLUSHALL')",
    "redis.call('CONFIG', 'GET', 'requirepass')",
    "redis.call('PUBLISH', 'tq:a', 'b')",
    "redis.call('RENAME', 'tq:a', 'tq:b')",
)


@pytest.fixture(scope="module", params=available_servers())
def server(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    """A server of each kind with the user; its URLs log in as that user."""
    with RealServer(request.param, tcp=True, acl=True, appendonly="yes") as running:
        yield running


@pytest.fixture
def user(server: RealServer) -> Iterator[Any]:
    """A connection of the user. Its refusals are what these tests want, so they are forgotten."""
    with redis.Redis(unix_socket_path=server.socket, username=ACL_USER, password=ACL_PASSWORD) as made:
        yield made
    server.refusals()


def test_the_file_names_what_is_used_and_nothing_else() -> None:
    """Every command of a script is in it; every command in it is one of a script, or has its reason above."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in LUA.glob("*.lua"))
    calls = " ".join(re.findall(r"call\(([^,]*),", source) + re.findall(r"PROBE = \{(.*)\}", source))
    others = re.findall(r"call_many\(\"([A-Z]+)\"|in_steps\(\"([A-Z]+)\"", source)
    sent = set(re.findall(r'"([A-Z]+)"', calls)) | {word for pair in others for word in pair if word}
    [line] = [text for text in ACL_FILE.read_text(encoding="utf-8").splitlines() if text.startswith("user ")]
    words = line.split()

    assert words[:7] == [
        "user", ACL_USER, "reset", "on", "#PUT-THE-SHA-256-OF-THE-PASSWORD-HERE", "~tq:*", "resetchannels",
    ]  # fmt: skip
    assert [word for word in words[7:] if word[0] == "-"] == ["-@all", "-@dangerous"]
    assert words.index("-@all") == 7
    allowed = {word[1:] for word in words[7:] if word[0] == "+"}
    assert allowed == SERVER | {name.lower() for name in sent | PLAIN}


@pytest.mark.parametrize("kind", available_servers())
def test_no_server_starts_with_the_file_as_it_is(kind: Any) -> None:
    """Else somebody would run one with a password that everybody can read."""
    with pytest.raises(AssertionError, match="ended with code 1"), RealServer(kind, include=str(ACL_FILE)):
        pass


@pytest.mark.parametrize("command", [text.strip() for text in DANGEROUS.replace("\n", " ").split("·")])
def test_dangerous_commands_are_refused(user: Any, command: str) -> None:
    """Also where they would only touch keys of the queue."""
    with pytest.raises(redis.exceptions.NoPermissionError):
        user.execute_command(*command.split())


@pytest.mark.parametrize("command", ELSEWHERE)
def test_other_keys_are_refused(user: Any, client: Any, command: str) -> None:
    """Whatever else is on the server is neither read nor written."""
    with pytest.raises(redis.exceptions.NoPermissionError):
        user.execute_command(*command.split())

    assert not client.exists("other", "tq:a")


@pytest.mark.parametrize("call", IN_SCRIPTS)
def test_a_script_may_do_no_more_than_its_user(user: Any, client: Any, call: str) -> None:
    """By EVAL and as a function; also when no key is declared."""
    code = f"#!lua name=probe\nredis.register_function('probe', function() return {call} end)"
    user.execute_command("FUNCTION", "LOAD", "REPLACE", code)

    for words in (("EVAL", f"return {call}", 0), ("FCALL", "probe", 0)):
        # The two servers word it differently, and one gives it no code of its own.
        with pytest.raises(redis.exceptions.ResponseError, match=r"permission|can't|not allowed"):
            user.execute_command(*words)

    client.execute_command("FUNCTION", "DELETE", "probe")
    assert not client.exists("other")


def test_refusals_are_noticed(server: RealServer, user: Any) -> None:
    """What the other tests rely on, when they find none."""
    assert server.refusals() == []
    for command in ("KEYS *", "GET other"):
        with pytest.raises(redis.exceptions.NoPermissionError):
            user.execute_command(*command.split())

    assert sorted(server.refusals()) == ["command: keys (toplevel)", "key: other (toplevel)"]
    assert server.refusals() == []


async def test_a_life_in_code(url: str, queue_name: str, server: RealServer) -> None:
    """Enqueue, in bulk, delayed; run, retry, give back, fail, progress; cancel, redrive, discard, clear."""
    scheduler = Scheduler(url, name=queue_name, backoff=Fixed(timedelta(milliseconds=10)))
    tries: list[str] = []

    @scheduler.handler("WORK", max_attempts=2)
    async def work(payload: Any, context: Context) -> Any:
        word = payload["word"]
        tries.append(word)
        await context.progress({"step": 1})
        if word == "retry" and tries.count(word) == 1:
            raise Retry
        if word == "limited" and tries.count(word) == 1:
            raise RateLimited(after=timedelta(milliseconds=10))
        if word == "dead":
            raise ValueError(word)
        return payload

    async with TaskQueue.connect(url, name=queue_name) as queue:
        specs = [
            TaskSpec(type="WORK", payload={"word": "many"}, tenant=f"t{number % 3}", priority=1 + number % 9)
            for number in range(300)
        ]
        many = await queue.enqueue_many(specs)
        soon = await queue.enqueue(
            "WORK", {"word": "delayed"}, delay=timedelta(milliseconds=50), idempotency_key="one"
        )
        ones = [await queue.enqueue("WORK", {"word": word}) for word in ("retry", "limited", "dead")]
        later = await queue.enqueue("WORK", {"word": "later"}, delay=timedelta(hours=1))
        async with scheduler:
            ended = [await queue.wait(task.id, timeout=20) for task in [*many, soon, *ones]]
        assert [task.state for task in ended[-3:]] == [TaskState.COMPLETED] * 2 + [TaskState.FAILED]
        assert {task.state for task in ended[:-3]} == {TaskState.COMPLETED}
        assert (await queue.cancel(later.id)).state is TaskState.CANCELLED
        again = await queue.redrive(ones[-1].id)
        await queue.cancel(again.id)
        assert await queue.find("default", "one") is not None
        await queue.discard([again.id])
        await queue.enqueue_many([TaskSpec(type="OTHER", payload={}) for _ in range(10)])
        assert await queue.clear(type="OTHER") == 10
        await queue.set_limit(type="WORK", concurrency=5)
        await queue.set_limit(tenant="t1", concurrency=5, weight=3)
        await queue.set_limit(provider="acme", concurrency=5, lowest=1, rate=100, tokens=1000)
        await queue.pause(tenant="t1")
        await queue.resume(tenant="t1")
        assert len(await queue.limits()) == 2
        assert [state.name for state in await queue.providers()] == ["acme"]
        await queue.grant("metered", 50)
        assert (await queue.stats()).queued == 0
        assert [task async for task in queue.tasks(state=TaskState.COMPLETED)]
        assert await queue.workers() == []
        for duty in (queue.store.promote, queue.store.purge, queue.store.repair):
            await duty()

    assert server.refusals() == []


async def test_functions_are_used(url: str, queue_name: str, client: Any) -> None:
    """The user may load and call them; else a queue would be slower without a word."""
    client.execute_command("FUNCTION", "FLUSH")
    async with TaskQueue.connect(url, name=queue_name) as queue:
        await queue.enqueue("WORK", {})
        scheduler = Scheduler(queue=queue)
        scheduler.handler("WORK")(lambda payload: payload)
        await scheduler.run(burst=True, handle_signals=False)

    found: Any = client.function_list(library="tq_*")
    assert len(found) == len(AS_FUNCTIONS)


async def test_each_level_of_durability(server: RealServer, url: str, queue_name: str) -> None:
    """`replicated` by WAIT; `fsync` by WAITAOF, or refused where the server has none."""
    with RealServer(server.kind, replicaof=f"127.0.0.1 {server.port}", acl=False) as replica:
        with replica.client() as looking:
            wait_until(
                lambda: looking.info("replication")["master_link_status"] == "up", "the replica follows"
            )
        async with TaskQueue.connect(url, name=queue_name) as queue:
            await queue.enqueue("WORK", {}, durability="replicated")
            if server.kind == "valkey":
                await queue.enqueue("WORK", {}, durability="fsync")
            else:
                with pytest.raises(ServerUnsuitable, match="WAITAOF"):
                    await queue.enqueue("WORK", {}, durability="fsync")

    assert server.refusals() == []


async def test_a_life_over_http(url: str, queue_name: str, server: RealServer) -> None:
    """Keys, batches, lists, the balance, synchronous requests, webhook secrets, health and metrics."""
    prompt = {"prompt": "hello", "country": "US"}
    async with TaskQueue.connect(url, name=queue_name) as queue, Accounts(queue, SECRET) as accounts:
        key = await accounts.create_key("acme")
        rotated = await accounts.rotate(key.info.id, overlap=timedelta(minutes=1))
        await queue.grant("acme", 1000)
        secrets = WebhookSecrets(queue, SecretBox(SECRET))
        await secrets.renew("acme")
        await secrets.set_standard("acme", wanted=True)
        assert await secrets.of("acme") is not None
        scheduler = Scheduler(queue=queue)
        scheduler.handler("CHATGPT")(lambda payload: {"text": payload["prompt"]})
        transport = httpx.ASGITransport(create_app(queue, accounts, ApiOptions()))
        headers = {"Authorization": f"Bearer {rotated.key}"}
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as http,
            scheduler,
        ):
            task = {"taskType": "CHATGPT", "payload": prompt}
            assert (await http.post("/v1/monitor/chatgpt", json=prompt)).status_code == 200
            made = (await http.post("/v1/async/task", json=task)).json()["task"]["id"]
            await http.post("/v1/async/task/batch", json=[task] * 5)
            await queue.wait(made, timeout=10)
            paths = ("async/tasks", "async/status", "credits", f"async/task/{made}")
            answers = [(await http.get(f"/v1/{path}")).status_code for path in paths]
            answers += [(await http.get(f"/{path}")).status_code for path in ("healthz", "readyz", "metrics")]
            answers.append((await http.delete("/v1/async/queue")).status_code)
        assert answers == [200] * len(answers)
        await secrets.remove("acme")
        assert await accounts.revoke(rotated.info.id)

    assert server.refusals() == []


def test_a_life_on_the_command_line(cli: Run, server: RealServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of operators, and the doctor, who finds nothing wrong with the user."""
    monkeypatch.setenv("TASKQUEUE_SECRET", SECRET_HEX)
    task = json.dumps({"taskType": "CHATGPT", "payload": {"prompt": "hello"}})
    made = cli("enqueue", "-", "--json", stdin=task).json["task"]["id"]
    key = cli("keys", "create", "--tenant", "acme", "--credits", "5", "--json").json["id"]
    commands = [
        f"get {made}",
        "stats --json",
        "pause --type CHATGPT",
        "resume --type CHATGPT",
        "limits set --type CHATGPT --concurrency 3",
        "limits show",
        "dead list",
        "keys list",
        f"keys rotate {key}",
        "webhooks renew --tenant acme",
        f"cancel {made}",
    ]

    assert {command: cli(*command.split()).code for command in commands} == dict.fromkeys(commands, 0)
    doctor = cli("doctor", "--json")
    levels = {found["name"]: found["level"] for found in doctor.json["findings"]}
    assert "error" not in levels.values()
    assert levels["scripts"] == "ok"
    assert server.refusals() == []


async def test_a_queue_behind_sentinel(server: RealServer, queue_name: str) -> None:
    """The Sentinels have users of their own; the user's login is for the master."""
    login = f"{ACL_USER}:{ACL_PASSWORD}"
    with RealSentinel(server) as sentinel:
        url = f"redis+sentinel://{login}@127.0.0.1:{sentinel.port}/main"
        async with TaskQueue.connect(url, name=queue_name) as queue:
            task = await queue.enqueue("WORK", {})
            assert await queue.get(task.id) is not None

    assert server.refusals() == []


@pytest.mark.parametrize("kind", available_servers())
async def test_a_queue_in_a_cluster(kind: Any) -> None:
    """One node that has all slots."""
    with RealServer(kind, tcp=True, acl=True, cluster_enabled="yes") as node:
        with node.client() as admin:
            ask: Any = admin  # redis-py declares no types for this
            ask.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: admin.cluster("info")["cluster_state"] == "ok", "the cluster serves")
        url = node.tcp_url.replace("redis://", "redis+cluster://")
        async with TaskQueue.connect(url, name="clustered") as queue:
            scheduler = Scheduler(queue=queue)
            scheduler.handler("WORK")(lambda payload: payload)
            tasks = await queue.enqueue_many(
                [TaskSpec(type="WORK", payload={"number": number}) for number in range(20)]
            )
            await scheduler.run(burst=True, handle_signals=False)
            assert (await queue.wait(tasks[-1].id, timeout=10)).state is TaskState.COMPLETED

        with node.client() as looking:
            assert audit(looking, "clustered") == []
        assert node.refusals() == []


async def test_a_user_of_one_queue_sees_no_other(server: RealServer, client: Any, queue_name: str) -> None:
    """With `~tq:{NAME}:*` in the place of `~tq:*`."""
    rules = next(line for line in ACL_FILE.read_text().splitlines() if line.startswith("user ")).split()[2:]
    own = [f">{ACL_PASSWORD}" if rule[0] == "#" else rule for rule in rules]
    own[own.index("~tq:*")] = f"~{Keys(queue_name).prefix}*"
    client.execute_command("ACL", "SETUSER", "single", *own)
    url = f"unix://single:{ACL_PASSWORD}@{server.socket}"

    async with TaskQueue.connect(url, name=queue_name) as queue:
        task = await queue.enqueue("WORK", {})
        assert await queue.get(task.id) is not None
    with pytest.raises(ServerUnsuitable, match="refuses this user"):
        await TaskQueue.connect(url, name="somebody-elses")

    client.execute_command("ACL", "DELUSER", "single")
    assert not client.keys("tq:{somebody-elses}:*")
