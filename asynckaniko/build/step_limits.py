"""Limits of commands as docker's users write them."""

import re

_SIZE = re.compile(r"(?P<number>\d{1,12}) ?(?P<unit>[kmg]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_ULIMIT = re.compile(r"(?P<soft>-1|\d{1,18})(?::(?P<hard>-1|\d{1,18}))?", re.ASCII)


def parse_ulimit(text: str) -> tuple[int, int]:
    """Read `SOFT[:HARD]`, -1 for none. Raises ValueError with what is expected."""
    match = _ULIMIT.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is no limit: write SOFT[:HARD], two numbers, as in 1024:4096')
    soft = int(match["soft"])
    return soft, int(match["hard"] or soft)


def parse_shm_size(text: str) -> int:
    """Read bytes; k, m and g are powers of 1024. Raises ValueError with what is expected."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is no size: write bytes, 256m or 1g')
    return int(match["number"]) << 10 * " kmg".index(match["unit"].lower() or " ")
