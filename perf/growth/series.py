"""The series: one thing of which a build has more and more, everything else the same."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from perf.inputs import freeze, packages, sources, text

_MEBIBYTE = 1 << 20
_POOL = 16
_RESERVE = 2 << 30
_FILE_ROOM = 12 << 10
"""Bytes on disk for each small file: a block, its inode, and its share of a layer."""
BATCH = (
    "batch {context}/images.json --state-dir {state} --insecure-registry {registry}"
    " --var REPOSITORY={repository}"
)


@dataclass(frozen=True)
class Series:
    """What grows, where it is measured, and how the build of one size is made."""

    label: str
    """For the axis: what a size counts."""
    sizes: Sequence[int]
    write: Callable[[Path, str, int], None]
    """Writes a context of that size, on the base image of that reference."""
    base_layers: Callable[[int], int] = lambda _: 1
    """How many layers of generated files the base has above busybox."""
    words: tuple[str, ...] = ()
    """What the package is told, if not to build the context."""
    disk: Callable[[int], int] = lambda _: _RESERVE
    """Bytes that a run needs below the working directory, its context included."""


def copied_files(directory: Path, base: str, size: int) -> None:
    packages(directory / "tree", files=size, seed=11)
    _dockerfile(directory, f"FROM {base}", "COPY tree /tree")


def written_files(directory: Path, base: str, size: int) -> None:
    """The shell makes the files itself, a thousand in each directory: no process for any."""
    loop = (
        f"i=0; while [ $i -lt {size} ]; do"
        " [ $((i % 1000)) = 0 ] && mkdir -p /tree/$((i / 1000));"
        " echo content of $i > /tree/$((i / 1000))/$i; i=$((i + 1)); done"
    )
    _dockerfile(directory, f"FROM {base}", f"RUN {loop}")


def layers(directory: Path, base: str, size: int) -> None:
    runs = (f"RUN echo {number} > /layer{number}" for number in range(size))
    _dockerfile(directory, f"FROM {base}", *runs)


def base_layers(directory: Path, base: str, size: int) -> None:
    _dockerfile(directory, f"FROM {base}", "RUN echo > /new")


def stages(directory: Path, base: str, size: int) -> None:
    lines = []
    for number in range(size):
        write = "mkdir /out; for i in $(seq 50); do echo $i > /out/$i; done"
        lines += [f"FROM {base} AS stage{number}", f"RUN {write}"]
    copies = (f"COPY --from=stage{number} /out /out/{number}" for number in range(size))
    _dockerfile(directory, *lines, f"FROM {base}", *copies)


def images(directory: Path, base: str, size: int) -> None:
    write_images(directory, base, images=size, files=100)


def blob(directory: Path, base: str, size: int) -> None:
    """Half of it is noise, the other half compresses well."""
    generator = random.Random(12)
    noise = [generator.randbytes(_MEBIBYTE) for _ in range(_POOL)]
    words = [text(generator, _MEBIBYTE // 16).encode() * 16 for _ in range(_POOL)]
    with (directory / "blob").open("wb") as file:
        for number in range(size):
            # A number in front, so that no two pieces are the same.
            piece = (noise if number % 2 else words)[generator.randrange(_POOL)]
            file.write(number.to_bytes(8, "big") + piece[8:])
    _dockerfile(directory, f"FROM {base}", "COPY blob /blob")


def write_images(directory: Path, base: str, *, images: int, files: int) -> None:
    """Write contexts of so many files each, and the manifest `images.json` for a batch of them."""
    manifest: dict[str, object] = {}
    for number in range(images):
        context = directory / f"{number:03d}"
        sources(context / "src", files=files, seed=800 + number)
        run = f"RUN mkdir /made; for i in $(seq {50 + number}); do echo $i > /made/$i; done"
        _dockerfile(context, f"FROM {base}", "WORKDIR /app", run, "COPY src /app/src")
        tag = f"${{REPOSITORY}}-{number:03d}:1"
        manifest[f"image{number:03d}"] = {"context": f"./{number:03d}", "tags": [tag]}
    document = {"version": 1, "variables": {"REPOSITORY": {}}, "images": manifest}
    (directory / "images.json").write_text(json.dumps(document, indent=1))
    freeze(directory)


def _dockerfile(directory: Path, *lines: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "Dockerfile").write_text("\n".join([*lines, 'CMD ["sh"]']) + "\n")
    freeze(directory)


def _room_of_files(size: int) -> int:
    return size * _FILE_ROOM + _RESERVE


SERIES = {
    "files": Series(
        "files in one COPY", (10_000, 50_000, 250_000), copied_files, disk=_room_of_files
    ),
    "files-run": Series(
        "files written by one RUN", (10_000, 50_000, 250_000), written_files, disk=_room_of_files
    ),
    "layers": Series("layers, a RUN each", (1, 20, 120), layers),
    "base-layers": Series(
        "layers of the base, 1 MiB each", (1, 20, 120), base_layers, base_layers=lambda size: size
    ),
    "stages": Series("stages that need nothing of each other", (1, 8, 32), stages),
    "images": Series("images in one batch", (1, 10, 100), images, words=tuple(BATCH.split())),
    "blob": Series(
        "MiB in one COPY",
        (1000, 10_000),
        blob,
        # The file, its layer on the way and the registry's copy, each at most as large.
        disk=lambda size: 3 * size * _MEBIBYTE + _RESERVE,
    ),
}
