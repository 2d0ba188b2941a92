"""`asynckaniko doctor`: in which ways this place lets builds be run, and what would allow more."""

import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO

import anyio
import orjson

from asynckaniko.isolation.doctor import Examination, ModeReport, examine
from asynckaniko.isolation.plain import PLAIN_MODES

_MOST_COLUMNS = 100
_MEANING = {
    "userns": "as a root that is nobody outside; needs no privilege",
    "single-id": "as the only user there is; owners are kept beside the files",
    "namespaces": "as root of a Pod with users of its own (SYS_ADMIN)",
    "in-place": "over this container's own files (executor image only)",
    "chroot": "in a directory, by chroot; without /proc",
    "none": "not at all; everything else works, in any Pod",
}


def run(state_dir: Path, *, form: str, stdout: IO[str]) -> int:
    """Examine, print, and return the exit status: 6 if no RUN can be run here. Raises HostError."""
    found = anyio.run(examine, _existing(state_dir), backend_options={"use_uvloop": True})
    if form == "json":
        stdout.write(json(found, state_dir))
    else:
        columns = min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
        stdout.write("".join(f"{line}\n" for line in lines(found, state_dir, columns=columns)))
    return 0 if found.for_commands else 6


def json(found: Examination, state_dir: Path) -> str:
    """Write what was found for programs."""
    document = {
        "state_dir": str(state_dir),
        "for_run": found.for_commands or None,
        "without_run": found.for_files,
        "modes": [asdict(mode) for mode in found.modes],
        "surroundings": dict(found.surroundings),
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"


def lines(found: Examination, state_dir: Path, *, columns: int) -> Iterator[str]:
    """Write what was found for people."""
    yield f"Tried here, with the state directory {state_dir}."
    yield ""
    yield from _verdict(found.for_commands)
    yield ""
    yield f"{'MODE':<12}{'RESULT':<10}HOW A RUN IS RUN"
    for mode in found.modes:
        result = "works" if mode.works else mode.refusal or "refused"
        yield from _wrapped(f"{mode.mode:<12}{result:<10}", _MEANING[mode.mode], columns)
    for mode in _worth_a_word(found):
        yield from _explained(mode, columns)
    yield ""
    yield "What this process is allowed:"
    yield ""
    for name, value in found.surroundings:
        yield from _wrapped(f"{name:<19}", value, columns)


def _verdict(chosen: str) -> Iterator[str]:
    if not chosen:
        yield "Builds with RUN are refused here. Builds without RUN work, in mode none."
        yield "For RUN, change the settings as any one of the modes below asks."
        return
    yield f"Builds with RUN work here, in mode {chosen}."
    if chosen in PLAIN_MODES:
        yield "It does not protect the executor: build only what you trust in it."
        yield "For more, change the settings as one of the refused modes below asks."
    else:
        yield "No setting has to be changed."


def _worth_a_word(found: Examination) -> Iterator[ModeReport]:
    """Give the mode that is used, and those that are stronger: nobody needs the others."""
    for mode in found.modes:
        yield mode
        if mode.mode == found.for_commands:
            return


def _explained(mode: ModeReport, columns: int) -> Iterator[str]:
    if mode.works:
        for limit in mode.limits:
            yield ""
            yield from _wrapped("", f"{mode.mode} works, but: {limit}", columns)
        return
    yield ""
    yield from _wrapped("", f"{mode.mode}: {mode.reason}", columns)
    if mode.pod:
        yield "What lifts it, in the Pod:"
        yield ""
        yield from textwrap.indent(mode.pod, "    ").splitlines()


def _wrapped(label: str, text: str, columns: int) -> list[str]:
    return textwrap.wrap(
        text,
        columns,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _existing(directory: Path) -> Path:
    """Find the directory, or the one that it will be made in."""
    return next(place for place in (directory, *directory.parents) if place.is_dir())
