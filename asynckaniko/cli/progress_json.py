"""Progress for programs: one JSON object a line.

This is the stable interface. Each object has `event` (the event's name in snake case), `time` (UTC)
and the event's own fields, as `asynckaniko.events` documents them. Fields and events may be added.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from asynckaniko.cli.progress import LogMessage, Moment, Shown
from asynckaniko.errors import AsynckanikoError, CommandFailed

_NAMES = {"StepFailedEvent": "step_failed"}
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class JsonDisplay:
    """Prints progress as JSON lines. `started` is when the display was opened."""

    interval = 60.0

    def __init__(self, write: Callable[[str], None], *, started: datetime) -> None:
        self._write = write
        self._started = started

    def show(self, moments: Iterable[Moment]) -> None:
        self._write("".join(self._line(now, event) for now, event in moments))

    def tick(self, now: float) -> None:
        pass

    def close(self, now: float) -> None:
        pass

    def _line(self, now: float, event: Shown) -> str:
        time = self._started + timedelta(seconds=now)
        if isinstance(event, LogMessage):
            fields: dict[str, Any] = {"level": event.level, "name": event.name, "text": event.text}
        else:
            fields = {name: _rounded(getattr(event, name)) for name in event.__dataclass_fields__}
        return to_line({"event": event_name(event), "time": _utc(time), **fields})


def event_name(event: Shown) -> str:
    """Name an event as the JSON lines do: StepStarted is `step_started`."""
    name = type(event).__name__
    return _NAMES.get(name) or _CAPITAL.sub("_", name).lower()


def error_line(error: BaseException, exit_code: int, *, at: datetime) -> str:
    """Write the last line of a build that failed."""
    fields: dict[str, Any] = {
        "type": type(error).__name__,
        "message": str(error),
        "exit_code": exit_code,
    }
    if isinstance(error, AsynckanikoError) and error.span:
        fields |= {"file": error.span.file, "line": error.span.first, "last_line": error.span.last}
    if isinstance(error, CommandFailed):
        fields |= {"exit_status": error.exit_status, "output": error.output}
    return to_line({"event": "build_failed", "time": _utc(at), "error": fields})


def to_line(fields: dict[str, Any]) -> str:
    """Write one JSON line; text that is no valid Unicode is shown as such, not refused."""
    try:
        return orjson.dumps(fields).decode() + "\n"
    except TypeError:
        return orjson.dumps(_printable(fields)).decode() + "\n"


def _rounded(value: Any) -> Any:
    """Round seconds to microseconds: more is noise, and hard to read."""
    return round(value, 6) if isinstance(value, float) else value


def _printable(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="surrogateescape").decode(errors="replace")
        case dict():
            return {key: _printable(each) for key, each in value.items()}
        case list() | tuple():
            return [_printable(each) for each in value]
        case _ if hasattr(value, "__dataclass_fields__"):
            names = value.__dataclass_fields__
            return {name: _printable(getattr(value, name)) for name in names}
        case _:
            return value


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
