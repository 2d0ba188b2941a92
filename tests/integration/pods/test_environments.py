"""The built executor image in each kind of Pod: the same image comes out, or a clear refusal."""

import re
from collections.abc import Callable, Mapping

import pytest

from tests.integration.pods.conftest import DirectoryFactory, Pod, PodFactory
from tests.support.images import Entry, Image, ReadImage, decompress, digest, directory, make_tar
from tests.support.podsim import ENVIRONMENTS, LOCALHOST, Environment, UnpackedImage
from tests.support.registry import Registry

# The first test of a session may have to wait until the image is built.
pytestmark = pytest.mark.timeout(600)
EVERY: Mapping[str, Environment] = {**ENVIRONMENTS, "localhost": LOCALHOST}
REFUSALS: Mapping[str, str] = {
    "runtime-default": r"seccompProfile: \{type: Unconfined\}",
    "five-caps-runtime-default": r"seccompProfile: \{type: Unconfined\}",
    "restricted": r"no subordinate ids|seccompProfile",
    "restricted-unconfined": r"allowPrivilegeEscalation: true",
    "userns-runtime-default": r"seccompProfile: \{type: Unconfined\}",
}
"""Where commands cannot run, and the setting that the message names."""
WITH_COMMANDS = [name for name in EVERY if name not in REFUSALS]

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
FILES = {"one": "1\n", "two": "2\n"}
CAPABILITY = bytes.fromhex("0000000200200000000000000000000000000000")
"""cap_net_raw=p, as security.capability holds it."""


XATTR = "security.capability"


@pytest.fixture(scope="session")
def base(busybox_image: Image, shared_registry: Registry) -> str:
    """A busybox with more for a build to change: a file with a capability, a directory."""
    more: dict[str, Entry | bytes | str] = {
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


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_commands_run_and_every_pod_makes_the_same_image(
    name: str, pod: PodFactory, base: str, expected: Callable[[str], ReadImage]
) -> None:
    there = pod(EVERY[name])
    there.write(COMMANDS.format(busybox=base), FILES)

    image = there.build("--insecure-pull", "--reproducible")

    assert listing(image) == listing(expected(COMMANDS))
    assert image.digest == expected(COMMANDS).digest


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


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_packages_install_with_their_users_and_capabilities(
    name: str, pod: PodFactory, debian: str
) -> None:
    there = pod(EVERY[name])
    there.write(
        f"FROM {debian}\nRUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install"
        " -q -y --no-install-recommends iputils-ping dbus\n"
    )

    image = there.build("--insecure-pull")

    (packages,) = image.layers[3:]
    assert packages["usr/bin/ping"].xattrs[XATTR][8:] == CAPABILITY[8:]
    helper = packages["usr/lib/dbus-1.0/dbus-daemon-launch-helper"]
    assert helper.permissions == "-rwsr-xr--"
    assert f"messagebus:x:{helper.gid}:" in packages["etc/group"].content.decode()
    assert helper.uid == 0


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


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_builds_without_commands_work(
    name: str, pod: PodFactory, base: str, expected: Callable[[str], ReadImage]
) -> None:
    there = pod(EVERY[name])
    there.write(WITHOUT_COMMANDS.format(busybox=base), FILES)

    image = there.build("--insecure-pull", "--reproducible")

    assert listing(image) == listing(expected(WITHOUT_COMMANDS))
    assert image.digest == expected(WITHOUT_COMMANDS).digest
    assert facts(image, "copied/context", "copied/here", "home/two") == {
        "copied/context": ("-rw----r--", 77, 88),
        "copied/here": ("drwxr-xr-x", 0, 0),
        "home/two": ("-rw-r--r--", 65534, 65534),
    }
    assert image.tree["usr/bin/copy"].xattrs == {XATTR: CAPABILITY}
