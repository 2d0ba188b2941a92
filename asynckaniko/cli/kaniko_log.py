"""kaniko's log: lines in the shapes of logrus, for pipelines that read them.

`color` is `INFO[0007] message`, `text` is logfmt, `json` one object a line. What a command prints
goes out as it is, between the lines.
"""

import logging
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import orjson

from asynckaniko.cli.labels import (
    count_text,
    output_kind,
    plain_text,
    seconds_text,
    short_digest,
    size_text,
)
from asynckaniko.cli.progress import LogMessage, Moment, OutputDropped, Shown
from asynckaniko.events import (
    BaseResolved,
    BuildFinished,
    BuildWarning,
    CacheMissed,
    ImagePushed,
    LayerPacked,
    LayerPulled,
    LayerReused,
    OutputWritten,
    RequestRetried,
    StageStarted,
    StepFinished,
    StepOutput,
    StepStarted,
)
from asynckaniko.oci.reference import DOCKER_HUB, Reference

LEVELS = ("panic", "fatal", "error", "warning", "info", "debug", "trace")
_COLORS = {"warning": 33, "info": 36, "debug": 37, "trace": 37}
_RED = 31
_UNQUOTED = re.compile(r"[A-Za-z0-9\-._/@^+]*", re.ASCII)
_GO_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"} | {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}


class Logrus:
    """Formats and writes lines of at least the level `verbosity`. `started` is second 0."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        format: str,
        timestamp: bool,
        verbosity: str,
        started: datetime,
    ) -> None:
        self._write = write
        self._format = format
        self._timestamp = timestamp
        level = {"warn": "warning"}.get(verbosity, verbosity)
        self._shown = frozenset(LEVELS[: LEVELS.index(level) + 1])
        self._started = started

    def log(self, now: float, level: str, message: str) -> None:
        if level in self._shown:
            time = (self._started + timedelta(seconds=now)).astimezone()
            self._write(self._line(now, time, level, message))

    def _line(self, now: float, time: datetime, level: str, message: str) -> str:
        stamp = time.isoformat(timespec="seconds").replace("+00:00", "Z")
        if self._format == "json":
            # Go sorts the keys and escapes what could end a <script>.
            fields: dict[str, Any] = {"level": level, "msg": message, "time": stamp}
            text = orjson.dumps(fields).decode()
            for character in "<>&":
                text = text.replace(character, f"\\u{ord(character):04x}")
            return text + "\n"
        if self._format == "text":
            return f"time={go_quoted(stamp)} level={level} msg={go_quoted(message)}\n"
        color = _COLORS.get(level, _RED)
        elapsed = stamp if self._timestamp else f"{int(now):04}"
        return f"\x1b[{color}m{level.upper()[:4]}\x1b[0m[{elapsed}] {message:<44} \n"


def go_quoted(text: str) -> str:
    """Quote as logrus does: only if needed, then as Go's strconv.Quote."""
    if _UNQUOTED.fullmatch(text):
        return text
    return '"' + "".join(map(_go_escaped, text)) + '"'


def _go_escaped(character: str) -> str:
    if character in _GO_ESCAPES:
        return _GO_ESCAPES[character]
    if character == " " or character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class KanikoLogDisplay:
    """Shows a build as kaniko's log lines; command output goes to `write_output` as it is."""

    interval = 60.0

    def __init__(self, log: Logrus, write_output: Callable[[str], None]) -> None:
        self._log = log
        self._write_output = write_output

    def show(self, moments: Iterable[Moment]) -> None:
        for now, event in moments:
            if isinstance(event, StepOutput):
                self._write_output(f"{event.line}\n")
            elif told := _told(event):
                level, *messages = told
                for message in messages:
                    self._log.log(now, level, message)

    def tick(self, now: float) -> None:
        pass

    def close(self, now: float) -> None:
        pass


def _told(event: Shown) -> tuple[str, ...]:
    """Say the event in kaniko's words where it has some: the level, then the messages."""
    match event:
        case StageStarted(stage):
            return "info", f"Building stage '{stage}'"
        case StepStarted(step):
            return "info", plain_text(step.instruction)
        case StepFinished(step, _, True):
            return "info", f"Using caching version of cmd: {plain_text(step.instruction)}"
        case CacheMissed(_, instruction, _, changed):
            reason = f" ({', '.join(changed)} changed)" if changed else ""
            return "info", f"No cached layer found for cmd {plain_text(instruction)}{reason}"
        case BuildWarning(message, rule, _, line):
            place = f" (line {line})" if line else ""
            return "warning", f"{rule}: {message}{place}" if rule else f"{message}{place}"
        case RequestRetried(_, url, reason, _, wait):
            return "warning", f"Retrying operation after {wait:g}s due to {url}: {reason}"
        case ImagePushed(reference, digest):
            name = go_name(reference)
            repository = name.rpartition(":")[0]
            return "info", f"Pushing image to {name}", f"Pushed {repository}@{digest}"
        case LogMessage(level, _, text):
            return _level_word(level), text
        case OutputDropped(lines):
            return "warning", f"{count_text(lines, 'line')} of output not shown"
        case _:
            return _told_of_layers(event)


def _told_of_layers(event: Shown) -> tuple[str, ...]:
    match event:
        case BaseResolved(reference):
            name = go_name(reference)
            registry = name.partition("/")[0]
            retrieving = f"Retrieving image {name} from registry {registry}"
            return "info", f"Retrieving image manifest {reference}", retrieving
        case LayerPulled(digest, size, seconds):
            what = f"{short_digest(digest)} ({size_text(size)})"
            return "debug", f"Unpacked layer {what} in {seconds_text(seconds)}"
        case LayerReused(digest):
            return "debug", f"Using unpacked layer {short_digest(digest)}"
        case LayerPacked(_, digest, _, size):
            return "debug", f"Packed layer {short_digest(digest)} ({size_text(size)})"
        case OutputWritten(kind, path, _):
            return "debug", f"Wrote {output_kind(kind)} {path}"
        case BuildFinished(digest, seconds):
            return "debug", f"Built {digest} in {seconds_text(seconds)}"
        case _:
            return ()


def go_name(reference: str) -> str:
    """Write a reference as go-containerregistry prints it: Docker Hub is index.docker.io."""
    parsed = Reference.parse(reference)
    registry = parsed.repository.registry
    host = "index.docker.io" if registry == DOCKER_HUB else registry
    return f"{host}/{parsed.repository.name}:{parsed.tag}"


def _level_word(level: int) -> str:
    if level >= logging.ERROR:
        return "error"
    if level >= logging.WARNING:
        return "warning"
    return "info" if level >= logging.INFO else "debug"
