"""Every archive of the corpus, through every door: refused or confined, and nothing else moves."""

import errno
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from asynckaniko.errors import ArchiveError, CopyFailed
from asynckaniko.linux import syscalls
from asynckaniko.rootfs.decompress import decompressed
from asynckaniko.rootfs.remove import remove_trees
from asynckaniko.rootfs.unpack_context import unpack_context
from tests.unit.rootfs.children import in_namespaces, refuse_openat2
from tests.unit.rootfs.copying import copy
from tests.unit.rootfs.corpus import OUTSIDE, PAYLOAD, Case, every_case
from tests.unit.rootfs.unpacking import apply, memory_file, unpack

CASES = every_case()
_LONGEST_SECONDS = 5


def test_corpus_is_as_large_as_it_should_be() -> None:
    assert len(CASES) > 1000
    assert 300 < sum(case.refused for case in CASES) < len(CASES) - 300


@pytest.mark.parametrize("back_end", ["kernel", "walk"])
@pytest.mark.parametrize("door", ["layer", "files to copy", "ADD", "context"])
def test_archive_is_refused_or_confined(tmp_path: Path, door: str, back_end: str) -> None:
    def work() -> dict[str, str]:
        if back_end == "walk":
            refuse_openat2(errno.ENOSYS)
        world = _World(door)
        problems = {case.name: world.judge(case) for case in CASES}
        return {name: problem for name, problem in problems.items() if problem}

    assert in_namespaces(tmp_path, work) == {}


@pytest.mark.parametrize(
    "touch",
    [
        lambda: os.chmod("outside/victim", 0o644),
        lambda: os.link("outside/victim", "outside/directory/link"),
        lambda: Path("outside/directory/new").mkdir(),
        lambda: Path("new").touch(),
        lambda: os.open(".", os.O_RDONLY),
    ],
)
def test_touch_outside_would_be_seen(tmp_path: Path, touch: Callable[[], object]) -> None:
    def work() -> bool:
        world = _World("layer")
        before = world.look()
        touch()
        return world.look() != before

    assert in_namespaces(tmp_path, work)


class _World:
    """A directory at a path that the archives know, with things that they must not touch."""

    def __init__(self, door: str) -> None:
        self._door = door
        self._count = 0
        syscalls.mount(".", os.fsdecode(os.path.dirname(OUTSIDE)), None, syscalls.MS_BIND)
        os.chdir(os.path.dirname(OUTSIDE))
        os.makedirs("outside/directory", 0o700)
        Path("outside/victim").write_text("untouched")

    def judge(self, case: Case) -> str:
        """Unpack a case; say what is wrong with how it ended, or nothing."""
        os.mkdir("case")
        os.chdir("case")
        Path("cwd-victim").write_text("untouched")
        before = self.look()
        problem = self._outcome(case)
        _unmount_trees()
        if self.look() != before:
            problem += "; it changed what is outside"
        os.chdir("..")
        remove_trees({"paths": ["case"]}, [])
        return problem

    def look(self) -> dict[str, object]:
        """Describe all that nobody but this class may change."""
        outside = os.fsdecode(OUTSIDE)
        paths = [outside, "cwd-victim"]
        for directory, directories, files in os.walk(outside):
            paths += [f"{directory}/{name}" for name in [*directories, *files]]
        described: dict[str, object] = {path: _fingerprint(path) for path in paths}
        described["beside the root"] = sorted({*os.listdir(".")} - _PLACES)
        described["above the root"] = sorted(os.listdir(os.path.dirname(outside)))
        described["descriptors"] = len(os.listdir("/proc/self/fd"))
        return described

    def _outcome(self, case: Case) -> str:
        # Names of deletions are ordinary names everywhere else.
        refused = case.is_refused(copied=self._door != "layer")
        try:
            with _alarm():
                root = self._unpack(case.archive)
        except ArchiveError as error:
            if not str(error).isprintable():
                return f"unprintable: {str(error)!r}"
            # A context may not just stop, as other archives may: it could be the half of one.
            ends = ("its end mark is missing", "the archive is empty")
            cut = self._door == "context" and str(error).endswith(ends)
            return "" if refused or cut else str(error)
        except CopyFailed as error:
            # No layer could say that a file has the name of a deletion.
            return "" if self._door == "ADD" and "/.wh." in str(error) else str(error)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if self._door == "ADD" and (
            # What does not begin as an archive does is copied as the file that it is, and an
            # entry for the root itself is left out.
            _read(b"upper/archive") == case.archive or set(os.listdir(root)) <= {"pw"}
        ):
            return ""
        if refused:
            return "not refused"
        if case.lands and _read(os.fsencode(root) + b"/" + case.lands) != PAYLOAD:
            return f"nothing at {case.lands!r}"
        return ""

    def _unpack(self, blob: bytes) -> str:
        if self._door == "layer":
            unpack(blob, tar=_content(blob))
            return "layer"
        if self._door == "context":
            os.mkdir("context")
            with memory_file(blob) as descriptor:
                limits = {"size": 1 << 30, "entries": 1_000_000, "ratio": 200}
                unpack_context({"directory": "context", "limits": limits}, [descriptor, -1])
            return "context"
        if self._door == "ADD":
            os.mkdir("source")
            Path("source/archive").write_bytes(blob)
            copied = copy(Path("source"), ["archive"], add=True, unpack=True)
            apply(copied.content, "replace", [])
            return "upper"
        self._count += 1
        # Mounting and unmounting takes longer than the case: one in twenty has something below.
        with_lower = self._count % 20 == 0
        if with_lower:
            os.makedirs("lower/etc")
        stream = io.BytesIO(blob)
        archive = b"".join(iter(decompressed(lambda: stream.read(4096)), b""))
        apply(archive, "replace", ["lower"] if with_lower else [])
        return "upper"


_PLACES = {"layer", "lower", "upper", "work", "scratch", "source", "archive", "context"}


def _content(blob: bytes) -> bytes:
    """Decompress as far as it goes: the diffID is only compared after all else went well."""
    stream = io.BytesIO(blob)
    read = decompressed(lambda: stream.read(4096))
    content = b""
    with suppress(ArchiveError):
        while piece := read():
            content += piece
    return content


def _fingerprint(path: str) -> tuple[int, ...]:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return ()
    times = status.st_mtime_ns, status.st_ctime_ns
    return (status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_nlink, *times)


def _read(path: bytes) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with open(descriptor, "rb") as file:
        return file.read()


def _unmount_trees() -> None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4]
        if "/case/scratch/" in target:
            syscalls.umount(target, syscalls.MNT_DETACH)


@contextmanager
def _alarm() -> Iterator[None]:
    """Let a case that hangs fail."""

    def ring(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _LONGEST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
