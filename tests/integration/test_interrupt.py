"""Ctrl-C and SIGTERM: the whole process tree ends, and nothing is left."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Workbench
from tests.support import processes
from tests.support.images import Files
from tests.support.waiting import wait_until

LONG = processes.seconds_of_its_own(4)
"""Seconds, to know the processes by."""
MANY = 20_000
"""Files that take much longer to unpack than it takes to see the first one."""


@pytest.mark.parametrize(
    ("signal_number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_signal_ends_the_build_within_two_seconds(
    bench: Workbench, busybox_layout: Path, signal_number: signal.Signals, exit_code: int
) -> None:
    bench.write(f"FROM busybox\nRUN sleep {LONG} & sleep {LONG}\n")
    layout, digest_file = bench.directory / "out", bench.directory / "digest"
    outputs = ("--oci-layout-path", str(layout), "--digest-file", str(digest_file), "--no-push")
    base = ("--build-context", f"busybox=oci-layout://{busybox_layout}")

    with bench.start(bench.command(*base, *outputs)) as build:
        wait_until(lambda: len(processes.running("sleep", LONG)) == 2, "no command starts")
        # A terminal sends the signal to the whole foreground group.
        os.killpg(build.pid, signal_number)
        assert build.wait(timeout=60) == exit_code

    assert processes.running("sleep", LONG) == []
    assert bench.leftovers() == []
    assert not layout.exists()
    assert not digest_file.exists()
    assert os.listdir(bench.environment["TMPDIR"]) == []


def test_interrupted_state_directory_serves_the_next_build(
    bench: Workbench, busybox_layout: Path
) -> None:
    base = ("--build-context", f"busybox=oci-layout://{busybox_layout}")
    bench.write(f"FROM busybox\nRUN sleep {LONG}1\n")
    with bench.start(bench.command(*base, "--no-push")) as build:
        wait_until(lambda: processes.running("sleep", f"{LONG}1"), "the command does not start")
        build.kill()
    # Not even SIGKILL may leave the commands: their namespace goes with the process that made it.
    wait_until(lambda: not processes.running("sleep", f"{LONG}1"), "the command outlives the build")

    bench.write("FROM busybox\nRUN echo ok > /ok\n")

    assert bench.build_layout(*base).tree["ok"].content == b"ok\n"


@pytest.mark.parametrize(
    ("mode", "begun"), [("userns", "rootfs/builds/*/file0"), ("none", "listed/builds/*/data")]
)
def test_layer_that_was_being_unpacked_goes_with_the_next_build(
    bench: Workbench, base: Callable[[Files], str], mode: str, begun: str
) -> None:
    bench.write("FROM base\nCOPY --from=base /file0 /copy\n")
    value = base({f"file{number}": "" for number in range(MANY)})
    options = ("--no-push", f"--isolation={mode}", "--build-context", f"base={value}")
    command = bench.command(*options)

    with bench.start(command) as build:
        wait_until(lambda: list(bench.state.glob(begun)), "no layer is unpacked")
        build.kill()
    wait_until(lambda: not processes.belonging_to(bench.state), "its helpers outlive it")
    assert list(bench.state.glob(begun))
    assert list(bench.state.glob("*/layers/*")) == []

    done = bench.run(command)

    assert done.exit_code == 0, done.said
    assert bench.leftovers() == []
