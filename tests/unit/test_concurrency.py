import pytest
from anyio import CancelScope, Event, create_task_group, lowlevel, sleep_forever

from asynckaniko.concurrency import SingleFlight, single_error


async def test_work_for_one_key_is_done_once_for_all_callers() -> None:
    calls = 0
    go = Event()

    async def work() -> int:
        nonlocal calls
        calls += 1
        await go.wait()
        return 42

    results: list[int] = []
    async with create_task_group() as owner:
        flights: SingleFlight[str, int] = SingleFlight(owner)

        async def ask() -> None:
            results.append(await flights.do("key", work))

        async with create_task_group() as callers:
            for _ in range(3):
                callers.start_soon(ask)
            await lowlevel.checkpoint()
            go.set()

    assert results == [42, 42, 42]
    assert calls == 1


async def test_first_caller_may_leave_without_taking_the_result_from_the_second() -> None:
    go = Event()

    async def work() -> str:
        await go.wait()
        return "done"

    async with create_task_group() as owner:
        flights: SingleFlight[str, str] = SingleFlight(owner)
        first = CancelScope()

        async def leave_early() -> None:
            with first:
                await flights.do("key", work)

        async with create_task_group() as callers:
            callers.start_soon(leave_early)
            await lowlevel.checkpoint()
            second: list[str] = []

            async def stay() -> None:
                second.append(await flights.do("key", work))

            callers.start_soon(stay)
            await lowlevel.checkpoint()
            first.cancel()
            await lowlevel.checkpoint()
            go.set()

    assert second == ["done"]


async def test_work_nobody_waits_for_is_cancelled() -> None:
    ended = Event()

    async def work() -> None:
        try:
            await sleep_forever()
        finally:
            ended.set()

    async with create_task_group() as owner:
        flights: SingleFlight[str, None] = SingleFlight(owner)
        with CancelScope() as scope:

            async def cancel_soon() -> None:
                await lowlevel.checkpoint()
                scope.cancel()

            owner.start_soon(cancel_soon)
            await flights.do("key", work)

        await ended.wait()

    assert scope.cancelled_caught


async def test_error_of_the_work_reaches_every_caller() -> None:
    async def work() -> None:
        raise ValueError("broken")

    async with create_task_group() as owner:
        flights: SingleFlight[str, None] = SingleFlight(owner)
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                await flights.do("key", work)


async def test_lone_failure_of_nested_groups_is_raised_as_itself() -> None:
    async def fail() -> None:
        raise KeyError("cause")

    with pytest.raises(KeyError, match="cause"), single_error():
        async with create_task_group() as outer, create_task_group() as inner:
            inner.start_soon(fail)
            outer.start_soon(sleep_forever)


def test_one_failure_that_several_tasks_raise_is_raised_as_itself() -> None:
    cause = KeyError("cause")

    with pytest.raises(KeyError, match="cause"), single_error():
        raise ExceptionGroup("both", [cause, ExceptionGroup("inner", [cause])])


async def test_two_failures_stay_a_group() -> None:
    with pytest.raises(ExceptionGroup) as caught, single_error():
        raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])

    assert len(caught.value.exceptions) == 2
