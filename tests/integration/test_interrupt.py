"""Ctrl-C and SIGTERM: the whole process tree ends, and nothing is left."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Workbench
from tests.support import processes

LONG = "98765"
"""Seconds that no other test sleeps, to know the processes by."""


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
        deadline = time.monotonic() + 60
        while len(processes.running("sleep", LONG)) < 2:
            assert build.poll() is None, "the build ended by itself"
            assert time.monotonic() < deadline, "the commands do not start"
            time.sleep(0.02)
        # A terminal sends the signal to the whole foreground group.
        os.killpg(build.pid, signal_number)
        # Two seconds are the promise, not a guess at what is fast.
        assert build.wait(timeout=2) == exit_code

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
        deadline = time.monotonic() + 60
        while not processes.running("sleep", f"{LONG}1"):
            assert time.monotonic() < deadline, "the command does not start"
            time.sleep(0.02)
        build.kill()
    # Not even SIGKILL may leave the commands: their namespace goes with the process that made it.
    deadline = time.monotonic() + 10
    while processes.running("sleep", f"{LONG}1"):
        assert time.monotonic() < deadline, "the command outlives the build"
        time.sleep(0.02)

    bench.write("FROM busybox\nRUN echo ok > /ok\n")

    assert bench.build_layout(*base).tree["ok"].content == b"ok\n"
