"""Contexts are what the package takes, whatever base they are on."""

import subprocess
import sys
from pathlib import Path

from perf.contenders import ROOT, of_checkout
from perf.scenarios import SCENARIOS, SOURCES
from perf.scenarios.source import Place


def test_batch_is_ten_images_below_one_name(tmp_path: Path) -> None:
    SCENARIOS["batch"](tmp_path, "registry.example/base:1")

    program = [sys.executable, "-m", "asynckaniko", "batch", str(tmp_path / "images.json")]
    flags = ["--var", "REPOSITORY=registry.example/x", "--print"]
    done = subprocess.run([*program, *flags], capture_output=True, text=True, cwd=ROOT, check=True)

    assert all(f"registry.example/x-00{number}:1" in done.stdout for number in range(10))


def test_one_image_of_a_batch_is_built_alone(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path, "registry.example", 0, 0)

    with SOURCES["batch"](place) as source:
        (one,) = source.peers
        command = one.told("batch", source.words, source.images).command(context="/ctx")

    assert command[2:5] == ["asynckaniko", "build", "/ctx/000"]


def test_cached_scenario_tells_a_checkout_of_the_cache(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path, "registry.example", 0, 0)

    with SOURCES["cached"](place) as source:
        this = of_checkout("this", ROOT).told("cached", source.words, source.images)

    assert source.fills_cache
    assert this.template[-2:] == ("--cache-repo", "{cache}")
