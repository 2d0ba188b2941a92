"""Functions that tests call through a fork server."""

import errno
import os
import signal
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.errors import CommandFailed

Arguments = Mapping[str, Any]


def echo(arguments: Arguments, fds: Sequence[int]) -> Any:
    return arguments["value"]


def surroundings(arguments: Arguments, fds: Sequence[int]) -> dict[str, Any]:
    opened = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            opened[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that listed the directory
            continue
    return {
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "directory": os.getcwd(),
        "environment": dict(os.environ),
        "ids": [os.getuid(), os.getgid(), os.getgroups()],
        "ignored": [n for n in range(1, 32) if signal.getsignal(n) == signal.SIG_IGN],
        "modules": sorted(sys.modules),
        "pid": os.getpid(),
        "umask": os.umask(0),
        "open": opened,
        "session": os.getsid(0),
    }


def write(arguments: Arguments, fds: Sequence[int]) -> None:
    for fd in fds:
        os.write(fd, arguments["text"].encode())


def fail(arguments: Arguments, fds: Sequence[int]) -> None:
    match arguments["how"]:
        case "typed":
            raise CommandFailed("it failed", exit_status=7, output=("last", "words"))
        case "missing":
            os.open("no/such/file", os.O_RDONLY)
        case "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "layers/a", None, "layers/b")
        case "bug":
            dict(arguments)["the key"]
        case "exit":
            sys.exit(5)
        case "vanish":
            os._exit(5)
        case "signal":
            os.kill(os.getpid(), 9)


def leave_daemons(arguments: Arguments, fds: Sequence[int]) -> None:
    """Start sleeping processes in sessions of their own; then sleep too, or return."""
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv("/bin/sleep", ["sleep", arguments["seconds"]])
            os._exit(0)
    os.write(fds[0], b"started")
    while arguments["stay"]:
        time.sleep(1000)


def say_and_stay(arguments: Arguments, fds: Sequence[int]) -> None:
    os.write(fds[0], b"here")
    while True:
        time.sleep(1000)


def make_tree(arguments: Arguments, fds: Sequence[int]) -> None:
    """Make files below `directory`: text, or {content, link, mode, uid, gid, busybox}."""
    top = arguments["directory"]
    os.makedirs(top, 0o755, exist_ok=True)
    os.chmod(top, 0o755)
    for path, entry in arguments["files"].items():
        details = {"content": entry} if isinstance(entry, str) else entry
        _make(f"{top}/{path}", details, fds)


def _make(path: str, details: Mapping[str, Any], fds: Sequence[int]) -> None:
    if path.endswith("/"):
        os.makedirs(path, 0o755, exist_ok=True)
        path = path.rstrip("/")
    else:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        if "link" in details:
            os.symlink(details["link"], path)
            return
        if "hardlink" in details:
            os.link(os.path.dirname(path) + "/" + details["hardlink"], path)
            return
        content = details.get("content", "").encode()
        if details.get("busybox"):
            content = os.pread(fds[0], os.fstat(fds[0]).st_size, 0)
        with open(path, "wb") as file:
            file.write(content)
    os.chown(path, details.get("uid", 0), details.get("gid", 0))
    os.chmod(path, details.get("mode", 0o755 if os.path.isdir(path) else 0o644))


def read_tree(arguments: Arguments, fds: Sequence[int]) -> dict[str, str]:
    """Describe what is below `directory`: `kind mode uid:gid content` by path."""
    found = {}
    top = arguments["directory"]
    for parent, directories, files in os.walk(top):
        for name in directories + files:
            path = f"{parent}/{name}"
            found[os.path.relpath(path, top)] = _describe(path)
    return found


def _describe(path: str) -> str:
    status = os.lstat(path)
    owner = f"{stat.S_IMODE(status.st_mode):o} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return f"link {os.readlink(path)}"
    if stat.S_ISDIR(status.st_mode):
        return f"directory {owner}"
    if stat.S_ISCHR(status.st_mode):
        return f"device {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    with open(path, errors="replace") as file:
        return f"file {owner} {file.read(100)}"
