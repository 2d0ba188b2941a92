"""Measure series of builds that grow, each with an empty state directory and a new registry.

The results of every run are in the file as soon as it has ended, so a series can be interrupted,
and several files can be shown as one with --show.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from perf.bench import RESULTS, WORK, circumstances
from perf.growth import results
from perf.growth.results import Point
from perf.growth.runs import Runs
from perf.growth.series import SERIES
from perf.traffic import listen


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m perf growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("series", nargs="*", help=f"of {', '.join(SERIES)}; all if none")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument(
        "--points",
        action="append",
        default=[],
        metavar="SERIES=N[,N...]",
        help="measure that series at these sizes; repeatable",
    )
    made.add_argument("--timeout", type=float, default=1800.0, metavar="SECONDS")
    made.add_argument(
        "--work", type=Path, default=WORK, metavar="DIR", help="contexts, state, registry"
    )
    made.add_argument("--results", type=Path, metavar="FILE", help="default: perf/results/growth-…")
    made.add_argument("--plots", type=Path, default=RESULTS, metavar="DIR", help="for the pictures")
    made.add_argument(
        "--show",
        type=Path,
        action="append",
        metavar="FILE",
        help="measure nothing; show these results as one; repeatable",
    )
    return made


def sizes(names: Sequence[str], points: Sequence[str]) -> dict[str, Sequence[int]]:
    """Return the sizes for each chosen series.

    Raises:
        ValueError: a series or a size that cannot be measured.
    """
    chosen = {name: SERIES[name].sizes for name in names or SERIES if name in SERIES}
    if unknown := sorted(set(names) - set(SERIES)):
        raise ValueError(f"no series {', '.join(unknown)}; there are {', '.join(SERIES)}")
    for entry in points:
        name, _, listed = entry.partition("=")
        if name not in chosen:
            raise ValueError(f"--points {entry}: {name} is none of {', '.join(chosen)}")
        if not all(word.isdecimal() and int(word) for word in listed.split(",")):
            raise ValueError(f"--points {entry}: sizes are whole numbers from 1 on")
        chosen[name] = sorted({int(word) for word in listed.split(",")})
    return chosen


def main(arguments: Sequence[str]) -> int:
    chosen = parser().parse_args(arguments)
    if chosen.show:
        _show(results.read(chosen.show), chosen.plots)
        return 0
    try:
        wanted = sizes(chosen.series, chosen.points)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    file = chosen.results or RESULTS / f"growth-{time.strftime('%Y%m%d-%H%M%S')}.json"
    work = chosen.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    about = circumstances(work)
    points: list[Point] = []
    complete = True
    with listen() as listener:
        runs = Runs(work, listener, chosen.timeout)
        for name, series_sizes in wanted.items():
            for point in runs.of_series(name, series_sizes, chosen.repeats):
                points.append(point)
                results.write(file, about, points)
            complete &= not runs.left_out
    if points:
        _show(points, chosen.plots)
        print(f"Results: {file}", file=sys.stderr)
    return 0 if complete and all(point.usage.exit_code == 0 for point in points) else 1


def _show(points: Sequence[Point], plots: Path) -> None:
    print(results.table(points))
    for path in results.draw_all(points, plots):
        print(f"Picture: {path}", file=sys.stderr)
