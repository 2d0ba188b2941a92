"""Amounts as people and Kubernetes write them: `2Gi`, `500m`, `20m`, `1h30m`."""

import re

_BYTES = {
    "": 1,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", re.ASCII)
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+", re.ASCII)


def parse_memory(text: str) -> int:
    """Read a size in bytes. Raises ValueError with what is expected."""
    match = _AMOUNT.fullmatch(text)
    if not match or match[2] not in _BYTES:
        raise ValueError(f"{text!r} is no size: write bytes, 512Mi, 2Gi or 2G")
    return int(float(match[1]) * _BYTES[match[2]])


def parse_cpu(text: str) -> float:
    """Read a number of cores: `1`, `0.5` or `500m`. Raises ValueError with what is expected."""
    match = _AMOUNT.fullmatch(text)
    if not match or match[2] not in ("", "m"):
        raise ValueError(f"{text!r} is no number of cores: write 1, 0.5 or 500m")
    return float(match[1]) / (1000 if match[2] else 1)


def parse_duration(text: str) -> float:
    """Read seconds: `90s`, `20m`, `1h30m`. Raises ValueError with what is expected."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration: write 90s, 20m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
