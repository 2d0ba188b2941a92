"""The flags about how commands run: --isolation and --pid, --ulimit and --shm-size."""

import re
from collections.abc import Callable, Iterable

from asynckaniko.build.request import StepLimits
from asynckaniko.build.step_limits import parse_shm_size, parse_ulimit
from asynckaniko.cli.flag_values import Value, one_of, repeated
from asynckaniko.cli.flags import Flag
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError
from asynckaniko.settings import ISOLATION_MODES, IsolationOptions

_VARIABLE = "ASYNCKANIKO_ISOLATION"
_PIDS = ("private", "shared")
_NAME = re.compile(r"[a-z]+")


def isolation_flags(flag: Callable[..., Flag]) -> list[Flag]:
    """Make the flags; `flag` knows their group."""
    return [
        flag(
            "--isolation",
            value=Value("MODE"),
            default="auto",
            variable=_VARIABLE,
            help="How RUN is kept from this machine: auto, userns, single-id, namespaces, "
            "in-place, chroot, or none, which builds without RUN and needs no privilege; "
            "`asynckaniko doctor` tells what works.",
        ),
        flag(
            "--pid",
            value=one_of(*_PIDS),
            default="private",
            help="shared leaves commands among this container's processes, which lets ps work "
            "where /proc is masked, and one command kill the others.",
        ),
        flag(
            "--ulimit",
            value=repeated("NAME=SOFT[:HARD]"),
            help="Limit each RUN, by docker's names: nofile=1024:4096, nproc=200, core=0; -1 is "
            "no limit.",
        ),
        flag(
            "--shm-size",
            value=Value("SIZE"),
            default="64m",
            help="Size of /dev/shm in each RUN; k, m and g are powers of 1024, as docker has it.",
        ),
    ]


def read_isolation(
    isolation: str | None, pid: str | None, around: Surroundings
) -> IsolationOptions:
    """Turn the flags into settings. Raises UsageError."""
    name, mode = "--isolation", isolation
    if not mode:
        name, mode = _VARIABLE, around.get(_VARIABLE) or "auto"
    if mode not in ISOLATION_MODES:
        raise UsageError(f"{name}={mode}: there is no such mode; there are {_modes()}")
    if mode == "none" and pid == "shared":
        raise UsageError("--pid=shared is about commands, and --isolation=none runs none")
    return IsolationOptions(mode=mode, shared_pids=pid == "shared")


def read_step_limits(ulimits: Iterable[str], shm_size: str | None) -> StepLimits:
    """Read NAME=SOFT[:HARD], the last of one name wins; and a size. Raises UsageError."""
    found: dict[str, tuple[int, int]] = {}
    for text in ulimits:
        name, _, value = text.partition("=")
        try:
            found[name] = parse_ulimit(value if _NAME.fullmatch(name) else "")
        except ValueError as error:
            raise UsageError(
                f'invalid --ulimit "{text}": it must be NAME=SOFT[:HARD], two numbers, as in'
                " nofile=1024:4096"
            ) from error
    return StepLimits(ulimits=found, shm_size=_bytes(shm_size) if shm_size else None)


def _bytes(text: str) -> int:
    try:
        return parse_shm_size(text)
    except ValueError as error:
        raise UsageError(
            f'invalid --shm-size "{text}": it must be a size like 256m or 1g'
        ) from error


def _modes() -> str:
    *first, last = ISOLATION_MODES
    return f"{', '.join(first)} and {last}"
