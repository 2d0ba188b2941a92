"""The main job on a real distribution, judged by other programs."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import Workbench
from tests.support.images import ReadImage, read_layout
from tests.support.registry import Registry

NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")
"""cap_net_raw=ep: revision 2 of vfs_cap_data, without a root id (capabilities(7))."""

MOUNTED = {"/etc/resolv.conf", "/etc/hosts", "/etc/hostname"}
"""Files of the machine that a RUN sees in place of the image's."""

DOCKERFILE = """\
FROM {debian} AS packages
RUN apt-get update \\
 && apt-get install -y --no-install-recommends dbus iputils-ping libcap2-bin \\
 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1234 app && getcap /usr/bin/ping > /capabilities

FROM {busybox} AS assets
RUN mkdir -p /out/private \\
 && echo asset > /out/asset && ln /out/asset /out/same && ln -s asset /out/link \\
 && chown -R 1234:8 /out && chmod 2750 /out/private

FROM packages
COPY --from=assets /out /srv/assets
COPY --chown=app:messagebus --chmod=600 secret.txt /srv/
RUN find /etc /home /srv /usr /var -xdev -printf '%p\\t%y\\t%U\\t%G\\t%m\\t%l\\n' > /inventory
ENV MODE=production
LABEL org.opencontainers.image.title=app
EXPOSE 8080/tcp
USER app
WORKDIR /home/app
RUN id -un > who && id -Gn >> who
ENTRYPOINT ["/usr/bin/id"]
CMD ["-un"]
"""


@pytest.fixture(scope="module")
def pushed(
    debian: str,
    busybox: str,
    shared_registry: Registry,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """Build and push the image once; return its reference."""
    bench = Workbench(tmp_path_factory.mktemp("debian"))
    bench.write(DOCKERFILE.format(debian=debian, busybox=busybox), {"secret.txt": "hidden"})
    reference = f"{shared_registry.host}/tests/app:1"
    bench.build("--insecure-registry", shared_registry.host, "--destination", reference)
    assert bench.leftovers() == []
    return reference


@pytest.fixture(scope="module")
def layout(pushed: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let skopeo copy the image out of the registry into a layout."""
    target = tmp_path_factory.mktemp("skopeo") / "layout"
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{pushed}", f"oci:{target}:app")
    return target


@pytest.fixture(scope="module")
def image(layout: Path) -> ReadImage:
    return read_layout(layout)


@pytest.fixture(scope="module")
def rootfs(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let umoci unpack the image, with real owners."""
    bundle = tmp_path_factory.mktemp("umoci") / "bundle"
    run("umoci", "unpack", "--image", f"{layout}:app", str(bundle))
    return bundle / "rootfs"


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_set_uid_helper_belongs_to_the_user_that_apt_created(image: ReadImage) -> None:
    passwd = image.tree["etc/passwd"].content.decode()
    group = image.tree["etc/group"].content.decode()
    helper = image.tree["usr/lib/dbus-1.0/dbus-daemon-launch-helper"]

    assert "\nmessagebus:x:" in passwd
    assert f"\nmessagebus:x:{helper.gid}:" in group
    assert (helper.permissions, helper.uid) == ("-rwsr-xr--", 0)


def test_file_capability_survives(image: ReadImage, rootfs: Path) -> None:
    assert image.tree["capabilities"].content == b"/usr/bin/ping cap_net_raw=ep\n"
    assert image.tree["usr/bin/ping"].xattrs == {"security.capability": NET_RAW}
    assert os.getxattr(rootfs / "usr/bin/ping", "security.capability") == NET_RAW


def test_no_attribute_of_the_overlay_leaks_into_the_image(image: ReadImage) -> None:
    names = {name for entry in image.tree.values() for name in entry.xattrs}

    assert names == {"security.capability"}


def test_copied_files_keep_or_take_their_owners(image: ReadImage) -> None:
    tree = image.tree

    assert (tree["srv/assets/asset"].uid, tree["srv/assets/asset"].gid) == (1234, 8)
    assert tree["srv/assets/private"].mode == 0o2750
    assert tree["srv/assets/link"].target == "asset"
    assert tree["srv/assets/same"].content == b"asset\n"
    secret = tree["srv/secret.txt"]
    bus = tree["usr/lib/dbus-1.0/dbus-daemon-launch-helper"].gid
    assert (secret.uid, secret.gid, secret.mode) == (1234, bus, 0o600)


def test_command_runs_as_the_user(image: ReadImage) -> None:
    who = image.tree["home/app/who"]

    assert who.content == b"app\napp\n"
    assert (who.uid, who.gid) == (1234, 1234)


def test_every_path_unpacks_as_the_container_saw_it(rootfs: Path) -> None:
    """Compare find's view from inside the last RUN as root with umoci's tree.

    The steps after it write below /home/app.
    """
    inventory = (rootfs / "inventory").read_text().splitlines()

    differing = []
    for line in inventory:
        path, kind, uid, gid, mode, target = line.split("\t")
        if path in MOUNTED or path.startswith("/home/app"):
            continue
        status = os.lstat(rootfs / path.lstrip("/"))
        link = os.readlink(rootfs / path.lstrip("/")) if stat.S_ISLNK(status.st_mode) else ""
        seen = (
            {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}[stat.S_IFMT(status.st_mode)],
            str(status.st_uid),
            str(status.st_gid),
            f"{stat.S_IMODE(status.st_mode):o}",
            link,
        )
        if seen != (kind, uid, gid, mode, target):
            differing.append((line, seen))
    assert differing == []
    assert len(inventory) > 5000


def test_nothing_but_the_inventory_and_the_users_files_is_in_the_last_layers(
    image: ReadImage,
) -> None:
    last, before = image.layers[-1], image.layers[-2]

    assert set(before) <= {"inventory", "home", "home/app"}
    assert set(last) - set(before) <= {"home", "home/app", "home/app/who"}
    assert "home/app/who" in last


def test_deleted_package_lists_are_not_in_any_layer(image: ReadImage) -> None:
    added = [path for layer in image.layers[3:] for path in layer]

    assert not [path for path in added if path.startswith("var/lib/apt/lists/deb")]


def test_config_is_what_the_dockerfile_says(pushed: str) -> None:
    text = run("skopeo", "inspect", "--config", "--tls-verify=false", f"docker://{pushed}")
    config = json.loads(text)

    runtime = config["config"]
    assert runtime["User"] == "app"
    assert runtime["WorkingDir"] == "/home/app"
    assert runtime["Entrypoint"] == ["/usr/bin/id"]
    assert runtime["Cmd"] == ["-un"]
    assert runtime["Labels"] == {"org.opencontainers.image.title": "app"}
    assert runtime["ExposedPorts"] == {"8080/tcp": {}}
    assert "MODE=production" in runtime["Env"]
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    layers = [entry for entry in config["history"] if not entry.get("empty_layer")]
    assert len(layers) == len(config["rootfs"]["diff_ids"])


def test_buildah_runs_the_image_as_its_user(pushed: str, tmp_path: Path) -> None:
    script = """
    buildah() { command buildah --storage-driver overlay --root root --runroot run "$@"; }
    container=$(buildah from --quiet --tls-verify=false "$1")
    buildah run --isolation chroot "$container" -- id -un
    buildah rm --all >/dev/null
    """

    # What it mounts goes with the namespace.
    output = run("unshare", "--mount", "sh", "-ec", f"cd {tmp_path}\n{script}", "sh", pushed)

    assert output == "app\n"
