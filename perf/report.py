"""Numbers for people: medians with their spread, and ratios from the same period."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from perf.measure import Usage
from perf.traffic import Traffic

_COLUMNS = (
    "scenario",
    "command",
    "n",
    "wall s (min-max)",
    "CPU s",
    "peak MiB tree",
    "peak MiB process",
    "pulled MB",
    "pushed MB",
    "mounts",
    "ratio",
)


@dataclass(frozen=True)
class Run:
    """One measured build."""

    scenario: str
    contender: str
    repeat: int
    usage: Usage
    traffic: Traffic


def table(runs: Sequence[Run], *, reference: str) -> str:
    """Render a Markdown table. `ratio` is wall time over that of `reference`, as the median of the
    repeats' own ratios: both runs of a repeat met the machine in the same state.
    """
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    for scenario in dict.fromkeys(run.scenario for run in runs):
        for contender in dict.fromkeys(run.contender for run in runs):
            group = _group(runs, scenario, contender)
            if group:
                lines.append(_row(group, _group(runs, scenario, reference)))
    return "\n".join(lines)


def _group(runs: Iterable[Run], scenario: str, contender: str) -> list[Run]:
    return [run for run in runs if (run.scenario, run.contender) == (scenario, contender)]


def _row(group: Sequence[Run], reference: Sequence[Run]) -> str:
    first = group[0]
    good = [run for run in group if run.usage.exit_code == 0]
    if not good:
        status = group[-1].usage.exit_code
        failed = [first.scenario, first.contender, f"0/{len(group)}", f"failed: {status}"]
        return f"| {' | '.join(failed + [''] * (len(_COLUMNS) - len(failed)))} |"
    count = f"{len(good)}" if len(good) == len(group) else f"{len(good)}/{len(group)}"
    walls = [run.usage.wall for run in good]

    def median(value: Callable[[Run], float]) -> float:
        return statistics.median(map(value, good))

    cells = [
        first.scenario,
        first.contender,
        count,
        f"**{statistics.median(walls):.2f}** ({min(walls):.2f}-{max(walls):.2f})",
        f"{median(lambda run: run.usage.cpu):.2f}",
        f"{median(lambda run: run.usage.tree_memory) / 2**20:.0f}",
        f"{median(lambda run: run.usage.process_memory) / 2**20:.0f}",
        f"{median(lambda run: run.traffic.pulled) / 1e6:.1f}",
        f"{median(lambda run: run.traffic.pushed) / 1e6:.1f}",
        f"{median(lambda run: run.traffic.mounted):.0f}",
        _ratio(good, reference),
    ]
    return f"| {' | '.join(cells)} |"


def _ratio(group: Sequence[Run], reference: Sequence[Run]) -> str:
    found = _paired(group, reference, lambda run: run.usage.wall)
    return f"{statistics.median(found):.2f}" if found else ""


def wall_ratios(runs: Sequence[Run], scenario: str, over: str, under: str) -> list[float]:
    """Return the wall time of `over` divided by that of `under`, for each repeat that has both."""
    pair = (_group(runs, scenario, over), _group(runs, scenario, under))
    return _paired(*pair, lambda run: run.usage.wall)


def ratios(runs: Sequence[Run], *, reference: str) -> str:
    """Render a Markdown table of the reference over each other command, the strictest first."""
    columns = ("scenario", f"{reference} over", "wall (min-max)", "CPU", "peak of the tree")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for scenario in dict.fromkeys(run.scenario for run in runs):
        ours = _group(runs, scenario, reference)
        rows: list[tuple[float, str]] = []
        for other in dict.fromkeys(run.contender for run in runs):
            theirs = _group(runs, scenario, other)
            walls = _paired(ours, theirs, lambda run: run.usage.wall)
            if other == reference or not walls:
                continue
            cpu = statistics.median(_paired(ours, theirs, lambda run: run.usage.cpu))
            memory = statistics.median(_paired(ours, theirs, lambda run: run.usage.tree_memory))
            wall = statistics.median(walls)
            shown = f"**{wall:.2f}** ({min(walls):.2f}-{max(walls):.2f})"
            cells = (scenario, other, shown, f"{cpu:.2f}", f"{memory:.2f}")
            rows.append((wall, f"| {' | '.join(cells)} |"))
        lines += [row for _, row in sorted(rows, reverse=True)]
    return "\n".join(lines)


def _paired(
    over: Sequence[Run], under: Sequence[Run], value: Callable[[Run], float]
) -> list[float]:
    values = {run.repeat: value(run) for run in under if run.usage.exit_code == 0}
    good = [run for run in over if run.usage.exit_code == 0 and values.get(run.repeat)]
    return [value(run) / values[run.repeat] for run in good]
