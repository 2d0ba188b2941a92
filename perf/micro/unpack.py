"""A layer becomes files: two digests, decompression, tar, writing (rootfs.apply_layer)."""

import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from asynckaniko.rootfs.apply_layer import unpack_layer
from asynckaniko.rootfs.decompress import decompressed
from asynckaniko.rootfs.pack_layer import pack_upper
from asynckaniko.rootfs.tar_reader import TarReader
from perf.micro._result import Result, rate
from perf.micro._trees import many_small_files, one_large_file

_CHUNK_SIZE = 128 * 1024
_LIMITS = {"size": 1 << 40, "entries": 1 << 24}


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        files = many_small_files(directory / "small")
        size = one_large_file(directory / "large")
        for tree, amount, unit in (("small", files, "files"), ("large", size / 1e6, "MB")):
            for compression in ("none", "gzip", "zstd"):
                layer = _pack(directory, tree, compression)
                if compression == "none":
                    tar = partial(_untar, layer["path"], itertools.count())
                    limit = rate(f"tar -xf {tree}", amount, unit, tar)
                work = partial(_unpack, layer, itertools.count())
                yield rate(f"unpack {tree}, {compression}", amount, unit, work).beside(limit)
        layer = _pack(directory, "small", "none")
        yield rate("read headers only", files, "files", partial(_read, layer))


def _pack(directory: Path, tree: str, compression: str) -> dict[str, Any]:
    path = directory / f"{tree}.{compression}"
    with path.open("wb") as output:
        job = {"upper": os.fspath(directory / tree), "compression": compression}
        return pack_upper(job, [output.fileno()]) | {"path": path}


def _unpack(layer: dict[str, Any], number: Iterator[int]) -> None:
    """Unpack into a new directory each time: ext4 is slow where much was deleted just now."""
    job = {
        "directory": f"{layer['path']}.{next(number)}",
        "media_type": "",
        "digest": layer["digest"],
        "size": layer["size"],
        "diff_id": layer["diff_id"],
        "limits": _LIMITS,
    }
    with layer["path"].open("rb") as blob:
        unpack_layer(job, [blob.fileno()])


def _untar(archive: Path, number: Iterator[int]) -> None:
    directory = Path(f"{archive}.tar.{next(number)}")
    directory.mkdir()
    subprocess.run(["tar", "-xf", str(archive), "-C", str(directory)], check=True)


def _read(layer: dict[str, Any]) -> None:
    with layer["path"].open("rb", buffering=0) as blob:
        for _ in TarReader(decompressed(partial(blob.read, _CHUNK_SIZE))):
            pass
