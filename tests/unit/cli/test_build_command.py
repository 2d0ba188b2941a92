"""`asynckaniko build` around the build: what it prints, writes and returns."""

import io
import logging
from pathlib import Path
from typing import Any

import orjson
import pytest

from asynckaniko.build.request import BuildRequest, BuildResult
from asynckaniko.cli.build_command import BuildCommand, metadata
from asynckaniko.cli.options import BuildOptions, DisplayOptions
from asynckaniko.errors import CommandFailed, NotFound, SourceSpan, UsageError
from asynckaniko.events import (
    BuildStarted,
    BuildWarning,
    Event,
    EventSink,
    StepOutput,
    StepStarted,
)
from asynckaniko.settings import Settings
from tests.unit.cli.script import MAKE, whole_build
from tests.unit.cli.standin import ScriptedBuilder, finished

STARTED = BuildStarted("Dockerfile", "build", ("build",))


class Ran:
    """A command that has run, with all it left."""

    def __init__(self, builder: Any, *, mode: str = "plain", **more: Any) -> None:
        display = {name: more.pop(name) for name in ("verbosity", "log_format") if name in more}
        options = BuildOptions(
            settings=Settings(),
            request=BuildRequest(context="app"),
            display=DisplayOptions(mode=mode, **display),  # type: ignore[arg-type]
            **more,
        )
        self._out, self._err = io.StringIO(), io.StringIO()
        command = BuildCommand(options, builder, stdout=self._out, stderr=self._err)
        self.status = command.run()

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def err(self) -> str:
        return self._err.getvalue()


def failed_run() -> CommandFailed:
    error = CommandFailed("RUN make: exit status 42", exit_status=42, output=("no rule",))
    return error.at(SourceSpan("Dockerfile", 1, 1), "RUN make")


def test_result_is_on_stdout_and_progress_on_stderr() -> None:
    result = finished("r.io/app:1", "r.io/app:2")
    builder = ScriptedBuilder([event for _, event in whole_build()], result)

    ran = Ran(builder)

    assert ran.status == 0
    assert ran.out == f"{result.digest}\nr.io/app:1\nr.io/app:2\n"
    assert ran.err.startswith("#1 [internal] load build definition from Dockerfile\n")
    assert builder.request == BuildRequest(context="app")
    assert builder.settings == Settings()


def test_failed_command_gives_its_own_exit_status() -> None:
    ran = Ran(ScriptedBuilder([STARTED], failed_run()))

    assert ran.status == 42
    assert ran.out == ""
    assert ran.err.endswith(
        "------\n no rule\n------\n"
        "Dockerfile:1\n--------------------\n   1 | >>> RUN make\n--------------------\n"
        "error: RUN make: exit status 42\n"
    )


def test_lone_error_in_a_group_is_reported_by_itself() -> None:
    group = ExceptionGroup("unhandled errors", [NotFound("GET", "https://r/v2/x", 404)])

    ran = Ran(ScriptedBuilder([], group))

    assert ran.status == 4
    assert ran.err == "error: GET https://r/v2/x: HTTP 404 (no error body)\n"


def test_bug_is_reported_with_a_traceback_and_status_1() -> None:
    ran = Ran(ScriptedBuilder([], ZeroDivisionError("x")))

    assert ran.status == 1
    assert "Traceback (most recent call last):" in ran.err
    assert ran.err.endswith("error: this is a bug in asynckaniko: ZeroDivisionError: x\n")


def test_builder_that_cannot_start_is_reported_too() -> None:
    class Unusable(ScriptedBuilder):
        async def __aenter__(self) -> Any:
            raise UsageError("state directory: not here")

    ran = Ran(Unusable())

    assert (ran.status, ran.err) == (2, "error: state directory: not here\n")


def test_json_errors_are_json() -> None:
    ran = Ran(ScriptedBuilder([STARTED], failed_run()), mode="json")

    events = [orjson.loads(line) for line in ran.err.splitlines()]
    assert [event["event"] for event in events] == ["build_started", "build_failed"]
    assert events[-1]["error"]["exit_code"] == 42
    assert ran.status == 42


def test_quiet_prints_warnings_and_the_result() -> None:
    ran = Ran(ScriptedBuilder([STARTED, BuildWarning("old form")]), mode="quiet")

    assert ran.err == "warning: old form\n"
    assert ran.out == f"{finished().digest}\n"


def test_none_prints_nothing_but_errors() -> None:
    events: list[Event] = [STARTED, BuildWarning("old form")]

    assert (Ran(ScriptedBuilder(events), mode="none").out) == ""
    assert (Ran(ScriptedBuilder(events), mode="none").err) == ""
    assert Ran(ScriptedBuilder(events, UsageError("no")), mode="none").err == "error: no\n"


@pytest.mark.parametrize(
    ("verbosity", "expected"),
    [("warn", "warning: old form\n"), ("error", ""), ("panic", "")],
)
def test_low_verbosity_hides_progress(verbosity: str, expected: str) -> None:
    ran = Ran(ScriptedBuilder([STARTED, BuildWarning("old form")]), verbosity=verbosity)

    assert ran.err == expected
    assert ran.out


def test_log_mode_prints_kanikos_lines_and_raw_output() -> None:
    events: list[Event] = [StepStarted(MAKE), StepOutput(MAKE, "cc -c a.c", "stdout", 0.1)]

    ran = Ran(ScriptedBuilder(events), mode="log", log_format="text")

    first, second = ran.err.splitlines()
    assert first.endswith(' level=info msg="RUN make -j4 all"')
    assert second == "cc -c a.c"


class Talkative(ScriptedBuilder):
    """Writes to the developers' log."""

    async def build(self, request: BuildRequest, *, on_event: EventSink) -> BuildResult:
        logger = logging.getLogger("asynckaniko.registry")
        logger.debug("GET %s", "/v2/")
        logger.warning("clock skew")
        logging.getLogger("elsewhere").debug("trace only")
        return await super().build(request, on_event=on_event)


@pytest.mark.parametrize(
    ("verbosity", "lines"),
    [
        ("info", ["warning: asynckaniko.registry: clock skew"]),
        (
            "debug",
            ["debug: asynckaniko.registry: GET /v2/", "warning: asynckaniko.registry: clock skew"],
        ),
    ],
)
def test_verbosity_opens_the_developers_log(verbosity: str, lines: list[str]) -> None:
    assert Ran(Talkative(), verbosity=verbosity).err.splitlines() == lines


def test_trace_opens_everybodys_log() -> None:
    assert "debug: elsewhere: trace only" in Ran(Talkative(), verbosity="trace").err.splitlines()


def test_log_level_is_put_back() -> None:
    before = logging.getLogger("asynckaniko").level

    Ran(Talkative(), verbosity="debug")

    assert logging.getLogger("asynckaniko").level == before
    assert logging.getLogger("asynckaniko").handlers == []


def test_metadata_has_the_keys_of_buildx() -> None:
    result = finished("r.io/app:1", "r.io/app:2")

    assert orjson.loads(metadata(result)) == {
        "containerimage.config.digest": result.manifest.config.digest,
        "containerimage.descriptor": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": result.digest,
            "size": len(result.manifest.content),
        },
        "containerimage.digest": result.digest,
        "image.name": "r.io/app:1,r.io/app:2",
    }


def test_metadata_is_written_after_a_success_only(tmp_path: Path) -> None:
    file = tmp_path / "metadata.json"

    Ran(ScriptedBuilder([], UsageError("no")), metadata_file=file)
    assert not file.exists()

    Ran(ScriptedBuilder(), metadata_file=file)
    assert orjson.loads(file.read_bytes())["containerimage.digest"] == finished().digest


def test_timings_are_written_after_a_failure_too(tmp_path: Path) -> None:
    file = tmp_path / "timings.html"

    ran = Ran(ScriptedBuilder([STARTED, StepStarted(MAKE)], failed_run()), timings=file)

    assert ran.status == 42
    assert "RUN make -j4 all" in file.read_text()


def test_timings_that_cannot_be_written_do_not_hide_the_result(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    ran = Ran(ScriptedBuilder([STARTED]), timings=tmp_path / "file/timings.html")

    assert ran.status == 6
    assert ran.out == f"{finished().digest}\n"
    assert "timings.html" in ran.err
