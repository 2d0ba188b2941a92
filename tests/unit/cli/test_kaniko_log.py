"""kaniko's log lines, in the three shapes of logrus."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from asynckaniko.cli.kaniko_log import KanikoLogDisplay, Logrus, go_name, go_quoted
from asynckaniko.cli.progress import LogMessage
from asynckaniko.events import (
    BaseResolved,
    BuildWarning,
    CacheMissed,
    ImagePushed,
    RequestRetried,
    StageStarted,
    StepFinished,
    StepOutput,
    StepStarted,
)
from tests.unit.cli.script import MAKE, digest

STARTED = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def line(message: str, *, level: str = "info", **how: Any) -> str:
    written: list[str] = []
    settings: dict[str, Any] = {"format": "text", "timestamp": False, "verbosity": "info"} | how
    Logrus(written.append, started=STARTED, **settings).log(7.9, level, message)
    return "".join(written)


def stamp() -> str:
    """Seven seconds after the start, in this machine's time zone as logrus writes it."""
    local = datetime(2026, 11, 24, 12, 0, 7, tzinfo=UTC).astimezone()
    return local.isoformat(timespec="seconds").replace("+00:00", "Z")


def test_color_has_the_level_the_seconds_and_a_padded_message() -> None:
    assert line("RUN make", format="color") == (f"\x1b[36mINFO\x1b[0m[0007] RUN make{' ' * 36} \n")


def test_color_with_timestamp_has_the_time() -> None:
    found = line("x", format="color", timestamp=True)

    assert found.startswith(f"\x1b[36mINFO\x1b[0m[{stamp()}] x ")


@pytest.mark.parametrize(
    ("level", "head"),
    [("warning", "\x1b[33mWARN"), ("error", "\x1b[31mERRO"), ("fatal", "\x1b[31mFATA")],
)  # fmt: skip
def test_color_tells_the_level(level: str, head: str) -> None:
    assert line("x", level=level, format="color").startswith(head)


def test_text_is_logfmt() -> None:
    assert line("RUN make", format="text") == f'time="{stamp()}" level=info msg="RUN make"\n'


def test_json_has_sorted_keys_and_go_escapes() -> None:
    found = line("a <b> & c", level="warning", format="json")

    assert orjson.loads(found) == {"level": "warning", "msg": "a <b> & c", "time": stamp()}
    assert found.startswith('{"level":"warning","msg":"a \\u003cb\\u003e \\u0026 c","time":')


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("simple-1.2_x/y@z^a+b", "simple-1.2_x/y@z^a+b"),
        ("two words", '"two words"'),
        ("k=v", '"k=v"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("tab\there\nline", '"tab\\there\\nline"'),
        ("esc\x1b", '"esc\\x1b"'),
        ("naïve", '"naïve"'),
        ("\u200b", '"\\u200b"'),
        ("\U000e0001", '"\\U000e0001"'),
        ("", ""),
    ],
)
def test_value_is_quoted_as_go_quotes(text: str, quoted: str) -> None:
    assert go_quoted(text) == quoted


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        ("trace", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warn", ["warning", "error"]),
        ("warning", ["warning", "error"]),
        ("panic", []),
    ],
)
def test_verbosity_is_the_least_level_shown(verbosity: str, shown: list[str]) -> None:
    levels = ["debug", "info", "warning", "error"]

    assert [level for level in levels if line("x", level=level, verbosity=verbosity)] == shown


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("app", "index.docker.io/library/app:latest"),
        ("docker.io/team/app:1", "index.docker.io/team/app:1"),
        ("registry.example.com:5000/app", "registry.example.com:5000/app:latest"),
    ],
)
def test_reference_is_written_as_kaniko_writes_it(reference: str, name: str) -> None:
    assert go_name(reference) == name


@pytest.mark.parametrize(
    ("event", "messages"),
    [
        (StageStarted("build"), ["info Building stage 'build'"]),
        (StepStarted(MAKE), ["info RUN make -j4 all"]),
        (StepFinished(MAKE, 1.0), []),
        (
            StepFinished(MAKE, 0.0, cached=True),
            ["info Using caching version of cmd: RUN make -j4 all"],
        ),
        (
            BaseResolved("r.io/app:1", digest("x"), 1, 9, 0.1),
            [
                "info Retrieving image manifest r.io/app:1",
                "info Retrieving image r.io/app:1 from registry r.io",
            ],
        ),
        (
            ImagePushed("docker.io/team/app:1", digest("x")),
            [
                "info Pushing image to index.docker.io/team/app:1",
                f"info Pushed index.docker.io/team/app@{digest('x')}",
            ],
        ),
        (
            CacheMissed("0", "RUN make", 3, ("command", "user")),
            ["info No cached layer found for cmd RUN make (command, user changed)"],
        ),
        (CacheMissed("0", "RUN make", 3, ()), ["info No cached layer found for cmd RUN make"]),
        (BuildWarning("old", "Rule", "Dockerfile", 3), ["warning Rule: old (line 3)"]),
        (
            RequestRetried("GET", "https://r/v2/", "HTTP 503", 1, 0.2),
            ["warning Retrying operation after 0.2s due to https://r/v2/: HTTP 503"],
        ),
        (LogMessage(30, "asynckaniko.x", "careful"), ["warning careful"]),
        (LogMessage(10, "asynckaniko.x", "detail"), ["debug detail"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_event_is_told_in_kanikos_words(event: Any, messages: list[str]) -> None:
    written: list[str] = []
    log = Logrus(written.append, format="json", timestamp=False, verbosity="trace", started=STARTED)

    KanikoLogDisplay(log, written.append).show([(0.0, event)])

    told = [orjson.loads(each) for each in written]
    assert [f"{each['level']} {each['msg']}" for each in told] == messages


def test_command_output_goes_out_as_it_is() -> None:
    output: list[str] = []
    log = Logrus(output.append, format="text", timestamp=False, verbosity="info", started=STARTED)

    KanikoLogDisplay(log, output.append).show(
        [(0.1, StepOutput(MAKE, "\x1b[31mred\x1b[0m", "stdout", 0.1))]
    )

    assert output == ["\x1b[31mred\x1b[0m\n"]
