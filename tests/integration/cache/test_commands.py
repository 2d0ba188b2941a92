"""`asynckaniko warm`, `cache list` and `cache prune` as users run them."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Finished, Workbench
from tests.support.images import Image
from tests.support.registry import Registry


def command(bench: Workbench, *words: str) -> Finished:
    return bench.run([sys.executable, "-m", "asynckaniko", *words])


def listed(bench: Workbench) -> list[dict[str, object]]:
    done = command(bench, "cache", "list", "--format=json", "--state-dir", str(bench.state))
    assert done.exit_code == 0, done.said
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_a_build_keeps_is_listed_and_pruned(bench: Workbench, busybox_layout: Path) -> None:
    bench.write("FROM busybox\nRUN echo 1 > /a\n")
    base = f"busybox=oci-layout://{busybox_layout}"
    bench.build("--no-push", "--cache", "--build-context", base)
    assert "RUN echo 1 > /a" in {item["what"] for item in listed(bench)}
    long_ago = time.time() - 1000
    for pattern in ("cache/*", "blobs/*", "rootfs/layers/*.json"):
        for path in bench.state.glob(pattern):
            os.utime(path, (long_ago, long_ago))

    done = command(bench, "cache", "prune", "--older-than=15m", "--state-dir", str(bench.state))

    assert done.exit_code == 0, done.said
    assert done.stdout.startswith("removed 3 items")
    assert done.stdout.endswith("; 0 B are left\n")
    assert listed(bench) == []


def test_miss_is_shown_with_its_reason(bench: Workbench, busybox_layout: Path) -> None:
    base = f"busybox=oci-layout://{busybox_layout}"
    for value in (1, 2):
        bench.write(f"FROM busybox\nENV A={value}\nRUN echo $A > /a\n")
        done = bench.build("--no-push", "--cache", "--progress=plain", "--build-context", base)

    assert "cache miss: RUN echo $A > /a: environment changed\n" in done.stderr


def test_warmed_image_is_built_on_without_the_registry(
    bench: Workbench, registry: Registry, busybox_image: Image, tmp_path: Path
) -> None:
    busybox_image.push(registry, "library/busybox")
    reference = f"{registry.host}/library/busybox@{busybox_image.digest}"
    volume = str(tmp_path / "volume")

    warmed = command(bench, "warm", reference, "--cache-dir", volume)
    again = command(bench, "warm", reference, "--cache-dir", volume)
    seen = registry.mark()
    bench.write(f"FROM {reference}\nRUN echo 1 > /a\n")
    image = bench.build_layout("--cache-dir", volume)

    assert warmed.stdout == f"{busybox_image.digest} fetched {reference}\n"
    assert again.stdout == f"{busybox_image.digest} present {reference}\n"
    assert image.tree["a"].content == b"1\n"
    assert registry.requests(seen) == []


@pytest.mark.parametrize(
    ("program", "status"),
    [
        (lambda known, unknown: ["asynckaniko", "warm", known, unknown], 4),
        (lambda known, unknown: ["asynckaniko.cli.warmer", "-i", known, "-i", unknown], 0),
        (lambda known, unknown: ["asynckaniko.cli.warmer", "-i", unknown], 1),
    ],
)
def test_image_that_does_not_exist_is_told_of(
    bench: Workbench,
    registry: Registry,
    busybox_image: Image,
    program: Callable[[str, str], list[str]],
    status: int,
) -> None:
    known = busybox_image.push(registry, "library/busybox")
    unknown = f"{registry.host}/no/such"
    words = program(known, unknown)

    volume = str(bench.directory / "volume")
    done = bench.run([sys.executable, "-m", *words, "--cache-dir", volume])

    assert done.exit_code == status
    assert f"Error while trying to warm image: {unknown}" in done.stderr
    failed = "Failed warming cache: Failed to warm any of the given images\n"
    assert (failed in done.stdout) == (status == 1)
