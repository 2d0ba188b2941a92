"""What the Pods of a batch print, each line behind its image's name."""

from collections.abc import Callable

from asynckaniko.cli.labels import output_text, plain_text

_COLORS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_WIDEST = 32
"""Characters that names are padded to at most."""


class BatchLog:
    """Writes lines of many images as they come."""

    def __init__(self, write: Callable[[str], object], *, color: bool) -> None:
        self._write = write
        self._color = color
        self._colors: dict[str, int] = {}
        self._width = 0

    def add(self, image: str, line: str) -> None:
        """Write one line of an image's log."""
        color = self._colors.setdefault(image, _COLORS[len(self._colors) % len(_COLORS)])
        # Grows as names come: which images there are is known only when their Pods begin.
        self._width = max(self._width, min(len(image), _WIDEST))
        prefix = f"{plain_text(image):{self._width}} |"
        if self._color:
            prefix = f"\x1b[{color}m{prefix}\x1b[0m"
        self._write(f"{prefix} {output_text(line, color=self._color)}".rstrip() + "\n")
