"""JSON lines: the stable interface for programs."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from asynckaniko.cli.progress import LogMessage, Moment
from asynckaniko.cli.progress_json import JsonDisplay, error_line
from asynckaniko.errors import CommandFailed, SourceSpan, UsageError
from asynckaniko.events import CacheMissed, LayerPulled, StepFailedEvent, StepOutput, StepStarted
from tests.unit.cli.script import MAKE, digest, whole_build

STARTED = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def shown(*moments: Moment) -> list[dict[str, Any]]:
    written: list[str] = []
    JsonDisplay(written.append, started=STARTED).show(moments)
    return [orjson.loads(line) for line in "".join(written).splitlines()]


def test_event_has_a_name_a_time_and_its_own_fields() -> None:
    assert shown((1.25, LayerPulled(digest("x"), 7, 0.5, True))) == [
        {
            "event": "layer_pulled",
            "time": "2026-11-24T12:00:01.250Z",
            "digest": digest("x"),
            "size": 7,
            "seconds": 0.5,
            "unpacked": True,
        }
    ]


def test_miss_of_the_cache_names_what_changed() -> None:
    (line,) = shown((0.0, CacheMissed("build", "RUN make", 5, ("environment",))))

    assert (line["event"], line["changed"]) == ("cache_missed", ["environment"])


def test_seconds_are_rounded_to_microseconds() -> None:
    assert shown((0.0, LayerPulled(digest("x"), 7, 1 / 3, True)))[0]["seconds"] == 0.333333


def test_step_is_an_object() -> None:
    (line,) = shown((0.0, StepStarted(MAKE)))

    assert line["step"] == {
        "stage": "build",
        "number": 3,
        "total": 3,
        "instruction": "RUN make -j4 all",
        "line": 5,
    }


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (StepFailedEvent(MAKE, 1.0, "no"), "step_failed"),
        (StepOutput(MAKE, "x", "stdout", 0.1), "step_output"),
        (LogMessage(10, "asynckaniko", "x"), "log_message"),
    ],
    ids=["failed", "output", "log"],
)
def test_names_are_in_snake_case(event: Any, name: str) -> None:
    assert shown((0.0, event))[0]["event"] == name


def test_every_event_of_a_build_is_one_line() -> None:
    moments = list(whole_build())

    assert len(shown(*moments)) == len(moments)


def test_output_that_is_not_unicode_is_shown_with_replacements() -> None:
    line = b"caf\xe9 \xf0\x9f\x8d\xb0".decode(errors="surrogateescape")

    (shown_line,) = shown((0.0, StepOutput(MAKE, line, "stdout", 0.1)))

    assert shown_line["line"] == "caf\ufffd 🍰"
    assert shown_line["step"]["instruction"] == MAKE.instruction


def test_error_is_the_last_line_with_code_and_place() -> None:
    error = CommandFailed("exit 2", exit_status=2, output=("a", "b"))
    error.at(SourceSpan("Dockerfile", 3, 5))

    assert orjson.loads(error_line(error, 2, at=STARTED)) == {
        "event": "build_failed",
        "time": "2026-11-24T12:00:00.000Z",
        "error": {
            "type": "CommandFailed",
            "message": "exit 2",
            "exit_code": 2,
            "file": "Dockerfile",
            "line": 3,
            "last_line": 5,
            "exit_status": 2,
            "output": ["a", "b"],
        },
    }


def test_error_without_place_has_none() -> None:
    found = orjson.loads(error_line(UsageError("no"), 2, at=STARTED))

    assert found["error"] == {"type": "UsageError", "message": "no", "exit_code": 2}
