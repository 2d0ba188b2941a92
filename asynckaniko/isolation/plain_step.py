"""The job that carries out one RUN in a root filesystem that is a plain directory, or is `/`.

Nothing is mounted and no namespace entered. What keeps a command from the executor is less than in
namespaces: capabilities that it does not have, a filter against signals and ptrace, and, in mode
`chroot`, another root. docs/isolation.md says what remains.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from asynckaniko.errors import StepFailed
from asynckaniko.isolation.command import Command, execute
from asynckaniko.isolation.swaps import swapped_in
from asynckaniko.linux import capabilities, processes, seccomp
from asynckaniko.linux.capabilities import Capability
from asynckaniko.linux.remove import remove

_ALLOWED = capabilities.DOCKER_DEFAULT - {Capability.MKNOD}
"""Nobody may make devices in the other modes either."""
_NODES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REFUSED = frozenset((errno.EPERM, errno.EACCES))


def run(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Run a command in `root`, which is `/` or a directory; its changes stay there.

    arguments: root, drawer (see `swaps`), argv, env (["K=V"]), cwd, user (USER's text, "" is
    root), network ("host" or "none"), limits ({"nofile": [soft, hard]}), executor (the process that
    nothing may be done to), mounts as `swaps` describes them.

    fds: stdout and stderr of the command, then the files of secrets. A pipe should have mode
    0666, or a command that opens /dev/stderr is refused.

    Returns exit_status (128 + N for signal N), restored (what stood in the place of mounts and is
    back) and touched (directories that were changed for mounts only). Raises StepFailed.
    """
    stdout, stderr = fds[:2]
    root = arguments["root"]
    protected = {1, os.getpid(), os.getppid(), arguments["executor"]}
    give_up = partial(
        _give_up,
        protected,
        processes.threads(arguments["executor"]),
        network=arguments["network"] != "none",
        may_chroot=root == "/",
    )
    with swapped_in(
        arguments.get("mounts", ()), fds, root=root, drawer=arguments["drawer"]
    ) as swapped:
        command = Command(
            argv=arguments["argv"],
            env=[*arguments["env"], *swapped.environment],
            cwd=arguments["cwd"] or "/",
            user=arguments["user"],
            limits=arguments.get("limits", {}),
        )
        try:
            with _changed_root(root):
                status = execute(command, stdout=stdout, stderr=stderr, give_up=give_up)
        finally:
            _end_all()
    return {
        "exit_status": status,
        "restored": swapped.restored,
        "touched": swapped.parents,
    }


def furnish(arguments: Mapping[str, Any], fds: Sequence[int]) -> list[str]:
    """Make /dev, /proc and /sys in the directory `root`, and in /dev what there can be. A job.

    Returns names in /dev that cannot be had. Raises StepFailed: the image has no directory there.
    """
    os.umask(0)
    missing: list[str] = []
    root = os.open(arguments["root"], _DIRECTORY)
    try:
        for name in ("proc", "sys", "dev"):
            os.close(_directory(root, name))
        dev = _directory(root, "dev")
        try:
            missing = [name for name, number in _NODES.items() if not _has_node(dev, name, number)]
            for name, target in _LINKS.items():
                _make_way(dev, name)
                os.symlink(target, name, dir_fd=dev)
            shm = _directory(dev, "shm")
            os.fchmod(shm, 0o1777)
            os.close(shm)
        finally:
            os.close(dev)
    finally:
        os.close(root)
    return missing


def rehearse_chroot(arguments: Mapping[str, Any], fds: Sequence[int]) -> list[str]:
    """Make, furnish and enter the directory `root`, and remove it. A job.

    Returns what `furnish` does. Raises OSError where the root cannot be changed.
    """
    root = arguments["root"]
    os.mkdir(root, 0o755)
    try:
        missing = furnish(arguments, fds)
        with _changed_root(root):
            return missing
    finally:
        parent = os.open(os.path.dirname(root) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        remove(os.fsencode(os.path.basename(root)), parent)
        os.close(parent)


@contextmanager
def _changed_root(root: str) -> Iterator[None]:
    """Have `root` as this process's for the length of the block: nothing is imported in it."""
    if root == "/":
        yield
        return
    top = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chroot(root)
        os.chdir("/")
        try:
            yield
        finally:
            os.fchdir(top)
            os.chroot(".")
            os.fchdir(here)
    finally:
        os.close(top)
        os.close(here)


def _give_up(
    protected: set[int], threads: Sequence[int], *, network: bool, may_chroot: bool
) -> None:
    """Give up what a command does not get; filters need that no program gains rights."""
    seccomp.give_up_new_privileges()
    seccomp.protect(protected, threads=threads)
    if not network:
        seccomp.refuse_network()
    seccomp.restrict()
    # A second chroot would lead out of the first.
    capabilities.limit(_ALLOWED if may_chroot else _ALLOWED - {Capability.SYS_CHROOT})


def _end_all() -> None:
    """End what the command has left running: this process has inherited all of it."""
    while left := processes.children(os.getpid()):
        for pid in left:
            processes.kill_tree(pid)
            os.waitpid(pid, 0)


def _directory(parent: int, name: str) -> int:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise StepFailed(
                f"/{name} of the image is no directory, but commands need one there"
            ) from None
    return os.open(name, _DIRECTORY, dir_fd=parent)


def _make_way(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


def _has_node(dev: int, name: str, number: tuple[int, int]) -> bool:
    """Make a device that can be opened; of /dev/null, a file that is empty when a step begins."""
    _make_way(dev, name)
    try:
        os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(*number), dir_fd=dev)
        if name != "tty":
            os.close(os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=dev))
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        _make_way(dev, name)
    else:
        return True
    if name == "null":
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666, dir_fd=dev))
    return False
