"""An upper directory becomes a layer: tar, two digests, compression (rootfs.pack_layer)."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from asynckaniko.rootfs.pack_layer import pack_upper
from perf.micro._result import Result, rate, rate_of
from perf.micro._trees import many_small_files, one_large_file


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name, (Path(name) / "layer").open("wb") as output:
        small, large = Path(name) / "small", Path(name) / "large"
        files, size = many_small_files(small), one_large_file(large)
        command = ["tar", "-cf", f"{name}/out.tar", "-C", str(small), "."]
        tar = rate_of("tar -cf", files, "files", command)
        for compression in ("none", "gzip", "zstd"):
            work = partial(_pack, small, output.fileno(), compression)
            yield rate(f"{files} small files, {compression}", files, "files", work).beside(tar)
        content = (large / "large").read_bytes()
        hashed = rate("sha256 once", size / 1e6, "MB", partial(hashlib.sha256, content))
        for compression in ("none", "gzip", "zstd"):
            work = partial(_pack, large, output.fileno(), compression)
            yield rate(f"one large file, {compression}", size / 1e6, "MB", work).beside(hashed)


def _pack(upper: Path, output: int, compression: str) -> None:
    os.lseek(output, 0, os.SEEK_SET)
    os.ftruncate(output, 0)
    pack_upper({"upper": os.fspath(upper), "compression": compression}, [output])
