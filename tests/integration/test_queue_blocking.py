"""The blocking queue at its edges: forks, Ctrl-C, forgotten queues, errors while connecting."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import redis

from taskqueue import BlockingTaskQueue, ServerUnavailable, TaskQueueError
from taskqueue.blocking.thread import LoopThread
from taskqueue.errors import InvalidSetting
from tests.servers import wait_until

ROOT = Path(__file__).resolve().parents[2]


def run(program: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a Python program."""
    return subprocess.Popen(
        [sys.executable, "-W", "default", "-c", textwrap.dedent(program), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def threads() -> list[str]:
    """Return the names of the threads that queues run in."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("taskqueue-")]


def test_a_failed_connect_leaves_no_thread_behind() -> None:
    """Neither for an option that is refused at once, nor for a server that is not there."""
    with pytest.raises(InvalidSetting):
        BlockingTaskQueue.connect("memory://", name="")
    with pytest.raises(ServerUnavailable):
        BlockingTaskQueue.connect("unix:///nowhere/at-all.sock", patience=0.05)

    assert threads() == []


def test_a_closed_queue_leaves_nothing_behind(url: str, queue_name: str, client: redis.Redis) -> None:
    """No thread, no connection."""
    before = len(client.client_list())
    with BlockingTaskQueue.connect(url, name=queue_name) as queue:
        queue.enqueue("T", {})
        assert threads() == [f"taskqueue-{queue_name}"]

    assert threads() == []
    wait_until(lambda: len(client.client_list()) == before, "the connections are closed")


def test_a_forgotten_queue_is_reported_and_closed(url: str, queue_name: str, client: redis.Redis) -> None:
    """Its last reference goes; a ResourceWarning names it, and its thread and connections end."""
    before = len(client.client_list())
    holder = [BlockingTaskQueue.connect(url, name=queue_name)]

    with pytest.warns(ResourceWarning, match=f"{queue_name}.*was not closed"):
        holder.clear()

    assert threads() == []
    wait_until(lambda: len(client.client_list()) == before, "the connections are closed")


def test_a_program_that_forgets_to_close_ends_all_the_same(url: str, queue_name: str) -> None:
    """With exit code 0, its work done, and the warning on stderr."""
    program = run(
        """
        import sys
        from taskqueue import BlockingTaskQueue
        queue = BlockingTaskQueue.connect(sys.argv[1], name=sys.argv[2])
        print(queue.enqueue("T", {}).sequence)
        """,
        url,
        queue_name,
    )

    out, err = program.communicate(timeout=30)

    assert (program.returncode, out) == (0, "1\n")
    assert "was not closed" in err
    assert "Traceback" not in err


def test_a_forked_child_is_told_to_connect_by_itself(url: str, queue_name: str) -> None:
    """The parent's thread does not exist in the child; there a call must fail and not hang."""
    program = run(
        """
        import os, sys
        from taskqueue import BlockingTaskQueue, TaskQueueError
        with BlockingTaskQueue.connect(sys.argv[1], name=sys.argv[2]) as queue:
            child = os.fork()
            if not child:
                try:
                    queue.enqueue("T", {})
                except TaskQueueError as error:
                    print(f"child: {error}", flush=True)
                with BlockingTaskQueue.connect(sys.argv[1], name=sys.argv[2]) as own:
                    print(f"child: {own.enqueue('T', {}).sequence}", flush=True)
                queue.close()
                sys.exit(0)
            print(f"exit code {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
            print(f"parent: {queue.enqueue('T', {}).sequence}")
        """,
        url,
        queue_name,
    )

    out, err = program.communicate(timeout=30)

    lines = out.splitlines()
    assert "forked" in lines[0]
    assert lines[1:] == ["child: 1", "exit code 0", "parent: 2"]
    assert "Traceback" not in err
    assert "not closed" not in err


def test_a_forked_child_that_ends_leaves_the_parents_queue_alone(url: str, queue_name: str) -> None:
    """It did not open it: there is nothing for it to close, to wait for, or to complain of."""
    program = run(
        """
        import os, sys
        from taskqueue import BlockingTaskQueue
        queue = BlockingTaskQueue.connect(sys.argv[1], name=sys.argv[2])
        child = os.fork()
        if not child:
            sys.exit(0)
        print(f"exit code {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
        print(f"parent: {queue.enqueue('T', {}).sequence}")
        queue.close()
        """,
        url,
        queue_name,
    )

    out, err = program.communicate(timeout=30)

    assert out.splitlines() == ["exit code 0", "parent: 1"]
    assert "not closed" not in err


def test_ctrl_c_ends_the_call_and_leaves_the_queue_usable(
    url: str, queue_name: str, client: redis.Redis
) -> None:
    """The program waits for a task that never runs; the user gives up."""
    program = run(
        """
        import sys
        from taskqueue import BlockingTaskQueue
        with BlockingTaskQueue.connect(sys.argv[1], name=sys.argv[2]) as queue:
            task = queue.enqueue("T", {})
            try:
                queue.wait(task.id)
            except KeyboardInterrupt:
                print(queue.cancel(task.id).state)
        """,
        url,
        queue_name,
    )
    wait_until(lambda: any(found["cmd"] == "blpop" for found in client.client_list()), "the program waits")

    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=30)

    assert (program.returncode, out) == (0, "CANCELLED\n")
    assert "Traceback" not in err


def test_a_call_from_inside_the_loop_is_refused_and_does_not_hang(url: str, queue_name: str) -> None:
    """A callback that runs in the queue's own thread would wait for itself."""
    with BlockingTaskQueue.connect(url, name=queue_name) as queue:

        async def inside() -> None:
            with pytest.raises(TaskQueueError, match="never return"):
                queue.stats()

        queue._loop.run(inside)


def test_a_loop_that_is_stopped_breaks_off_what_still_runs() -> None:
    """Whoever waits is told; what comes later is refused; an object that dies in its thread is fine."""
    loop = LoopThread("x")
    started, result = threading.Event(), []

    async def forever() -> None:
        started.set()
        await asyncio.Event().wait()

    def wait() -> None:
        try:
            loop.run(forever)
        except TaskQueueError as error:
            result.append(str(error))

    waiter = threading.Thread(target=wait)
    waiter.start()
    started.wait(10)
    loop.stop()
    waiter.join(10)

    assert result == ["the queue was closed before the answer came"]
    with pytest.raises(TaskQueueError, match="closed"):
        loop.run(forever)


def test_a_loop_may_be_stopped_twice() -> None:
    """The second time there is nothing left to end."""
    loop = LoopThread("x")

    loop.stop()
    loop.stop()

    assert threads() == []


def test_a_platform_without_uvloop_has_the_loop_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""

    async def kind() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    kinds = []
    for is_there in (True, False):
        if not is_there:
            monkeypatch.setitem(sys.modules, "uvloop", None)
        loop = LoopThread("x")
        kinds.append(loop.run(kind))
        loop.stop()

    assert kinds == ["uvloop", "asyncio"]


def test_a_queue_that_dies_in_its_own_thread_is_closed_there(url: str, queue_name: str) -> None:
    """The garbage collector runs wherever it likes, also in the loop's thread."""
    holder = [BlockingTaskQueue.connect(url, name=queue_name)]
    loop, seen = holder[0]._loop, []

    async def drop() -> None:
        with pytest.warns(ResourceWarning, match="was not closed"):
            holder.clear()
        seen.append("dropped")

    loop.run(drop)
    loop._thread.join(10)

    assert seen == ["dropped"]
    assert threads() == []
