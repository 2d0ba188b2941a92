"""Folded stacks, `a;b;c COUNT` a line, as a flame graph; and perf's stacks as folded ones."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perf.svg import FAINT, Drawing

_WIDTH, _ROW, _HEAD = 1200, 17, 44
_CHARACTER = 6.3
_THINNEST = 0.5
_PROCESS = re.compile(r'(process \d+):"[^"]*"')
_WARM = ("#f2a65a", "#f0b67a", "#eb9a4b", "#f6c28b")
_UNKNOWN = "[unknown]"


@dataclass
class Frame:
    """A function where it was called from. `count` is of samples in it or in what it calls."""

    name: str
    count: int = 0
    below: dict[str, "Frame"] = field(default_factory=dict)

    def add(self, names: Iterable[str], count: int) -> None:
        self.count += count
        frame = self
        for name in names:
            frame = frame.below.setdefault(name, Frame(name))
            frame.count += count

    def depth(self) -> int:
        return 1 + max((frame.depth() for frame in self.below.values()), default=0)


def read_folded(lines: Iterable[str]) -> Counter[str]:
    """Count the stacks of folded text; of py-spy's frames for processes only the number stays."""
    stacks: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.strip().rpartition(" ")
        # A command line may hold semicolons, which part frames.
        stack = _PROCESS.sub(r"\1", stack)
        if stack:
            stacks[stack] += int(count)
    return stacks


def fold(script: Iterable[str]) -> Counter[str]:
    """Fold what `perf script` prints: a head for each sample, its frames innermost first, a blank
    line. The outermost frame becomes the name of the program. What has no name, or only a label of
    an assembler, gets that of its library, and addresses that are in none are left out.
    """
    stacks: Counter[str] = Counter()
    program, frames = "", list[str]()
    for line in [*script, ""]:
        if not line.strip():
            if program:
                stacks[";".join([program, *reversed(frames)])] += 1
            program, frames = "", []
        elif not line[0].isspace() or not program:
            program = line.split(maxsplit=1)[0]
        else:
            frame = _frame(line).replace(";", ":")
            if frame and frames[-1:] != [frame]:
                frames.append(frame)
    return stacks


def _frame(line: str) -> str:
    found = re.match(r"\s*[0-9a-f]+\s+(.*?)(?:\+0x[0-9a-f]+)?(?:\s+\((.*)\))?\s*$", line)
    if found is None:
        return line.strip()
    name, library = found[1], Path(found[2] or "").name
    if library == _UNKNOWN:
        return ""
    return f"[{library}]" if library and (name == _UNKNOWN or name.startswith("..")) else name


def draw_flames(stacks: Mapping[str, int], title: str, path: Path) -> None:
    """Write the graph: callers above, width is samples; a browser shows counts on hovering."""
    root = Frame("all")
    for stack, count in stacks.items():
        root.add(stack.split(";"), count)
    drawing = Drawing(_WIDTH, _HEAD + root.depth() * _ROW + 10)
    drawing.text((12, 20), title, size=14, weight="bold")
    drawing.text((12, 36), f"{root.count} samples; callers above", colour=FAINT)
    for frame, left, level, width in _placed(root, 0.0, 0, float(_WIDTH)):
        top = _HEAD + level * _ROW
        share = f"{frame.name}: {frame.count} samples, {frame.count / root.count:.1%}"
        colour = _WARM[sum(frame.name.encode()) % len(_WARM)]
        drawing.rectangle(left, top, max(width - 0.5, 0.1), _ROW - 1, colour, share)
        room = int((width - 6) / _CHARACTER)
        if room >= 3:
            name = frame.name if len(frame.name) <= room else frame.name[: room - 1] + "…"
            drawing.text((left + 3, top + 12), name, size=10.5)
    drawing.write(path)


def _placed(
    frame: Frame, left: float, level: int, width: float
) -> Iterator[tuple[Frame, float, int, float]]:
    """Give each frame its left edge, level and width; the widest first, too thin ones not."""
    if width < _THINNEST:
        return
    yield frame, left, level, width
    for inner in sorted(frame.below.values(), key=lambda inner: -inner.count):
        share = width * inner.count / frame.count
        yield from _placed(inner, left, level + 1, share)
        left += share
