"""Builds of an ordinary user with one id: the same images, and what commands can tell from it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.isolation.conftest import TOP, Run
from tests.support.images import (
    Entry,
    Image,
    ReadImage,
    decompress,
    digest,
    directory,
    make_tar,
    read_layout,
)

FENCE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""cap_net_raw=ep: struct vfs_cap_data of revision 2 (capabilities(7))."""
XATTR = "security.capability"
ACCOUNTS: dict[str, Entry | bytes | str] = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:1234:1235::/srv:/bin/sh\n",
    "etc/group": "root:x:0:\nshadow:x:42:\napp:x:1235:\n",
    "etc/shadow": Entry(content=b"root:*\n", mode=0o640, gid=42),
    "etc/kept": Entry(content=b"kept\n", mode=0o604, uid=3, gid=4),
    "etc/link": Entry("symlink", target="kept", uid=5, gid=6),
    "etc/pipe": Entry("fifo", mode=0o620, uid=7, gid=8),
    "etc/able": Entry(content=b"able", mode=0o755, xattrs={XATTR: CAPABILITY}),
    "etc/stays-able": Entry(content=b"able", mode=0o755, xattrs={XATTR: CAPABILITY}),
    "mail/": Entry("directory", mode=0o2775, gid=8),
    "mail/old": Entry(content=b"old", gid=8),
    "plain/": directory(0o755),
}
SAME = r"""
FROM base AS first
RUN mkdir -p /data/deep && echo x > /data/deep/file && ln -s deep /data/link \
 && mkfifo /data/pipe && ln /data/deep/file /data/again && chown -hR app:app /data \
 && chown 77:88 /data/pipe && chmod 2750 /data/deep
RUN cp /bin/busybox /bin/raised && chmod 6755 /bin/raised && chown 9:10 /bin/raised \
 && chmod 4711 /bin/raised && chown 11 /etc/able
RUN echo more >> /etc/shadow && touch -h /etc/link && touch /etc/pipe && chmod 700 /etc/kept
RUN grep root /etc/shadow > /etc/shadow+ && chmod 640 /etc/shadow+ && SHADOW
RUN cp /etc/shadow /etc/shadow- && chown $(stat -c %u:%g /etc/shadow) /etc/shadow-
RUN echo new > /mail/new && echo > /mail/users && env chown 5 /mail/users \
 && mkdir /mail/box && echo in > /mail/box/in
RUN mkdir /late && touch /late/before && ln -s x /late/link && sleep 0.1 && chown :33 /late \
 && chmod 2770 /late && sleep 0.1 && touch /late/after && mkdir /late/more && touch /late/more/in
RUN chown 0:0 /data/again && chown 12:13 /mail/old && env chgrp 14 /data/deep && rm -r /plain
RUN cp /etc/kept /etc/mine && chown 4294967294:65535 /etc/mine && chmod 000 /data/deep
RUN mkdir /jail && cp /bin/busybox /jail && echo y > /jail/y && ln -s /etc/kept /jail/out \
 && chroot /jail /busybox chown 15:16 /y && ! chroot /jail /busybox chown 15:16 /out

FROM first AS second
COPY --from=first /data /etc /copied/
COPY --chown=app one /data/one
WORKDIR /work/here
RUN cp -p /data/one /work/one && chown app:app /work/one

FROM second
USER app
WORKDIR of-app
ADD archive.tar /archive/
COPY --from=second /work /mail /again/
""".replace(
    "SHADOW",
    # As shadow's commonio_close does: the owner of the old file, as stat(2) says it, for the new.
    "chown $(stat -c %u:%g /etc/shadow) /etc/shadow+ && mv /etc/shadow+ /etc/shadow",
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    (place / "context").mkdir(parents=True)
    (place / "context/one").write_text("one\n")
    archive = make_tar({"linked": Entry("symlink", target="x", uid=1, gid=2), "x": Entry(uid=3)})
    (place / "context/archive.tar").write_bytes(archive)
    return place


@pytest.fixture
def base(place: Path, busybox_image: Image) -> str:
    layers = [decompress(busybox_image.blobs[layer]) for layer in busybox_image.layers]
    image = Image.of_tars([*layers, make_tar(ACCOUNTS)], Env=["PATH=/sbin:/bin"])
    return f"--build-context=base=oci-layout://{image.write_layout(place / 'base')}"


def build(
    situation: str, place: Path, dockerfile: str, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    (place / "context/Dockerfile").write_text(dockerfile)
    module = "tests.integration.isolation.situated"
    common = ("build", "context", "--state-dir=state", "--reproducible", "--progress=plain")
    return subprocess.run(
        [*FENCE, sys.executable, "-m", module, situation, place, *common, *arguments],
        cwd=TOP,
        env={**os.environ, "HOME": str(place), "TMPDIR": str(place)},
        capture_output=True,
        text=True,
        timeout=100,
    )


def built(situation: str, place: Path, dockerfile: str, *arguments: str) -> ReadImage:
    done = build(situation, place, dockerfile, f"--oci-layout-path={place / situation}", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return read_layout(place / situation)


def listing(image: ReadImage) -> Sequence[str]:
    return [
        f"{number} {path} {entry.permissions} {entry.uid}:{entry.gid} {entry.mtime} {entry.target}"
        f" {dict(entry.xattrs)} {digest(entry.content)}"
        for number, layer in enumerate(image.layers)
        for path, entry in layer.items()
    ]


def test_image_is_the_same_as_with_all_ids(place: Path, base: str) -> None:
    one = built("no_subordinates", place, SAME, base)
    # The state directory is claimed by another root, which drops what is there.
    every = built("ordinary", place, SAME, base)

    assert listing(one) == listing(every)
    assert (place / "state/rootfs/map").read_text() == str(2**31 - 1)
    tree = one.tree
    owners = {path: (tree[path].uid, tree[path].gid) for path in tree}
    # An overlay copies up one of several hard links.
    assert owners["data/again"] == (0, 0)
    assert owners["data/deep/file"] == (1234, 1235)
    assert owners["data/link"] == (1234, 1235)
    assert owners["etc/shadow"] == (0, 42)
    assert owners["etc/shadow-"] == (0, 42)
    assert owners["mail/users"] == (5, 8)
    assert owners["mail/box/in"] == (0, 8)
    assert [owners[f"late/{name}"] for name in ("before", "link", "after", "more/in")] == [
        *((0, 0), (0, 0), (0, 33), (0, 33)),
    ]
    assert owners["copied/link"] == (5, 6)
    assert owners["again/old"] == (12, 13)
    assert owners["archive/linked"] == (1, 2)
    assert owners["work/here/of-app"] == (1234, 1235)
    assert tree["bin/raised"].permissions == "-rws--x--x"
    assert XATTR not in tree["etc/able"].xattrs
    assert tree["etc/stays-able"].xattrs == {XATTR: CAPABILITY}


def test_layers_are_unpacked_and_found_again_with_their_owners(place: Path, base: str) -> None:
    dockerfile = "FROM base\nRUN chown 3:4 /etc/pipe && chown -h 5:7 /etc/link && echo\n"
    first = built("no_subordinates", place, dockerfile, base)
    layout = f"--build-context=made=oci-layout://{place / 'no_subordinates'}"
    copy = "FROM made AS one\nFROM base\nCOPY --from=one /etc /etc2\nRUN touch -h /etc2/link\n"

    second = built("no_subordinates", place, copy, base, layout)

    assert (place / "state/rootfs/map").read_text() == "4321 single-id"
    (changed,) = first.layers[2:]
    assert (changed["etc/pipe"].uid, changed["etc/link"].gid) == (3, 7)
    *_, copied, touched = second.layers
    assert (copied["etc2/pipe"].uid, copied["etc2/pipe"].gid) == (3, 4)
    assert (touched["etc2/link"].uid, touched["etc2/link"].gid) == (5, 7)


def test_command_sees_root_everywhere_and_keeps_its_fence(run: Run) -> None:
    outcome = run(
        "no_subordinates",
        "id -u; echo x > /f; chown 5:6 /f; stat -c %u:%g /f; kill -9 -1; chown 7 /f && echo still;"
        " chown 5 /proc/self/fd/1 || echo no; chown 5 /missing || echo no; chown 5 /etc/hosts/x"
        " || echo no; chown 5 /etc/resolv.conf || echo no; mknod /disk b 8 0 || echo no",
    )

    assert outcome["uid"] == 4321
    assert outcome["stdout"] == ["0", "0:0", "still", "no", "no", "no", "no", "no"]
    said = " ".join(outcome["stderr"])
    assert "Operation not permitted" in said
    assert "/missing: No such file or directory" in said
    assert "/etc/hosts/x: Not a directory" in said
    assert "/etc/resolv.conf: Read-only file system" in said


def test_user_is_refused_with_what_lifts_it(place: Path, base: str) -> None:
    done = build("no_subordinates", place, "FROM base\nUSER app\nRUN true\n", base, "--no-push")

    assert done.returncode == 6, done.stderr
    assert "Dockerfile:3" in done.stderr
    assert "USER app: commands cannot run as 1234:1235 in mode single-id" in done.stderr
    assert "allowPrivilegeEscalation: true" in done.stderr


def test_programs_that_become_somebody_else_are_told_of(place: Path, base: str) -> None:
    done = build(
        "no_subordinates", place, "FROM base\nRUN env su app -c 'echo did'\n", base, "--no-push"
    )

    assert done.returncode == 0, done.stderr
    assert " did" in done.stderr
    assert "commands that became app stayed root" in done.stderr


def test_userns_is_refused_to_who_has_one_id(place: Path, base: str) -> None:
    done = build(
        *("no_subordinates", place, "FROM base\nRUN true\n", base, "--no-push"),
        "--isolation=userns",
    )

    assert done.returncode == 6
    assert "has no subordinate ids" in done.stderr
