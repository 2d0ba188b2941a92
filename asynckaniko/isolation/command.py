"""Run the command of a step as a child of PID 1, inside the finished root."""

import errno
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import NoReturn, Protocol

from asynckaniko.errors import StepFailed
from asynckaniko.isolation import rlimits
from asynckaniko.linux import capabilities, processes, seccomp
from asynckaniko.linux.accounts import Accounts, Identity, UnknownAccount
from asynckaniko.records import dataclass

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
"""What shells answer for a command that does not exist, or that cannot be executed."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `user` is USER's text, `env` are `K=V` as the program is to see them.

    `limits` are soft and hard ones by the names of `rlimits`.
    """

    argv: Sequence[str]
    env: Sequence[str]
    cwd: str
    user: str
    limits: Mapping[str, Sequence[int]] = field(default_factory=dict)


class Attendant(Protocol):
    """Whoever answers system calls of a command."""

    @property
    def kept(self) -> Sequence[int]:
        """Descriptors that stay open in the command's process until it is the command."""
        ...

    def admit(self, identity: Identity, user: str) -> None:
        """Raise IsolationUnavailable if no command can run as `identity`."""
        ...

    def install(self) -> None:
        """Have the calls of this process answered, which is about to be the command."""
        ...

    def begin(self) -> None:
        """Begin to answer, in the parent of the process that installs."""
        ...


def limit() -> None:
    """Give up what a command in namespaces of its own does not get."""
    seccomp.restrict()
    capabilities.limit(capabilities.DOCKER_DEFAULT)


def execute(
    command: Command,
    *,
    stdout: int,
    stderr: int,
    give_up: Callable[[], None] = limit,
    attendant: Attendant | None = None,
) -> int:
    """Run `command` and return its exit status, 128 + N when signal N killed it.

    The caller is PID 1 of the command's pid namespace, or a subreaper, and has the command's root
    as its own. All descriptors but 0, 1 and 2 are closed in the command; `stdout` and `stderr` are
    closed here. What the command leaves running is reaped or, when the caller exits, killed.
    `give_up` is called in the command's process, as root, before it is the command.

    Raises StepFailed: no such user, no such working directory, a limit that cannot be had.
    IsolationUnavailable: nothing can run as the user here.
    """
    identity, env = _identify(command)
    if attendant is not None:
        attendant.admit(identity, command.user)
    _change_directory(command.cwd)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _become(
            command,
            identity,
            env,
            fds=(stdout, stderr),
            report=writer,
            give_up=give_up,
            attendant=attendant,
        )
    os.close(writer)
    os.close(stdout)
    if attendant is not None:
        attendant.begin()
    refusal = os.read(reader, 4096).decode(errors="replace")
    os.close(reader)
    status = _reap_until(child)
    if refusal:
        kind, _, text = refusal.partition(" ")
        if kind == "step":
            os.close(stderr)
            raise StepFailed(text)
        os.write(stderr, f"{text}\n".encode())
    os.close(stderr)
    return status


def _identify(command: Command) -> tuple[Identity, list[str]]:
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        accounts = Accounts.read(root)
        identity = accounts.identify(command.user)
    except UnknownAccount as error:
        raise StepFailed(str(error)) from error
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EFBIG, errno.ELOOP}:
            raise
        raise StepFailed(f"{error.filename}: {error.strerror}; it should list accounts") from error
    finally:
        os.close(root)
    env = list(command.env)
    if not any(variable.startswith("HOME=") for variable in env):
        env.append(f"HOME={accounts.home(identity.uid)}")
    return identity, env


def _change_directory(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as error:
        raise StepFailed(f"cannot change to the working directory {path}: {error.strerror}") from (
            error
        )


def _become(
    command: Command,
    identity: Identity,
    env: Sequence[str],
    *,
    fds: tuple[int, int],
    report: int,
    give_up: Callable[[], None],
    attendant: Attendant | None,
) -> NoReturn:
    """Be the command, or report why not and exit. `report` closes by itself when it is."""
    try:
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        # The pipes may have any numbers, 0 to 2 among them: first out of the way, then in place.
        sources = [os.dup(null), os.dup(fds[0]), os.dup(fds[1])]
        report = os.dup(report)
        for number, source in enumerate(sources):
            os.dup2(source, number)
        processes.close_all_but([report, *(attendant.kept if attendant else ())])
        os.umask(0o022)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            # Python ignores them, and what is ignored stays so across execve.
            signal.signal(number, signal.SIG_DFL)
        if attendant is not None:
            attendant.install()
        give_up()
        _take_identity(identity, report)
        _limit(command, report)
        status, refusal = _exec(command.argv, env)
    except BaseException as error:
        status, refusal = 1, f"exec cannot start the command: {error}"
    os.write(report, refusal.encode(errors="replace")[:4096])
    os._exit(status)


def _take_identity(identity: Identity, report: int) -> None:
    try:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        os.write(
            report,
            f"step cannot run as {identity.uid}:{identity.gid} ({error.strerror}): the build's "
            "user namespace has no such ids; give the executor a larger range of ids".encode(),
        )
        os._exit(1)


def _limit(command: Command, report: int) -> None:
    try:
        rlimits.impose(command.limits)
    except StepFailed as error:
        os.write(report, f"step {error}".encode())
        os._exit(1)


def _exec(argv: Sequence[str], env: Sequence[str]) -> tuple[int, str]:
    """Execute as execvpe(3) would; return the status and the reason when nothing was executed."""
    variables = {name: value for name, _, value in (item.partition("=") for item in env) if name}
    program = argv[0] if argv else ""
    if "/" in program:
        candidates = [program]
    else:
        path = variables.get("PATH", _DEFAULT_PATH)
        candidates = [os.path.join(place or ".", program) for place in path.split(":")]
    refusal = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for candidate in candidates if program else []:
        try:
            os.execve(candidate, list(argv), variables)  # noqa: S606  the point of it all
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                refusal = error
                if error.errno != errno.EACCES:
                    break
    missing = refusal.errno == errno.ENOENT
    where = "" if "/" in program else " in $PATH"
    reason = f"executable file not found{where}" if missing else refusal.strerror
    return _NOT_FOUND if missing else _NOT_EXECUTABLE, f'exec exec: "{program}": {reason}'


def _reap_until(child: int) -> int:
    """Reap everything that ends, as PID 1 must, until the command itself has."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
