"""Contexts on their way: little memory for large ones, and the rest of the build goes on."""

import asyncio
import random
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.integration.context.conftest import Builds, archive
from tests.integration.context.servers import WebFiles, serving
from tests.support.images import Entry, make_tar

MEMORY = 200 << 20
LARGE = 2 << 30


class Peak:
    """Watches the memory of a process and all its descendants."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.bytes = max(self.bytes, sum(map(_memory, _tree(self._pid))))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _tree(int(child))


def _memory(pid: int) -> int:
    """Proportional memory: what processes share counts once."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def large_archive(size: int) -> Iterator[bytes]:
    """Yield a gzip archive of a file that compresses well, and a small one that is copied."""
    head = make_tar({"a": "x"})[:1024] + make_tar({"large": b""})[:512]
    compressor = zlib.compressobj(1, wbits=31)
    header = bytearray(head[1024:])
    header[124:136] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    yield compressor.compress(head[:1024] + bytes(header))
    # Zeros alone would be more than an archive may grow.
    block = random.Random(1).randbytes(1 << 14) + bytes((1 << 20) - (1 << 14))
    for _ in range(size // len(block)):
        yield compressor.compress(block)
    yield compressor.compress(make_tar({"Dockerfile": "FROM scratch\nCOPY a /\n"}))
    yield compressor.flush()


@pytest.mark.parametrize("form", ["stdin", "http"])
def test_large_archive_takes_little_memory(builds: Builds, tmp_path: Path, form: str) -> None:
    path = tmp_path / "large.tgz"
    with path.open("wb") as file:
        for piece in large_archive(LARGE):
            file.write(piece)
    server = WebFiles({"large.tgz": path.read_bytes()})
    with serving(server.answer) as host, path.open("rb") as stdin:
        context = "tar://stdin" if form == "stdin" else f"http://{host}/large.tgz"
        command = builds.command("--no-push", "--context", context)
        with (
            subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=builds.bench.environment,
                cwd=tmp_path,
            ) as process,
            Peak(process.pid) as peak,
        ):
            said = process.communicate(timeout=100)[0]

    assert process.returncode == 0, said
    assert 1 << 20 < peak.bytes < MEMORY


def test_base_is_pulled_while_the_context_arrives(builds: Builds) -> None:
    """The server holds the context's end back until the base image has been asked for."""
    asked = threading.Event()
    content = archive({"a": "x"}, "w")

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path != "/c.tar":
            asked.set()
            return web.Response(status=404)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(content[:2048])
        await asyncio.to_thread(asked.wait, 60)
        await response.write(content[2048:])
        return response

    with serving(answer) as host:
        builds.bench.directory.joinpath("D").write_text(f"FROM {host}/base\nCOPY a /\n")
        done = builds.refuse(
            *("--context", f"http://{host}/c.tar", "-f", "D", "--insecure-pull"),
        )

    assert asked.is_set()
    assert f"{host}/base" in done.stderr or "404" in done.stderr


def test_dockerfile_at_the_beginning_is_read_before_the_rest(builds: Builds) -> None:
    asked = threading.Event()
    hosts: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path != "/c.tar":
            asked.set()
            return web.Response(status=404)
        content = make_tar({"Dockerfile": f"FROM {hosts[0]}/base\nCOPY a /\n", "a": "x"})
        response = web.StreamResponse()
        await response.prepare(request)
        # Dockerfile and the header of what follows it.
        await response.write(content[:1536])
        await asyncio.to_thread(asked.wait, 60)
        await response.write(content[1536:])
        return response

    with serving(answer) as host:
        hosts.append(host)
        builds.refuse("--context", f"http://{host}/c.tar", "--insecure-pull")

    assert asked.is_set()


def test_killed_build_leaves_a_context_that_the_next_one_removes(
    builds: Builds, files: WebFiles, web_host: str
) -> None:
    scratch = builds.bench.state / "builds"
    files.files["c.tar"] = make_tar(
        {
            "closed/": Entry("directory", mode=0o500),
            "closed/a": "x",
            "Dockerfile": "FROM scratch\nCOPY closed /\n" + "# more\n" * 2000,
        }
    )
    context = f"http://{web_host}/drip/c.tar"
    process = builds.bench.start(builds.command("--no-push", "--context", context))
    deadline = time.monotonic() + 60
    while not list(scratch.glob("*/0")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert list(scratch.glob("*/0"))
    files.files["c.tar"] = archive({"a": "x"}, "w")

    builds.read("--context", f"http://{web_host}/c.tar")

    assert list(scratch.glob("*/0")) == []
