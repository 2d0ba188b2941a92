"""Which files of the build context the instructions of a plan can read. Pure; in doubt, all."""

import re
from collections.abc import Iterator

from asynckaniko.build.plan import Plan
from asynckaniko.build.remote_files import is_remote
from asynckaniko.build.sources import FromArrival
from asynckaniko.context.needed_paths import NeededPaths
from asynckaniko.dockerfile.instructions import Add, Copy, Run, StageInstruction
from asynckaniko.dockerfile.run_mounts import BindMount, parse_mount
from asynckaniko.errors import DockerfileError

_NOT_PLAIN = re.compile(r"[$\"'\\`]|(^|/)\.\.(/|$)")
"""Variables, quotes and escapes make another word of it where its instruction stands; `..` may lead
anywhere."""
_WILDCARD = re.compile(r"[*?\[]")


def find_needed(plan: Plan, context: FromArrival) -> NeededPaths | None:
    """List what COPY and ADD of all planned stages can read; None if that may be anything."""
    paths: dict[str, None] = {}
    prefixes: dict[str, None] = {}
    for stage in plan.stages.values():
        for source in (stage.base, *stage.sources.values()):
            if isinstance(source, FromArrival) and source.arrival is context.arrival:
                # A named context of the same address.
                return None
        for instruction in stage.instructions:
            if isinstance(instruction, Run) and any(map(_shows_context, instruction.mounts)):
                return None
            for word in _words(instruction):
                path = "/".join(name for name in word.split("/") if name not in ("", "."))
                wildcard = _WILDCARD.search(path)
                if wildcard:
                    path = path[: wildcard.start()]
                if not path or _NOT_PLAIN.search(word):
                    return None
                (prefixes if wildcard else paths)[path] = None
    return NeededPaths(tuple(paths), tuple(prefixes))


def _words(instruction: StageInstruction) -> Iterator[str]:
    """Yield the sources in the context."""
    if isinstance(instruction, Add):
        yield from (word for word in instruction.sources if not is_remote(word))
    elif isinstance(instruction, Copy) and not instruction.from_:
        yield from instruction.sources


def _shows_context(mount: str) -> bool:
    """Tell whether a mount of RUN is one of the context, or not to be understood yet."""
    try:
        parsed = parse_mount(mount, str)
    except DockerfileError:
        return True
    return "$" in mount or (isinstance(parsed, BindMount) and not parsed.from_)
