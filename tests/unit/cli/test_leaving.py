"""The quick end of the program loses nothing that the slow one would have said or done."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
START = """
import atexit, sys, threading, time
from asynckaniko.cli.leaving import QuickExit
leaving = QuickExit.prepared()
"""
END = "sys.exit(leaving.with_status(3))"


def run(
    *lines: str, options: tuple[str, ...] = (), stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", "\n".join([START, *lines, END])],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        timeout=60,
    )


def test_status_and_buffered_output_arrive() -> None:
    done = run("sys.stdout.write('x' * 100_000)", "sys.stderr.write('y')")

    assert (done.returncode, done.stdout, done.stderr) == (3, "x" * 100_000, "y")


def test_threads_and_exit_functions_come_first() -> None:
    done = run(
        "def work():",
        "    time.sleep(0.2)",
        "    print('thread')",
        "atexit.register(print, 'exit function')",
        "threading.Thread(target=work).start()",
    )

    assert (done.returncode, done.stdout) == (3, "thread\nexit function\n")


def test_modules_are_not_taken_apart_except_in_development_mode() -> None:
    lines = ("class Last:", "    def __del__(self):", "        print('undone')", "last = Last()")

    assert run(*lines).stdout == ""
    assert run(*lines, options=("-X", "dev")).stdout == "undone\n"


def test_output_that_cannot_be_written_is_the_interpreters_error() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = run("print('x')", stdout=full)
    finally:
        os.close(full)

    # https://docs.python.org/3/library/sys.html#sys.exit
    assert done.returncode == 120
    assert "No space left on device" in done.stderr


def test_program_that_goes_on_without_a_status_ends_as_any_other() -> None:
    done = run("sys.exit(5)")

    assert done.returncode == 5
