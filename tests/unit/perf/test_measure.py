"""The figures are only worth something if nothing escapes them."""

import os
import sys
from pathlib import Path

from perf.measure import Usage, measure
from perf.report import Run, table
from perf.traffic import Traffic

SPIN = 'import time\nwhile time.process_time() < 0.3: pass\nopen("over", "x")'


def run(directory: Path, *command: str) -> Usage:
    return measure(
        command,
        directory=directory,
        environment=dict(os.environ),
        log=directory / "log",
        timeout_seconds=60,
    )


def test_time_of_a_daemonised_grandchild_counts(tmp_path: Path) -> None:
    script = f"setsid {sys.executable} -c '{SPIN}' & until [ -e over ]; do sleep 0.05; done"

    usage = run(tmp_path, "sh", "-c", script)

    assert usage.exit_code == 0
    assert usage.cpu >= 0.3


def test_memory_is_that_of_the_largest_process(tmp_path: Path) -> None:
    usage = run(tmp_path, sys.executable, "-c", "x = bytearray(64 << 20); x[::4096] = x[::4096]")

    assert usage.process_memory >= 64 << 20


def test_failure_is_reported_and_logged(tmp_path: Path) -> None:
    usage = run(tmp_path, "sh", "-c", "echo why; exit 3")

    assert usage.exit_code == 3
    assert (tmp_path / "log").read_text() == "why\n"


def test_ratio_is_the_median_of_the_repeats_own_ratios() -> None:
    walls = {"this": (1.0, 2.0, 4.0), "other": (3.0, 4.0, 4.0)}
    runs = [
        Run("app", name, repeat, Usage(0, wall, 0, 0, 0, 0), Traffic(0, 0, 0))
        for name, times in walls.items()
        for repeat, wall in enumerate(times)
    ]

    rows = table(runs, reference="this").splitlines()

    assert [row.split("|")[-2].strip() for row in rows[2:]] == ["1.00", "2.00"]
