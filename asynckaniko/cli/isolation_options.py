"""The flags --isolation and --pid become Settings."""

from collections.abc import Callable

from asynckaniko.cli.flags import Flag, Value, one_of
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError
from asynckaniko.settings import ISOLATION_MODES, IsolationOptions

_VARIABLE = "ASYNCKANIKO_ISOLATION"
_PIDS = ("private", "shared")
_NOT_YET = ("single-id",)


def isolation_flags(flag: Callable[..., Flag]) -> list[Flag]:
    """Make the two flags; `flag` knows their group."""
    return [
        flag(
            "--isolation",
            value=Value("MODE"),
            default="auto",
            variable=_VARIABLE,
            help="How RUN is kept from this machine: auto, userns, namespaces, in-place, chroot, "
            "or none, which builds without RUN and needs no privilege; `asynckaniko doctor` tells "
            "what works.",
        ),
        flag(
            "--pid",
            value=one_of(*_PIDS),
            default="private",
            help="shared leaves commands among this container's processes, which lets ps work "
            "where /proc is masked, and one command kill the others.",
        ),
    ]


def read_isolation(
    isolation: str | None, pid: str | None, around: Surroundings
) -> IsolationOptions:
    """Turn the flags into settings. Raises UsageError."""
    name, mode = "--isolation", isolation
    if not mode:
        name, mode = _VARIABLE, around.get(_VARIABLE) or "auto"
    if mode in _NOT_YET:
        raise UsageError(f"{name}={mode}: this mode is not available yet; there are {_modes()}")
    if mode not in ISOLATION_MODES:
        raise UsageError(f"{name}={mode}: there is no such mode; there are {_modes()}")
    if mode == "none" and pid == "shared":
        raise UsageError("--pid=shared is about commands, and --isolation=none runs none")
    return IsolationOptions(mode=mode, shared_pids=pid == "shared")


def _modes() -> str:
    *first, last = ISOLATION_MODES
    return f"{', '.join(first)} and {last}"
