"""Find out how commands can be run here: every way is tried for real, and refusals explained."""

import os
import platform
import tempfile
from pathlib import Path

from asynckaniko.errors import HostError, IsolationUnavailable
from asynckaniko.isolation import plain
from asynckaniko.isolation.fork_server import ForkServer
from asynckaniko.isolation.namespaces import (
    NAMESPACES,
    NONE,
    SINGLE_ID,
    USERNS,
    Confinement,
    choose,
)
from asynckaniko.isolation.plain import CHROOT, IN_PLACE, PLAIN_MODES
from asynckaniko.linux import capabilities
from asynckaniko.records import dataclass

_MODULES = ("asynckaniko.isolation.probe", "asynckaniko.isolation.rehearsal")
_CHECK = "asynckaniko.isolation.probe:check_state_directory"
_REHEARSAL = "asynckaniko.isolation.rehearsal"
_REHEARSE_OWNER = f"{_REHEARSAL}:rehearse_owner"
_PLAIN_STEP = "asynckaniko.isolation.plain_step"
_ITS_OWN_ROOT = (
    "a RUN uses this container's own files: it can see and change the executor's, with the "
    "credentials among them; one stage at a time, one image at a time"
)
_ONE_ID = (
    "a RUN sees all files as root's, whoever they belong to in the image, and USER must be root; "
    "more ids lift that (see userns)"
)
_NO_PROC = (
    "a RUN has no /proc, so Java, ps, Go's os.Executable, bash's <( ), /dev/stdout and /dev/stderr "
    "fail"
)
_MASKED_PROC = (
    "in a RUN, ps and top list the processes of the Pod and not their own, because Kubernetes "
    "hides parts of /proc. Few builds mind. --pid=shared makes them work, at a price; so does "
    "procMount: Unmasked, or hostUsers: false with capability SYS_ADMIN"
)
_SECCOMP = {
    "0": "off (in a Pod: seccompProfile Unconfined)",
    "1": "strict",
    "2": "a filter (in a Pod: seccompProfile RuntimeDefault or Localhost)",
}
_NO_NEW_PRIVILEGES = {True: "yes (in a Pod: allowPrivilegeEscalation: false)", False: "no"}
_MACHINES_ROOT = (
    "commands would run as root of the machine, or nearly: `auto` chooses this mode only in a Pod "
    "with hostUsers: false"
)


@dataclass(frozen=True, slots=True)
class ModeReport:
    """One way to build, after it was tried. `reason` says why not and what lifts it."""

    mode: str
    works: bool
    reason: str = ""
    refusal: str = ""
    """The name of the kernel's errno."""
    pod: str = ""
    """The YAML of a Pod that lifts the refusal; empty where a Pod's definition cannot."""
    runs_commands: bool = True
    """Whether Dockerfiles may have RUN."""
    root_id: int = 0
    """Host id behind a command's root."""
    limits: tuple[str, ...] = ()
    """What works less well than on an unrestricted machine, and what lifts that."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found.

    `surroundings` are facts about this process, by name; `modes` go from strong to weak.
    `for_commands` is what `auto` uses for a single build with RUN, empty if there is no way, and
    `for_files` what it uses for others.
    """

    surroundings: tuple[tuple[str, str], ...]
    modes: tuple[ModeReport, ...]

    @property
    def for_commands(self) -> str:
        working = {mode.mode for mode in self.modes if mode.works}
        order = (choose(), SINGLE_ID, *PLAIN_MODES)
        return next((mode for mode in order if mode in working), "")

    @property
    def for_files(self) -> str:
        found = self.for_commands
        return NONE if not found or found in PLAIN_MODES else found


async def examine(directory: Path) -> Examination:
    """Try each mode in `directory`, the state directory or one that will be. Leaves it as it was.

    Raises HostError when the directory cannot be used at all.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="doctor-", dir=directory) as place:
            # The build's root must be able to pass through to its own directory.
            os.chmod(place, 0o711)  # noqa: S103
            modes = [await _try(Path(place), mode) for mode in (USERNS, SINGLE_ID, NAMESPACES)]
            modes += [_look_in_place(), await _try_chroot(Path(place))]
    except OSError as error:
        raise HostError(f"{directory}: {error.strerror}") from error
    modes.append(ModeReport(NONE, works=True, runs_commands=False))
    return Examination(tuple(_surroundings()), tuple(modes))


async def _try(directory: Path, mode: str) -> ModeReport:
    place = directory / mode
    place.mkdir()
    try:
        async with ForkServer.start(
            directory=place,
            preload=_MODULES,
            namespaces=True,
            confinement=Confinement(mode=mode),
        ) as server:
            try:
                await server.call(_CHECK, {"scratch": "."})
                if server.has_one_id:
                    await server.call(_REHEARSE_OWNER, {"scratch": "."})
                limits = await _limits(server)
                if server.has_one_id:
                    limits = (_ONE_ID, *limits)
                if mode == NAMESPACES != choose():
                    limits = (*limits, _MACHINES_ROOT)
                return ModeReport(mode, works=True, root_id=server.root_id, limits=limits)
            finally:
                await server.call(f"{_REHEARSAL}:clear", {})
    except IsolationUnavailable as error:
        return _refused(mode, error)
    except HostError as error:
        return ModeReport(mode, works=False, reason=error.message)


def _look_in_place() -> ModeReport:
    """Say whether `/` may be taken for a root filesystem; that cannot be tried."""
    try:
        plain.check_in_place()
    except IsolationUnavailable as error:
        return _refused(IN_PLACE, error)
    return ModeReport(IN_PLACE, works=True, limits=(_ITS_OWN_ROOT, *_missing_for_files()))


async def _try_chroot(directory: Path) -> ModeReport:
    place = directory / CHROOT
    place.mkdir()
    try:
        plain.check_chroot()
        async with ForkServer.start(
            directory=place, preload=[_PLAIN_STEP], namespaces=False
        ) as server:
            await server.call(f"{_PLAIN_STEP}:rehearse_chroot", {"root": "root"})
    except IsolationUnavailable as error:
        return _refused(CHROOT, error)
    except HostError as error:
        return ModeReport(CHROOT, works=False, reason=error.message)
    return ModeReport(CHROOT, works=True, limits=(_NO_PROC, *_missing_for_files()))


def _refused(mode: str, error: IsolationUnavailable) -> ModeReport:
    return ModeReport(mode, works=False, reason=error.message, refusal=error.refusal, pod=error.pod)


def _missing_for_files() -> tuple[str, ...]:
    missing = plain.missing_for_files()
    return (missing,) if missing else ()


async def _limits(server: ForkServer) -> tuple[str, ...]:
    found = await server.call(f"{_REHEARSAL}:rehearse_step", {})
    limits = [] if found["own_proc"] else [_MASKED_PROC]
    try:
        await server.call(f"{_REHEARSAL}:rehearse_no_network", {})
    except HostError as error:
        limits.append(f"--network=none fails: {error.message}")
    return tuple(limits)


def _surroundings() -> list[tuple[str, str]]:
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    held = sorted(capability.name for capability in capabilities.effective())
    _, outside, count = Path("/proc/self/uid_map").read_text().split()[:3]
    return [
        ("kernel", platform.release()),
        ("uid", str(os.geteuid())),
        ("capabilities", " ".join(held) or "none"),
        ("users", _users(outside, count)),
        ("seccomp", _SECCOMP.get(status["Seccomp"], "unknown")),
        ("no new privileges", _NO_NEW_PRIVILEGES[status["NoNewPrivs"] == "1"]),
        ("security profile", _security_profile()),
    ]


def _users(outside: str, count: str) -> str:
    if outside == "0":
        return "the machine's"
    return f"{count} of its own, from {outside} on the machine (in a Pod: hostUsers: false)"


def _security_profile() -> str:
    try:
        profile = Path("/proc/self/attr/current").read_text()
    except OSError:
        # There is no security module, or it has no word for this process.
        return "none"
    return profile.strip("\0\n ") or "none"
