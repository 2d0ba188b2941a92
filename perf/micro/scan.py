"""What a step changed: the walk over an upper directory (rootfs.walk), and the listing of a whole
root that is compared with an earlier one (rootfs.plain.listing).
"""

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from asynckaniko.rootfs.pack_layer import Packer
from asynckaniko.rootfs.paths import READ_DIRECTORY
from asynckaniko.rootfs.plain.changes import compare
from asynckaniko.rootfs.plain.ignored import Ignored
from asynckaniko.rootfs.plain.listing import take_listing
from asynckaniko.rootfs.tar_writer import TarWriter
from asynckaniko.rootfs.walk import walk
from perf.micro._result import Result, rate, rate_of
from perf.micro._trees import many_small_files

_CHANGED = 100


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        root, upper = Path(name) / "root", Path(name) / "upper"
        files = many_small_files(root)
        upper.mkdir()
        for number in range(_CHANGED):
            (upper / f"f{number}").write_bytes(b"changed")
        # -size makes find call fstatat for each entry, and nothing else.
        command = ["find", str(root), "-size", "+1000000000k"]
        found = rate_of("find -size", files, "entries", command)
        descriptor = os.open(root, READ_DIRECTORY)
        small = os.open(upper, READ_DIRECTORY)
        try:
            listing = take_listing(descriptor, Ignored())
            entries = len(listing)
            listed = partial(take_listing, descriptor, Ignored())
            yield rate(f"list a root of {entries}", entries, "entries", listed).beside(found)
            again = take_listing(descriptor, Ignored())
            yield rate("compare two listings", entries, "entries", partial(compare, listing, again))
            tar = ["tar", "-cf", f"{name}/out.tar", "-C", str(root), "."]
            packed = rate_of("tar -cf", files, "files", tar)
            yield rate(
                f"walk an upper of {files}, contents read",
                files,
                "files",
                partial(_walk, descriptor),
            ).beside(packed)
            yield rate(f"walk an upper of {_CHANGED}", _CHANGED, "files", partial(_walk, small))
        finally:
            os.close(descriptor)
            os.close(small)


def _walk(root: int) -> None:
    walk(root, Packer(TarWriter(lambda _: None)))
