"""Carry a case out: write its context, serve its files, build, read the image."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from asynckaniko.build.builder import Builder
from asynckaniko.build.request import BuildRequest, OciLayout
from tests.conformance.case import Case
from tests.support.images import Entry, Files, ReadImage, read_layout

LAST_MODIFIED = "Sun, 13 Sep 2020 12:26:40 GMT"
"""1 600 000 000, as HTTP writes it."""


async def carry_out(case: Case, builder: Builder, directory: Path, busybox: Path) -> ReadImage:
    """Build a case in `directory`, where `busybox` is a layout that `FROM busybox` means."""
    context = directory / "context"
    write_tree(context, case.context)
    if case.ignore is not None:
        (context / ".dockerignore").write_text(case.ignore)
    contexts = {"busybox": f"oci-layout://{busybox}"}
    for name, files in case.directories.items():
        write_tree(directory / "named" / name, files)
        contexts[name] = str(directory / "named" / name)
    dockerfile = context / case.dockerfile_name
    dockerfile.parent.mkdir(parents=True, exist_ok=True)
    with serving(case) as address:
        dockerfile.write_text(case.text.replace("{web}", address))
        request = BuildRequest(
            context=str(context),
            dockerfile="Dockerfile" if case.dockerfile_name == "dockerfile" else str(dockerfile),
            build_contexts=contexts,
            outputs=(OciLayout(path=directory / "layout"),),
            **case.request,
        )
        await builder.build(request)
    return read_layout(directory / "layout")


def write_tree(root: Path, files: Files) -> None:
    """Write files as they are described; directories get their modes and times at the end."""
    root.mkdir(parents=True, exist_ok=True)
    directories = []
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        entry = value if isinstance(value, Entry) else Entry(content=_bytes(value))
        if entry.kind == "symlink":
            path.symlink_to(entry.target)
            continue
        if entry.kind == "directory":
            path.mkdir(exist_ok=True)
            directories.append((path, entry))
            continue
        path.write_bytes(entry.content)
        path.chmod(entry.mode)
        os.utime(path, (entry.mtime, entry.mtime))
    for path, entry in reversed(directories):
        path.chmod(entry.mode)


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


@contextmanager
def serving(case: Case) -> Iterator[str]:
    """Serve the case's `web` files, if it has any; give the address."""
    if not case.web:
        yield ""
        return

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = case.web.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Last-Modified", LAST_MODIFIED)
            self.send_header("Content-Length", str(len(body or b"")))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
