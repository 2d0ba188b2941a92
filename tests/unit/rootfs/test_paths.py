"""RootFS and `clean`: names stay inside, however they are written and whoever renames meanwhile."""

import ctypes
import errno
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynckaniko.errors import ArchiveError
from asynckaniko.rootfs.paths import OpenInRoot, RootFS, clean, open_by_kernel, open_by_walk
from tests.unit.rootfs.children import in_child, refuse_openat2

BACK_ENDS = pytest.mark.parametrize("opener", [open_by_kernel, open_by_walk])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "root"
    directory.mkdir()
    (tmp_path / "secret").write_text("outside")
    return directory


@pytest.fixture
def open_root(root: Path) -> Iterator[Callable[[OpenInRoot], RootFS]]:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield lambda opener: RootFS(descriptor, open_in_root=opener)
    os.close(descriptor)


def read(rootfs: RootFS, path: bytes) -> str:
    with open(rootfs.open(path, os.O_RDONLY)) as file:
        return file.read()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"a", b"a"),
        (b"./a/", b"a"),
        (b"/a//b/./c", b"a/b/c"),
        (b"a/../b", b"b"),
        (b"", b""),
        (b"./", b""),
        (b"a/..", b""),
        (b"...", b"..."),
        (b"n" * 255, b"n" * 255),
    ],
)
def test_name_becomes_a_path_from_the_root(name: bytes, path: bytes) -> None:
    assert clean(name) == path


@pytest.mark.parametrize(
    "name", [b"..", b"../a", b"/../a", b"a/../../b", b"./..", b"n" * 256, b"a\0b", b"d/" * 257]
)
def test_name_that_leads_out_or_cannot_exist_is_refused(name: bytes) -> None:
    with pytest.raises(ArchiveError):
        clean(name)


@BACK_ENDS
@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("absolute", "/secret"),
        ("climbing", "../../../../../secret"),
        ("chained", "absolute"),
        ("through", "dir/../../secret"),
    ],
)
def test_link_out_of_the_root_leads_to_the_file_of_that_name_inside(
    root: Path,
    open_root: Callable[[OpenInRoot], RootFS],
    opener: OpenInRoot,
    link: str,
    target: str,
) -> None:
    (root / "dir").mkdir()
    (root / "secret").write_text("inside")
    (root / "absolute").symlink_to("/secret")
    if link != "absolute":
        (root / link).symlink_to(target)

    assert read(open_root(opener), link.encode()) == "inside"


@BACK_ENDS
@pytest.mark.parametrize("path", [b"..", b"../..", b"/", b"", b".", b"dir/..", b"up"])
def test_parent_of_the_root_is_the_root(
    root: Path, open_root: Callable[[OpenInRoot], RootFS], opener: OpenInRoot, path: bytes
) -> None:
    (root / "dir").mkdir()
    (root / "up").symlink_to("../../..")

    status = open_root(opener).lookup(path)

    assert status is not None
    assert status.st_ino == root.stat().st_ino


@BACK_ENDS
@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"missing", errno.ENOENT),
        (b"file/x", errno.ENOTDIR),
        (b"file/", errno.ENOTDIR),
        (b"file/.", errno.ENOTDIR),
        (b"file/..", errno.ENOTDIR),
        (b"loop", errno.ELOOP),
        (b"loop/x", errno.ELOOP),
        (b"link0", errno.ELOOP),
        (b"to-file/x", errno.ENOTDIR),
        (b"dangling", errno.ENOENT),
        (b"n" * 256, errno.ENAMETOOLONG),
    ],
)
def test_both_back_ends_fail_as_the_kernel_does(
    root: Path,
    open_root: Callable[[OpenInRoot], RootFS],
    opener: OpenInRoot,
    path: bytes,
    code: int,
) -> None:
    (root / "file").touch()
    (root / "to-file").symlink_to("file")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nowhere")
    for number in range(41):
        (root / f"link{number}").symlink_to(f"link{number + 1}" if number < 40 else "file")

    with pytest.raises(OSError, match=re.escape(os.strerror(code))):
        os.close(open_root(opener).open(path, os.O_RDONLY))


@BACK_ENDS
def test_last_link_is_opened_itself_on_request(
    root: Path, open_root: Callable[[OpenInRoot], RootFS], opener: OpenInRoot
) -> None:
    (root / "link").symlink_to("/secret")
    descriptor = open_root(opener).open(b"link", os.O_PATH | os.O_NOFOLLOW)

    target = os.readlink(b"", dir_fd=descriptor)
    os.close(descriptor)

    assert target == b"/secret"


@BACK_ENDS
def test_lookup_finds_nothing_where_nothing_is(
    root: Path, open_root: Callable[[OpenInRoot], RootFS], opener: OpenInRoot
) -> None:
    (root / "file").touch()
    rootfs = open_root(opener)

    assert rootfs.lookup(b"missing/deeper") is None
    assert rootfs.lookup(b"file/deeper") is None


def test_resolving_follows_every_link_and_tells_what_is_missing(root: Path) -> None:
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/lib/current").symlink_to("/opt/v1/lib")
    (root / "usr/lib/file").touch()
    with RootFS.at(str(root)) as rootfs:
        assert rootfs.resolve(b"/lib") == (b"usr/lib", ())
        assert rootfs.resolve(b"lib/file") == (b"usr/lib/file", ())
        assert rootfs.resolve(b"lib/x/../y/z") == (b"usr/lib/y/z", (b"y", b"z"))
        assert rootfs.resolve(b"lib/current/f") == (b"opt/v1/lib/f", (b"opt", b"v1", b"lib", b"f"))
        assert rootfs.resolve(b"../..") == (b"", ())
        with pytest.raises(NotADirectoryError):
            rootfs.resolve(b"lib/file/x")


def test_directories_are_made_where_links_lead(root: Path, tmp_path: Path) -> None:
    (root / "srv").symlink_to("/data/../data/srv")
    with RootFS.at(str(root)) as rootfs:
        assert rootfs.make_directories(b"srv/a/b", 0o700) == [
            b"data",
            b"data/srv",
            b"data/srv/a",
            b"data/srv/a/b",
        ]
        assert rootfs.make_directories(b"srv/a") == []
    assert (root / "data/srv/a/b").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "secret"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_walk_is_chosen_where_the_kernel_refuses_openat2(root: Path, code: int) -> None:
    (root / "file").write_text("inside")

    def chosen() -> tuple[str, str]:
        refuse_openat2(code)
        with RootFS.at(str(root)) as rootfs:
            return rootfs.open_in_root.__name__, read(rootfs, b"file")

    assert in_child(chosen) == ("open_by_walk", "inside")


COMPONENTS = st.sampled_from([b"a", b"b", b"l1", b"l2", b"f", b"..", b".", b""])
LINKS = st.sampled_from([b"l1", b"l2", b"a/l1", b"a/b/l2"])
TARGETS = st.lists(COMPONENTS, min_size=1, max_size=4).map(b"/".join).filter(bool)


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    links=st.lists(
        st.tuples(st.sampled_from([b"l1", b"a/l1", b"a/b/l2", b"l2"]), TARGETS), max_size=4
    ),
    path=st.lists(COMPONENTS, max_size=6).map(b"/".join),
)
def test_walk_and_kernel_find_the_same(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[bytes, bytes]], path: bytes
) -> None:
    base = os.fsencode(tmp_path_factory.mktemp("tree"))
    for directory in (b"root/a/b", b"a/b"):
        os.makedirs(os.path.join(base, directory))
    for file in (b"root/f", b"root/a/f", b"f", b"a/f"):
        os.close(os.open(os.path.join(base, file), os.O_CREAT))
    for name, target in links:
        link = os.path.join(base, b"root", name)
        if not os.path.lexists(link):
            os.symlink(target, link)
    root = os.open(os.path.join(base, b"root"), os.O_RDONLY | os.O_DIRECTORY)

    def outcome(opener: OpenInRoot, flags: int) -> int:
        try:
            descriptor = opener(root, path, flags)
        except OSError as error:
            return -(error.errno or 0)
        inode = os.fstat(descriptor).st_ino
        os.close(descriptor)
        return inode

    for flags in (os.O_PATH, os.O_PATH | os.O_NOFOLLOW, os.O_RDONLY | os.O_DIRECTORY):
        assert outcome(open_by_walk, flags) == outcome(open_by_kernel, flags)
    os.close(root)


def exchange_for_ever(first: Path, second: Path) -> int:
    """Fork a process that swaps two names as fast as it can; return its id."""
    child = os.fork()
    if child:
        return child
    libc = ctypes.CDLL(None)
    names = os.fsencode(first), os.fsencode(second)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        libc.renameat2(-100, names[0], -100, names[1], 2)
    os._exit(0)


@BACK_ENDS
def test_no_rename_during_a_lookup_leads_out_of_the_root(
    root: Path, tmp_path: Path, open_root: Callable[[OpenInRoot], RootFS], opener: OpenInRoot
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "x").mkdir()
    (root / "y").symlink_to(outside)
    rootfs = open_root(opener)
    swapper = exchange_for_ever(root / "x", root / "y")
    inside = 0
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline or not inside:
            try:
                directory = rootfs.open_directory(b"x")
            except OSError:
                continue
            os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
            os.close(directory)
            inside += 1
    finally:
        os.kill(swapper, signal.SIGKILL)
        os.waitpid(swapper, 0)

    assert list(outside.iterdir()) == []
