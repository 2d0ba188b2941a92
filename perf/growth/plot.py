"""How cost grows with size, on logarithmic axes: there what is linear has a slope of one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

from perf.svg import COLOURS, FAINT, GRID, Drawing

_PANEL_WIDTH, _PANEL_HEIGHT = 320, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 18, 58, 46
_LEAST_SPAN = 10.0
"""An axis covers a decade at least: what hardly grows must look as if it hardly grows."""
_ROOM = 1.6
"""Between the outermost points and the frame, so that their labels fit."""


@dataclass(frozen=True)
class LogAxis:
    """Values `low` to `high` on pixels `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float, span: float = 0) -> Self:
        """Hold all values, with room around them, and cover a factor of `span` at least."""
        low, high = min(values) / _ROOM, max(values) * _ROOM
        missing = math.sqrt(max(1.0, span / (high / low)))
        return cls(low / missing, high * missing, start, end)

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten, and twice and five times those where that leaves room."""
        steps = (1, 2, 5) if self.high / self.low < 1000 else (1,)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        marks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        return [mark for mark in marks if self.low <= mark <= self.high]


@dataclass(frozen=True)
class Curve:
    """One quantity: pairs of size and value, sizes ascending."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """Curves that share a unit."""

    title: str
    curves: Sequence[Curve]


def draw(title: str, size_label: str, panels: Sequence[Panel], path: Path) -> None:
    """Write the panels beside one another."""
    drawing = Drawing(_PANEL_WIDTH * len(panels), _PANEL_HEIGHT)
    drawing.text((12, 20), title, size=14, weight="bold")
    for number, panel in enumerate(panels):
        _draw_panel(drawing, panel, size_label, left=_PANEL_WIDTH * number)
    drawing.write(path)


def _draw_panel(drawing: Drawing, panel: Panel, size_label: str, left: float) -> None:
    # What is not there has no logarithm: a build may move no bytes at all.
    curves = [
        Curve(curve.name, [point for point in curve.points if point[1] > 0])
        for curve in panel.curves
    ]
    curves = [curve for curve in curves if curve.points]
    frame_left, frame_right = left + _LEFT, left + _PANEL_WIDTH - _RIGHT
    drawing.text((frame_left, _TOP - 16), panel.title, weight="bold")
    if not curves:
        drawing.text((frame_left, _TOP + 20), "nothing", colour=FAINT)
        return
    sizes = [size for curve in curves for size, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points]
    across = LogAxis.of(sizes, frame_left, frame_right)
    up = LogAxis.of(values, _PANEL_HEIGHT - _BOTTOM, _TOP, _LEAST_SPAN)
    _draw_grid(drawing, across, up, sorted(set(sizes)))
    drawing.text(((frame_left + frame_right) / 2, _PANEL_HEIGHT - 10), size_label, anchor="middle")
    _draw_guide(drawing, across, up, curves[0].points[0])
    for curve, colour in zip(curves, COLOURS, strict=False):
        _draw_curve(drawing, across, up, curve, curves, colour)
    _draw_legend(drawing, [curve.name for curve in curves], frame_right)


def _draw_grid(drawing: Drawing, across: LogAxis, up: LogAxis, sizes: Sequence[float]) -> None:
    for tick in up.ticks():
        height = up.place(tick)
        drawing.line((across.start, height), (across.end, height), GRID)
        drawing.text((across.start - 6, height + 4), short(tick), anchor="end", colour=FAINT)
    for size in sizes:
        place = across.place(size)
        drawing.line((place, up.start), (place, up.end), GRID)
        drawing.text((place, up.start + 16), short(size), anchor="middle", colour=FAINT)
    drawing.line((across.start, up.start), (across.end, up.start))
    drawing.line((across.start, up.start), (across.start, up.end))


def _draw_guide(
    drawing: Drawing, across: LogAxis, up: LogAxis, origin: tuple[float, float]
) -> None:
    """Show what growth in proportion to the first point would be, as far as the frame goes."""
    size, value = origin
    factor = min(across.high / size, up.high / value)
    end = (across.place(size * factor), up.place(value * factor))
    drawing.line((across.place(size), up.place(value)), end, FAINT, dashes="4 4")


def _draw_curve(
    drawing: Drawing,
    across: LogAxis,
    up: LogAxis,
    curve: Curve,
    curves: Sequence[Curve],
    colour: str,
) -> None:
    places = [(across.place(size), up.place(value)) for size, value in curve.points]
    for start, end in pairwise(places):
        drawing.line(start, end, colour, 2)
    for (size, value), (x, y) in zip(curve.points, places, strict=True):
        drawing.dot((x, y), colour)
        # Two curves never write into one another: the upper one above, the lower one below.
        others = [dict(other.points).get(size, 0) for other in curves if other is not curve]
        below = any(other > value for other in others)
        label = (x, y + 17 if below else y - 8)
        drawing.text(label, short(value), anchor="middle", colour=colour)


def _draw_legend(drawing: Drawing, names: Sequence[str], right: float) -> None:
    names = [*names, "- - in proportion"]
    colours = [*COLOURS[: len(names) - 1], FAINT]
    for name, colour in reversed(list(zip(names, colours, strict=True))):
        drawing.text((right, _TOP - 16), name, anchor="end", colour=colour)
        right -= 6.2 * len(name) + 10


def short(value: float) -> str:
    """Write three significant digits, thousands as k and millions as M."""
    factor, suffix = (1e6, "M") if value >= 999_500 else (1e3, "k") if value >= 999.5 else (1, "")
    return f"{float(f'{value / factor:.3g}'):g}{suffix}"
