"""The program `executor`, as kaniko has it: its flags, its log lines, its exit codes.

`python -m asynckaniko.cli.kaniko` is what `/kaniko/executor` runs. A failed RUN gives its own exit
status, everything else that goes wrong gives 1.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import click

import asynckaniko
from asynckaniko.cli.build_flags import CGROUP_FLAGS, BuildFlags
from asynckaniko.cli.commands import main_group
from asynckaniko.cli.flags import Command
from asynckaniko.cli.inputs import given
from asynckaniko.cli.kaniko_flags import DEPRECATED, WITHOUT_EFFECT, executor_flags, read_flags
from asynckaniko.cli.leaving import QuickExit
from asynckaniko.cli.loading import loading
from asynckaniko.cli.main import guarded
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import AsynckanikoError, UsageError

if TYPE_CHECKING:
    from asynckaniko.cli.build_command import OpenBuilder

_PROGRAM = "executor"
_SUBCOMMANDS = frozenset({"login", "push", "completion"})
"""Those that are the same under both names."""


def executor(arguments: Sequence[str] | None = None) -> int:
    """Run kaniko's executor and return the exit status; see `main.main`."""
    if arguments is not None:
        return guarded(lambda: _run(list(arguments)))
    leaving = QuickExit.prepared()
    return leaving.with_status(guarded(lambda: _run(sys.argv[1:])))


def _run(words: list[str]) -> int:
    if words[:1] == ["version"]:
        sys.stdout.write(f"Kaniko version :  asynckaniko {asynckaniko.__version__}\n")
        return 0
    try:
        if words[:1] and words[0] in _SUBCOMMANDS:
            return _invoke(main_group(), words)
        return _invoke(_command(), words)
    except (AsynckanikoError, click.ClickException) as error:
        # cobra's form; what goes wrong later is reported by the session.
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        sys.stderr.write(f"Error: {text}\nUsage:\n  {_PROGRAM} [flags]\n")
        return 1


def _invoke(command: click.Command, words: list[str]) -> int:
    try:
        with command.make_context(_PROGRAM, words) as context:
            status: int | None = command.invoke(context)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    return status or 0


def _command() -> click.Command:
    return Command(
        _PROGRAM,
        callback=_execute,
        params=executor_flags(),
        foreign=CGROUP_FLAGS,
        help="Build an image as kaniko's executor does, and push it.",
        options_metavar="[flags]",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def _execute(**values: Any) -> int:
    around = Surroundings.of_this_process()
    execution = Execution(values, around, stdout=sys.stdout, stderr=sys.stderr)
    # Wrong flags are told of without waiting for this.
    from asynckaniko.build.job_modules import OUTER
    from asynckaniko.isolation.launch import launched

    with launched(OUTER) as launch:
        with loading():
            from asynckaniko.build.builder import Builder

        return execution.run(partial(Builder, launch=launch))


class Execution:
    """One run of the executor. `values` are its flags, by parameter name."""

    def __init__(
        self, values: dict[str, Any], around: Surroundings, *, stdout: IO[str], stderr: IO[str]
    ) -> None:
        self._values = values
        self._around = around
        self._stdout = stdout
        self._stderr = stderr
        self._flags = _kaniko_rules(read_flags(values), around)

    def run(self, open_builder: "OpenBuilder") -> int:
        """Build and push, and return the exit status.

        Raises:
            UsageError: flags that cannot be used, before anything is done.
            Interrupted: by a signal, after everything was cleaned up.
        """
        with loading():
            from asynckaniko.cli.kaniko_session import KanikoSession
            from asynckaniko.cli.options import resolve

        options = resolve(self._flags_of_library(), self._around, builds_one=True)
        session = KanikoSession(
            options, self._flags, self._around, stdout=self._stdout, stderr=self._stderr
        )
        for old, (spelling, name) in DEPRECATED.items():
            if self._values[old]:
                now = name.replace("_", "-")
                session.log("warning", f"Flag {spelling} is deprecated. Use: --{now}")
        for name, reason in WITHOUT_EFFECT.items():
            if self._values[name] is not None:
                session.log("debug", f"--{name.replace('_', '-')} has no effect: {reason}")
        return session.execute(open_builder)

    def _flags_of_library(self) -> BuildFlags:
        """Take away the files of names that the library writes only for what it has pushed."""
        if not self._flags.no_push:
            return self._flags
        return replace(
            self._flags,
            image_name_with_digest_file=None,
            image_name_tag_with_digest_file=None,
        )


def _kaniko_rules(flags: BuildFlags, around: Surroundings) -> BuildFlags:
    """Apply what differs from our own command.

    The environment wins over --no-push; a build argument without a value that is no variable
    either is empty; the log is coloured unless told otherwise.
    """
    overruled = around.boolean("KANIKO_NO_PUSH")
    no_push = bool(flags.no_push if overruled is None else overruled)
    if not no_push and not given(flags.destination):
        raise UsageError("you must provide --destination, or use --no-push")
    for name in ("image_name_with_digest_file", "image_name_tag_with_digest_file"):
        if getattr(flags, name) and not given(flags.destination):
            raise UsageError(
                f"you must provide --destination if setting --{name.replace('_', '-')}"
            )
    mode = flags.isolation or around.get("ASYNCKANIKO_ISOLATION")
    if given(flags.ignore_path) and mode != "in-place":
        raise UsageError(
            "--ignore-path: paths can be left out of the image in mode in-place only; add"
            " --isolation=in-place"
        )
    cleanup, preserve = flags.cleanup, flags.preserve_context
    arguments = [
        value if "=" in value or value in around.environment else f"{value}="
        for value in given(flags.build_arg)
    ]
    return replace(
        flags,
        cache_dir=(flags.cache_dir or "/cache") if flags.cache else None,
        no_push=no_push,
        cleanup=around.boolean("KANIKO_CLEANUP") if cleanup is None else cleanup,
        preserve_context=(
            around.boolean("KANIKO_PRESERVE_CONTEXT") if preserve is None else preserve
        ),
        build_arg=tuple(arguments),
        log_format=flags.log_format or "color",
    )


if __name__ == "__main__":
    sys.exit(executor())
