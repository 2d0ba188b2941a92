"""The schedule under virtual time, against a builder that plays a script."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from anyio import CancelScope, Event, create_task_group, current_time, sleep

from asynckaniko.batch.outcome import Built, Outcome, Status
from asynckaniko.batch.plan import PlannedImage
from asynckaniko.batch.schedule import Rules, Schedule
from asynckaniko.errors import CommandFailed, RegistryRejected, RegistryUnavailable, StepFailed
from tests.unit.batch.virtual_time import VirtualTimeLoop, in_virtual_time

GIB = 1 << 30


def image(name: str, *needs: str, **fields: Any) -> PlannedImage:
    return PlannedImage(name=name, parent=name, needs=needs, **fields)


@dataclass
class Script:
    """Builds take as many seconds as `seconds` says, or 1; `failures` are raised in their turn."""

    seconds: dict[str, float] = field(default_factory=dict)
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    exists_after: dict[str, float] = field(default_factory=dict)
    log: list[tuple[float, str, str]] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    most_running: int = 0

    async def build(
        self, image: PlannedImage, *, attempt: int, exists: Callable[[], None]
    ) -> Built:
        self.log.append((current_time(), "start", image.name))
        self.running.add(image.name)
        self.most_running = max(self.most_running, len(self.running))
        try:
            early = self.exists_after.get(image.name)
            if early is not None:
                await sleep(early)
                exists()
            await sleep(self.seconds.get(image.name, 1.0) - (early or 0.0))
            failures = self.failures.get(image.name, [])
            if failures:
                raise failures.pop(0)
            return Built(digest=f"sha256:{image.name}")
        finally:
            self.running.discard(image.name)
            self.log.append((current_time(), "end", image.name))

    def at(self, event: str, name: str) -> list[float]:
        return [when for when, kind, who in self.log if (kind, who) == (event, name)]

    def order(self) -> list[str]:
        return [who for _, kind, who in self.log if kind == "start"]


async def run(script: Script, *images: PlannedImage, **rules: Any) -> dict[str, Outcome]:
    defaults: dict[str, Any] = {"jobs": 4, "memory": 8 * GIB}
    schedule = Schedule(images, script, Rules(**(defaults | rules)))
    await schedule.run()
    assert script.running == set()
    assert set(schedule.outcomes) == {image.name for image in images}
    return schedule.outcomes


def statuses(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    return {name: outcome.status.value for name, outcome in outcomes.items()}


@in_virtual_time
async def test_image_starts_when_the_last_it_needs_exists() -> None:
    script = Script(seconds={"a": 2, "b": 5})

    outcomes = await run(script, image("c", "a", "b"), image("a"), image("b"))

    assert script.at("start", "c") == [5]
    assert outcomes["c"].status is Status.BUILT
    assert (outcomes["c"].started_seconds, outcomes["c"].seconds) == (5, 1)


@in_virtual_time
async def test_image_that_exists_before_its_build_ends_holds_nobody_up() -> None:
    script = Script(seconds={"base": 10}, exists_after={"base": 3})

    await run(script, image("base"), image("app", "base"))

    assert script.at("start", "app") == [3]
    assert script.at("end", "base") == [10]


@in_virtual_time
async def test_no_more_builds_than_jobs_run_at_once() -> None:
    script = Script()

    await run(script, *(image(f"i{n}") for n in range(9)), jobs=3)

    assert script.most_running == 3
    assert max(when for when, _, _ in script.log) == 3


@in_virtual_time
async def test_weight_counts_as_jobs() -> None:
    script = Script()

    await run(script, image("heavy", weight=3), image("a"), image("b"), jobs=3)

    assert script.at("start", "heavy") == [0]
    assert script.at("start", "a") == script.at("start", "b") == [1]


@in_virtual_time
async def test_builds_wait_for_the_memory_they_ask_for() -> None:
    script = Script()

    await run(script, *(image(n, memory=3 * GIB) for n in "abc"), memory=7 * GIB)

    assert [script.at("start", name) for name in "abc"] == [[0], [0], [1]]


@in_virtual_time
async def test_image_that_asks_for_more_than_there_is_gets_all_of_it() -> None:
    script = Script()

    outcomes = await run(
        script, image("huge", memory=99 * GIB, weight=9), image("a", memory=1), jobs=2
    )

    assert statuses(outcomes) == {"huge": "built", "a": "built"}
    assert script.at("start", "a") == [1]


@in_virtual_time
async def test_small_images_overtake_one_that_does_not_fit_but_not_for_ever() -> None:
    script = Script(seconds={"long": 3})
    small = [image(f"s{n}", memory=GIB) for n in range(12)]

    await run(script, image("long", memory=5 * GIB), image("big", memory=8 * GIB), *small, jobs=2)

    # Two may go first, as many as there are jobs; without that bound it would be eleven seconds.
    assert script.at("start", "big") == [3]


@in_virtual_time
async def test_image_that_most_others_wait_for_goes_first() -> None:
    script = Script()

    await run(
        script, image("leaf"), image("base"), image("mid", "base"), image("top", "mid"), jobs=1
    )

    assert script.order()[0] == "base"


@in_virtual_time
async def test_what_needs_a_failed_image_is_skipped_and_the_rest_is_built() -> None:
    script = Script(failures={"bad": [CommandFailed("no", exit_status=7)]})

    outcomes = await run(
        script, image("bad"), image("child", "bad"), image("grandchild", "child"), image("other")
    )

    assert statuses(outcomes) == {
        "bad": "failed",
        "child": "skipped",
        "grandchild": "skipped",
        "other": "built",
    }
    assert outcomes["child"].reason == "needs bad"
    assert "child" not in script.order()


@in_virtual_time
async def test_fail_fast_stops_what_runs_and_starts_nothing_more() -> None:
    script = Script(
        seconds={"slow": 60, "bad": 2}, failures={"bad": [CommandFailed("no", exit_status=1)]}
    )

    outcomes = await run(
        script, image("bad"), image("slow"), image("later", "slow"), fail_fast=True
    )

    assert statuses(outcomes) == {"bad": "failed", "slow": "cancelled", "later": "cancelled"}
    assert max(when for when, _, _ in script.log) == 2


@pytest.mark.parametrize(
    "error",
    [
        RegistryUnavailable("gone"),
        RegistryRejected("PUT", "https://r/v2/", 503),
        ExceptionGroup("two", [RegistryUnavailable("a"), RegistryUnavailable("b")]),
    ],
    ids=["unavailable", "503", "group"],
)
@in_virtual_time
async def test_transient_error_is_tried_again_after_a_growing_wait(error: Exception) -> None:
    script = Script(failures={"a": [error, error]})

    outcomes = await run(script, image("a", retries=2))

    assert script.at("start", "a") == [0, 2, 5]
    assert (outcomes["a"].status, outcomes["a"].attempts) == (Status.BUILT, 3)


@pytest.mark.parametrize(
    "error",
    [
        CommandFailed("no", exit_status=1),
        RegistryRejected("PUT", "https://r/v2/", 400),
        RuntimeError("a bug"),
        ExceptionGroup("mixed", [RegistryUnavailable("a"), CommandFailed("b", exit_status=1)]),
    ],
    ids=["command", "400", "bug", "mixed"],
)
@in_virtual_time
async def test_other_errors_are_not_tried_again(error: Exception) -> None:
    script = Script(failures={"a": [error]})

    outcomes = await run(script, image("a", retries=5))

    assert script.at("start", "a") == [0]
    assert outcomes["a"].error is error


@in_virtual_time
async def test_retries_end() -> None:
    script = Script(failures={"a": [RegistryUnavailable("gone") for _ in range(9)]})

    outcomes = await run(script, image("a", retries=1))

    assert (outcomes["a"].status, outcomes["a"].attempts) == (Status.FAILED, 2)


@in_virtual_time
async def test_waiting_for_another_attempt_takes_no_job_from_others() -> None:
    script = Script(failures={"a": [RegistryUnavailable("gone")]})

    await run(script, image("a", retries=1), image("b"), jobs=1, first_wait_seconds=30.0)

    assert script.at("start", "b") == [1]
    assert script.at("start", "a") == [0, 31]


@in_virtual_time
async def test_build_that_takes_too_long_is_stopped_and_told() -> None:
    script = Script(seconds={"a": 100})

    outcomes = await run(script, image("a", timeout_seconds=20.0, retries=3))

    assert script.at("end", "a") == [20]
    assert str(outcomes["a"].error) == "a: not done after its timeout of 20 seconds"


@in_virtual_time
async def test_timeout_does_not_count_the_wait_for_a_turn() -> None:
    script = Script(seconds={"first": 50})

    outcomes = await run(script, image("first"), image("second", timeout_seconds=20.0), jobs=1)

    assert outcomes["second"].status is Status.BUILT


@pytest.mark.parametrize("after", [0.0, 0.5, 1.0, 1.5, 2.5, 3.5, 6.5])
@in_virtual_time
async def test_cancelled_batch_leaves_nothing_running_and_an_outcome_for_each(after: float) -> None:
    script = Script(
        seconds={"b": 2, "d": 5},
        exists_after={"b": 0.2},
        failures={"c": [RegistryUnavailable("gone")]},
    )
    images = [image("a"), image("b", "a"), image("c", "a", retries=3), image("d", "b", "c")]
    schedule = Schedule(images, script, Rules(jobs=1, memory=GIB))
    ended = Event()

    async def work() -> None:
        try:
            await schedule.run()
        finally:
            ended.set()

    async with create_task_group() as tasks:
        tasks.start_soon(work)
        await sleep(after)
        tasks.cancel_scope.cancel()

    assert ended.is_set()
    assert script.running == set()
    # Whoever was never started says nothing; the others are built or cancelled.
    assert {o.status for o in schedule.outcomes.values()} <= {Status.BUILT, Status.CANCELLED}
    if after > 0:
        assert set(schedule.outcomes) == {"a", "b", "c", "d"}


def cancelled_before(step: int) -> tuple[bool, int]:
    """Run a batch, cancel it before a step of its loop, and check what is left.

    Returns whether that was in time, and how many steps there were.
    """
    script = Script(
        seconds={"b": 2, "d": 5},
        exists_after={"b": 0.2},
        failures={"c": [RegistryUnavailable("gone")], "e": [StepFailed("no")]},
    )
    images = [image("a"), image("b", "a"), image("c", "a", retries=3), image("d", "b", "c")]
    images += [image("e", "a"), image("f", "e")]
    found: dict[str, Outcome] = {}
    loop = VirtualTimeLoop()

    scopes: list[CancelScope] = []

    async def cancel() -> None:
        for scope in scopes:
            scope.cancel()

    async def work() -> bool:
        schedule = Schedule(images, script, Rules(jobs=2, memory=GIB))
        schedule.outcomes = found
        with CancelScope() as scope:
            scopes.append(scope)
            await schedule.run()
        return scope.cancelled_caught

    loop.interruption = (step, cancel)
    is_cancelled = anyio.run(work, backend_options={"loop_factory": lambda: loop})

    ended = statuses(found)
    assert script.running == set()
    whole = {"a": "built", "b": "built", "c": "built", "d": "built", "e": "failed", "f": "skipped"}
    if is_cancelled:
        odd = {name: s for name, s in ended.items() if s not in {whole[name], "cancelled"}}
        assert odd == {}
    else:
        assert ended == whole
    return is_cancelled, loop.steps


def test_batch_can_be_cancelled_at_every_await() -> None:
    never, total = cancelled_before(-1)

    in_time = [cancelled_before(step)[0] for step in range(1, total + 1)]

    assert not never
    assert in_time.count(True) > total // 2 > 10


@in_virtual_time
async def test_outcomes_are_told_as_they_come() -> None:
    script = Script(seconds={"slow": 3})
    told: list[tuple[float, str]] = []
    schedule = Schedule(
        [image("slow"), image("fast")],
        script,
        Rules(jobs=2, memory=GIB),
        on_end=lambda outcome: told.append((current_time(), outcome.name)),
    )

    await schedule.run()

    assert told == [(1, "fast"), (3, "slow")]


@in_virtual_time
async def test_image_that_was_there_already_is_kept() -> None:
    class Kept(Script):
        async def build(self, image: PlannedImage, **_: Any) -> Built:
            return Built(digest="sha256:x", is_new=False)

    outcomes = await run(Kept(), image("a"), image("b", "a"))

    assert statuses(outcomes) == {"a": "kept", "b": "kept"}
