"""Match a text against wildcards in time linear in the text, whatever the pattern.

A pattern is a row of places, each waiting for one character, with gaps between them. All places
that are possible at the same time are bits of one integer, so that one character of text costs
a few integer operations (Baeza-Yates and Gonnet, "A new approach to text searching", 1992).
Backtracking matchers, Python's `re` among them, take exponential time on `**/**/**/...`.
"""

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

CharacterTest: TypeAlias = Callable[[str], bool]


class Gap(enum.Enum):
    """What may lie between two places."""

    STRETCH = enum.auto()
    """`*`: any characters but the barrier."""
    ANYTHING = enum.auto()
    """`**` at the end of a path pattern."""
    FOLDERS = enum.auto()
    """`**/`: nothing, or anything that ends in a slash."""


Step: TypeAlias = str | CharacterTest | Gap
"""One character, a test for one character, or a gap."""


class Wildcards:
    """A compiled pattern. `barrier` is the character that STRETCH does not cross."""

    def __init__(self, steps: Iterable[Step], *, barrier: str) -> None:
        self._barrier = barrier
        self._literals: dict[str, int] = {}
        self._tests: list[tuple[int, CharacterTest]] = []
        self._stretches = 0
        self._anything = 0
        self._folders = 0
        self._masks: dict[str, tuple[int, int]] = {}
        place = 0
        gap: Gap | None = None
        for step in steps:
            if isinstance(step, Gap):
                gap = joined(gap, step)
                continue
            place = self._open(place, gap)
            gap = None
            if isinstance(step, str):
                self._literals[step] = self._literals.get(step, 0) | 1 << place
            else:
                self._tests.append((1 << place, step))
            place += 1
        self._accept = 1 << self._open(place, gap)
        self._start = self._opened(1)

    def _open(self, place: int, gap: Gap | None) -> int:
        """Put `gap` before the next character; return the place that waits for it."""
        match gap:
            case Gap.FOLDERS:
                # A place of its own eats the folders, and a slash leads on from it.
                self._folders |= 1 << place
                self._anything |= 1 << place
                return place + 1
            case Gap.STRETCH:
                self._stretches |= 1 << place
            case Gap.ANYTHING:
                self._anything |= 1 << place
            case None:
                pass
        return place

    def _opened(self, state: int) -> int:
        """Add what is reached without a character: `**/` may be nothing."""
        return state | (state & self._folders) << 1

    def _masks_for(self, character: str) -> tuple[int, int]:
        """Return the places that take `character`, and those that it leaves as they are."""
        taking = self._literals.get(character, 0)
        for place, test in self._tests:
            if test(character):
                taking |= place
        staying = self._anything
        if character != self._barrier:
            staying |= self._stretches
        self._masks[character] = taking, staying
        return taking, staying

    def _states(self, text: str, start: int = 0, *, anywhere: bool = False) -> Iterator[int]:
        """Give the state before the first character and after each, until no match can follow."""
        state = self._start
        masks = self._masks
        again = self._start if anywhere else 0
        yield state
        for index in range(start, len(text)):
            character = text[index]
            taking, staying = masks.get(character) or self._masks_for(character)
            moved = self._opened((state & taking) << 1)
            if character == "/":
                moved |= (state & self._folders) << 1
            state = moved | state & staying | again
            yield state
            if not state:
                return

    def matches(self, text: str) -> bool:
        """Tell whether the whole of `text` matches."""
        state = 0
        for state in self._states(text):  # noqa: B007 - the last state is what counts
            pass
        return bool(state & self._accept)

    def begins(self, text: str) -> bool:
        """Tell whether some text that starts with `text` could match."""
        return all(self._states(text))

    def end(self, text: str, start: int = 0, *, longest: bool) -> int | None:
        """Return where a match that begins at `start` ends, the first or the last possible."""
        found = None
        for position, state in enumerate(self._states(text, start), start):
            if state & self._accept:
                found = position
                if not longest:
                    break
        return found

    def ends(self, text: str) -> list[int]:
        """List every position where a match that begins anywhere ends."""
        states = self._states(text, anywhere=True)
        return [position for position, state in enumerate(states) if state & self._accept]


def joined(first: Gap | None, second: Gap) -> Gap:
    """Make one gap of two that meet."""
    if first is None or first is second:
        return second
    # Folders and then any name: anything at all. A lone `*` is never followed by `**`.
    return Gap.ANYTHING


def reverse(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that match reversed texts."""
    return list(reversed(steps))
