"""The built executor image in each kind of Pod: the same image comes out, or a clear refusal."""

import gzip
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.integration.pods.conftest import DirectoryFactory, Pod, PodFactory
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
from tests.support.podsim import ENVIRONMENTS, LOCALHOST, Environment, UnpackedImage
from tests.support.registry import Registry

# The first test of a session may have to wait until the image is built.
pytestmark = pytest.mark.timeout(600)
EVERY: Mapping[str, Environment] = {**ENVIRONMENTS, "localhost": LOCALHOST}
MODES: Mapping[str, Sequence[str]] = {
    "default": ["auto", "in-place", "chroot"],
    "runtime-default": ["auto", "chroot"],
    "five-caps": ["auto"],
    "userns": ["auto", "in-place"],
    "userns-runtime-default": ["auto", "chroot"],
    "userns-admin": ["auto"],
    "localhost": ["auto"],
    "restricted-unconfined": ["auto"],
}
"""The modes in which commands run in each Pod; they are refused in the others."""
CELLS = [(name, mode) for name, modes in MODES.items() for mode in modes]
PACKAGE_CELLS = [*((name, "auto") for name in MODES), ("runtime-default", "chroot")]
"""What every Pod does by itself, and the mode that no Pod does."""
ONE_USER = ("restricted-unconfined",)
"""Where commands run as root only: mode single-id."""
REFUSALS: Mapping[str, str] = {
    "restricted": r"seccompProfile: {type: Unconfined}",
    "restricted-unconfined": r"USER app: .*allowPrivilegeEscalation: true",
}
"""Where commands cannot run, or not as a USER, and the setting that the message names."""

COMMANDS = """
FROM {busybox} AS made
RUN echo app:x:1234:1234::/home/app:/bin/sh >> /etc/passwd && echo app:x:1234: >> /etc/group \\
 && mkdir -p /data/private /home/app && echo secret > /data/private/file \\
 && chown -R app:app /data /home/app && chmod 2750 /data/private && chmod 640 /data/private/file \\
 && cp /bin/busybox /usr/bin/as-root && chmod 6751 /usr/bin/as-root \\
 && ln -s private/file /data/link && ln /data/private/file /data/again \\
 && chmod 751 /usr/bin/capable && rm -r /removed

FROM {busybox} AS other
COPY --chown=77:88 --chmod=604 one /from/context
RUN echo built > /from/command && chown 4321:8765 /from/command

FROM made
COPY --from=other /from /from/
COPY two /home/app/
USER app
WORKDIR /home/app
RUN id -u > who
"""
COMMANDS_OF_ROOT = COMMANDS.replace("USER app", "LABEL user=app")
WITHOUT_COMMANDS = """
FROM {busybox} AS first
COPY --chown=77:88 --chmod=604 one /from/context
WORKDIR /made/here

FROM {busybox}
COPY --from=first /from /made /copied/
COPY --from=first /usr/bin/capable /usr/bin/copy
COPY --chown=nobody two /home/
ENV WHERE=pod
"""
TOKEN = "t0ken-that-no-layer-has"
MOUNTS = """
FROM {busybox} AS tools
RUN echo tool > /tool && chmod 750 /tool && chown 3:4 /tool

FROM {busybox}
RUN --mount=type=bind,source=one,target=/in/one \
    --mount=type=bind,from=tools,source=/tool,target=/in/tool \
    --mount=type=bind,from=tools,target=/whole,rw \
    --mount=type=cache,target=/var/cache/app,mode=750,uid=12 \
    --mount=type=tmpfs,target=/tmp \
    --mount=type=secret,id=token,target=/run/token,mode=440,uid=5,gid=6 \
    --mount=type=secret,id=token,env=TOKEN \
    --mount=type=ssh \
    set -e; cat /in/one /in/tool > /seen; ls -A /tmp >> /seen; echo ${{#TOKEN}} >> /seen; \
    wc -c < /run/token >> /seen; test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK >> /seen; \
    echo x > /whole/x; echo x > /tmp/x; echo kept > /var/cache/app/kept; \\
    echo own > /run/own
RUN --mount=type=cache,target=/var/cache/app,mode=750,uid=12 \
    --mount=type=bind,from=tools,target=/whole \
    cat /var/cache/app/kept > /kept; ls -A /whole /tmp > /listed; touch /run/own2
"""
FILES = {"one": "1\n", "two": "2\n"}
CAPABILITY = bytes.fromhex("0000000200200000000000000000000000000000")
"""cap_net_raw=p, as security.capability holds it."""
XATTR = "security.capability"
PACKAGES = (
    "FROM {debian}\nRUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install"
    " -q -y --no-install-recommends iputils-ping dbus\n"
)
ALWAYS_NEW = (
    *("etc/machine-id", "var/lib/dbus/machine-id", "var/log/", "var/cache/", "var/lib/apt/"),
)
"""A random number, and times: in logs and caches."""


@pytest.fixture(scope="session")
def base(busybox_image: Image, shared_registry: Registry) -> str:
    """A busybox with more for a build to change: a file with a capability, a directory."""
    more: dict[str, Entry | bytes | str] = {
        # Else the time of these would be that of unpacking, in modes that keep layers apart.
        "usr/": directory(),
        "usr/bin/": directory(),
        "usr/bin/capable": Entry(content=b"program", mode=0o755, xattrs={XATTR: CAPABILITY}),
        "removed/": directory(),
        "removed/file": "gone",
    }
    layers = [decompress(busybox_image.blobs[layer]) for layer in busybox_image.layers]
    return Image.of_tars([*layers, make_tar(more)]).push(shared_registry, "library/pods")


@pytest.fixture(scope="session")
def expected(
    executor_image: UnpackedImage, base: str, open_directory: DirectoryFactory
) -> Callable[[str], ReadImage]:
    """Return a function that builds in the default Pod, each Dockerfile once."""
    found: dict[str, ReadImage] = {}

    def build(dockerfile: str) -> ReadImage:
        if dockerfile not in found:
            pod = Pod(executor_image, ENVIRONMENTS["default"], open_directory())
            pod.write(dockerfile.format(busybox=base), FILES)
            found[dockerfile] = pod.build("--insecure-pull", "--reproducible")
        return found[dockerfile]

    return build


@pytest.fixture(scope="session")
def packages(
    executor_image: UnpackedImage, debian: str, open_directory: DirectoryFactory
) -> ReadImage:
    """Packages installed in the default Pod."""
    pod = Pod(executor_image, ENVIRONMENTS["default"], open_directory())
    pod.write(PACKAGES.format(debian=debian))
    return pod.build("--insecure-pull")


def facts(image: ReadImage, *paths: str) -> dict[str, tuple[str, int, int]]:
    return {
        path: (entry.permissions, entry.uid, entry.gid)
        for path, entry in image.tree.items()
        if path in paths
    }


def listing(image: ReadImage) -> list[str]:
    """Show each layer as `ls -l` and sha256sum would: what differs is readable."""
    return [
        f"{number} {path} {entry.permissions} {entry.uid}:{entry.gid} {entry.mtime}"
        f" {entry.target} {dict(entry.xattrs)} {digest(entry.content)[7:19]}"
        for number, layer in enumerate(image.layers)
        for path, entry in layer.items()
    ]


def files(image: ReadImage) -> list[str]:
    """Leave out what mode `none` may do otherwise: the order of entries."""
    return sorted(listing(image))


def installed(image: ReadImage, paths: Iterable[str]) -> list[str]:
    """Show what packages have made of `paths`, but for times, and what every installation has anew.

    As the image has it in the end: an overlay also holds what was only opened for writing.
    """
    tree = image.tree
    found = ((path, tree[path]) for path in sorted(paths) if path in tree)
    return [
        f"{path} {entry.permissions} {entry.uid}:{entry.gid} {entry.target} {dict(entry.xattrs)}"
        f" {'' if path.startswith(ALWAYS_NEW) else digest(entry.content)[7:19]}"
        for path, entry in found
    ]


@pytest.mark.parametrize(("name", "mode"), CELLS)
def test_commands_run_and_every_pod_makes_the_same_image(
    name: str, mode: str, pod: PodFactory, base: str, expected: Callable[[str], ReadImage]
) -> None:
    there = pod(EVERY[name], mode=mode)
    commands = COMMANDS_OF_ROOT if name in ONE_USER else COMMANDS
    there.write(commands.format(busybox=base), FILES)

    image = there.build("--insecure-pull", "--reproducible")

    assert listing(image) == listing(expected(commands))
    assert image.digest == expected(commands).digest


def test_commands_leave_owners_modes_and_capabilities(
    expected: Callable[[str], ReadImage],
) -> None:
    image = expected(COMMANDS)

    assert facts(
        image,
        *("data/private", "data/private/file", "data/again", "usr/bin/as-root"),
        *("usr/bin/capable", "from/context", "from/command", "home/app/two", "home/app/who"),
    ) == {
        "data/private": ("drwxr-s---", 1234, 1234),
        "data/private/file": ("-rw-r-----", 1234, 1234),
        "data/again": ("-rw-r-----", 1234, 1234),
        "usr/bin/as-root": ("-rwsr-s--x", 0, 0),
        "usr/bin/capable": ("-rwxr-x--x", 0, 0),
        "from/context": ("-rw----r--", 77, 88),
        "from/command": ("-rw-r--r--", 4321, 8765),
        "home/app/two": ("-rw-r--r--", 0, 0),
        "home/app/who": ("-rw-r--r--", 1234, 1234),
    }
    assert image.tree["home/app/who"].content == b"1234\n"
    assert image.tree["usr/bin/capable"].xattrs == {XATTR: CAPABILITY}
    assert image.tree["data/link"].target == "private/file"
    assert not [path for path in image.tree if path.startswith("removed")]


@pytest.mark.parametrize(("name", "mode"), PACKAGE_CELLS)
def test_packages_install_with_their_users_and_capabilities(
    name: str, mode: str, pod: PodFactory, debian: str, packages: ReadImage
) -> None:
    there = pod(EVERY[name], mode=mode)
    there.write(PACKAGES.format(debian=debian))

    image = there.build("--insecure-pull")

    (layer,) = image.layers[3:]
    assert layer["usr/bin/ping"].xattrs[XATTR][8:] == CAPABILITY[8:]
    helper = layer["usr/lib/dbus-1.0/dbus-daemon-launch-helper"]
    assert helper.permissions == "-rwsr-xr--"
    assert f"messagebus:x:{helper.gid}:" in layer["etc/group"].content.decode()
    assert helper.uid == 0
    paths = {*layer, *packages.layers[-1]}
    assert installed(image, paths) == installed(packages, paths)


def test_where_capabilities_are_missing_packages_install_with_a_warning(
    pod: PodFactory, debian: str
) -> None:
    """Root with five capabilities under RuntimeDefault: in-place, without SETFCAP and FSETID.

    Packages that add users fail there: groupadd wants AUDIT_WRITE.
    """
    there = pod("five-caps-runtime-default")
    there.write(PACKAGES.format(debian=debian).replace(" dbus", ""))

    done = there.run("--no-push", "--oci-layout-path=/output/image", "--insecure-pull")

    assert done.exit_code == 0, done.said
    assert "add FSETID, SETFCAP to the container's capabilities" in done.stderr
    ping = there.read_output().tree["usr/bin/ping"]
    # What the package does where setcap fails (iputils-ping.postinst).
    assert (ping.permissions, ping.xattrs) == ("-rwsr-xr-x", {})


@pytest.mark.parametrize(("name", "mode"), CELLS)
def test_mounts_show_what_they_should_and_leave_nothing(
    name: str, mode: str, pod: PodFactory, base: str
) -> None:
    there = pod(EVERY[name], mode=mode)
    there.write(MOUNTS.format(busybox=base), {**FILES, "token": TOKEN})

    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(there.context / "agent"))
        (there.context / "agent").chmod(0o777)
        done = there.run(
            *("build", "/workspace", "--no-push", "--insecure-pull", "--progress=plain"),
            *("--oci-layout-path=/output/image", "--secret=id=token,src=/workspace/token"),
            "--ssh=default=/workspace/agent",
            entrypoint=("/kaniko/asynckaniko",),
        )

    assert done.exit_code == 0, done.said
    image = read_layout(there.output / "image")
    first, second = image.layers[-2:]
    size = len(TOKEN)
    assert first["seen"].content.decode().split() == [
        *("1", "tool", str(size), str(size)),
        "/run/buildkit/ssh_agent.7",
    ]
    # What a command writes beside a mount is its own, also in a directory made for the mount.
    assert sorted(first) == ["run", "run/own", "seen"]
    assert second["kept"].content == b"kept\n"
    assert sorted(second) == ["kept", "listed", "run", "run/own2"]
    assert " x" not in second["listed"].content.decode().replace("\n", " ")
    assert facts(image, "tmp", "var") == {
        "tmp": ("drwxrwxrwt", 0, 0),
        "var": ("drwxr-xr-x", 0, 0),
    }
    assert TOKEN not in done.said
    assert files_with(TOKEN.encode(), there.state) == []


def files_with(content: bytes, top: Path) -> list[Path]:
    """Name the files that have the content, in layers of any kind too."""
    return [
        path
        for path in top.rglob("*")
        if path.is_file() and not path.is_symlink() and content in plain(path.read_bytes())
    ]


def plain(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_where_commands_cannot_run_the_message_names_the_setting(
    name: str, pod: PodFactory, base: str
) -> None:
    there = pod(EVERY[name])
    there.write(COMMANDS.format(busybox=base), FILES)

    done = there.run(
        *("build", "/workspace", "--no-push", "--insecure-pull", "--progress=plain"),
        entrypoint=("/kaniko/asynckaniko",),
    )

    assert done.exit_code == 6, done.said
    assert re.search(REFUSALS[name], done.stderr), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("mode", ["auto", "none"])
@pytest.mark.parametrize("name", EVERY)
def test_builds_without_commands_work(
    name: str, mode: str, pod: PodFactory, base: str, expected: Callable[[str], ReadImage]
) -> None:
    there = pod(EVERY[name], mode=mode)
    there.write(WITHOUT_COMMANDS.format(busybox=base), FILES)

    image = there.build("--insecure-pull", "--reproducible")

    assert files(image) == files(expected(WITHOUT_COMMANDS))
    assert facts(image, "copied/context", "copied/here", "home/two") == {
        "copied/context": ("-rw----r--", 77, 88),
        "copied/here": ("drwxr-xr-x", 0, 0),
        "home/two": ("-rw-r--r--", 65534, 65534),
    }
    assert image.tree["usr/bin/copy"].xattrs == {XATTR: CAPABILITY}
