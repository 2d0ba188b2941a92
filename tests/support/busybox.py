"""A one-layer image around the machine's static busybox: the smallest base that can RUN."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.images import Entry, Image, directory, hardlink
from tests.support.registry import Registry

_DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/bin", "usr/sbin", "var")
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
_GROUP = "root:x:0:\nmail:x:8:\nnobody:x:65534:\n"


def make_busybox() -> Image:
    program = shutil.which("busybox")
    assert program, "apt-get install busybox-static (make test does)"
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    files: dict[str, Entry | bytes | str] = {name + "/": directory() for name in _DIRECTORIES}
    files |= {
        "root/": directory(0o700),
        "tmp/": directory(0o1777),
        "bin/busybox": Entry(content=Path(program).read_bytes(), mode=0o755),
        "etc/passwd": _PASSWD,
        "etc/group": _GROUP,
    }
    for applet in applets.stdout.split():
        if applet != "busybox":
            files[f"bin/{applet}"] = hardlink("bin/busybox", mode=0o755)
    return Image.of(files)


@pytest.fixture(scope="session")
def busybox_image() -> Image:
    return make_busybox()


@pytest.fixture(scope="session")
def busybox(busybox_image: Image, shared_registry: Registry) -> str:
    """The reference of a busybox image in the session's registry."""
    return busybox_image.push(shared_registry, "library/busybox")


@pytest.fixture(scope="session")
def busybox_layout(busybox_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busybox_image.write_layout(tmp_path_factory.mktemp("busybox") / "layout")
