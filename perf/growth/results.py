"""Results of growth runs: kept in files as they come, and shown as a table and pictures."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from perf.growth.plot import Curve, Panel, draw
from perf.growth.series import SERIES
from perf.measure import Usage
from perf.traffic import Traffic

_COLUMNS = (
    "series",
    "size",
    "n",
    "wall s (min-max)",
    "ms more per unit",
    "CPU s",
    "peak MiB tree",
    "moved MB",
)


@dataclass(frozen=True)
class Point:
    """One run of a series at one size."""

    series: str
    size: int
    repeat: int
    usage: Usage
    traffic: Traffic

    @classmethod
    def read(cls, document: dict[str, Any]) -> Self:
        usage, traffic = Usage(**document["usage"]), Traffic(**document["traffic"])
        return cls(document["series"], document["size"], document["repeat"], usage, traffic)


@dataclass(frozen=True)
class Figures:
    """Medians over the successful runs at one size."""

    size: int
    count: int
    walls: tuple[float, ...]
    cpu: float
    memory: float
    """Bytes, of the tree."""
    moved: float
    """Bytes, pulled and pushed."""

    @property
    def wall(self) -> float:
        return statistics.median(self.walls)


def write(path: Path, circumstances: dict[str, str], points: Sequence[Point]) -> None:
    document = circumstances | {"runs": [asdict(point) for point in points]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1))


def read(paths: Iterable[Path]) -> list[Point]:
    """Read the files of several runs as one."""
    return [Point.read(run) for path in paths for run in json.loads(path.read_text())["runs"]]


def figures(points: Iterable[Point], series: str) -> list[Figures]:
    """Return the medians of a series, smallest size first; sizes that only failed are not there."""
    good = [point for point in points if point.series == series and point.usage.exit_code == 0]
    return [
        _figures(size, [point for point in good if point.size == size])
        for size in sorted({point.size for point in good})
    ]


def _figures(size: int, group: Sequence[Point]) -> Figures:
    def median(value: Callable[[Point], float]) -> float:
        return statistics.median(map(value, group))

    return Figures(
        size,
        len(group),
        tuple(point.usage.wall for point in group),
        median(lambda point: point.usage.cpu),
        median(lambda point: point.usage.tree_memory),
        median(lambda point: point.traffic.pulled + point.traffic.pushed),
    )


def table(points: Sequence[Point]) -> str:
    """Render a Markdown table. `ms more per unit` is what each one beyond the size above cost:
    where cost is linear it stays the same.
    """
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    for series in dict.fromkeys(point.series for point in points):
        rows = figures(points, series)
        for before, row in zip([None, *rows], rows, strict=False):
            lines.append(_row(series, before, row))
        done = {row.size for row in rows}
        failed = {point.size for point in points if point.series == series} - done
        lines += [f"| {series} | {size} | 0 | failed |||||" for size in sorted(failed)]
    return "\n".join(lines)


def _row(series: str, before: Figures | None, row: Figures) -> str:
    more = 1000 * (row.wall - before.wall) / (row.size - before.size) if before else None
    cells = [
        series,
        str(row.size),
        str(row.count),
        f"**{row.wall:.2f}** ({min(row.walls):.2f}-{max(row.walls):.2f})",
        "" if more is None else f"{more:.3g}",
        f"{row.cpu:.2f}",
        f"{row.memory / 2**20:.0f}",
        f"{row.moved / 1e6:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def draw_all(points: Sequence[Point], directory: Path) -> list[Path]:
    """Write `growth-SERIES.svg` for each series that has results."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for series in dict.fromkeys(point.series for point in points):
        rows = figures(points, series)
        if not rows:
            continue
        path = directory / f"growth-{series}.svg"
        label = SERIES[series].label
        draw(f"Cost of more {label}", label, _panels(rows), path)
        paths.append(path)
    return paths


def _panels(rows: Sequence[Figures]) -> list[Panel]:
    def curve(name: str, value: Callable[[Figures], float]) -> Curve:
        return Curve(name, [(row.size, value(row)) for row in rows])

    return [
        Panel("seconds", [curve("wall", lambda row: row.wall), curve("CPU", lambda row: row.cpu)]),
        Panel("MiB of memory", [curve("peak", lambda row: row.memory / 2**20)]),
        Panel("MB", [curve("pulled + pushed", lambda row: row.moved / 1e6)]),
    ]
