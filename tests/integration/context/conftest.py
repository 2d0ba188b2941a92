"""Builds of contexts from elsewhere, by the command."""

import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import SECONDS, Finished, Workbench
from tests.integration.context.servers import WebFiles, serving
from tests.support.images import ReadImage, read_layout

DOCKERFILE = "FROM scratch\nCOPY . /\n"


@dataclass
class Builds:
    """Runs `asynckaniko build` with a context of any form."""

    bench: Workbench

    def run(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        stdin: bytes | int = subprocess.DEVNULL,
    ) -> Finished:
        command = self.command(*arguments)
        content = stdin if isinstance(stdin, bytes) else None
        process = subprocess.Popen(
            command,
            cwd=self.bench.directory,
            env={**self.bench.environment, **(environment or {})},
            stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            stdout, stderr = process.communicate(content, timeout=SECONDS)
        finally:
            process.kill()
            process.wait()
        return Finished(
            process.returncode,
            stdout.decode(errors="replace"),
            stderr.decode(errors="replace"),
        )

    def command(self, *arguments: str) -> list[str]:
        """Return the argument vector of a build without a context of its own."""
        program = self.bench.command()[:3]
        return [*program, "build", "--state-dir", str(self.bench.state), *arguments]

    def read(self, *arguments: str, **how: object) -> ReadImage:
        """Build, which must succeed, and read the image."""
        layout = self.bench.directory / "out"
        done = self.run("--no-push", "--oci-layout-path", str(layout), *arguments, **how)  # type: ignore[arg-type]
        assert done.exit_code == 0, done.said
        return read_layout(layout)

    def refuse(self, *arguments: str, **how: object) -> Finished:
        """Build, which must fail without a traceback."""
        done = self.run("--no-push", *arguments, **how)  # type: ignore[arg-type]
        assert done.exit_code not in {0, 1}, done.said
        assert "Traceback" not in done.said
        return done


@pytest.fixture
def builds(bench: Workbench) -> Builds:
    return Builds(bench)


@pytest.fixture
def files() -> WebFiles:
    return WebFiles()


@pytest.fixture
def web_host(files: WebFiles) -> Iterator[str]:
    with serving(files.answer) as host:
        yield host


def archive(files: Mapping[str, str], mode: str = "w:gz") -> bytes:
    """Write a context's archive, with a Dockerfile that copies everything."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in {"Dockerfile": DOCKERFILE, **files}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_600_000_000
            tar.addfile(info, io.BytesIO(content.encode()))
    return out.getvalue()


class Repository:
    """A bare repository below `root`, and a clone to commit in."""

    def __init__(self, root: Path, name: str = "project.git") -> None:
        self.bare = root / name
        self.work = root.parent / f"work-{name}"
        git("init", "-q", "--bare", "-b", "main", str(self.bare), cwd=root)
        git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=self.bare)
        git("clone", "-q", str(self.bare), str(self.work), cwd=root)

    def commit(self, files: Mapping[str, str], *, branch: str = "main", tag: str = "") -> str:
        """Commit files and push them; returns the commit."""
        current = git("branch", "--list", branch, cwd=self.work)
        git("checkout", "-q", *([] if current else ["-b"]), branch, cwd=self.work)
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return self.push(branch, tag=tag)

    def push(self, branch: str = "main", *, tag: str = "") -> str:
        git("add", "-A", cwd=self.work)
        git("commit", "-q", "--allow-empty", "-m", "change", cwd=self.work)
        if tag:
            git("tag", "-a", "-m", tag, tag, cwd=self.work)
        git("push", "-q", "origin", branch, *([tag] if tag else []), cwd=self.work)
        return git("rev-parse", "HEAD", cwd=self.work)


def git(*words: str, cwd: Path) -> str:
    """Run git without this machine's configuration."""
    done = subprocess.run(
        ["git", *words],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
        env={
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example.org",
            "GIT_AUTHOR_DATE": "1600000000 +0000",
            "GIT_COMMITTER_DATE": "1600000000 +0000",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "protocol.file.allow",
            "GIT_CONFIG_VALUE_0": "always",
        },
    )
    return done.stdout.strip()


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """Give the directory whose repositories are served."""
    directory = tmp_path / "repositories"
    directory.mkdir()
    return directory
