"""Real servers for the length of a block, on loopback: moto for S3, git's own daemon."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.registry import free_port

_START_SECONDS = 30


@contextmanager
def git_daemon(root: Path) -> Iterator[str]:
    """Serve the repositories below `root` by git's own protocol; yields `127.0.0.1:port`."""
    port = free_port()
    words = ["--listen=127.0.0.1", f"--port={port}", f"--base-path={root}", "--export-all"]
    with running(["git", "daemon", *words], port):
        yield f"127.0.0.1:{port}"


@contextmanager
def moto() -> Iterator[str]:
    """Serve S3; yields `http://127.0.0.1:port`."""
    port = free_port()
    program = [sys.executable, "-c", "from moto.server import main; main()"]
    with running([*program, "-H", "127.0.0.1", "-p", str(port)], port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """Run a server until the end of the block, once its port answers."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(port, process)
        yield
    finally:
        # git daemon's children end with their connections; the group ends them anyway.
        os.killpg(process.pid, 15)
        process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


def put_object(url: str, content: bytes) -> None:
    """Make a bucket or an object in it."""
    # Without a type it would be a form, and moto would read it as one, byte by byte.
    headers = {"Content-Type": "application/octet-stream"}
    with urllib.request.urlopen(urllib.request.Request(url, content, headers, method="PUT")):
        pass
