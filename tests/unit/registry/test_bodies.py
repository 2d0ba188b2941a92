from asynckaniko.registry.bodies import Pace
from asynckaniko.settings import Retry

POLICY = Retry(stall_seconds=30.0, stall_size=1000)


def test_slow_but_steady_is_no_stall() -> None:
    pace = Pace(POLICY)

    assert not any(pace.is_stalled(10.0, 400) for _ in range(100))


def test_drip_is_a_stall() -> None:
    pace = Pace(POLICY)

    assert [pace.is_stalled(1.0, 10) for _ in range(30)] == [False] * 29 + [True]


def test_silence_is_a_stall_at_the_end_of_the_window() -> None:
    pace = Pace(POLICY)

    assert pace.left_seconds == 30.0
    assert pace.is_stalled(30.0, 0)


def test_each_window_stands_for_itself() -> None:
    pace = Pace(POLICY)
    assert not pace.is_stalled(30.0, 1_000_000)

    assert pace.is_stalled(30.0, 999)


def test_waiting_that_brings_much_at_once_costs_nothing() -> None:
    pace = Pace(POLICY)

    pace.is_stalled(29.0, 1000)

    assert pace.left_seconds == 1.0
    assert not pace.is_stalled(2.0, 0)
