"""The connector: makes clients of whatever server a URL names.

A `Connector` is what the rest of the package holds instead of a URL: it starts and shares the
embedded server, knows how to make clients of every kind of server, and says what is wrong when
nothing answers. The clients are those of redis-py with its own retries off: a lost reply must be
repeated by the store, which knows how, and not twice.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from socket import gaierror
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.asyncio import ConnectionPool, Redis, RedisCluster, UnixDomainSocketConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from taskqueue.connect.address import Address, Kind, Login, parse_address
from taskqueue.connect.packing import packed_in_c
from taskqueue.connect.passing import may_be_retried
from taskqueue.connect.sentinels import from_sentinels, sentinel_client
from taskqueue.connect.wire import close_client
from taskqueue.errors import ServerUnavailable, ServerUnsuitable

if TYPE_CHECKING:
    from taskqueue.embedded import EmbeddedServer

Client: TypeAlias = Redis | RedisCluster

_VARIABLES = ("TASKQUEUE_URL", "REDIS_URL")
_DEFAULT_URL = "embedded://"

_CONNECT_TIMEOUT: Final = 5.0  # seconds
_MAX_CONNECTIONS: Final = 10_000  # what a server admits by default: it shall be the one to refuse
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5  # seconds between two tries of `open`
_OUT_OF_TIME: Final = (TimeoutError, RedisTimeoutError)
_WORDS: Final = {
    ConnectionRefusedError: "connection refused",
    FileNotFoundError: "there is no such socket",
    PermissionError: "this user may not use the socket",
    gaierror: "the name of the host is not known",
}


class Connector:
    """Makes clients of one server. Safe to share between threads and event loops.

    Make one with `Connector.parse`; call `open` before the first client and `close` once for each
    `open`. Clients are closed by whoever asked for them.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._embedded = _embedded_server(address) if address.kind == "embedded" else None
        if address.kind == "memory":
            _require_fakeredis()

    @classmethod
    def parse(cls, url: str | None = None) -> Connector:
        """Return the connector of *url*; without one, of what the environment says.

        Args:
            url: See taskqueue/connect/address.py. None: `TASKQUEUE_URL`, else `REDIS_URL`, else an embedded
                server in the user's data folder.

        Raises:
            InvalidSetting: If the URL is none of ours. No error shows a password.
            ServerUnsuitable: If this machine lacks what the URL needs: `memory://` without
                fakeredis, `embedded://` on a system without locks for files.
        """
        if url is not None:
            return cls(parse_address(url))
        for variable in _VARIABLES:
            found = os.environ.get(variable)
            if found:
                return cls(parse_address(found, variable))
        return cls(parse_address(_DEFAULT_URL))

    def __repr__(self) -> str:
        return f"Connector({self.url_shown!r})"

    @property
    def url_shown(self) -> str:
        """The URL without its password, and for an embedded server with the folder that it chose."""
        if self._embedded is not None and not self._address.path:
            return f"embedded://{self._embedded.folder}"
        return self._address.shown

    @property
    def folder(self) -> Path | None:
        """The folder of an embedded server; None for a server of another kind."""
        return None if self._embedded is None else self._embedded.folder

    @property
    def kind(self) -> Kind:
        """What sort of server this is: redis, unix, sentinel, cluster, embedded or memory."""
        return self._address.kind

    async def open(self, timeout: float = 5.0) -> None:
        """Return when the server answers; an embedded one is started, or shared, first.

        A server that is not there yet is tried again until the time is up.

        Args:
            timeout: Seconds for all of it.

        Raises:
            ServerUnavailable: If it does not answer in time, or refuses the user or the password.
            ServerUnsuitable: If there is no program for an embedded server, or its folder is no good.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self._embedded is not None:
            await _join(self._embedded, timeout)
        try:
            await self._wait_for_answer(began, timeout)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Take back one `open`. An embedded server ends some seconds after its last user."""
        if self._embedded is not None:
            self._embedded.leave()

    def client(self) -> Client:
        """Return a new client for the running event loop. Its calls wait for as long as they are let."""
        address = self._address
        options = self._options()
        if address.kind == "memory":
            from taskqueue.connect.memory import memory_client  # noqa: PLC0415  (needs an extra that few install)

            return memory_client(address.path, **options)
        if self._embedded is not None:
            pool = ConnectionPool(connection_class=_EmbeddedConnection, server=self._embedded, **options)
            return packed_in_c(Redis.from_pool(pool))
        options |= _login(address.login)
        if address.kind == "unix":
            return packed_in_c(Redis(unix_socket_path=address.path, db=address.db, **options))
        options |= {"socket_keepalive": True, "socket_connect_timeout": _CONNECT_TIMEOUT, **_tls(address)}
        if address.kind == "cluster":
            nodes = [ClusterNode(host, port) for host, port in address.hosts]
            return RedisCluster(startup_nodes=nodes, **options)
        if address.kind == "sentinel":
            return packed_in_c(sentinel_client(address, options))
        ((host, port),) = address.hosts
        return packed_in_c(Redis(host=host, port=port, db=address.db, **options))

    @staticmethod
    def _options() -> dict[str, Any]:
        return {
            "retry": Retry(NoBackoff(), 0),
            # Scripts answer alike in both protocols: Lua converts by RESP2 rules unless told otherwise.
            # RESP2 keeps the replies of plain commands lists of bytes as well, on fakeredis too, and
            # spares each new connection the round trips for HELLO and maintenance notifications.
            "protocol": 2,
            "decode_responses": False,
            # Whoever calls bounds the call: a time-out here costs a task for every write.
            "socket_timeout": None,
            "health_check_interval": 0,
            "max_connections": _MAX_CONNECTIONS,
            "client_name": "taskqueue",
        }

    async def _wait_for_answer(self, began: float, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = began + timeout
        pause = _FIRST_PAUSE
        last: Exception | None = None
        client = self.client()
        try:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        await client.ping()
                except (RedisError, RedisClusterException, OSError) as error:
                    # Running out of time says less than what went wrong before.
                    if last is None or not isinstance(error, _OUT_OF_TIME):
                        last = await from_sentinels(client, _refusal(error))
                else:
                    return
                is_final = not may_be_retried(last) or _unverified(last) is not None
                if is_final or loop.time() + pause >= deadline:
                    raise self._unavailable(last, loop.time() - began) from last
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            await close_client(client)

    def _unavailable(self, last: Exception, elapsed: float) -> ServerUnavailable:
        what = _in_words(last).rstrip(".")
        return ServerUnavailable(
            f"no usable answer from {self.url_shown} within {elapsed:.1f} s: {what}. {_advice(last)}"
        )


class _EmbeddedConnection(UnixDomainSocketConnection):
    """A connection that brings the embedded server back when it finds it gone."""

    def __init__(self, *, server: EmbeddedServer, **options: Any) -> None:
        super().__init__(path=server.socket, **options)
        self._server = server

    # The one method that every connection class of redis-py must have.
    async def _connect(self) -> None:
        if self.path:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                await super()._connect()  # type: ignore[no-untyped-call]
                return
        self.path = await asyncio.to_thread(self._server.revive)
        await super()._connect()  # type: ignore[no-untyped-call]


def _login(login: Login) -> dict[str, str | None]:
    return {"username": login.username, "password": login.password}


def _tls(address: Address) -> dict[str, Any]:
    if address.tls is None:
        return {}
    return {
        "ssl": True,
        "ssl_ca_certs": address.tls.ca_certs,
        "ssl_certfile": address.tls.certfile,
        "ssl_keyfile": address.tls.keyfile,
        "ssl_cert_reqs": address.tls.cert_reqs,
        # Off by default in older versions of redis-py.
        "ssl_check_hostname": address.tls.check_hostname,
    }


def _embedded_server(address: Address) -> EmbeddedServer:
    try:
        from taskqueue.embedded import EmbeddedServer, default_folder  # noqa: PLC0415  (not on every system)
    except ImportError as error:
        raise ServerUnsuitable(
            f"the embedded server needs Linux or macOS ({error}): set TASKQUEUE_URL to a server that is "
            "running elsewhere"
        ) from error
    folder = Path(address.path) if address.path else default_folder()
    return EmbeddedServer(folder, fsync=address.fsync, linger=address.linger)


def _require_fakeredis() -> None:
    if find_spec("fakeredis") is None or find_spec("lupa") is None:
        raise ServerUnsuitable("memory:// needs fakeredis with Lua: `pip install 'taskqueue-engine[memory]'`")


async def _join(server: EmbeddedServer, timeout: float) -> None:
    """Join in a thread; leave again if the caller is cancelled, however late the join succeeds."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="taskqueue-embedded")
    joining = executor.submit(server.join, timeout)
    executor.shutdown(wait=False)
    try:
        await asyncio.wrap_future(joining)
    except asyncio.CancelledError:
        joining.add_done_callback(lambda done: _leave_if_joined(server, done))
        raise


def _leave_if_joined(server: EmbeddedServer, joining: Future[str]) -> None:
    if not joining.cancelled() and joining.exception() is None:
        server.leave()


def _refusal(error: Exception) -> Exception:
    """Return the server's own words where redis-py, on a unix socket, has wrapped them."""
    return error.__cause__ if isinstance(error.__cause__, ResponseError | AuthenticationError) else error


def _in_words(error: Exception) -> str:
    """Say what happened as a person would; redis-py quotes the numbers of the system."""
    if (unverified := _unverified(error)) is not None:
        return f"its certificate was refused: {unverified.verify_message}"
    cause = error.__cause__ or error.__context__
    for kind, words in _WORDS.items():
        if isinstance(cause, kind):
            return words
    return str(error) or "no answer"


def _unverified(error: BaseException) -> SSLCertVerificationError | None:
    """Return what was wrong with the server's certificate, if that was the reason."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _advice(error: Exception) -> str:
    if _unverified(error) is not None:
        return "The URL must name a host that it is for, and ssl_ca_certs= its authority: docs/security.md."
    if isinstance(error, AuthenticationError):
        return "Check the user and the password in the URL."
    if isinstance(error, ResponseError):
        return "The server is there but refuses: see its message."
    if isinstance(error, _OUT_OF_TIME):
        return "Check the address, and that nothing between here and there drops the packets."
    return (
        "Check the address and that a server runs there; or set TASKQUEUE_URL to another server, such as "
        "embedded:// for one that is started here."
    )
