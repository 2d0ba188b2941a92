"""Wording of errors: the nearest known word for a misspelt one, and long texts cut short."""

from collections.abc import Iterable
from itertools import islice

_FURTHEST = 2
_LONGEST = 80
_MOST_CANDIDATES = 1000


def shown(text: str) -> str:
    """Cut `text` to what a message can show of it."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def nearest(word: str, known: Iterable[str], *, ignore_case: bool = False) -> str:
    """Return the known word nearest to `word`, or an empty text if none is near.

    An exact match gives none: then the spelling was not what was wrong.
    """
    wanted = word.lower() if ignore_case else word
    best, best_distance = "", _FURTHEST + 1
    for candidate in islice(known, _MOST_CANDIDATES):
        option = candidate.lower() if ignore_case else candidate
        if option == wanted:
            return ""
        distance = _distance(wanted, option)
        if distance < best_distance:
            best, best_distance = candidate, distance
    if ignore_case and word.islower():
        return best.lower()
    return best


def hint(word: str, known: Iterable[str], *, ignore_case: bool = False) -> str:
    """Return ` (did you mean X?)`, or nothing."""
    near = nearest(word, known, ignore_case=ignore_case)
    return f" (did you mean {near}?)" if near else ""


def _distance(one: str, other: str) -> int:
    """Count the edits (insert, delete, substitute) between two words, up to a little over two."""
    if abs(len(one) - len(other)) > _FURTHEST:
        return _FURTHEST + 1
    row = list(range(len(other) + 1))
    for number, left in enumerate(one, 1):
        diagonal, row[0] = row[0], number
        for column, right in enumerate(other, 1):
            cost = min(row[column] + 1, row[column - 1] + 1, diagonal + (left != right))
            diagonal, row[column] = row[column], cost
        if min(row) > _FURTHEST:
            return _FURTHEST + 1
    return row[-1]
