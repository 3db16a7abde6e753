"""Batches: what is made together goes out together, in order, and nobody pays for anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from taskqueue.batching import Batcher, copy_of, isolated
from taskqueue.errors import (
    IdempotencyConflict,
    QueueCorrupt,
    ServerUnavailable,
    ServerUnsuitable,
    TaskQueueError,
    WaitTimeout,
)


class Server:
    """Doubles numbers; each call takes until it is let go."""

    def __init__(self, *, slow: bool = False) -> None:
        self.calls: list[list[int]] = []
        self.error: BaseException | None = None
        self.go = asyncio.Event()
        if not slow:
            self.go.set()

    async def __call__(self, entries: Sequence[int]) -> list[int | TaskQueueError]:
        self.calls.append(list(entries))
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return [IdempotencyConflict("x", same_payload=True) if entry < 0 else 2 * entry for entry in entries]


async def until_sent(server: Server, calls: int = 1) -> None:
    """Return when the server has got so many calls."""
    async with asyncio.timeout(5):
        while len(server.calls) < calls:
            await asyncio.sleep(0)


async def test_calls_of_one_pass_of_the_loop_share_one_call() -> None:
    """Fifty tasks ask at once; the server is called once, and each gets its own answer."""
    server = Server()
    batcher = Batcher(server)

    results = await asyncio.gather(*(batcher.submit(number) for number in range(50)))

    assert results == [2 * number for number in range(50)]
    assert server.calls == [list(range(50))]


async def test_many_go_out_as_two_batches_one_behind_the_other() -> None:
    """While the server works on one half, the callers of the other go on."""
    server = Server(slow=True)
    batcher = Batcher(server, in_two=True)

    results = asyncio.gather(*(batcher.submit(number) for number in range(50)))
    await until_sent(server, 2)

    assert server.calls == [list(range(25)), list(range(25, 50))]
    server.go.set()
    assert await results == [2 * number for number in range(50)]


async def test_a_second_batch_leaves_when_it_is_worth_a_call_and_never_a_third() -> None:
    """Sixteen are; they do not wait for the first batch, and the others do."""
    server = Server(slow=True)
    batcher = Batcher(server, in_two=True)
    futures = [batcher.submit(0)]
    await until_sent(server)

    futures += [batcher.submit(number) for number in range(1, 16)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(server.calls) == 1
    futures.append(batcher.submit(16))
    await until_sent(server, 2)
    futures += [batcher.submit(number) for number in range(17, 80)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert server.calls == [[0], list(range(1, 17))]
    server.go.set()
    assert await asyncio.gather(*futures) == [2 * number for number in range(80)]
    assert server.calls[2] == list(range(17, 80))


@pytest.mark.parametrize("drain", [True, False])
async def test_closing_ends_both_batches(drain: bool) -> None:
    """With their answers, or with an error for every caller."""
    server = Server(slow=True)
    batcher = Batcher(server, in_two=True)
    futures = [batcher.submit(number) for number in range(50)]
    await until_sent(server, 2)

    closing = asyncio.ensure_future(batcher.close(drain=drain))
    await asyncio.sleep(0)
    if drain:
        assert not closing.done()
        server.go.set()
    async with asyncio.timeout(5):
        await closing
        answers = await asyncio.gather(*futures, return_exceptions=True)

    assert sum(isinstance(answer, TaskQueueError) for answer in answers) == (0 if drain else 50)


async def test_a_lone_call_does_not_wait_for_company() -> None:
    """It goes out in the next pass of the loop, which no timer delays."""
    server = Server(slow=True)
    batcher = Batcher(server)

    future = batcher.submit(1)
    await asyncio.sleep(0)

    assert server.calls == [[1]]
    server.go.set()
    assert await future == 2


async def test_calls_made_while_one_is_under_way_go_together_afterwards() -> None:
    """Few of them are not worth a call beside it."""
    server = Server(slow=True)
    batcher = Batcher(server)
    first = batcher.submit(1)
    await until_sent(server)

    others = [batcher.submit(number) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    assert server.calls == [[1]]
    server.go.set()

    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert server.calls == [[1], [2, 3, 4]]


async def test_an_idle_batcher_starts_again() -> None:
    """When everything was answered, the next call is a first one again."""
    server = Server()
    batcher = Batcher(server)

    assert [await batcher.submit(number) for number in (1, 2)] == [2, 4]
    assert server.calls == [[1], [2]]


async def test_a_batch_has_at_most_so_many_entries() -> None:
    """More are split, in their order."""
    server = Server()
    batcher = Batcher(server, most_entries=4)

    await asyncio.gather(*(batcher.submit(number) for number in range(10)))

    assert server.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_a_batch_has_at_most_so_many_bytes() -> None:
    """An entry that is larger than a whole batch goes alone."""
    server = Server()
    batcher = Batcher(server, size=lambda number: number, most_bytes=10)

    await asyncio.gather(*(batcher.submit(number) for number in (4, 6, 1, 50, 9, 1)))

    assert server.calls == [[4, 6], [1], [50], [9, 1]]


async def test_a_refused_entry_concerns_its_caller_alone() -> None:
    """An exception among the results is raised where it belongs."""
    server = Server()
    batcher = Batcher(server)

    found = await asyncio.gather(*map(batcher.submit, (1, -1, 2)), return_exceptions=True)

    assert found[0] == 2
    assert isinstance(found[1], IdempotencyConflict)
    assert found[2] == 4


async def test_an_error_of_the_whole_call_reaches_every_caller_as_its_own() -> None:
    """They get equal exceptions, not one and the same, and the next call starts afresh."""
    server = Server()
    server.error = ServerUnavailable("gone")
    batcher = Batcher(server)

    first, second = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)

    assert isinstance(first, ServerUnavailable)
    assert isinstance(second, ServerUnavailable)
    assert first is not second
    assert str(first) == "gone"
    server.error = None
    assert await batcher.submit(3) == 6


async def test_too_few_results_are_an_error_and_nobody_waits_forever() -> None:
    """A mistake in the function behind it must not leave callers hanging."""

    async def forgetful(entries: Sequence[int]) -> list[int]:
        return list(entries[1:])

    batcher: Batcher[int, int] = Batcher(forgetful)

    for result in await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True):
        assert isinstance(result, ValueError)


async def test_cancelling_one_caller_does_not_cancel_the_others() -> None:
    """One of three gives up while the call is under way; one gave up before it was sent."""
    server = Server(slow=True)
    batcher = Batcher(server)
    first = asyncio.ensure_future(batcher.submit(1))
    await until_sent(server)
    second, third, fourth = (asyncio.ensure_future(batcher.submit(number)) for number in (2, 3, 4))

    first.cancel()
    second.cancel()
    server.go.set()

    assert await third == 6
    assert await fourth == 8
    assert server.calls == [[1], [3, 4]]


async def test_closing_waits_for_what_was_handed_in() -> None:
    """Entries on their way and entries still waiting get their results; new ones are refused."""
    server = Server(slow=True)
    batcher = Batcher(server)
    first = batcher.submit(1)
    await until_sent(server)
    second = batcher.submit(2)

    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(TaskQueueError, match="closed"):
        batcher.submit(3)
    server.go.set()
    await closing

    assert (first.result(), second.result()) == (2, 4)


async def test_closing_without_waiting_tells_the_callers() -> None:
    """Nobody cancelled them, so it is no cancellation that they get."""
    server = Server(slow=True)
    batcher = Batcher(server)
    first = batcher.submit(1)
    await until_sent(server)
    second = batcher.submit(2)

    await batcher.close(drain=False)

    for future in (first, second):
        assert isinstance(future.exception(), TaskQueueError)


async def test_closing_in_the_same_pass_of_the_loop_tells_the_callers() -> None:
    """Nothing has gone out yet: who would send it has not taken its first step."""
    server = Server()
    batcher = Batcher(server)
    future = batcher.submit(1)

    await batcher.close(drain=False)

    assert isinstance(future.exception(), TaskQueueError)
    assert server.calls == []


async def test_who_has_gone_hears_nothing_of_what_went_wrong() -> None:
    """Neither of an error of the whole call, nor of an end that does not wait; the others do."""
    for closes in (False, True):
        server = Server(slow=True)
        server.error = ServerUnavailable("gone")
        batcher = Batcher(server)
        first, second = batcher.submit(1), batcher.submit(2)
        await until_sent(server)
        first.cancel()

        if closes:
            await batcher.close(drain=False)
        else:
            server.go.set()
            await asyncio.wait([second])

        assert first.cancelled()
        assert type(second.exception()) is (TaskQueueError if closes else ServerUnavailable)


async def test_nothing_is_sent_if_everybody_has_gone() -> None:
    """They gave up before it went out; the next call is a first one again."""
    server = Server()
    batcher = Batcher(server)
    for number in range(3):
        batcher.submit(number).cancel()

    await asyncio.sleep(0)

    assert server.calls == []
    assert await batcher.submit(4) == 8


async def test_an_unused_batcher_closes() -> None:
    """There is nothing to wait for."""
    await Batcher(Server()).close()
    await Batcher(Server()).close(drain=False)


@pytest.mark.parametrize("error", [QueueCorrupt("bad"), ServerUnsuitable("no fsync")])
async def test_one_bad_entry_is_found_and_the_others_are_served(error: TaskQueueError) -> None:
    """The call fails as long as number 6 is in it; it is made again for ever smaller halves."""
    calls: list[list[int]] = []

    async def picky(entries: Sequence[int]) -> list[int]:
        calls.append(list(entries))
        if 6 in entries:
            raise error
        return [2 * entry for entry in entries]

    results = await isolated(picky, list(range(8)))

    assert results[:6] == [0, 2, 4, 6, 8, 10]
    assert results[6] is error
    assert results[7] == 14
    assert calls == [list(range(8)), [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [6, 7], [6], [7]]


async def test_an_absent_server_is_not_asked_again_for_every_half() -> None:
    """That error is no entry's fault."""
    calls = 0

    async def away(entries: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        raise ServerUnavailable("gone")

    with pytest.raises(ServerUnavailable):
        await isolated(away, [1, 2, 3])
    assert calls == 1


@pytest.mark.parametrize(
    "error",
    [
        WaitTimeout("id-1", 2.5),
        ServerUnavailable("gone"),
        IdempotencyConflict("id-1", same_payload=True, key="k"),
        ValueError("plain"),
        OSError(2, "no such file"),
    ],
)
def test_a_copy_of_an_error_says_the_same(error: Exception) -> None:
    """Type, text and attributes are those of the original, which is named as the cause."""
    twin = copy_of(error)

    assert twin is not error
    assert type(twin) is type(error)
    assert (str(twin), vars(twin), twin.args) == (str(error), vars(error), error.args)
    assert twin.__cause__ is error
