"""unpack_context: what is on disk afterwards is what the archive says, whoever owns the volume."""

import os
import stat
from pathlib import Path

from asynckaniko.rootfs.unpack_context import unpack_context
from tests.unit.rootfs import rawtar as raw
from tests.unit.rootfs.children import in_namespaces
from tests.unit.rootfs.unpacking import memory_file

LIMITS = {"size": 1 << 30, "entries": 1_000_000, "ratio": 200}


def unpack(archive: bytes, directory: str, announce: tuple[str, ...] = ()) -> bytes:
    """Unpack into a new directory; return what was written to the other descriptor."""
    os.mkdir(directory)
    arguments = {"directory": directory, "limits": LIMITS, "announce": announce}
    with memory_file(archive) as source, memory_file() as announcements:
        unpack_context(arguments, [source, announcements])
        return os.pread(announcements, 100, 0)


def test_setgid_bit_of_a_volume_does_not_reach_the_context(tmp_path: Path) -> None:
    archive = raw.directory(b"d") + raw.directory(b"d/e", mode=0o700) + raw.file(b"d/e/f")

    def work() -> list[tuple[int, int]]:
        os.mkdir("volume")
        os.chown("volume", 0, 2000)
        os.chmod("volume", 0o2777)
        unpack(archive + raw.END, "volume/context")
        found = [os.stat(f"volume/context/{path}") for path in (".", "d", "d/e", "d/e/f")]
        return [(stat.S_IMODE(status.st_mode), status.st_gid) for status in found]

    assert in_namespaces(tmp_path, work) == [(0o755, 0), (0o755, 0), (0o700, 0), (0o644, 0)]


def test_directory_that_keeps_its_owner_out_has_its_mode_and_time(tmp_path: Path) -> None:
    archive = raw.directory(b"d", mode=0o500, mtime=5) + raw.directory(b"d/e", mtime=6)
    archive += raw.directory(b"d/e/g", mode=0o070, mtime=7) + raw.file(b"d/e/g/f", mtime=8)

    def work() -> list[tuple[int, float]]:
        unpack(archive + raw.END, "context")
        found = [os.stat(f"context/{path}") for path in ("d", "d/e", "d/e/g")]
        return [(stat.S_IMODE(status.st_mode), status.st_mtime) for status in found]

    assert in_namespaces(tmp_path, work) == [(0o500, 5), (0o755, 6), (0o070, 7)]


def test_first_file_that_is_asked_for_is_announced(tmp_path: Path) -> None:
    archive = raw.directory(b"./") + raw.file(b"./first") + raw.file(b"./second")

    def work() -> bytes:
        return unpack(archive + raw.END, "context", announce=("second", "first"))

    assert in_namespaces(tmp_path, work) == b"\n"
