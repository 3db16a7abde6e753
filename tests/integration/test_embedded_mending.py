"""A power failure that leaves half a script's writes in the append-only file, and the next one."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from taskqueue.embedded import find_server_binary
from taskqueue.embedded.layout import Layout
from taskqueue.embedded.mending import mend
from taskqueue.embedded.process import Server
from tests.servers import RealServer, available_servers, wait_until

HALF = "for _, name in ipairs({'a', 'b', 'c'}) do redis.call('SET', 'half:' .. name, '1') end"
WHOLE = "for _, name in ipairs({'a', 'b', 'c'}) do redis.call('SET', 'whole:' .. name, '1') end"


@pytest.fixture(params=available_servers())
def torn(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    """A server that does not run, and whose file ends in the middle of a script's writes."""
    with RealServer(request.param, appendonly="yes", appendfsync="always") as server:
        with server.client() as client:
            client.set("before", "1")
            client.eval(HALF, 0)
        server.kill9()
        tear(server.folder)
        yield server


def tear(folder: Path) -> None:
    """Cut the file off in the third of three writes."""
    file = incremental(folder)
    os.truncate(file, file.read_bytes().index(b"half:c") + 3)


def incremental(folder: Path) -> Path:
    """Return the file that a server appends to."""
    [file] = folder.glob("appendonlydir/*.incr.aof")
    return file


def after_two_starts(server: RealServer) -> set[bytes]:
    """Return what the server knows after it was started, has run a script, was killed and started again."""
    server.start()
    with server.client() as client:
        client.eval(WHOLE, 0)
    server.kill9()
    server.start()
    with server.client() as client:
        return set(client.keys("*"))


def test_half_of_a_write_does_not_come_back(torn: RealServer) -> None:
    """Whatever the server would make of it: a script's writes are there whole, or not at all."""
    cut = mend(torn.folder, torn.binary)

    assert cut > 0
    assert after_two_starts(torn) == {b"before", b"whole:a", b"whole:b", b"whole:c"}


def test_servers_need_it(torn: RealServer) -> None:
    """Without mending they take half a transaction for the beginning of the next; else this could go."""
    assert {b"half:a", b"half:b"} & after_two_starts(torn)


def test_a_sound_file_stays_as_it_is(torn: RealServer) -> None:
    """Nothing is unfinished the second time; and where there is nothing, nothing is done."""
    mend(torn.folder, torn.binary)
    before = incremental(torn.folder).read_bytes()

    assert mend(torn.folder, torn.binary) == 0
    assert incremental(torn.folder).read_bytes() == before
    assert mend(torn.folder / "elsewhere", torn.binary) == 0


def test_an_embedded_server_is_mended_after_a_crash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is killed, its file is torn, and it is started again: that is said, and what was whole is there."""
    layout = Layout(tmp_path)
    with tempfile.TemporaryDirectory(prefix="tq-") as short:
        server = Server(layout, find_server_binary(), f"{short}/server.sock")
        server.claim_data(None, 1.0)
        try:
            with started(server) as client:
                client.set("before", "1")
                client.eval(HALF, 0)
            os.kill(int(layout.server.read_text()), signal.SIGKILL)
            wait_until(server.has_ended, "the server has ended")
            tear(layout.data)
            with started(server) as client:
                assert client.keys("*") == [b"before"]
            assert b"half" not in incremental(layout.data).read_bytes()
            assert (
                "bytes of a write that the last server did not finish were cut off" in capsys.readouterr().err
            )
        finally:
            server.stop(5.0)


def started(server: Server) -> redis.Redis:
    """Start it and return a client when it answers."""
    server.start("always")
    wait_until(server.answers, "the server answers")
    return redis.Redis(unix_socket_path=server.socket)
