"""Commands in a root filesystem that is a plain directory, entered by chroot."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Finished, Workbench
from tests.support.images import ReadImage

COMMANDS = """\
FROM base AS made
RUN echo app:x:1234:1234::/home/app:/bin/sh >> /etc/passwd && echo app:x:1234: >> /etc/group \\
 && mkdir -p /data/private /home/app && echo secret > /data/private/file \\
 && chown -R app:app /data /home/app && chmod 2750 /data/private && chmod 640 /data/private/file \\
 && cp /bin/busybox /usr/bin/as-root && chmod 6751 /usr/bin/as-root \\
 && ln -s private/file /data/link && ln /data/private/file /data/again && rm -r /var

FROM base AS other
COPY --chown=77:88 --chmod=604 one /from/context
RUN echo built > /from/command && chown 4321:8765 /from/command

FROM made
RUN true
COPY --from=other /from /from/
COPY two /home/app/
USER app
WORKDIR /home/app
RUN id -u > who && cat /from/context >> who
USER root
RUN mkdir /var && touch /var/new && rm /from/command
"""
FILES = {"one": "1\n", "two": "2\n"}


@pytest.fixture
def build(bench: Workbench, busybox_layout: Path) -> Callable[..., ReadImage]:
    def build(mode: str, *arguments: str) -> ReadImage:
        context = f"base=oci-layout://{busybox_layout}"
        epoch = ("--reproducible", "--build-arg=SOURCE_DATE_EPOCH=1700000000")
        return bench.build_layout(
            f"--isolation={mode}", "--build-context", context, *epoch, *arguments
        )

    return build


def test_image_is_the_same_to_the_byte_as_with_namespaces(
    bench: Workbench, build: Callable[..., ReadImage]
) -> None:
    bench.write(COMMANDS, FILES)

    images = {mode: build(mode) for mode in ("chroot", "userns")}

    assert listing(images["chroot"]) == listing(images["userns"])
    assert images["chroot"].digest == images["userns"].digest
    assert images["chroot"].tree["home/app/who"].content == b"1234\n1\n"
    assert os.listdir(bench.state / "listed/builds") == []


def listing(image: ReadImage) -> list[str]:
    return [
        f"{number} {path} {entry.permissions} {entry.uid}:{entry.gid} {entry.mtime}"
        f" {entry.target} {dict(entry.xattrs)} {entry.content[:40]!r}"
        for number, layer in enumerate(image.layers)
        for path, entry in layer.items()
    ]


def run(bench: Workbench, busybox_layout: Path, *arguments: str) -> Finished:
    context = f"base=oci-layout://{busybox_layout}"
    command = bench.command("--isolation=chroot", "--no-push", "--build-context", context)
    return bench.run([*command, "--progress=plain", *arguments])
