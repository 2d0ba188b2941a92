"""COPY while someone renames what is copied: nothing outside the context gets into the image."""

import os
import signal
import time
from pathlib import Path

import pytest

from asynckaniko.errors import CopyFailed
from tests.unit.rootfs.copying import at, copy
from tests.unit.rootfs.test_paths import exchange_for_ever
from tests.unit.rootfs.trees import file, make, symlink


@pytest.mark.parametrize("source", ["x", "x/secret", ".", "*/secret", "x/"])
def test_no_rename_during_a_copy_leads_out_of_the_context(tmp_path: Path, source: str) -> None:
    make(tmp_path / "outside", {"secret": file(b"of the host")})
    context = make(
        tmp_path / "context",
        {"x/secret": file(b"of the context"), "y": symlink(os.fspath(tmp_path / "outside"))},
    )
    swapper = exchange_for_ever(context / "x", context / "y")
    copied = 0
    try:
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline or not copied:
            try:
                content = copy(context, [source], at("into/")).content
            except CopyFailed:
                continue
            assert b"of the host" not in content
            copied += b"of the context" in content
    finally:
        os.kill(swapper, signal.SIGKILL)
        os.waitpid(swapper, 0)
