"""The hint to ext4, as chattr(1) and lsattr(1) know it; other file systems are left alone."""

import fcntl
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from asynckaniko.linux.placement import spread_subdirectories

FS_IOC_GETFLAGS = 0x80086601
TOPDIR = 0x20000


def flags(directory: Path) -> int:
    file = os.open(directory, os.O_RDONLY)
    try:
        value = bytearray(8)
        fcntl.ioctl(file, FS_IOC_GETFLAGS, value)
        return int.from_bytes(value[:4], "little")
    except OSError:
        return 0
    finally:
        os.close(file)


def file_system(directory: Path) -> str:
    command = ["stat", "--file-system", "--format=%T", str(directory)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("place", ["/var/tmp", "/dev/shm"])
def test_only_ext4_is_told(place: str) -> None:
    with tempfile.TemporaryDirectory(dir=place) as name:
        directory = Path(name)
        before = flags(directory)

        spread_subdirectories(directory)
        spread_subdirectories(directory)

        told = TOPDIR if file_system(directory) == "ext2/ext3" else 0
        assert flags(directory) == before | told
        (directory / "below").mkdir()
        assert not flags(directory / "below") & TOPDIR


def test_a_file_is_no_place_for_directories(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(NotADirectoryError):
        spread_subdirectories(tmp_path / "file")
