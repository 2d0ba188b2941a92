"""Write an error for people: where in the Dockerfile, what the command said last, what to try.

The excerpt has BuildKit's form. The last line is always `error: ...`.
"""

import signal
import traceback
from collections.abc import Callable, Iterator
from typing import TypeAlias

from asynckaniko.cli.labels import output_text, plain_text
from asynckaniko.concurrency import leaves
from asynckaniko.errors import (
    AsynckanikoError,
    CommandFailed,
    RegistryUnavailable,
    SourceSpan,
    Unauthorized,
)

_RULE = "-" * 20
_MOST_LINES = 12
"""Lines of one instruction that are shown; a heredoc may have hundreds."""
_MOST_WIDTH = 200
_LAST_OUTPUT = 20

_Paint: TypeAlias = Callable[[str, int], str]


class Interrupted(BaseException):
    """The process was told to stop, and what it did has been cleaned up.

    Like KeyboardInterrupt no Exception: nothing between the work and `main` may hold it up.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def error_report(
    error: BaseException, *, color: bool = False, memory_limit: int = 0, label: str = "error:"
) -> str:
    """Write a whole report, with a traceback if the error is none of ours.

    `memory_limit` is the cgroup's in bytes, 0 if there is none: for commands that were killed.
    `label` begins the last line.
    """
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(
            error_report(leaf, color=color, memory_limit=memory_limit, label=label)
            for leaf in leaves(error)
        )
    if not isinstance(error, AsynckanikoError):
        trace = "".join(traceback.format_exception(error))
        return f"{trace}{label} this is a bug in asynckaniko: {type(error).__name__}: {error}\n"
    paint = _paint if color else _leave
    lines = [*_output(error)]
    if error.span:
        lines += excerpt(error.span, error.source or "", color=color)
    lines += [f"hint: {hint}" for hint in _hints(error, memory_limit)]
    lines.append(f"{paint(label, 31)} {_message(error)}")
    return "\n".join((*lines, ""))


def exit_code(error: BaseException) -> int:
    """Tell the exit status: a failed RUN's own, 1 for a bug, that of the first of several."""
    if isinstance(error, BaseExceptionGroup):
        codes = [exit_code(leaf) for leaf in leaves(error)]
        return 1 if 1 in codes else codes[0]
    if isinstance(error, CommandFailed):
        return error.exit_status
    return error.exit_code if isinstance(error, AsynckanikoError) else 1


def _message(error: AsynckanikoError) -> str:
    lines = [plain_text(line) for line in error.message.splitlines()] or [type(error).__name__]
    return "\n  ".join(lines)


def _output(error: AsynckanikoError) -> Iterator[str]:
    if not isinstance(error, CommandFailed) or not error.output:
        return
    yield "-" * 6
    left_out = len(error.output) - _LAST_OUTPUT
    if left_out > 0:
        yield f" ... ({left_out} lines before)"
    for line in error.output[-_LAST_OUTPUT:]:
        yield f" {output_text(line, color=False)}".rstrip()
    yield "-" * 6


def excerpt(span: SourceSpan, source: str, *, color: bool) -> Iterator[str]:
    """Write the instruction with the lines around it, as BuildKit does."""
    paint = _paint if color else _leave
    yield str(span)
    lines = source.removesuffix("\n").split("\n")
    if not 1 <= span.first <= len(lines):
        return
    blamed = range(span.first, min(span.last, len(lines)) + 1)
    around = 2 if len(blamed) == 1 else 1
    yield _RULE
    shown = range(max(1, blamed[0] - around), min(len(lines), blamed[-1] + around) + 1)
    for number in shown:
        if number not in blamed:
            yield f" {number:3} |     {_clipped(lines[number - 1])}".rstrip()
        elif number - blamed[0] < _MOST_LINES:
            mark = paint(">>>", 31)
            yield f" {number:3} | {mark} {_clipped(lines[number - 1])}".rstrip()
        elif number - blamed[0] == _MOST_LINES:
            yield f" ... | {paint('>>>', 31)} ({len(blamed) - _MOST_LINES} more lines)"
    yield _RULE


def _clipped(line: str) -> str:
    text = plain_text(line)
    return text if len(text) <= _MOST_WIDTH else f"{text[: _MOST_WIDTH - 3]}..."


def _hints(error: AsynckanikoError, memory_limit: int) -> Iterator[str]:
    if isinstance(error, CommandFailed):
        yield from _command_hints(error, memory_limit)
    if isinstance(error, Unauthorized):
        yield (
            "credentials come from docker's config.json: $DOCKER_CONFIG, ~/.docker or "
            "/kaniko/.docker; `asynckaniko login` writes one"
        )
    if isinstance(error, RegistryUnavailable) and (hint := _registry_hint(error)):
        yield hint


def _registry_hint(error: RegistryUnavailable) -> str:
    if "cannot connect" in error.message or "no such host" in error.message:
        return (
            "is the registry's name right, and may this machine or Pod reach it? Proxies come from "
            "HTTPS_PROXY and NO_PROXY, a mirror from --registry-mirror"
        )
    return ""


def _command_hints(error: CommandFailed, memory_limit: int) -> Iterator[str]:
    said = "\n".join(error.output)
    if error.exit_status == 137:
        limit = f" (the limit here is {memory_limit / (1 << 30):.1f} GiB)" if memory_limit else ""
        yield f"137 is SIGKILL: most often the memory limit was reached{limit}"
    elif "xec format error" in said:
        yield "the program is for another platform, and nothing is emulated: see --custom-platform"
    elif "Unable to locate package" in said:
        yield "the package lists may be missing or old: run apt-get update in the same RUN"
    elif "Temporary failure resolving" in said or "Temporary failure in name resolution" in said:
        yield "the command found no name server: RUN has the network of this machine or Pod"
    elif error.exit_status in {126, 127}:
        what = "found" if error.exit_status == 127 else "executed"
        yield f"{error.exit_status} means a program could not be {what} in the image"


def _paint(text: str, color: int) -> str:
    return f"\x1b[1;{color}m{text}\x1b[0m"


def _leave(text: str, _: int) -> str:
    return text
