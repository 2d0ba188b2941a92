"""Content addresses: digest, diffID and chainID.

image-spec v1.1: descriptor.md#digests, config.md#layer-diffid, config.md#layer-chainid.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import NewType, Self

from asynckaniko.errors import InvalidReference

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Digest(str):
    """`sha256:<64 hex>`. Names the bytes as they are stored and sent."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check `text`. Raises InvalidReference: another algorithm, upper case, or no digest."""
        if not _DIGEST.fullmatch(text):
            raise InvalidReference(f"not a sha256 digest: {text[:100]!r}")
        return cls(text)

    @classmethod
    def of(cls, content: bytes) -> Self:
        return cls(f"sha256:{hashlib.sha256(content).hexdigest()}")

    @property
    def hex(self) -> str:
        """The 64 hex digits: what file names are made of, and nothing else is."""
        return self[7:]


DiffID = NewType("DiffID", Digest)
"""Digest of a layer's uncompressed tar."""

ChainID = NewType("ChainID", Digest)
"""Digest of a stack of layers: what a rootfs contains after applying them in order."""


def chain(diff_ids: Sequence[DiffID]) -> ChainID:
    """Fold diffIDs, base first, into the chainID of the whole stack."""
    head, *rest = diff_ids
    result = ChainID(head)
    for diff_id in rest:
        result = ChainID(Digest.of(f"{result} {diff_id}".encode()))
    return result
