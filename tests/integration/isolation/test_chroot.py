"""Commands in a root filesystem that is a plain directory, entered by chroot."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.integration.conftest import Finished, Workbench
from tests.support import processes
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


ESCAPES = {
    "second chroot": "mkdir /x && ! chroot /x true && ! chroot / true",
    "parent directories": "! test -e /../../../../../etc/debian_version",
    "devices": "! mknod /disk b 8 0 && ! mknod /mem c 1 1",
    "mounts": "! mount -t tmpfs none /tmp && ! mount -t proc proc /proc",
    "namespaces": "! unshare -U true && ! unshare -m true",
    "signals to all": "! kill -9 -1",
    "signals to the executor": "! kill -9 $PPID && ! kill -0 1",
    "descriptors": 'test -z "$(ls /proc)" && ! readlink /dev/fd/3',
    "environment": 'test -z "$EXECUTOR_SECRET"',
}


@pytest.mark.parametrize("command", ESCAPES.values(), ids=ESCAPES)
def test_command_does_not_get_out(bench: Workbench, busybox_layout: Path, command: str) -> None:
    bench.write(f"FROM base\nRUN {command}\n")

    done = run(bench, busybox_layout)

    assert done.exit_code == 0, done.said


def test_nothing_that_a_command_started_outlives_it(bench: Workbench, busybox_layout: Path) -> None:
    mark = processes.seconds_of_its_own(5)
    bench.write(f"FROM base\nRUN (setsid sleep {mark} &) ; nohup sleep {mark} & sleep {mark} &\n")

    done = run(bench, busybox_layout)

    assert done.exit_code == 0, done.said
    assert not [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if mark.encode() in read_if_there(path)
    ]


def read_if_there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_command_without_network_reaches_none(bench: Workbench, busybox_layout: Path) -> None:
    bench.write("FROM base\nRUN --network=none ! ping -c 1 -w 1 127.0.0.1 2> /said; cat /said\n")

    done = run(bench, busybox_layout)

    assert done.exit_code == 0, done.said
    assert "unreachable" in done.said


def test_what_breaks_is_said_before_the_first_command(
    bench: Workbench, busybox_layout: Path
) -> None:
    bench.write("FROM base\nRUN echo the comm''and\n")

    done = run(bench, busybox_layout)

    assert done.said.index("without /proc") < done.said.index("the command\n")


def test_failure_has_the_exit_status_and_leaves_nothing(
    bench: Workbench, busybox_layout: Path
) -> None:
    bench.write("FROM base\nRUN --mount=type=tmpfs,target=/tmp exit 7\n")

    done = run(bench, busybox_layout)

    assert "exit code: 7" in done.stderr
    assert os.listdir(bench.state / "listed/builds") == []


def test_packages_install_with_their_users_and_capabilities(
    bench: Workbench, debian_layout: Path
) -> None:
    bench.write(
        "FROM base\nRUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install"
        " -q -y --no-install-recommends iputils-ping dbus\n"
    )

    image = bench.build_layout(
        "--isolation=chroot", "--build-context", f"base=oci-layout://{debian_layout}"
    )

    packages = image.layers[-1]
    # cap_net_raw=ep, struct vfs_cap_data
    assert packages["usr/bin/ping"].xattrs["security.capability"][4:8] == bytes([0, 32, 0, 0])
    helper = packages["usr/lib/dbus-1.0/dbus-daemon-launch-helper"]
    assert helper.permissions == "-rwsr-xr--"
    assert f"messagebus:x:{helper.gid}:" in packages["etc/group"].content.decode()
    assert not [path for path in packages if path.startswith("dev/") or path == "etc/resolv.conf"]


def test_caches_of_mounts_are_kept_listed_and_pruned(
    bench: Workbench, busybox_layout: Path
) -> None:
    program = [sys.executable, "-m", "asynckaniko", "cache"]
    state = ("--state-dir", str(bench.state))
    bench.write(
        "FROM base\nRUN --mount=type=cache,target=/c cat /c/* > /was; echo kept > /c/file\n"
    )
    run(bench, busybox_layout)
    bench.write("FROM base\nRUN --mount=type=cache,target=/c grep kept /c/file\n")

    again = run(bench, busybox_layout)
    listed = bench.run([*program, "list", "--format=json", *state]).stdout.splitlines()
    pruned = bench.run([*program, "prune", "--all", *state])

    assert again.exit_code == 0, again.said
    (cache,) = [item for item in map(orjson.loads, listed) if item["kind"] == "plain mount"]
    assert cache["size"] > 0
    assert pruned.exit_code == 0, pruned.said
    assert os.listdir(bench.state / "listed/caches") == []
