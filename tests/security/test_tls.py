"""TLS to the server: what is verified, what is refused, and that nothing goes around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from scheduler import Scheduler
from taskqueue import TaskQueue, TaskSpec, TaskState
from taskqueue.errors import ServerUnavailable
from tests.cli.conftest import Run
from tests.servers import ACL_PASSWORD, ACL_USER, RealServer, wait_until
from tests.tls import kinds_with_tls, native, relayed, tapped

CANARY = "a-payload-that-nobody-may-read"
BOTH = ["relay", *kinds_with_tls()]

Secured = Callable[..., AbstractAsyncContextManager[int]]


@pytest.fixture(scope="module")
def server() -> Iterator[RealServer]:
    """The server behind the relay."""
    with RealServer() as started:
        yield started


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the certificates of servers."""
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a client needs to trust them."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(params=BOTH)
def secured(request: pytest.FixtureRequest, server: RealServer, authority: trustme.CA) -> Secured:
    """Yields a port that speaks TLS, with a certificate for some names; *clients* must show one too."""

    @asynccontextmanager
    async def start(
        *names: str, clients: trustme.CA | None = None, expired: bool = False
    ) -> AsyncIterator[int]:
        until = datetime.now(UTC) - timedelta(days=1) if expired else None
        certificate = authority.issue_cert(*(names or ("localhost", "127.0.0.1")), not_after=until)
        if request.param == "relay":
            async with relayed(server, certificate, clients) as port:
                yield port
        else:
            async with native(request.param, certificate, clients) as (port, _):
                yield port

    return start


async def connects(url: str, patience: float = 5.0) -> bool:
    """Whether a queue can be opened there within *patience* seconds."""
    try:
        async with TaskQueue.connect(url, name="tls", patience=patience) as queue:
            return (await queue.stats()).queued == 0
    except ServerUnavailable:
        return False


async def refusal(url: str) -> str:
    """Return what a person reads who opens a queue there; at once, because waiting would mend nothing."""
    async with asyncio.timeout(2):
        with pytest.raises(ServerUnavailable, match="its certificate was refused") as refused:
            await TaskQueue.connect(url, name="tls")
    return str(refused.value)


async def test_a_whole_life_is_encrypted(secured: Secured, ca_file: Path) -> None:
    """Producer and worker, each of their connections: what goes over the line tells nothing."""
    async with secured() as behind, tapped(behind) as (port, seen):
        url = f"rediss://localhost:{port}?ssl_ca_certs={ca_file}"
        async with TaskQueue.connect(url, name="tls") as queue:
            scheduler = Scheduler(url, name="tls")
            scheduler.handler("WORK")(lambda payload: {"text": payload["text"] + "-and-its-result"})
            async with scheduler:
                specs = [TaskSpec(type="WORK", payload={"text": CANARY}) for _ in range(20)]
                tasks = await queue.enqueue_many(specs)
                ended = [await queue.wait(task.id, timeout=10) for task in tasks]
            transport = queue.store._caller.wire._socket._transport  # type: ignore[union-attr]
            version = transport.get_extra_info("ssl_object").version()
            await queue.clear()

    assert {task.state for task in ended} == {TaskState.COMPLETED}
    assert ended[0].result == {"text": f"{CANARY}-and-its-result"}
    assert version in {"TLSv1.2", "TLSv1.3"}
    assert len(seen) > 20 * len(CANARY)
    assert CANARY.encode() not in seen
    assert b"tq:{tls}" not in seen


async def test_without_tls_everything_can_be_read() -> None:
    """The same tap on a plain port: it would have seen it."""
    with RealServer(tcp=True, acl=False) as plain:
        assert plain.port is not None
        async with (
            tapped(plain.port) as (port, seen),
            TaskQueue.connect(f"redis://localhost:{port}", name="tls") as queue,
        ):
            await queue.enqueue("WORK", {"text": CANARY})

    assert CANARY.encode() in seen


async def test_a_certificate_for_another_host_is_refused(secured: Secured, ca_file: Path) -> None:
    """Unless the URL says that names are not to be checked; the authority is checked all the same."""
    async with secured("queue.example") as port:
        url = f"rediss://localhost:{port}?ssl_ca_certs={ca_file}"

        assert "Hostname mismatch" in await refusal(url)
        assert await connects(f"{url}&ssl_check_hostname=false")


async def test_the_address_must_be_in_the_certificate_too(secured: Secured, ca_file: Path) -> None:
    """A certificate for the name does not do for the address that the name has."""
    async with secured("localhost") as port:
        options = f"ssl_ca_certs={ca_file}"

        assert await connects(f"rediss://localhost:{port}?{options}")
        assert "IP address mismatch" in await refusal(f"rediss://127.0.0.1:{port}?{options}")


async def test_an_unknown_authority_is_refused(secured: Secured, tmp_path: Path) -> None:
    """One that signed nothing here, and those of the system; only `ssl_cert_reqs=none` asks no questions."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    async with secured() as port:
        url = f"rediss://localhost:{port}"

        assert "unable to get local issuer certificate" in await refusal(f"{url}?ssl_ca_certs={other}")
        assert "unable to get local issuer certificate" in await refusal(url)
        assert await connects(f"{url}?ssl_cert_reqs=none")


async def test_an_expired_certificate_is_refused(secured: Secured, ca_file: Path) -> None:
    """Whoever signed it."""
    async with secured(expired=True) as port:
        assert "certificate has expired" in await refusal(f"rediss://localhost:{port}?ssl_ca_certs={ca_file}")


async def test_a_plain_client_is_refused(secured: Secured) -> None:
    """It is never answered in plain text."""
    async with secured() as port:
        assert not await connects(f"redis://localhost:{port}", patience=0.5)


async def test_a_plain_server_is_refused(ca_file: Path) -> None:
    """A client that wants TLS does not go on without it, nor sends its password."""
    with RealServer(tcp=True, acl=False) as plain:
        assert plain.port is not None
        async with tapped(plain.port) as (port, seen):
            url = f"rediss://me:open-sesame@localhost:{port}?ssl_ca_certs={ca_file}"
            assert not await connects(url, patience=0.5)

    assert seen
    assert b"open-sesame" not in seen


async def test_a_server_may_ask_for_certificates_of_clients(
    secured: Secured, ca_file: Path, tmp_path: Path
) -> None:
    """Signed by whom it knows; without one, or with one of somebody else, nobody gets in."""
    signer = trustme.CA()
    logins = {}
    for name, by in (("known", signer), ("unknown", trustme.CA())):
        certificate, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        issued = by.issue_cert("worker.example")
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        logins[name] = f"ssl_certfile={certificate}&ssl_keyfile={key}"

    async with secured(clients=signer) as port:
        url = f"rediss://localhost:{port}?ssl_ca_certs={ca_file}"

        assert await connects(f"{url}&{logins['known']}")
        assert not await connects(f"{url}&{logins['unknown']}", patience=0.5)
        assert not await connects(url, patience=0.5)


@pytest.mark.skipif(not kinds_with_tls(), reason="no server here was built with TLS")
async def test_a_cluster_over_tls(authority: trustme.CA, ca_file: Path) -> None:
    """The nodes that the cluster names are verified like the one in the URL; the user is that of the file."""
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    [kind, *_] = kinds_with_tls()
    options: dict[str, Any] = {"cluster_enabled": "yes", "tls_cluster": "yes"}
    async with native(kind, certificate, None, acl=True, **options) as (port, server):
        with server.client() as admin:
            ask: Any = admin  # redis-py declares no types for this
            ask.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: admin.cluster("info")["cluster_state"] == "ok", "the cluster serves")
        login = f"{ACL_USER}:{ACL_PASSWORD}"
        url = f"rediss+cluster://{login}@localhost:{port}?ssl_ca_certs={ca_file}"
        async with TaskQueue.connect(url, name="tls") as queue:
            task = await queue.enqueue("WORK", {})
            found = await queue.get(task.id)
        refused = server.refusals()

    assert found is not None
    assert refused == []


@pytest.mark.skipif(not kinds_with_tls(), reason="no server here was built with TLS")
def test_the_command_line_over_tls(cli: Run, authority: trustme.CA, ca_file: Path) -> None:
    """The same URL in the environment or an option; what is wrong with a certificate is said, no trace."""

    async def ask() -> None:
        [kind, *_] = kinds_with_tls()
        async with native(kind, authority.issue_cert("localhost"), None, appendonly="yes") as (port, _):
            good = f"rediss://localhost:{port}?ssl_ca_certs={ca_file}"
            task = json.dumps({"taskType": "CHATGPT", "payload": {"prompt": "hello"}})
            made = await asyncio.to_thread(cli, "enqueue", "-", "--url", good, stdin=task)
            bad = await asyncio.to_thread(cli, "stats", "--url", f"rediss://localhost:{port}")

        assert made.code == 0
        assert bad.code == 3
        assert "its certificate was refused" in bad.err
        assert "Traceback" not in bad.err

    asyncio.run(ask())
