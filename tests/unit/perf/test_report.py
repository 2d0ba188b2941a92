"""Ratios and pictures are arithmetic on what was measured."""

import re
from pathlib import Path

from perf.bars import draw_bars
from perf.comparison import judge
from perf.measure import Usage
from perf.report import Run, ratios, wall_ratios
from perf.traffic import Traffic


def runs(**walls: tuple[float, ...]) -> list[Run]:
    return [
        Run("app", name, repeat, Usage(0, wall, wall / 2, 0, 100, 50), Traffic(0, 0, 0))
        for name, times in walls.items()
        for repeat, wall in enumerate(times)
    ]


def test_ratio_pairs_the_runs_of_a_repeat() -> None:
    assert wall_ratios(runs(this=(1, 2), other=(4, 4, 9)), "app", "this", "other") == [0.25, 0.5]


def test_strictest_of_the_others_comes_first() -> None:
    rows = ratios(runs(this=(2, 2), slow=(8, 8), fast=(4, 5)), reference="this").splitlines()[2:]

    assert rows == [
        "| app | fast | **0.45** (0.40-0.50) | 0.45 | 1.00 |",
        "| app | slow | **0.25** (0.25-0.25) | 0.25 | 1.00 |",
    ]


def test_failed_run_is_in_no_ratio() -> None:
    failed = Run("app", "other", 0, Usage(1, 0.1, 0, 0, 0, 0), Traffic(0, 0, 0))

    assert wall_ratios([*runs(this=(1,)), failed], "app", "this", "other") == []


def test_regression_beyond_the_threshold_is_an_exit_code() -> None:
    measured = runs(this=(1.3, 1.2, 1.0), before=(1, 1, 1))

    assert judge(measured, "before", 1.25) == 0
    assert judge(measured, "before", 1.15) == 3


def test_bars_are_as_long_as_the_medians(tmp_path: Path) -> None:
    draw_bars(runs(this=(1, 2, 3), other=(4, 4, 4)), "this", "here", tmp_path / "bars.svg")

    text = (tmp_path / "bars.svg").read_text()
    ours, theirs = (
        float(w) for w in re.findall(r'<rect x="[\d.]+" y="[\d.]+" width="(.+?)"', text)
    )
    assert theirs / ours == 2
    assert "2.00 s (1.00-3.00)" in text
    assert "4.00 s (4.00-4.00), 2.00 times" in text  # the median of 4, 2 and 1.33
