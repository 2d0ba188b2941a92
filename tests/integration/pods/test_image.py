"""What is in the executor image, and that it needs nothing else."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.context.conftest import Repository
from tests.integration.context.servers import SmartGit, serving
from tests.integration.pods.conftest import DirectoryFactory, PodFactory
from tests.support.images import Image, read_layout
from tests.support.podsim import DEFAULT_CAPABILITIES, Environment, UnpackedImage
from tests.support.registry import Registry

# The first test of a session may have to wait until the image is built.
pytestmark = pytest.mark.timeout(600)
MOST_MEGABYTES = 120
PYTHON = ("/kaniko/bin/python3", "-ISXutf8", "-c")
WHAT_IS_LOADED = """
import ctypes, json, os, socket, ssl, sys
sys.path.append("/kaniko/lib/python3.11/site-packages")
import aiohttp, botocore.session, backports.zstd, isal.igzip, obstore, orjson, uvloop
import asynckaniko.batch.cluster, asynckaniko.build.builder
import asynckaniko.cli.kaniko, asynckaniko.cli.warmer
try:
    socket.getaddrinfo("host.invalid", 443)
except socket.gaierror:
    pass
import bz2, decimal, lzma, pwd, uuid, zoneinfo
pwd.getpwuid(0)
context = ssl.create_default_context(cafile="/kaniko/ssl/certs/ca-certificates.crt")
paths = {line.split()[5] for line in open("/proc/self/maps") if len(line.split()) == 6}
print(json.dumps({
    "foreign": sorted(path for path in paths if path[0] == "/" and not path.startswith("/kaniko/")),
    "authorities": len(context.get_ca_certs()),
    "executable": sys.executable,
}))
"""
SUBORDINATE = Environment(uid=1000, capabilities=DEFAULT_CAPABILITIES)
"""An ordinary user who may gain rights by file capabilities, as newuidmap needs."""


@pytest.fixture(scope="session")
def taken_over(executor_image: UnpackedImage, open_directory: DirectoryFactory) -> UnpackedImage:
    """The image with files of a hostile base unpacked over it."""
    root = open_directory() / "root"
    subprocess.run(["cp", "-a", executor_image.directory, root], check=True)
    library = Path("/usr/lib/x86_64-linux-gnu/libm.so.6").read_bytes()
    files: dict[str, bytes] = {
        "etc/ld.so.preload": b"/lib/evil.so\n",
        "etc/nsswitch.conf": b"hosts: evil\npasswd: evil\n",
        "etc/python3.11/sitecustomize.py": b"raise SystemExit(99)\n",
        "lib/evil.so": library,
        "lib64/ld-linux-x86-64.so.2": b"not a loader",
        "usr/lib/ssl/openssl.cnf": b"openssl_conf = evil\n[evil]\nengines = e\n[e]\nx = y\n"
        b"[y]\ndynamic_path = /lib/evil.so\ninit = 1\n",
        "usr/lib/python3.11/json/__init__.py": b"raise SystemExit(98)\n",
    }
    for directory in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"):
        files |= {f"{directory}/{name}": b"junk" for name in ("libc.so.6", "libssl.so.3")}
        files[f"{directory}/libnss_evil.so.2"] = library
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return UnpackedImage(root, executor_image.runtime)


def test_config_is_what_pipelines_for_kaniko_rely_on(executor_image: UnpackedImage) -> None:
    variables = dict(pair.split("=", 1) for pair in executor_image.runtime["Env"])

    assert executor_image.runtime["Entrypoint"] == ["/kaniko/executor"]
    assert executor_image.runtime["WorkingDir"] == "/workspace"
    assert {"/kaniko", "/usr/local/bin"} <= set(variables.pop("PATH").split(":"))
    assert variables == {
        "HOME": "/root",
        "USER": "root",
        "SSL_CERT_DIR": "/kaniko/ssl/certs",
        "DOCKER_CONFIG": "/kaniko/.docker/",
    }


def test_everything_lies_below_kaniko_and_is_small(executor_layout: Path) -> None:
    tree = read_layout(executor_layout).tree

    outside = {path for path in tree if path.split("/")[0] not in {"kaniko", "etc"}}
    assert outside == {"root", "tmp", "workspace"}
    assert tree["kaniko"].permissions == tree["kaniko/.docker"].permissions == "drwxrwxrwx"
    assert sum(len(entry.content) for entry in tree.values()) < MOST_MEGABYTES * 1_000_000
    assert not [path for path in tree if path.endswith((".mypy_cache", ".ruff_cache"))]


def test_newuidmap_has_file_capabilities_and_no_set_uid_bit(executor_layout: Path) -> None:
    tree = read_layout(executor_layout).tree

    for name, bit in (("newuidmap", 7), ("newgidmap", 6)):
        program = tree[f"kaniko/bin/{name}"]
        assert program.permissions == "-rwxr-xr-x"
        # struct vfs_cap_data: revision 2, effective; then the permitted set.
        capability = program.xattrs["security.capability"]
        assert capability[:4] == b"\x01\x00\x00\x02"
        assert int.from_bytes(capability[4:8], "little") == 1 << bit


def test_every_program_and_library_looks_below_kaniko_only(executor_image: UnpackedImage) -> None:
    wrong = []
    for path in (executor_image.directory / "kaniko").rglob("*"):
        if path.is_symlink() or not path.is_file() or path.read_bytes()[:4] != b"\x7fELF":
            continue
        if path.name in {"libc.so.6", "ld-linux-x86-64.so.2"}:
            continue
        said = subprocess.run(
            ["readelf", "--wide", "--program-headers", "--dynamic", path],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        places = re.findall(r"\((RPATH|RUNPATH)\).*\[(.*)\]", said)
        interpreters = re.findall(r"interpreter: (.*)\]", said)
        if [kind for kind, _ in places] != ["RPATH"] or not places[0][1].endswith("/kaniko/lib"):
            wrong.append(f"{path}: {places}")
        wrong += [f"{path}: {name}" for name in interpreters if not name.startswith("/kaniko/lib/")]
    assert wrong == []


@pytest.mark.parametrize("hostile", [False, True])
def test_nothing_is_loaded_from_elsewhere(
    *, hostile: bool, pod: PodFactory, executor_image: UnpackedImage, taken_over: UnpackedImage
) -> None:
    done = pod("runtime-default", taken_over if hostile else executor_image).run(
        WHAT_IS_LOADED, entrypoint=PYTHON
    )

    assert done.exit_code == 0, done.said
    found = json.loads(done.stdout)
    assert found["foreign"] == []
    assert found["authorities"] > 100
    assert found["executable"] == "/kaniko/bin/python3"


def test_builds_work_over_the_files_of_a_hostile_base(
    pod: PodFactory, taken_over: UnpackedImage, busybox: str
) -> None:
    there = pod("default", taken_over)
    there.write(f"FROM {busybox}\nRUN echo built > /made\n")

    assert there.build("--insecure-pull").tree["made"].content == b"built\n"


def test_ordinary_user_builds_with_subordinate_ids(pod: PodFactory, busybox: str) -> None:
    there = pod(SUBORDINATE)
    there.write(f"FROM {busybox}\nRUN echo built > /made && chown 12:34 /made\n")

    made = there.build("--insecure-pull").tree["made"]

    assert (made.content, made.uid, made.gid) == (b"built\n", 12, 34)


def test_image_is_pushed_with_credentials_from_the_mounted_file(
    pod: PodFactory, busybox_image: Image, shared_registry: Registry
) -> None:
    there = pod("five-caps")
    there.write(f"FROM {busybox_image.push(shared_registry, 'library/push')}\nCOPY one /one\n")
    (there.context / "one").write_text("1")

    done = there.run(
        f"--destination={shared_registry.host}/pods/pushed:1",
        "--insecure",
        "--insecure-pull",
        "--digest-file=/output/digest",
    )

    assert done.exit_code == 0, done.said
    digest = (there.output / "digest").read_text()
    assert f"Pushed {shared_registry.host}/pods/pushed@{digest}" in done.stderr
    assert shared_registry.has("pods/pushed", digest)


@pytest.mark.parametrize("shell", ["/bin/sh", "/busybox/sh"])
def test_debug_variant_has_a_shell_for_pipelines(
    shell: str, pod: PodFactory, debug_image: UnpackedImage
) -> None:
    there = pod("default", debug_image)
    there.write("FROM scratch\nCOPY Dockerfile /\n")
    script = (
        "echo '{}' > /kaniko/.docker/config.json && /kaniko/executor version"
        " && /kaniko/executor --context /workspace --no-push --log-format=text && cat /etc/passwd"
    )

    done = there.run("-c", script, entrypoint=(shell,))

    assert done.exit_code == 0, done.said
    assert done.stdout.startswith("Kaniko version : ")
    assert "root:x:0:0" in done.stdout
    assert debug_image.runtime["Volumes"] == {"/busybox": {}}


@pytest.fixture
def project(repositories: Path) -> Repository:
    made = Repository(repositories)
    made.commit({"Dockerfile": "FROM scratch\nCOPY . /\n", "a": "one"})
    return made


@pytest.fixture(params=["", "user:pass"])
def git_server(
    request: pytest.FixtureRequest, repositories: Path, project: Repository
) -> Iterator[str]:
    with serving(SmartGit(repositories, password=request.param).answer) as host:
        yield host


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    directory = tmp_path / "repositories"
    directory.mkdir()
    return directory


def test_git_context_needs_no_shell(git_server: str, pod: PodFactory) -> None:
    there = pod("default")

    done = there.run(
        f"--context=git://{git_server}/project.git#refs/heads/main",
        "--no-push",
        "--oci-layout-path=/output/image",
        variables={"GIT_PULL_METHOD": "http", "GIT_USERNAME": "user", "GIT_PASSWORD": "pass"},
    )

    assert done.exit_code == 0, done.said
    assert read_layout(there.output / "image").tree["a"].content == b"one"
    assert "pass" not in done.said
