"""A fork server with namespaces, and a busybox image to run commands on."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, sleep

from asynckaniko.concurrency import single_error
from asynckaniko.isolation.fork_server import ForkServer
from asynckaniko.isolation.output import relay

Run = Callable[..., dict[str, Any]]

TOP = Path(__file__).parents[3]
JOBS = "tests.integration.isolation.jobs"
PRELOAD = (JOBS, "asynckaniko.isolation.step")
PATH = "PATH=/sbin:/bin"
HOSTS = "127.0.0.1 localhost\n"


@dataclass
class Finished:
    """A command that has ended."""

    exit_status: int
    stdout: list[str]
    stderr: list[str]
    stubs: list[str]
    upper: str


@dataclass
class Machine:
    """Runs commands on images made of directories below the inner root's directory."""

    server: ForkServer
    directory: Path
    lowers: list[str] = field(default_factory=list)
    steps: int = 0

    async def job(self, name: str, *, fds: Sequence[int] = (), **arguments: Any) -> Any:
        return await self.server.call(f"{JOBS}:{name}", arguments, fds=fds)

    async def make(self, directory: str, files: Mapping[str, Any]) -> str:
        """Make a tree of files owned by the namespace's root."""
        busybox = os.open(_busybox(), os.O_RDONLY)
        try:
            await self.job("make_tree", directory=directory, files=files, fds=[busybox])
        finally:
            os.close(busybox)
        return directory

    async def read(self, directory: str) -> dict[str, str]:
        found: dict[str, str] = await self.job("read_tree", directory=directory)
        return found

    async def run(
        self, command: str | Sequence[str], *, fds: Sequence[int] = (), **changes: Any
    ) -> Finished:
        """Run a shell line or an argument vector; `changes` replace arguments of the step."""
        self.steps += 1
        step = f"steps/{self.steps}"
        await self.make(step, {"upper/": "", "work/": "", "scratch/": {"mode": 0o700}})
        arguments = {
            "lowers": self.lowers,
            "upper": f"{step}/upper",
            "work": f"{step}/work",
            "scratch": f"{step}/scratch",
            "argv": ["sh", "-c", command] if isinstance(command, str) else list(command),
            "env": [PATH],
            "cwd": "/",
            "user": "",
            "hostname": "buildkitsandbox",
            "files": {"/etc/resolv.conf": "nameserver 192.0.2.1\n", "/etc/hosts": HOSTS},
            "mounts": [],
            "network": "host",
        } | changes
        result, stdout, stderr = await self._relayed(arguments, fds)
        return Finished(result["exit_status"], stdout, stderr, result["stubs"], f"{step}/upper")

    async def _relayed(
        self, arguments: Mapping[str, Any], fds: Sequence[int]
    ) -> tuple[dict[str, Any], list[str], list[str]]:
        lines: tuple[list[str], list[str]] = ([], [])
        pipes = [os.pipe() for _ in lines]
        try:
            with single_error():
                async with create_task_group() as tasks:
                    for (reader, _), into in zip(pipes, lines, strict=True):
                        tasks.start_soon(relay, reader, into.append, 65536)
                    try:
                        result = await self.server.call(
                            "asynckaniko.isolation.step:run",
                            arguments,
                            fds=[*(writer for _, writer in pipes), *fds],
                        )
                    finally:
                        for _, writer in pipes:
                            os.close(writer)
        finally:
            for reader, _ in pipes:
                os.close(reader)
        return result, *lines


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other programs do; the test's time limit ends it."""
    while not condition():  # noqa: ASYNC110  they tell nobody
        await sleep(0.01)


def _busybox() -> str:
    program = shutil.which("busybox")
    assert program, "apt-get install busybox-static (make test does)"
    return program


def busybox_files() -> dict[str, Any]:
    listed = subprocess.run([_busybox(), "--list"], capture_output=True, text=True, check=True)
    files: dict[str, Any] = {"bin/busybox": {"busybox": True, "mode": 0o755}}
    files |= {
        f"bin/{applet}": {"hardlink": "busybox"}
        for applet in listed.stdout.split()
        if applet != "busybox"
    }
    return files | {
        "etc/": "",
        "tmp/": {"mode": 0o1777},
        "root/": {"mode": 0o700},
        "proc/": "",
        "etc/passwd": (
            "root:x:0:0:root:/root:/bin/sh\n"
            "app:x:1000:1001:An App:/srv/app:/bin/sh\n"
            "nobody:x:65534:65534:nobody:/nowhere:/bin/false\n"
        ),
        "etc/group": "root:x:0:\nstaff:x:50:app,other\napp:x:1001:\n",
        "etc/hosts": "of the image\n",
    }


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    # Like a state directory below /root: others may not pass through.
    tmp_path.chmod(0o700)
    directory = tmp_path / "rootfs"
    directory.mkdir(mode=0o755)
    return directory


@pytest.fixture
async def inner(directory: Path) -> AsyncIterator[ForkServer]:
    async with ForkServer.start(directory=directory, preload=PRELOAD, namespaces=True) as server:
        yield server


@pytest.fixture
async def machine(inner: ForkServer, directory: Path) -> Machine:
    machine = Machine(inner, directory)
    machine.lowers = [await machine.make("layers/busybox", busybox_files())]
    return machine


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs a command in one of the situations of `situations`."""
    number = itertools.count()

    def run(situation: str, command: str = "true", network: str = "host") -> dict[str, Any]:
        directory = tmp_path / f"rootfs{next(number)}"
        directory.mkdir()
        module = "tests.integration.isolation.situations"
        # Commands that signal everything they may must not find other tests' builds: those have
        # the same ids.
        fence = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        done = subprocess.run(
            [*fence, sys.executable, "-m", module, situation, directory, command, network],
            cwd=TOP,
            env={**os.environ, "REGISTRY_PASSWORD": "hunter2"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome

    return run
