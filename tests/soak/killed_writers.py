"""Kill builds at random moments while they write caches; what they leave must never be wrong.

Not part of `make test`: `make soak` runs it. SOAK_ROUNDS is how often, SOAK_SEED repeats a run.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.images import ReadImage, read_layout

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "100"))
SEED = int(os.environ.get("SOAK_SEED", str(random.randrange(1 << 32))))
VARIANTS = 6
"""Few, so that later rounds meet what earlier ones left."""
STEPS = 4


class Yard:
    """A context, a state directory and a cache of layouts that all rounds share."""

    def __init__(self, directory: Path, busybox: Path) -> None:
        self.directory = directory
        self.busybox = busybox
        self.context = directory / "context"
        self.context.mkdir()
        (directory / "volume").mkdir()
        self.fresh = 0

    def write(self, variants: list[int]) -> None:
        """Write a Dockerfile; each step's files can be told from its number and variant."""
        lines = ["FROM busybox"]
        for step, variant in enumerate(variants):
            lines.append(f"RUN seq {variant} 60000 > /f{step} && mkdir -p /d && cp /f{step} /d/")
        (self.context / "Dockerfile").write_text("\n".join((*lines, "")))

    def start(self, state: Path, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [
            *(sys.executable, "-m", "asynckaniko", "build", str(self.context), "--no-push"),
            *("--cache", f"--cache-repo=oci:{self.directory / 'volume' / 'cache'}"),
            *("--state-dir", str(state), "--progress=quiet"),
            *("--build-context", f"busybox=oci-layout://{self.busybox}", *arguments),
        ]
        log = self.directory / "log"
        with log.open("wb") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def state(self, *, is_fresh: bool) -> Path:
        """Choose a state directory: the shared one, or an empty one, so that layouts count."""
        self.fresh += is_fresh
        return self.directory / (f"fresh{self.fresh}" if is_fresh else "state")

    def build(self, state: Path) -> ReadImage:
        out = self.directory / "out"
        with self.start(state, f"--oci-layout-path={out}") as process:
            status = process.wait(timeout=100)
        assert status == 0, (self.directory / "log").read_text(errors="replace")
        return read_layout(out)


def expected(variant: int) -> bytes:
    return "".join(f"{number}\n" for number in range(variant, 60001)).encode()


@pytest.mark.timeout(ROUNDS * 120)
def test_no_round_uses_what_a_killed_build_left_half_done(
    tmp_path: Path, busybox_layout: Path
) -> None:
    chance = random.Random(SEED)
    print(f"SOAK_SEED={SEED}")
    yard = Yard(tmp_path, busybox_layout)
    yard.write([0] * STEPS)
    started = time.monotonic()
    yard.build(yard.state(is_fresh=True))
    whole = time.monotonic() - started
    killed = 0
    for number in range(ROUNDS):
        variants = [chance.randrange(VARIANTS) for _ in range(STEPS)]
        yard.write(variants)
        state = yard.state(is_fresh=chance.random() < 0.3)
        with yard.start(state) as process:
            try:
                process.wait(timeout=chance.uniform(0.2, 1.1) * whole)
            except subprocess.TimeoutExpired:
                killed += 1
                os.kill(process.pid, signal.SIGKILL)
        image = yard.build(yard.state(is_fresh=True) if chance.random() < 0.3 else state)
        for step, variant in enumerate(variants):
            content = expected(variant)
            where = f"round {number}, step {step}, SOAK_SEED={SEED}"
            assert image.tree[f"f{step}"].content == content, where
            assert image.tree[f"d/f{step}"].content == content, where
        assert processes.belonging_to(state) == []
    assert killed > ROUNDS / 3, "most builds ended before they could be killed"
