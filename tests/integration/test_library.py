"""A service builds with `asynckaniko` as its documentation says: by public names only."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio import create_task_group

from asynckaniko import Builder, BuildRequest, OciLayout, Settings, errors, events
from tests.integration.conftest import Workbench
from tests.support.images import read_layout

FAIL = "FROM busybox\nRUN echo oops && exit 9\n"
HANG = "FROM busybox\nRUN echo begun && sleep 1000\n"


@pytest.fixture
def settings(bench: Workbench) -> Settings:
    return Settings(state_dir=bench.state)


def request(bench: Workbench, busybox_layout: Path, dockerfile: str, name: str) -> BuildRequest:
    """Ask for an image of a context of its own, as a layout of that name."""
    context = bench.directory / f"{name}-context"
    context.mkdir()
    (context / "Dockerfile").write_text(dockerfile)
    return BuildRequest(
        context=str(context),
        build_contexts={"busybox": f"oci-layout://{busybox_layout}"},
        outputs=(OciLayout(path=bench.directory / name),),
    )


async def test_events_are_streamed_until_the_result_is_there(
    bench: Workbench, busybox_layout: Path, settings: Settings
) -> None:
    seen: list[events.Event] = []
    async with Builder(settings) as builder:
        asked = request(bench, busybox_layout, "FROM busybox\nRUN echo hello\n", "image")
        async with builder.start(asked) as running:
            async for event in running.events:
                seen.append(event)
            digest = running.result.digest

    assert [e.line for e in seen if isinstance(e, events.StepOutput)] == ["hello"]
    assert isinstance(seen[-1], events.BuildFinished)
    assert read_layout(bench.directory / "image").digest == digest


async def test_leaving_one_build_early_cancels_it_and_no_other(
    bench: Workbench, busybox_layout: Path, settings: Settings
) -> None:
    async with Builder(settings) as builder:

        async def build_other() -> None:
            await builder.build(request(bench, busybox_layout, "FROM busybox\nRUN echo\n", "other"))

        hanging = request(bench, busybox_layout, HANG, "hanging")
        async with create_task_group() as tasks, builder.start(hanging) as running:
            async for event in running.events:
                if isinstance(event, events.StepOutput):
                    tasks.start_soon(build_other)
                    break
        with pytest.raises(RuntimeError, match="has not finished"):
            _ = running.result

    assert (bench.directory / "other/index.json").exists()
    assert not (bench.directory / "hanging").exists()


async def test_failure_is_one_error_of_its_class_wherever_the_block_stands(
    bench: Workbench, busybox_layout: Path, settings: Settings
) -> None:
    async with Builder(settings) as builder:
        with pytest.raises(errors.CommandFailed) as raised:
            asked = request(bench, busybox_layout, FAIL, "image")
            async with builder.start(asked) as running:
                async for _ in running.events:
                    pass
                _ = running.result

    assert raised.value.exit_status == 9
    assert raised.value.output == ("oops",)
    assert raised.value.span is not None
    assert raised.value.span.first == 2


@pytest.fixture
def process_state() -> Iterator[None]:
    """Compare what belongs to the whole process before and after."""

    def globals_of_the_process() -> tuple[object, ...]:
        umask = os.umask(0o022)
        os.umask(umask)
        # SIGINT belongs to whoever runs the event loop.
        numbers = signal.valid_signals() - {signal.SIGINT}
        handlers = {number: signal.getsignal(number) for number in numbers}
        # The variable is the test runner's own word on where it is.
        environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
        return environment, os.getcwd(), umask, handlers

    before = globals_of_the_process()
    yield
    assert globals_of_the_process() == before


@pytest.mark.usefixtures("process_state")
async def test_builds_leave_the_service_s_process_as_it_is(
    bench: Workbench, busybox_layout: Path, settings: Settings
) -> None:
    async with Builder(settings) as builder:
        result = await builder.build(request(bench, busybox_layout, "FROM busybox\nRUN :\n", "a"))

    assert read_layout(bench.directory / "a").digest == result.digest
