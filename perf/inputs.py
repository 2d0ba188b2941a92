"""Contexts and base images from seeded generators: the same bytes on every machine."""

import gzip
import io
import json
import os
import random
import shutil
import tarfile
from pathlib import Path

from tests.support.busybox import make_busybox
from tests.support.images import Image, decompress

TIME = 1_704_067_200
_WORDS = tuple(
    f"{verb}_{noun}"
    for verb in ("return", "import", "export", "require", "build", "copy", "run", "read")
    for noun in ("value", "config", "module", "layer", "image", "digest", "path")
)
_FOLDERS = ("lib", "dist", "src", "esm", "internal")
_LAYERS = 5
_MEAN_FILE_SIZE = 12_000


def text(generator: random.Random, size: int) -> str:
    """Make text that compresses about as well as source code."""
    parts: list[str] = []
    length = 0
    while length < size:
        word = f"{generator.choice(_WORDS)}{generator.randrange(1000)}"
        parts += [word, generator.choice((" ", "\n", ".", "(", ") ", " = "))]
        length += len(word) + len(parts[-1])
    return "".join(parts)[:size]


def sources(directory: Path, *, files: int, seed: int) -> None:
    """Write a tree of Python modules, with fixed times."""
    generator = random.Random(seed)
    pool = [text(generator, 6000) for _ in range(64)]
    for number in range(files):
        start, size = generator.randrange(3000), generator.randrange(300, 6000)
        body = generator.choice(pool)[start : start + size // 2]
        values = "".join(f"V{n} = {generator.randrange(10**9)}\n" for n in range(size // 60))
        package = directory / f"pkg{number % 40:02d}" / f"sub{(number // 40) % 10}"
        package.mkdir(parents=True, exist_ok=True)
        head = f"# module {number} {generator.getrandbits(128):032x}\n"
        (package / f"mod{number:04d}.py").write_text(f'{head}{values}"""{body}"""\n')


def packages(directory: Path, *, files: int, seed: int) -> None:
    """Write a tree of small scripts, as a package manager leaves it."""
    generator = random.Random(seed)
    pool = [text(generator, 16_000) for _ in range(128)]
    written = package = 0
    while written < files:
        place = directory / f"package-{package:04d}"
        for number in range(min(generator.randrange(20, 100), files - written)):
            folders = (generator.choice(_FOLDERS) for _ in range(generator.randrange(4)))
            folder = place.joinpath(*folders)
            folder.mkdir(parents=True, exist_ok=True)
            size = min(int(generator.expovariate(1 / 2048)) + 20, 15_000)
            start = generator.randrange(16_000 - size)
            head = f"// {generator.getrandbits(64):x}\n"
            (folder / f"f{number:03d}.js").write_text(head + generator.choice(pool)[start:][:size])
            written += 1
        package += 1


def freeze(directory: Path) -> None:
    """Give every file and directory the same time."""
    for path, _, names in os.walk(directory, topdown=False):
        for name in names:
            os.utime(Path(path, name), (TIME, TIME), follow_symlinks=False)
        os.utime(path, (TIME, TIME))


def base_image(megabytes: int, cache: Path) -> Image:
    """Make busybox below five layers of generated files; kept in `cache` for the next time."""
    layout = cache / f"base-{megabytes}"
    if not (layout / "index.json").exists():
        shutil.rmtree(layout, ignore_errors=True)
        unfinished = layout.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        layered_image(_LAYERS, (megabytes << 20) // (_LAYERS)).write_layout(unfinished)
        unfinished.rename(layout)
    return _read(layout)


def layered_image(layers: int, size: int) -> Image:
    """Make busybox below so many layers of `size` bytes each, before compression."""
    busybox = make_busybox()
    compressed = [busybox.blobs[digest] for digest in busybox.layers]
    tars = [decompress(blob) for blob in compressed]
    for number in range(layers):
        tar = _layer(number, size)
        tars.append(tar)
        compressed.append(gzip.compress(tar, 1, mtime=0))
    return Image.of_tars(tars, compressed=compressed)


def _layer(seed: int, size: int) -> bytes:
    """Make a layer as package managers do: many small files, some large, half compressible."""
    generator = random.Random(seed)
    pool = text(generator, 1 << 20).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        number = 0
        while out.tell() < size:
            length = min(int(generator.expovariate(1 / _MEAN_FILE_SIZE)) + 20, 4 << 20)
            start = generator.randrange(len(pool))
            content = (pool[start:] + pool)[:length]
            if number % 3 == 0:
                content = generator.randbytes(length)
            info = tarfile.TarInfo(f"usr/lib/layer{seed}/d{number // 40:04d}/f{number:06d}")
            info.size, info.mtime, info.mode = len(content), TIME, 0o644
            if number % 40 == 0:
                folder = tarfile.TarInfo(info.name.rpartition("/")[0])
                folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, TIME
                archive.addfile(folder)
            archive.addfile(info, io.BytesIO(content))
            number += 1
    return out.getvalue()


def _read(layout: Path) -> Image:
    entry = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    blobs = {
        f"sha256:{path.name}": path.read_bytes() for path in (layout / "blobs/sha256").iterdir()
    }
    return Image(blobs.pop(entry["digest"]), blobs)
