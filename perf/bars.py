"""A comparison as a picture: for each scenario its commands' wall times, each on its own scale."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perf.report import Run, wall_ratios
from perf.svg import COLOURS, FAINT, GRID, INK, Drawing

_WIDTH, _LEFT, _BAR_WIDTH = 860, 230, 400
_HEAD, _ROW, _GAP = 56, 22, 16


@dataclass(frozen=True)
class Bar:
    """Wall seconds of one command in one scenario, and how often the reference's time they are."""

    name: str
    walls: Sequence[float]
    ratio: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.walls)

    @property
    def label(self) -> str:
        times = "" if self.ratio is None else f", {self.ratio:.2f} times"
        return f"{self.median:.2f} s ({min(self.walls):.2f}-{max(self.walls):.2f}){times}"


def bars(runs: Sequence[Run], scenario: str, reference: str) -> list[Bar]:
    """Collect the commands that came to an end, the reference first."""
    found = []
    for name in dict.fromkeys([reference, *(run.contender for run in runs)]):
        walls = [
            run.usage.wall
            for run in runs
            if (run.scenario, run.contender) == (scenario, name) and run.usage.exit_code == 0
        ]
        ratios = [] if name == reference else wall_ratios(runs, scenario, name, reference)
        if walls:
            found.append(Bar(name, walls, statistics.median(ratios) if ratios else None))
    return found


def draw_bars(runs: Sequence[Run], reference: str, caption: str, path: Path) -> None:
    """Write the picture. A bar is the median, the line through its end smallest to largest."""
    groups = {
        scenario: bars(runs, scenario, reference)
        for scenario in dict.fromkeys(run.scenario for run in runs)
    }
    rows = sum(len(group) for group in groups.values())
    drawing = Drawing(_WIDTH, _HEAD + rows * _ROW + len(groups) * _GAP + 10)
    title = f"Wall time: median, smallest and largest, median of the ratios to {reference}"
    drawing.text((12, 20), title, size=14, weight="bold")
    drawing.text((12, 38), f"each scenario on its own scale; {caption}", colour=FAINT)
    top = float(_HEAD)
    for scenario, group in groups.items():
        if group:
            drawing.text((12, top + 15), scenario, weight="bold")
            longest = max(max(bar.walls) for bar in group)
            for number, bar in enumerate(group):
                colour = COLOURS[0] if bar.name == reference else FAINT
                _draw_bar(drawing, bar, longest, top + number * _ROW, colour)
        top += len(group) * _ROW + _GAP
        drawing.line((12, top - _GAP / 2), (_WIDTH - 12, top - _GAP / 2), GRID)
    drawing.write(path)


def _draw_bar(drawing: Drawing, bar: Bar, longest: float, top: float, colour: str) -> None:
    def place(seconds: float) -> float:
        return _LEFT + _BAR_WIDTH * seconds / longest

    middle = top + _ROW / 2
    drawing.text((_LEFT - 8, middle + 4), bar.name, anchor="end")
    drawing.rectangle(_LEFT, top + 4, place(bar.median) - _LEFT, _ROW - 8, colour, bar.label)
    low, high = place(min(bar.walls)), place(max(bar.walls))
    drawing.line((low, middle), (high, middle), INK, 1.5)
    for end in (low, high):
        drawing.line((end, middle - 4), (end, middle + 4), INK, 1.5)
    drawing.text((high + 8, middle + 4), bar.label)
