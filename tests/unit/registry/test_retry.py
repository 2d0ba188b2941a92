import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynckaniko.errors import RegistryError, RegistryRejected, RegistryUnavailable
from asynckaniko.events import Event, RequestRetried
from asynckaniko.registry.retry import Attempts, Clock, Interrupted, is_transient, parse_retry_after
from asynckaniko.settings import Retry

URL = "https://registry.example/v2/"
NOON = 1_700_000_000.0
CUT = Interrupted("GET", URL, "cut")


class Time:
    """A clock that only moves when somebody sleeps."""

    def __init__(self, chance: float = 1.0) -> None:
        self.seconds = 0.0
        self.clock = Clock(
            monotonic=lambda: self.seconds,
            now=lambda: NOON + self.seconds,
            sleep=self._sleep,
            random=lambda: chance,
        )

    async def _sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:50 +0000", 30.0),
        ("Tue, 14 Nov 2023 20:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Tue, 99 Nov 2023 22:13:50 GMT", None),
    ],
)
def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, now=NOON) == seconds


@given(st.text(max_size=60))
def test_any_retry_after_is_seconds_or_nothing(value: str) -> None:
    seconds = parse_retry_after(value, now=NOON)

    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("status", [408, 425, 429, 499, 500, 502, 503, 504, 522, 599])
def test_status_that_may_pass_is_transient(status: int) -> None:
    assert is_transient(RegistryRejected("GET", URL, status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 416, 418, 501, 505])
def test_status_that_stays_is_not_transient(status: int) -> None:
    assert not is_transient(RegistryRejected("GET", URL, status))


def test_cut_is_transient_but_a_final_outage_is_not() -> None:
    assert is_transient(CUT)
    assert not is_transient(RegistryUnavailable("no such host"))


async def test_waits_double_up_to_the_longest() -> None:
    time, events = Time(), list[Event]()
    policy = Retry(attempts=6, first_wait_seconds=1.0, longest_wait_seconds=4.0)
    attempts = Attempts(policy, clock=time.clock, emit=events.append)

    for _ in range(5):
        await attempts.after(CUT)

    waits = [event.wait_seconds for event in events if isinstance(event, RequestRetried)]
    assert waits == [1.0, 2.0, 4.0, 4.0, 4.0]
    assert time.seconds == 15.0


async def test_jitter_spreads_waits_over_the_whole_range() -> None:
    time = Time(chance=0.25)
    attempts = Attempts(Retry(first_wait_seconds=8.0), clock=time.clock, emit=lambda _: None)

    await attempts.after(CUT)

    assert time.seconds == 2.0


async def test_last_attempt_ends_with_an_error_that_says_how_many() -> None:
    attempts = Attempts(Retry(attempts=2), clock=Time().clock, emit=lambda _: None)
    await attempts.after(CUT)

    with pytest.raises(RegistryUnavailable, match=r"/v2/: cut; gave up after 2 attempts") as caught:
        await attempts.after(CUT)

    assert caught.value.__cause__ is CUT


async def test_policy_that_forbids_repetition_gives_up_at_once() -> None:
    attempts = Attempts(Retry(attempts=1), clock=Time().clock, emit=lambda _: None)

    with pytest.raises(RegistryUnavailable, match="after 1 attempt in"):
        await attempts.after(CUT)


async def test_retry_after_is_kept() -> None:
    time = Time(chance=0.0)
    attempts = Attempts(Retry(), clock=time.clock, emit=lambda _: None)

    await attempts.after(RegistryRejected("GET", URL, 429, retry_after_seconds=90))

    assert time.seconds == 90.0


async def test_retry_after_beyond_the_budget_gives_up_without_waiting() -> None:
    time = Time()
    attempts = Attempts(Retry(total_seconds=300), clock=time.clock, emit=lambda _: None)

    with pytest.raises(RegistryUnavailable, match="asks to wait 99999 s"):
        await attempts.after(RegistryRejected("GET", URL, 429, retry_after_seconds=99999))

    assert time.seconds == 0.0


async def test_total_time_bounds_the_attempts() -> None:
    time = Time()
    policy = Retry(attempts=99, total_seconds=10, first_wait_seconds=4.0, longest_wait_seconds=4.0)
    attempts = Attempts(policy, clock=time.clock, emit=lambda _: None)
    await attempts.after(CUT)
    await attempts.after(CUT)

    with pytest.raises(RegistryUnavailable, match="gave up after 3 attempts in 8 s"):
        await attempts.after(CUT)


async def test_progress_begins_the_count_anew() -> None:
    attempts = Attempts(Retry(attempts=2), clock=Time().clock, emit=lambda _: None)

    for _ in range(5):
        await attempts.after(CUT)
        attempts.progressed()


async def test_time_of_a_transfer_does_not_count_but_the_attempt_does() -> None:
    time = Time()
    attempts = Attempts(Retry(attempts=3, total_seconds=60), clock=time.clock, emit=lambda _: None)

    for _ in range(2):
        time.seconds += 3600
        attempts.moved()
        await attempts.after(CUT)
    time.seconds += 3600
    attempts.moved()
    with pytest.raises(RegistryUnavailable, match="gave up after 3 attempts"):
        await attempts.after(CUT)


async def test_refusal_is_raised_as_it_is() -> None:
    attempts = Attempts(Retry(), clock=Time().clock, emit=lambda _: None)
    refusal = RegistryRejected("GET", URL, 400)

    with pytest.raises(RegistryRejected) as caught:
        await attempts.after(refusal)

    assert caught.value is refusal


async def test_refusal_is_tried_again_where_the_caller_knows_better() -> None:
    time = Time()
    attempts = Attempts(Retry(first_wait_seconds=1.0), clock=time.clock, emit=lambda _: None)

    await attempts.after(RegistryRejected("PUT", URL, 400), anyway=True)

    assert time.seconds == 1.0


async def test_error_without_a_request_is_never_tried_again() -> None:
    attempts = Attempts(Retry(), clock=Time().clock, emit=lambda _: None)

    with pytest.raises(RegistryError, match="unusable Location"):
        await attempts.after(RegistryError("unusable Location"), anyway=True)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1000)), min_size=1, max_size=30))
async def test_all_waits_together_stay_within_the_budget(asked: list[float | None]) -> None:
    time = Time()
    policy = Retry(attempts=8, total_seconds=60.0)
    attempts = Attempts(policy, clock=time.clock, emit=lambda _: None)

    with pytest.raises(RegistryUnavailable):
        for wait in asked * 8:
            await attempts.after(RegistryRejected("GET", URL, 503, retry_after_seconds=wait))

    assert time.seconds <= 60.0
