"""Run the `asynckaniko` command as users do: another process, in directories of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.images import Files, ReadImage, make_tar, read_layout

SECONDS = 110
_UNFINISHED = ("builds/*", "layers/.*")


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        return self.stdout + self.stderr


class Workbench:
    """A context directory, a state directory, and the command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.context = directory / "context"
        self.state = directory / "state"
        self.layout = directory / "layout"
        self.home = directory / "home"
        self.context.mkdir()
        self.home.mkdir()

    def write(self, dockerfile: str, files: Mapping[str, str] | None = None) -> None:
        """Write the Dockerfile and other files, by path, into the context."""
        for name, content in {"Dockerfile": dockerfile, **(files or {})}.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def command(self, *arguments: str) -> list[str]:
        """Return the argument vector of a build of the context."""
        program = [sys.executable, "-m", "asynckaniko", "build", str(self.context)]
        return [*program, "--state-dir", str(self.state), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": os.environ["TMPDIR"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    def run(self, command: Sequence[str]) -> Finished:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def start(self, command: Sequence[str]) -> "subprocess.Popen[str]":
        """Start a command as the leader of a process group, as a terminal's shell does."""
        return subprocess.Popen(
            command,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def build(self, *arguments: str) -> Finished:
        """Build the context, which must succeed."""
        done = self.run(self.command(*arguments))
        assert done.exit_code == 0, done.said
        return done

    def build_layout(self, *arguments: str) -> ReadImage:
        """Build the context to a layout and read that."""
        self.build("--no-push", "--oci-layout-path", str(self.layout), *arguments)
        return read_layout(self.layout)

    def leftovers(self) -> list[str]:
        """List what a build that is over must not leave: processes, locks, unfinished files."""
        found = processes.belonging_to(self.state)
        patterns = ["builds/*", "blobs/ingest-*"]
        patterns += [f"{side}/{what}" for side in ("rootfs", "listed") for what in _UNFINISHED]
        for pattern in patterns:
            found += [str(path.relative_to(self.state)) for path in self.state.glob(pattern)]
        # Locks of caches stay: who waits for one must not find another file under its name.
        return [path for path in found if not path.endswith(".flock")]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    """Give a workbench; fail if a finished build has left anything in it."""
    workbench = Workbench(tmp_path)
    yield workbench
    assert workbench.leftovers() == []


@pytest.fixture
def base(tmp_path: Path) -> Callable[[Files], str]:
    """Return a function that makes a local base: a value for `--build-context NAME=...`."""
    from tests.support.images import Image

    def make(files: Files, name: str = "base") -> str:
        layout = Image.of_tars([make_tar(files)]).write_layout(tmp_path / name)
        return f"oci-layout://{layout}"

    return make
