"""Chown of a command as the first process of its step answers it, here without a user namespace."""

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from asynckaniko.isolation.owner_calls import OwnerCalls, meant_owner
from asynckaniko.linux import owners, syscalls

libc = ctypes.CDLL(None, use_errno=True)
UNCHANGED = 2**32 - 1


def failing(function: Callable[[], object]) -> int:
    try:
        function()
    except OSError as error:
        return error.errno or 255
    return 0


def answered(upper: Path, function: Callable[[], object]) -> tuple[int, list[tuple[int, ...]]]:
    """Return the errno that `function` fails with, and what is known of links."""
    with OwnerCalls(str(upper)) as calls:
        child = os.fork()
        if child == 0:
            calls.install()
            os._exit(failing(function))
        calls.begin()
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), [tuple(link) for link in calls.links]


def in_a_thread(function: Callable[[], object]) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(failing(function)))
    thread.start()
    thread.join()
    if found != [0]:
        raise OSError(found[0], "in the thread")


def at(directory: int, path: bytes | ctypes.c_char_p, flags: int) -> None:
    if libc.fchownat(directory, path, 5, 6, flags):
        raise OSError(ctypes.get_errno(), "fchownat")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_text("x")
    return file


def opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


def from_its_directory(file: Path) -> None:
    os.chdir(file.parent)
    os.chown(file.name, 5, 6)


def through_a_link(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    os.chown(link, 5, 6)


def in_a_changed_root(file: Path) -> None:
    os.chroot(file.parent)
    os.chown("/file", 5, 6)


def below_a_changed_root(file: Path) -> None:
    os.chroot(file.parent)
    os.chdir("/")
    os.chown("file", 5, 6)


WAYS: dict[str, Callable[[Path], object]] = {
    "by name": lambda file: os.chown(file, 5, 6),
    "by descriptor": lambda file: os.fchown(opened(file), 5, 6),
    "in a directory": lambda file: os.chown(file.name, 5, 6, dir_fd=opened(file.parent)),
    "by an empty name": lambda file: at(opened(file), b"", syscalls.AT_EMPTY_PATH),
    "in a thread": lambda file: in_a_thread(lambda: os.chown(file, 5, 6)),
    "from its directory": from_its_directory,
    "through a link": through_a_link,
    "in a changed root": in_a_changed_root,
    "below a changed root": below_a_changed_root,
}


@pytest.mark.parametrize("way", WAYS)
def test_owner_is_recorded_and_the_file_is_roots(way: str, file: Path) -> None:
    number, links = answered(file.parent, lambda: WAYS[way](file))

    assert (number, links) == (0, [])
    assert owners.recorded(str(file)) == (5, 6)
    assert (file.stat().st_uid, file.stat().st_gid) == (0, 0)


def test_caller_is_found_where_proc_numbers_it_otherwise(file: Path) -> None:
    pid = os.fork()
    if pid == 0:
        # As in a Pod: /proc is that of a pid namespace above.
        syscalls.unshare(syscalls.CLONE_NEWPID)
        first = os.fork()
        if first == 0:
            number, _ = answered(file.parent, lambda: in_a_thread(lambda: os.chown(file, 5, 6)))
            os._exit(number)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]))

    assert os.waitpid(pid, 0)[1] == 0
    assert owners.recorded(str(file)) == (5, 6)


def test_set_id_bits_go_as_with_chown(file: Path) -> None:
    file.chmod(0o6755)

    answered(file.parent, lambda: os.chown(file, 5, -1))

    # chown(2): cleared for executable files, for root too.
    assert file.stat().st_mode & 0o7777 == 0o755
    assert owners.recorded(str(file)) == (5, UNCHANGED)


def test_file_that_is_written_anew_keeps_its_owner_but_not_from_chown(file: Path) -> None:
    os.setxattr(file, "user.asynckaniko.owner", b"5:6")

    assert answered(file.parent, lambda: os.fchown(opened(file), 0, 0))[0] == 0
    assert owners.recorded(str(file)) == (5, 6)

    assert answered(file.parent, lambda: os.chown(file, 0, 0))[0] == 0
    assert owners.recorded(str(file)) == (0, 0)


def test_links_are_told_by_inode_and_birth(tmp_path: Path, file: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "fifo")

    def give() -> None:
        os.lchown(tmp_path / "link", 5, 6)
        os.chown(tmp_path / "fifo", -1, 7)
        os.chown(tmp_path / "fifo", 8, -1)

    number, links = answered(Path("/"), give)

    born = {name: syscalls.birth_time(-100, os.fsencode(tmp_path / name)) for name in LINKS}
    assert number == 0
    assert links == [
        ((tmp_path / name).lstat().st_ino, born[name], *owner) for name, owner in LINKS.items()
    ]
    assert owners.recorded(str(file)) is None


LINKS = {"link": (5, 6), "fifo": (8, 7)}


REFUSED: dict[str, tuple[int, Callable[[Path], object]]] = {
    "no such file": (errno.ENOENT, lambda file: os.chown(f"{file}.not", 5, 6)),
    "no directory": (errno.ENOTDIR, lambda file: os.chown(f"{file}/x", 5, 6)),
    "no name": (errno.ENOENT, lambda file: at(opened(file.parent), b"", 0)),
    "no descriptor": (errno.EBADF, lambda file: os.fchown(1234, 5, 6)),
    "no such flags": (errno.EINVAL, lambda file: at(opened(file.parent), b"file", 0x4)),
    "too long a name": (errno.ENAMETOOLONG, lambda file: at(-100, b"/x" * 2100, 0)),
    "no memory": (errno.EFAULT, lambda file: at(-100, ctypes.c_char_p(8), 0)),
    "link of /proc": (errno.EPERM, lambda file: os.chown(f"/proc/self/fd/{opened(file)}", 5, 6)),
}


@pytest.mark.parametrize("way", REFUSED)
def test_refusals_are_those_of_the_kernel(way: str, file: Path) -> None:
    expected, function = REFUSED[way]

    assert answered(file.parent, lambda: function(file))[0] == expected
    assert owners.recorded(str(file)) is None


def test_links_do_not_lead_out_of_a_changed_root(tmp_path: Path, file: Path) -> None:
    jail = tmp_path / "jail"
    jail.mkdir()
    (jail / "out").symlink_to(file)
    (jail / "up").symlink_to("../file")

    def give(path: str) -> int:
        def call() -> None:
            os.chroot(jail)
            os.chdir("/")
            os.chown(path, 5, 6)

        return answered(tmp_path, call)[0]

    assert [give(path) for path in ("/out", "/up", "/../file", "out", "up", "../file")] == [
        *(errno.ENOENT, errno.ENOENT, errno.ENOENT),
        # Of relative names it is not known where the root would end them.
        *(errno.EPERM, errno.EPERM, errno.EPERM),
    ]
    assert owners.recorded(str(file)) is None


@pytest.mark.parametrize(
    ("command", "wanted", "meant"),
    [
        (["chgrp", "x"], (0, 7), (UNCHANGED, 7)),
        (["chown", "-R", "app", "x"], (5, 0), (5, UNCHANGED)),
        (["/bin/busybox", "chown", ":app", "x"], (0, 7), (UNCHANGED, 7)),
        (["busybox", "chgrp", "app", "x"], (0, 7), (UNCHANGED, 7)),
        (["chown", "root:root", "x"], (0, 0), (0, 0)),
        (["chown", "root", "x"], (0, 0), (0, UNCHANGED)),
        (["cp", "-a", "x", "y"], (0, 0), (0, 0)),
    ],
)
def test_ids_that_chown_was_not_told_stay(
    command: list[str], wanted: tuple[int, int], meant: tuple[int, int]
) -> None:
    assert meant_owner(wanted, [word.encode() for word in command]) == meant
