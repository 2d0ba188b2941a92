"""The program `asynckaniko`: run a command, report what went wrong, return the exit status."""

import os
import signal
import sys
from collections.abc import Callable, Sequence

import click
from click.shell_completion import shell_complete

from asynckaniko.cli.commands import COMPLETE_VARIABLE, PROGRAM, main_group
from asynckaniko.cli.leaving import QuickExit
from asynckaniko.cli.report import Interrupted, error_report, exit_code
from asynckaniko.cli.surroundings import Surroundings

_INTERRUPTED = 128 + signal.SIGINT
_BROKEN_PIPE = 128 + signal.SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    `arguments` default to the process's, which then ends with that status, whatever comes after.
    """
    if arguments is not None:
        return guarded(lambda: _run(list(arguments)))
    leaving = QuickExit.prepared()
    return leaving.with_status(guarded(lambda: _run(sys.argv[1:])))


def guarded(run: Callable[[], int]) -> int:
    """Run something, report whatever it raises, and return the exit status."""
    try:
        return run()
    except Interrupted as interruption:
        _say(f"interrupted by {interruption}\n")
        return interruption.exit_code
    except KeyboardInterrupt:
        # Before the event loop ran or after it ended: there is nothing to clean up.
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our result has left; the interpreter must not fail again at its last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except click.ClickException as error:
        _say(f"error: {error.format_message()}\n")
        return error.exit_code
    except BaseException as error:
        _say(error_report(error, color=Surroundings.of_this_process().color()))
        return exit_code(error)


def _run(words: list[str]) -> int:
    group = main_group()
    asked = os.environ.get(COMPLETE_VARIABLE)
    if asked:
        return shell_complete(group, {}, PROGRAM, COMPLETE_VARIABLE, asked)
    try:
        # Not group.main(): it has its own ideas of exit statuses and broken pipes.
        with group.make_context(PROGRAM, words or ["--help"]) as context:
            status = group.invoke(context)
    except click.exceptions.Exit as leaving:
        status = leaving.exit_code
    sys.stdout.flush()
    return status or 0


def _say(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        # Nobody reads it; the exit status still tells.
        return
