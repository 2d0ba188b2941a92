"""How the things of a build are written for people: steps, sizes, times, output lines."""

import logging
import re
from collections.abc import Sequence

from asynckaniko.errors import SourceSpan
from asynckaniko.events import BuildWarning, CacheMissed, RequestRetried, Step
from asynckaniko.oci.digest import Digest

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")

_OUTPUT_KINDS = {
    "OciLayout": "OCI layout",
    "DockerArchive": "archive",
    "DigestFile": "digest file",
    "NamesFile": "image names",
}

_COLOR = re.compile(r"\x1b\[[0-9;:]*m")
_ESCAPE = re.compile(
    r"\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]"  # control sequences: cursor, erase, colours
    r"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, hyperlinks, device strings
    r"|[ -/]*[0-~]"  # two-character escapes and character sets
    r")"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BREAK = re.compile(r"\s*\n\s*")


def step_label(step: Step, stages: Sequence[str] = ()) -> str:
    """Write `[build 2/5] RUN make`; the stage is left out when it is the only one."""
    place = f"{step.number}/{step.total}"
    if len(stages) != 1:
        stage = f"stage-{step.stage}" if step.stage.isdigit() else step.stage
        place = f"{stage} {place}"
    return f"[{place}] {plain_text(step.instruction)}"


def size_text(size: int) -> str:
    """Write a size in decimal units, as registries and BuildKit do: `48.5 MB`."""
    value, unit = float(size), 0
    while value >= 999.95 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{size} B"


def seconds_text(seconds: float) -> str:
    """Write a duration: `0.4s`, `3m07s`, `1h02m`."""
    if seconds < 99.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m"


def count_text(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def short_digest(digest: Digest) -> str:
    return f"sha256:{digest.hex[:12]}"


def plain_text(line: str) -> str:
    """Make text from elsewhere one line that is safe for a terminal: nothing in it has effects."""
    line = _BREAK.sub(" ", line.rstrip("\n"))
    return _CONTROL.sub("", _ESCAPE.sub("", line)).expandtabs(8)


def output_text(line: str, *, color: bool) -> str:
    """Make a line that a command printed safe to print: what it ends up looking like.

    Of text that was overwritten by carriage returns the last is kept. Colours stay if `color`;
    all that moves the cursor or talks to the terminal goes.
    """
    if "\r" in line:
        line = next((part for part in reversed(line.split("\r")) if part), "")
    if not line.isprintable():
        if not color:
            return plain_text(line)
        colors = _COLOR.findall(line)
        parts = [plain_text(part) for part in _COLOR.split(line)]
        line = parts[0] + "".join(c + part for c, part in zip(colors, parts[1:], strict=True))
        line += "\x1b[0m" if colors and colors[-1] not in {"\x1b[0m", "\x1b[m"} else ""
    return line


def warning_text(warning: BuildWarning) -> str:
    rule = f"{warning.rule}: " if warning.rule else ""
    place = ""
    if warning.file and warning.line:
        place = f" ({SourceSpan(warning.file, warning.line, warning.line)})"
    return f"{rule}{plain_text(warning.message)}{place}"


def miss_text(missed: CacheMissed) -> str:
    """Write what no cache had, and which part of it is another than in the last build."""
    why = f": {', '.join(missed.changed)} changed" if missed.changed else ""
    return plain_text(f"{missed.instruction}{why}")


def output_kind(kind: str) -> str:
    """Write what `OutputWritten.kind` names in words."""
    return _OUTPUT_KINDS.get(kind, kind)


def retry_text(retried: RequestRetried) -> str:
    wait = seconds_text(retried.wait_seconds)
    request = f"{retried.method} {retried.url}"
    return plain_text(f"{request}: {retried.reason}; attempt {retried.attempt + 1} in {wait}")


def log_text(level: int, name: str, text: str) -> str:
    """Write a line of the developers' log."""
    return plain_text(f"{logging.getLevelName(level).lower()}: {name}: {text}")
