"""Who may read ahead."""

from collections.abc import AsyncGenerator
from contextlib import ExitStack

import anyio
import pytest

from asynckaniko.registry.ranges import SEGMENT_SIZE, ReadAhead, Spare


@pytest.mark.parametrize(("blobs", "shares"), [(1, [3]), (2, [1, 1]), (3, [1, 0, 0]), (4, [0] * 4)])
def test_blobs_and_those_who_read_ahead_are_four_connections(blobs: int, shares: list[int]) -> None:
    spare = Spare(3)

    with ExitStack() as stack:
        for _ in range(blobs):
            stack.enter_context(spare.blob())
        borrowed = [spare.borrow() for _ in range(blobs)]

    assert borrowed == shares
    assert blobs + sum(borrowed) == 4


def test_blob_that_comes_later_gets_what_is_left() -> None:
    spare = Spare(3)
    with spare.blob():
        first = spare.borrow()

        with spare.blob():
            assert spare.borrow() == 0

        spare.give_back(first)
        assert spare.borrow() == first == 3


def test_more_blobs_than_connections_leave_none() -> None:
    spare = Spare(3)

    with ExitStack() as stack:
        for _ in range(9):
            stack.enter_context(spare.blob())

        assert spare.borrow() == 0


async def test_nothing_is_read_ahead_once_others_have_come_before_the_first_answer() -> None:
    spare = Spare(3)
    asked: list[int] = []

    async def fetch(start: int, end: int) -> AsyncGenerator[bytes, None]:
        asked.append(start)
        yield bytes(end - start)

    with ExitStack() as stack:
        stack.enter_context(spare.blob())
        async with anyio.create_task_group() as tasks:
            ahead = ReadAhead(0, 4 * SEGMENT_SIZE, fetch, tasks=tasks, spare=spare)
            for _ in range(3):
                stack.enter_context(spare.blob())
            ahead.decide(begin=True)
            received = [chunk async for chunk in ahead.chunks()]
            ahead.close()

    assert ahead.connections == 0
    assert received == []
    assert asked == []
