"""Ctrl-C while a batch runs on a cluster: the command as a process, before an API over HTTP."""

import json
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import kmock
import pytest
from anyio import fail_after, open_process, sleep, to_thread
from anyio.abc import Process

from tests.integration.conftest import Workbench

MANIFEST = """
version: 1
images:
  one: {tags: [r.io/one:1], platforms: [linux/amd64]}
engine: {kubernetes: {namespace: ci, image: "r.io/asynckaniko:1"}}
"""


@dataclass(frozen=True)
class Terminal:
    """Both ends of a terminal."""

    user: int
    process: int

    def read_until(self, words: str) -> str:
        """Read what is shown until `words` are."""
        shown = b""
        while words.encode() not in shown:
            shown += os.read(self.user, 4096)
        return shown.decode()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    user, process = pty.openpty()
    yield Terminal(user, process)
    os.close(user)
    os.close(process)


@pytest.fixture
async def api() -> AsyncIterator[kmock.KubernetesEmulator]:
    async with kmock.KubernetesEmulator() as emulator, kmock.Server(emulator):
        emulator.resources["v1/pods"].kind = "Pod"
        yield emulator


def command(bench: Workbench, api: kmock.KubernetesEmulator) -> tuple[list[str], dict[str, str]]:
    manifest = bench.directory / "images.yaml"
    manifest.write_text(MANIFEST)
    configuration = bench.directory / "kubeconfig"
    configuration.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": str(api.url).rstrip("/")}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    words = [*(sys.executable, "-m", "asynckaniko", "batch", str(manifest))]
    words += ["--engine", "kubernetes", "--state-dir", str(bench.state)]
    return words, {**bench.environment, "KUBECONFIG": str(configuration), "TERM": "xterm"}


def jobs(api: kmock.KubernetesEmulator) -> list[str]:
    return [
        name
        for (resource, _, name), found in api.objects.items()
        if resource.plural == "jobs" and not found.deleted
    ]


async def interrupt_when_submitted(process: Process, api: kmock.KubernetesEmulator) -> None:
    while True:
        await sleep(0.02)
        if api[kmock.action.WATCH, kmock.resource("batch", "v1", "jobs")]:
            break
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("n", 1), ("", 1)])
async def test_one_question_decides_whether_jobs_go_on(
    answer: str,
    left: int,
    terminal: Terminal,
    bench: Workbench,
    api: kmock.KubernetesEmulator,
) -> None:
    words, environment = command(bench, api)
    with fail_after(60):
        async with await open_process(
            words,
            env=environment,
            cwd=bench.directory,
            stdin=terminal.process,
            stdout=terminal.process,
            stderr=terminal.process,
        ) as process:
            await interrupt_when_submitted(process, api)
            asked = await to_thread.run_sync(terminal.read_until, "[y/N] ")
            assert len(jobs(api)) == 1
            os.write(terminal.user, f"{answer}\n".encode())
            end = await to_thread.run_sync(terminal.read_until, "interrupted by SIGINT")
            status = await process.wait()

    assert status == 128 + signal.SIGINT
    assert asked.count("Delete the Jobs of batch-") == 1
    assert len(jobs(api)) == left
    assert ("deleted 1 Job of batch-" in end) == (left == 0)
    hints = re.findall(r"asynckaniko batch attach batch-[0-9a-f]+ \S+images\.yaml", end)
    assert len(hints) == left


async def test_nobody_is_asked_where_there_is_no_terminal(
    bench: Workbench, api: kmock.KubernetesEmulator, tmp_path: Path
) -> None:
    words, environment = command(bench, api)
    with fail_after(60):
        async with await open_process(
            words, env=environment, cwd=tmp_path, stdin=-3, stdout=-3, stderr=PIPE
        ) as process:
            await interrupt_when_submitted(process, api)
            assert process.stderr is not None
            said = b"".join([piece async for piece in process.stderr]).decode()
            status = await process.wait()

    assert status == 128 + signal.SIGINT
    assert len(jobs(api)) == 1
    assert "Delete" not in said
    assert "asynckaniko batch attach batch-" in said
