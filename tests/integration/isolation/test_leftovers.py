"""What a killed build leaves is gone after the next one, whoever owns it."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.isolation.conftest import TOP

FENCE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    (place / "context").mkdir(parents=True)
    return place


def start(situation: str, place: Path, arguments: Sequence[str]) -> "subprocess.Popen[str]":
    module = "tests.integration.isolation.situated"
    return subprocess.Popen(
        [*FENCE, sys.executable, "-m", module, situation, place, "build", *arguments],
        cwd=TOP,
        env={**os.environ, "HOME": str(place), "TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def owners(directory: Path) -> set[int]:
    return {path.lstat().st_uid for path in directory.rglob("*")}


@pytest.mark.parametrize("situation", ["ordinary", "subordinate"])
def test_files_of_a_killed_build_are_removed_by_the_next(
    situation: str, place: Path, busybox_layout: Path
) -> None:
    layout = place / "base"
    subprocess.run(["cp", "-r", busybox_layout, layout], check=True)
    command = "mkdir -p /srv/of/mail && chown -R 8 /srv && chmod 700 /srv"
    command += " && echo all is $0 && sleep 1000"
    dockerfile = place / "context/Dockerfile"
    common = ["context", "--no-push", f"--build-context=base=oci-layout://{layout}"]
    common += ["--state-dir=state"]
    dockerfile.write_text(f'FROM base\nRUN ["sh", "-c", "{command}", "made"]\n')
    trees = place / "state/rootfs/builds"
    build = start(situation, place, common)
    assert build.stdout
    seen: list[str] = []
    while not any(line.endswith("all is made\n") for line in seen):
        seen.append(build.stdout.readline())
        assert seen[-1], seen
    # Also the first process of the fence, which is the build, and all in it.
    os.killpg(build.pid, signal.SIGKILL)
    build.communicate()
    assert len(owners(trees)) > 1

    dockerfile.write_text("FROM base\nRUN true\n")
    output, _ = (done := start(situation, place, common)).communicate(timeout=100)

    assert done.returncode == 0, output
    assert list(trees.iterdir()) == []
