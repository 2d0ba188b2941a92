"""Signals end a build by cancelling it; a second Ctrl-C does not wait."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]


class RunningBuild:
    """A build that goes on until a signal, and then cleans up until it may end."""

    def __init__(self, directory: Path) -> None:
        self.journal = directory / "journal"
        self.timings = directory / "timings.html"
        self._enough = directory / "enough"
        # Below nohup the tests inherit that a hangup is ignored, and what is ignored stays so.
        program = ["env", "--default-signal=HUP", sys.executable]
        program += ["-m", "tests.unit.cli.interrupted_build"]
        self.process = subprocess.Popen(
            [*program, str(self.journal), str(self._enough), str(self.timings)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, entry: str) -> None:
        def is_there() -> bool:
            assert self.process.poll() is None, f"it ended, and was not {entry}"
            return self.journal.exists() and self.journal.read_text() == entry

        wait_until(is_there, f"it is not {entry}")

    def let_it_end(self) -> None:
        self._enough.touch()

    def end(self) -> tuple[str, str]:
        """Wait for the end; return what was written to stdout and to stderr."""
        return self.process.communicate(timeout=60)


@pytest.fixture
def build(tmp_path: Path) -> Iterator[RunningBuild]:
    """Start the program and wait until it builds."""
    build = RunningBuild(tmp_path)
    with build.process as process:
        try:
            build.wait_for("started")
            yield build
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_signal_cleans_up_and_gives_its_status(
    build: RunningBuild, number: signal.Signals, status: int
) -> None:
    build.process.send_signal(number)
    build.wait_for("cleaning up")
    build.let_it_end()
    out, err = build.end()

    assert build.process.returncode == status
    assert build.journal.read_text() == "cleaned up"
    assert out == ""
    assert err.splitlines()[-1] == f"interrupted by {number.name}"
    assert "Traceback" not in err


def test_interrupted_build_leaves_its_timings(build: RunningBuild) -> None:
    build.let_it_end()
    build.process.send_signal(signal.SIGINT)
    build.end()

    assert "RUN make -j4 all" in build.timings.read_text()


def test_second_ctrl_c_does_not_wait_for_cleaning_up(build: RunningBuild) -> None:
    build.process.send_signal(signal.SIGINT)
    build.wait_for("cleaning up")
    build.process.send_signal(signal.SIGINT)
    _, err = build.end()

    assert build.process.returncode == 130
    assert build.journal.read_text() == "cleaning up"
    assert "Traceback" not in err


def test_sigterm_after_ctrl_c_waits_for_cleaning_up(build: RunningBuild) -> None:
    build.process.send_signal(signal.SIGINT)
    build.wait_for("cleaning up")
    build.process.send_signal(signal.SIGTERM)
    build.let_it_end()
    build.end()

    assert build.process.returncode == 130
    assert build.journal.read_text() == "cleaned up"
