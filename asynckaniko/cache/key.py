"""CacheKey: the address of "this step on that parent". Pure; docs/cache.md lists the ingredients.

A key is a digest over named ingredients, each framed by its length, so that no two different lists
of ingredients are the same bytes. A step's key contains its parent's: equal keys mean equal
histories. What cannot change the layer is not an ingredient: labels, the target, the place of the
context, the value of a secret, the time.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Self

from asynckaniko.records import dataclass

VERSION = "1"
"""Goes up when the same ingredients would no longer make the same layer."""


class CacheKey(str):
    """64 hex digits: a tag, a file name, and nothing that needs quoting."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a step's layer depends on, by name. Names are what a miss is explained with.

    Values are texts or lists of texts; a list and the text it would join to are different.
    """

    values: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, **values: str | Iterable[str]) -> Self:
        """Collect ingredients; empty ones are left out."""
        kept = {
            name: value if isinstance(value, str) else tuple(value)
            for name, value in values.items()
        }
        return cls({name: value for name, value in kept.items() if value})

    def key(self) -> CacheKey:
        """Digest the ingredients, in the order of their names."""
        hashed = hashlib.sha256()
        _feed(hashed, VERSION)
        for name in sorted(self.values):
            value = self.values[name]
            _feed(hashed, name)
            if isinstance(value, str):
                hashed.update(b"t")
                _feed(hashed, value)
            else:
                hashed.update(b"l%d:" % len(value))
                for item in value:
                    _feed(hashed, item)
        return CacheKey(hashed.hexdigest())

    def fingerprints(self) -> dict[str, str]:
        """Digest each ingredient by itself: enough to see which one changed, and no secret."""
        return {name: Ingredients({"": value}).key()[:16] for name, value in self.values.items()}


def _feed(hashed: "hashlib._Hash", text: str) -> None:
    data = text.encode(errors="surrogateescape")
    hashed.update(b"%d:" % len(data))
    hashed.update(data)
