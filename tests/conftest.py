"""What every test gets: asyncio on uvloop, its own TMPDIR, and the ledger of what it leaves."""

import gc
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

from tests.support import ledger

pytest_plugins = [
    "tests.support.registry",
    "tests.support.debian",
    "tests.support.busybox",
]

# Both are assertions about time, which a machine with other work cannot keep.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session", autouse=True)
def private_tmpdir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point this process and its children at a directory where only this session's files appear."""
    # libuv opens a pipe for signals with its first loop, for the life of the process.
    uvloop.new_event_loop().close()
    directory = tmp_path_factory.mktemp("tmpdir")
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(directory)
    tempfile.tempdir = None
    yield directory
    if before is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before
    tempfile.tempdir = None


@pytest.fixture(autouse=True)
def nothing_left_behind(
    private_tmpdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Fail a test that leaves a descriptor, child process, mount, temporary file or umask.

    Fixtures of the session are older than this one and so are on both sides of the comparison.
    """

    def take() -> ledger.Ledger:
        return ledger.take(private_tmpdir, mounts_below=tmp_path_factory.getbasetemp())

    before = take()
    umask = os.umask(0o022)
    os.umask(umask)
    yield
    # A killed child is a zombie until its parent looks, and a socket lives until its transport is
    # collected: give both a moment, but only if there is something to wait for.
    left = ledger.compare(before, take())
    deadline = time.monotonic() + 20
    while left and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)
        left = ledger.compare(before, take())
    if (changed := os.umask(umask)) != umask:
        left.append(f"umask {changed:03o}")
    if left:
        pytest.fail("left behind: " + "; ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a call of ours that blocks the event loop fail, in the asynchronous unit tests.

    Only calls with a frame of asynckaniko on the stack count. Files are exempt: one small call on
    the loop is cheaper than a hop to a thread, and where a loop over files belongs in a helper
    process is for review to say.
    """
    if "unit" not in request.path.parts:
        yield
        return
    with blockbuster_ctx("asynckaniko") as blockbuster:
        for name, function in blockbuster.functions.items():
            if name.startswith(("os.", "io.")):
                function.deactivate()
        yield
