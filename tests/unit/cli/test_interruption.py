"""Signals end a build by cancelling it; a second Ctrl-C does not wait."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@contextmanager
def running_build(directory: Path, *, clean_up_seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Start the program and wait until it builds."""
    journal, timings = directory / "journal", directory / "timings.html"
    # Below nohup the tests inherit that a hangup is ignored, and what is ignored stays so.
    program = [
        "env",
        "--default-signal=HUP",
        sys.executable,
        "-m",
        "tests.unit.cli.interrupted_build",
    ]
    with subprocess.Popen(
        [*program, str(journal), str(clean_up_seconds), str(timings)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while not journal.exists() and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_signal_cleans_up_and_gives_its_status(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with running_build(tmp_path, clean_up_seconds=0.1) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)

    assert process.returncode == status
    assert (tmp_path / "journal").read_text() == "cleaned up"
    assert out == ""
    assert err.splitlines()[-1] == f"interrupted by {number.name}"
    assert "Traceback" not in err


def test_interrupted_build_leaves_its_timings(tmp_path: Path) -> None:
    with running_build(tmp_path, clean_up_seconds=0) as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)

    assert "RUN make -j4 all" in (tmp_path / "timings.html").read_text()


def test_second_ctrl_c_does_not_wait_for_cleaning_up(tmp_path: Path) -> None:
    with running_build(tmp_path, clean_up_seconds=600) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert (tmp_path / "journal").read_text() == "started"
    assert "Traceback" not in err


def test_sigterm_after_ctrl_c_waits_for_cleaning_up(tmp_path: Path) -> None:
    with running_build(tmp_path, clean_up_seconds=0.5) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)

    assert process.returncode == 130
    assert (tmp_path / "journal").read_text() == "cleaned up"
