"""A real Debian as a base image: three gzip layers, with a whiteout in the last.

mmdebstrap's work is kept in `.test/` of the checkout, for later sessions and other workers.
"""

import fcntl
import gzip
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.demo import make_base
from tests.support.images import Entry, Image, make_tar
from tests.support.registry import Registry

CACHE = Path(__file__).parents[2] / ".test"
REMOVED = "usr/share/doc/libc6/copyright"
"""In the first layer, deleted by the last."""


def debian_tar() -> Path:
    """Return the bootstrapped tree's tar, made once for each checkout."""
    CACHE.mkdir(exist_ok=True)
    tar = CACHE / "debian.tar"
    with _locked(CACHE / "debian.lock"):
        if not tar.exists():
            unfinished = tar.with_suffix(".part")
            make_base.bootstrap(unfinished)
            unfinished.rename(tar)
    return tar


def make_debian() -> Image:
    tars = [*_split(debian_tar()), make_tar(_LAST_LAYER)]
    return Image.of_tars(tars, compressed=_compressed(tars), Cmd=["bash"])


_LAST_LAYER: dict[str, Entry | bytes | str] = {
    "etc/": Entry("directory", mode=0o755),
    "etc/debian_base": "for tests\n",
    "usr/share/doc/libc6/.wh.copyright": b"",
}


def _split(tar: Path) -> Iterator[bytes]:
    """Give the tree as two tars: what is below usr, then the rest."""
    buffers = io.BytesIO(), io.BytesIO()
    with tarfile.open(tar) as source:
        for buffer, below_usr in zip(buffers, (True, False), strict=True):
            with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as half:
                for entry in source:
                    entry.name = entry.name.removeprefix("./")
                    entry.linkname = entry.linkname.removeprefix("./")
                    if (
                        entry.name in {"", "."}
                        or (entry.name + "/").startswith("usr/") != below_usr
                    ):
                        continue
                    half.addfile(entry, source.extractfile(entry) if entry.isreg() else None)
    return (buffer.getvalue() for buffer in buffers)


def _compressed(tars: list[bytes]) -> list[bytes]:
    """Gzip the layers, the large ones only once for each checkout."""
    found = []
    for number, tar in enumerate(tars):
        file = CACHE / f"debian-{number}.tar.gz"
        with _locked(CACHE / "debian.lock"):
            if not file.exists() or gzip.decompress(file.read_bytes()) != tar:
                file.write_bytes(gzip.compress(tar, 1, mtime=0))
            found.append(file.read_bytes())
    return found


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def debian_image() -> Image:
    return make_debian()


@pytest.fixture(scope="session")
def debian(debian_image: Image, shared_registry: Registry) -> str:
    """The reference of a Debian image in the session's registry."""
    return debian_image.push(shared_registry, "library/debian", "bookworm")


@pytest.fixture(scope="session")
def debian_layout(debian_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return debian_image.write_layout(tmp_path_factory.mktemp("debian") / "layout")
