"""A state directory whose trees belong to one root, and builds that come with another."""

import os
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Workbench
from tests.support.waiting import wait_until

DOCKERFILE = (
    "FROM base\nRUN echo 1 > /file && chown 12:34 /file\nRUN stat -c %u:%g /file / > /ids\n"
)
IDS = b"12:34\n0:0\n"


def build(bench: Workbench, base: str, mode: str) -> None:
    image = bench.build_layout(f"--isolation={mode}", "--build-context", base)
    assert image.tree["ids"].content == IDS


@pytest.mark.parametrize("modes", [("userns", "namespaces"), ("namespaces", "userns")])
def test_trees_of_another_root_are_made_anew(
    bench: Workbench, busybox_layout: Path, modes: tuple[str, str]
) -> None:
    bench.write(DOCKERFILE)
    base = f"base=oci-layout://{busybox_layout}"

    for mode in (*modes, modes[0]):
        build(bench, base, mode)

        owner = int((bench.state / "rootfs/map").read_text())
        layers = [path for path in bench.state.glob("rootfs/layers/*") if path.is_dir()]
        assert layers
        assert {path.stat().st_uid for path in layers} == {owner}
        assert (owner == os.geteuid()) == (mode == "namespaces")


def test_trees_that_a_build_uses_are_not_dropped(bench: Workbench, busybox_layout: Path) -> None:
    base = f"base=oci-layout://{busybox_layout}"
    mount = "RUN --mount=type=cache,id=stuff,target=/c touch /c/up; "
    bench.write(
        f"FROM base\n{mount}while [ ! -e /c/go ]; do sleep 0.05; done\nRUN echo 1 > /file\n"
    )
    other = bench.directory / "other"
    other.mkdir()
    (other / "Dockerfile").write_text("FROM base\nRUN true\n")
    program = [sys.executable, "-m", "asynckaniko", "build", str(other), "--no-push"]

    running = bench.start(bench.command("--no-push", "--isolation=userns", "--build-context", base))
    wait_until(lambda: list(bench.state.glob("rootfs/caches/*/up")), "the command does not start")
    refused = bench.run(
        [
            *(*program, "--isolation=namespaces", "--state-dir", str(bench.state)),
            *("--build-context", base),
        ]
    )
    (up,) = bench.state.glob("rootfs/caches/*/up")
    (up.parent / "go").touch()

    assert running.wait() == 0
    assert refused.exit_code == 6, refused.said
    assert "builds whose root is another id are using it" in refused.said
