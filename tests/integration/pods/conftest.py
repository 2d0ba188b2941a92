"""The built executor image, and Pods of every kind that run it.

Building takes half a minute, so the image is kept in `.test/` of the checkout by the hash of all
that goes into it, for later sessions and other workers.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support import podsim
from tests.support.debian import CACHE, make_debian
from tests.support.images import ReadImage, read_layout
from tests.support.podsim import Environment, Finished, UnpackedImage

ROOT = Path(__file__).parents[3]
IMAGES = CACHE / "executor"
VARIANTS = ("executor", "debug")
EPOCH = "1700000000"
_UNFINISHED = ("builds/*", "layers/.*")


def _digest() -> str:
    """Hash what the image is made of, and what makes it: which is the same package."""
    paths = [ROOT / "pyproject.toml", *(ROOT / "deploy/image").rglob("*")]
    paths += (ROOT / "asynckaniko").rglob("*.py")
    digest = hashlib.sha256()
    for path in sorted(paths):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _built() -> Path:
    """Return a directory with both variants: OCI layouts, and unpacked (`executor.root`)."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (IMAGES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        directory = IMAGES / _digest()
        if not directory.exists():
            for old in IMAGES.glob("????????????????"):
                shutil.rmtree(old)
            _build(directory)
        return directory


def _build(directory: Path) -> None:
    base, made = IMAGES / "base", IMAGES / "made"
    if not (base / "index.json").exists():
        make_debian().write_layout(base)
    done = subprocess.run(
        [ROOT / "deploy/image/build.sh", made],
        env={**os.environ, "BASE": f"oci-layout://{base}", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    unfinished = directory.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for variant in VARIANTS:
        shutil.copytree(made / variant, unfinished / variant)
        _unpack(unfinished / variant, unfinished / f"{variant}.root")
    unfinished.rename(directory)


def _unpack(layout: Path, root: Path) -> None:
    """Unpack layers that delete nothing, with GNU tar: it keeps owners and capabilities."""
    root.mkdir()
    image = read_layout(layout)
    assert not [path for layer in image.layers for path in layer if "/.wh." in f"/{path}"]
    options = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpzf"]
    for descriptor in image.manifest["layers"]:
        blob = layout / "blobs" / descriptor["digest"].replace(":", "/")
        subprocess.run(["tar", "-C", root, *options, blob], check=True)


@pytest.fixture(scope="session")
def executor_layout() -> Path:
    return _built() / "executor"


@pytest.fixture(scope="session")
def executor_image(executor_layout: Path) -> UnpackedImage:
    return UnpackedImage(executor_layout.with_name("executor.root"), _runtime(executor_layout))


@pytest.fixture(scope="session")
def debug_image(executor_layout: Path) -> UnpackedImage:
    layout = executor_layout.with_name("debug")
    return UnpackedImage(layout.with_name("debug.root"), _runtime(layout))


def _runtime(layout: Path) -> Mapping[str, object]:
    return read_layout(layout).runtime


class Pod:
    """Containers of one image in one environment: a context, a state volume, an output volume."""

    def __init__(
        self, image: UnpackedImage, environment: Environment, directory: Path, mode: str = "auto"
    ) -> None:
        self.image = image
        self.environment = environment
        self.mode = mode
        self.directory = directory
        self._count = 0
        self.context = directory / "context"
        self.state = directory / "state"
        self.output = directory / "output"
        self.context.mkdir()
        self.credentials = ""
        """What the file config.json of the volume at /kaniko/.docker holds."""
        self.process_limit: int | None = None

    def write(self, dockerfile: str, files: Mapping[str, str] | None = None) -> None:
        for name, content in {"Dockerfile": dockerfile, **(files or {})}.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            path.chmod(0o644)

    def run(
        self,
        *arguments: str,
        entrypoint: tuple[str, ...] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Finished:
        """Start a container with the volumes mounted where the documentation says."""
        self._count += 1
        volumes = {
            "/workspace": self.context,
            "/var/lib/asynckaniko": self.state,
            "/output": self.output,
        }
        if self.credentials:
            volumes["/kaniko/.docker"] = self.directory / "credentials"
            volumes["/kaniko/.docker"].mkdir(exist_ok=True)
            (volumes["/kaniko/.docker"] / "config.json").write_text(self.credentials)
        return podsim.run(
            self.image,
            self.environment,
            arguments,
            scratch=self.directory / f"container{self._count}",
            volumes=volumes,
            variables={
                "SOURCE_DATE_EPOCH": EPOCH,
                "ASYNCKANIKO_ISOLATION": self.mode,
                **(variables or {}),
            },
            entrypoint=entrypoint,
            process_limit=self.process_limit,
        )

    def read_output(self) -> ReadImage:
        return read_layout(self.output / "image")

    def build(self, *flags: str) -> ReadImage:
        """Build the context as kaniko would be told to, and read the image that was made."""
        done = self.run("--no-push", "--oci-layout-path=/output/image", *flags)
        assert done.exit_code == 0, done.said
        return self.read_output()

    def leftovers(self) -> list[str]:
        patterns = ["builds/*", "blobs/ingest-*"]
        patterns += [f"{side}/{name}" for side in ("rootfs", "listed") for name in _UNFINISHED]
        found = [path for pattern in patterns for path in self.state.glob(pattern)]
        # Locks of caches stay: who waits for one must not find another file under its name.
        return [str(path) for path in found if path.suffix != ".flock"]


DirectoryFactory: TypeAlias = Callable[[], Path]
PodFactory: TypeAlias = Callable[..., Pod]


@pytest.fixture(scope="session")
def open_directory() -> Iterator[DirectoryFactory]:
    """Return a function that makes directories which root of a user namespace can reach.

    pytest's own are closed to others than the machine's root.
    """
    made: list[Path] = []

    def make() -> Path:
        directory = Path(tempfile.mkdtemp(prefix="asynckaniko-pod-", dir="/var/tmp"))
        directory.chmod(0o755)
        made.append(directory)
        return directory

    yield make
    for directory in made:
        if directory.exists():
            shutil.rmtree(directory)


@pytest.fixture
def pod(executor_image: UnpackedImage, open_directory: DirectoryFactory) -> Iterator[PodFactory]:
    """Return a function that sets up a Pod; fail if a build left anything in its state."""
    pods: list[Pod] = []

    def make(
        environment: Environment | str, image: UnpackedImage = executor_image, mode: str = "auto"
    ) -> Pod:
        if isinstance(environment, str):
            environment = podsim.ENVIRONMENTS[environment]
        pods.append(Pod(image, environment, open_directory(), mode))
        return pods[-1]

    yield make
    left = [left for made in pods for left in made.leftovers()]
    for made in pods:
        shutil.rmtree(made.directory)
    assert left == []
