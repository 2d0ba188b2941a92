"""Run `asynckaniko batch` as users do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Finished, Workbench
from tests.support.registry import Registry


class Batches:
    """A directory with a manifest and contexts, a registry, and the command."""

    def __init__(self, bench: Workbench, registry: Registry) -> None:
        self.bench = bench
        self.registry = registry
        self.directory = bench.context
        self.manifest = self.directory / "images.yaml"
        self.metadata_file = bench.directory / "metadata.json"

    def write(self, manifest: str, files: Mapping[str, str]) -> None:
        """Write the manifest, with HOST for the registry, and files by path."""
        self.manifest.write_text("version: 1\n" + manifest.replace("HOST", self.registry.host))
        for name, content in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content.replace("HOST", self.registry.host))

    def command(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "asynckaniko", "batch", str(self.manifest)),
            *("--state-dir", str(self.bench.state)),
            *("--insecure-registry", self.registry.host),
            *("--metadata-file", str(self.metadata_file)),
            *arguments,
        ]

    def run(self, *arguments: str) -> Finished:
        return self.bench.run(self.command(*arguments))

    def build(self, *arguments: str) -> dict[str, Any]:
        """Build, which must succeed; return the metadata."""
        done = self.run(*arguments)
        assert done.exit_code == 0, done.said
        return self.metadata()

    def metadata(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.metadata_file.read_bytes())
        return document

    def stop_when(
        self, is_time: Callable[[], bool], number: signal.Signals, *arguments: str
    ) -> int:
        """Start the command, send it a signal at the right time, and return its exit status."""
        process = self.bench.start(self.command(*arguments))
        try:
            deadline = time.monotonic() + 60
            while not is_time():
                assert time.monotonic() < deadline, "the time never came"
                assert process.poll() is None, "it ended before its time"
                time.sleep(0.02)
            os.kill(process.pid, number)
            return process.wait(60)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def requests(self, method: str, part: str, since: int = 0) -> list[str]:
        """List the paths of requests whose path has `part`."""
        found = self.registry.requests(since)
        return [r.path for r in found if r.method == method and part in r.path]


@pytest.fixture
def batches(bench: Workbench, registry: Registry) -> Batches:
    return Batches(bench, registry)


@pytest.fixture
def state_file(bench: Workbench) -> Path:
    return bench.directory / "state.json"


def is_done(state_file: Path, name: str) -> bool:
    """Tell whether the state file says that an image is there."""
    try:
        return name in json.loads(state_file.read_bytes())["images"]
    except (FileNotFoundError, json.JSONDecodeError):
        return False


def git(directory: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
    )
