"""Read JSON documents that came from elsewhere, strictly.

Parsers disagree about a repeated key, and two readers of one manifest must not see two images
(CVE-2021-41190), so repetition is an error. The standard library's parser can tell; orjson, which
writes our own documents, cannot.
"""

import json  # noqa: TID251 - see above
from typing import Any

from asynckaniko.errors import IntegrityError


def read_object(content: bytes, *, where: str, limit: int) -> dict[str, Any]:
    """Parse `content` as one JSON object.

    Raises:
        IntegrityError: larger than `limit` bytes, not JSON, not an object, or a repeated key.
    """
    if len(content) > limit:
        raise IntegrityError(f"{where}: {len(content)} bytes, the limit is {limit}")
    try:
        document = json.loads(content, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where}: not usable JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise IntegrityError(f"{where}: expected a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {repeated!r} occurs twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
