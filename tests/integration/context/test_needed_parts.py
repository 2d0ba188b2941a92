"""Contexts of which only what the Dockerfile can read is unpacked: the images are the same."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from tests.integration.context.conftest import Builds
from tests.integration.context.servers import serving
from tests.support.images import Files, hardlink, make_tar, symlink


@dataclass
class SlowArchive:
    """Serves an archive whose rest waits until a stage of its Dockerfile runs.

    That begins with an ADD of `/told`, and by then it is known what it needs. `/look` lists the
    context as it is on disk.
    """

    builds: Builds
    lines: str
    rest: Files
    seen: list[str] = field(default_factory=list)
    _host: str = ""
    _told: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def serve(self) -> Iterator[str]:
        with serving(self._answer) as self._host:
            yield f"http://{self._host}/c.tar"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/told":
            self._told.set()
            return web.Response(text="told")
        if request.path == "/look":
            found = self.builds.bench.state.glob("builds/*/0/*")
            self.seen = sorted(path.name for path in found)
            return web.Response(text="looked")
        text = f"FROM scratch AS first\nADD http://{self._host}/told /\n{self.lines}\n"
        text += f"ADD http://{self._host}/look /\n"
        content = make_tar({"Dockerfile": text, **self.rest})
        response = web.StreamResponse()
        await response.prepare(request)
        # Dockerfile and the header of what follows it.
        await response.write(content[:1536])
        await asyncio.to_thread(self._told.wait, 60)
        await response.write(content[1536:])
        return response


def test_what_no_instruction_reads_is_not_unpacked(builds: Builds) -> None:
    files = {"a": "1", "b": "2", "c/d": "3", ".dockerignore": "nothing\n"}
    archive = SlowArchive(builds, "COPY b /", files)

    with archive.serve() as url:
        image = builds.read("--context", url)

    # The header of `a` was there before anything was known.
    assert set(archive.seen) - {"a"} == {".dockerignore", "Dockerfile", "b"}
    assert set(image.tree) == {"told", "b", "look"}


@pytest.mark.parametrize(
    ("lines", "files"),
    [
        ("COPY link/x /", {"d/x": "1", "link": symlink("d")}),
        ("COPY again/x /", {"d/x": "1", "again/x": hardlink("d/x")}),
        ("COPY x /", {"d/x": "0", "x": "0", "./x": "1"}),
        ("COPY d/* /", {"e": "1", "d/x": symlink("../e")}),
        ("COPY d/x /\nFROM scratch\nCOPY --from=first x /", {"d/x": "1"}),
    ],
    ids=["link", "hard link", "twice", "wildcard", "stages"],
)
def test_image_is_that_of_the_whole_archive(builds: Builds, lines: str, files: Files) -> None:
    archive = SlowArchive(builds, lines, {"first": "", **files})

    with archive.serve() as url:
        image = builds.read("--context", url)

    assert image.tree["x"].content == b"1"


def test_missing_file_is_told_with_what_is_beside_it(builds: Builds) -> None:
    archive = SlowArchive(builds, "COPY d/files /", {"first": "", "d/file": "x", "e": ""})

    with archive.serve() as url:
        done = builds.refuse("--context", url)

    assert '"/d/files": not found (did you mean file?)' in done.stderr
