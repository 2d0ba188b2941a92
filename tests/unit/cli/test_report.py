"""Errors as people see them, and the exit status they give."""

import pytest

from asynckaniko import errors
from asynckaniko.cli.report import error_report, exit_code
from asynckaniko.errors import (
    CommandFailed,
    CopyFailed,
    DockerfileError,
    RegistryUnavailable,
    SourceSpan,
    Unauthorized,
    UsageError,
)

DOCKERFILE = "\n".join(f"LINE {number}" for number in range(1, 21))


def failed_run(status: int, *output: str) -> CommandFailed:
    return CommandFailed(f"RUN make: exit status {status}", exit_status=status, output=output)


def test_error_without_a_place_is_one_line() -> None:
    assert error_report(UsageError("no destination")) == "error: no destination\n"


def test_instruction_is_shown_with_two_lines_around_it() -> None:
    error = CopyFailed('"/x": not found').at(SourceSpan("Dockerfile", 12, 12), DOCKERFILE)

    assert error_report(error) == (
        "Dockerfile:12\n"
        "--------------------\n"
        "  10 |     LINE 10\n"
        "  11 |     LINE 11\n"
        "  12 | >>> LINE 12\n"
        "  13 |     LINE 13\n"
        "  14 |     LINE 14\n"
        "--------------------\n"
        'error: "/x": not found\n'
    )


def test_instruction_of_several_lines_is_marked_whole() -> None:
    error = DockerfileError("bad").at(SourceSpan("Dockerfile", 1, 3), "A \\\n b \\\n c\nD\nE")

    assert error_report(error) == (
        "Dockerfile:1-3\n"
        "--------------------\n"
        "   1 | >>> A \\\n"
        "   2 | >>>  b \\\n"
        "   3 | >>>  c\n"
        "   4 |     D\n"
        "--------------------\n"
        "error: bad\n"
    )


def test_long_instruction_is_cut() -> None:
    error = DockerfileError("bad").at(SourceSpan("Dockerfile", 1, 20), DOCKERFILE)

    lines = error_report(error).splitlines()

    assert lines[13:15] == ["  12 | >>> LINE 12", " ... | >>> (8 more lines)"]
    assert len(lines) == 17


def test_long_line_is_cut() -> None:
    error = DockerfileError("bad").at(SourceSpan("Dockerfile", 1, 1), "RUN " + "x" * 5000)

    assert max(map(len, error_report(error).splitlines())) == 211


def test_place_outside_the_text_is_named_only() -> None:
    error = DockerfileError("bad").at(SourceSpan("Dockerfile", 99, 99), "FROM scratch")

    assert error_report(error) == "Dockerfile:99\nerror: bad\n"


def test_last_output_of_a_command_is_repeated() -> None:
    assert error_report(failed_run(2, "cc -c a.c", "a.c:1: error")) == (
        "------\n cc -c a.c\n a.c:1: error\n------\nerror: RUN make: exit status 2\n"
    )


def test_long_output_is_cut_to_its_end() -> None:
    lines = error_report(failed_run(2, *(f"line {n}" for n in range(50)))).splitlines()

    assert lines[1] == " ... (30 lines before)"
    assert lines[2] == " line 30"
    assert lines[21] == " line 49"


def test_hostile_text_cannot_drive_the_terminal() -> None:
    error = failed_run(1, "\x1b[2Jowned\x07")
    error.at(SourceSpan("Dockerfile", 1, 1), "RUN \x1b]0;title\x07make")

    report = error_report(error)

    assert report.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("status", "output", "hint"),
    [
        (137, (), "137 is SIGKILL: most often the memory limit was reached"),
        (127, ("sh: mkae: not found",), "127 means a program could not be found in the image"),
        (126, (), "126 means a program could not be executed in the image"),
        (1, ("/bin/x: Exec format error",), "nothing is emulated: see --custom-platform"),
        (100, ("E: Unable to locate package curl",), "run apt-get update in the same RUN"),
        (100, ("Temporary failure resolving 'deb.debian.org'",), "found no name server"),
    ],
)
def test_hint_says_what_to_look_at(status: int, output: tuple[str, ...], hint: str) -> None:
    (line,) = [
        line
        for line in error_report(failed_run(status, *output)).splitlines()
        if line.startswith("hint: ")
    ]

    assert hint in line


def test_killed_command_names_the_memory_limit() -> None:
    assert "the limit here is 2.0 GiB" in error_report(failed_run(137), memory_limit=2 << 30)


def test_ordinary_failure_has_no_hint() -> None:
    assert "hint" not in error_report(failed_run(2, "error"))


def test_unreachable_registry_hints_at_name_and_proxies() -> None:
    error = RegistryUnavailable("GET https://registry.example/v2/: no such host: registry.example")

    assert "hint: is the registry's name right" in error_report(error)
    assert "hint" not in error_report(RegistryUnavailable("GET https://r.example/v2/: HTTP 503"))


def test_refused_registry_hints_at_credentials() -> None:
    error = Unauthorized("GET", "https://r/v2/", 401, ("UNAUTHORIZED",))

    assert "hint: credentials come from docker's config.json" in error_report(error)


def test_colour_marks_the_word_error_and_the_lines() -> None:
    error = DockerfileError("bad").at(SourceSpan("Dockerfile", 1, 1), "FORM scratch")

    report = error_report(error, color=True)

    assert "   1 | \x1b[1;31m>>>\x1b[0m FORM scratch" in report
    assert report.endswith("\x1b[1;31merror:\x1b[0m bad\n")


def test_message_of_several_lines_is_indented() -> None:
    assert error_report(UsageError("two\nlines")) == "error: two\n  lines\n"


def test_unknown_exception_is_a_bug_with_a_traceback() -> None:
    with pytest.raises(KeyError) as caught:
        dict[str, str]()["missing"]

    report = error_report(caught.value)

    assert report.startswith("Traceback (most recent call last):")
    assert report.endswith("error: this is a bug in asynckaniko: KeyError: 'missing'\n")


def test_several_errors_are_reported_one_after_another() -> None:
    group = ExceptionGroup("x", [UsageError("one"), ExceptionGroup("y", [CopyFailed("two")])])

    assert error_report(group) == "error: one\n\nerror: two\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.InvalidReference("x"), 2),
        (errors.DockerfileError("x"), 2),
        (errors.ContextError("x"), 2),
        (errors.CopyFailed("x"), 3),
        (errors.NotFound("GET", "u", 404), 4),
        (errors.RegistryUnavailable("x"), 4),
        (errors.IntegrityError("x"), 5),
        (errors.ArchiveError("x"), 5),
        (errors.HostError("x"), 6),
        (errors.OutOfSpace("x"), 6),
        (failed_run(42), 42),
        (failed_run(137), 137),
        (RuntimeError("x"), 1),
        (errors.AsynckanikoError("x"), 1),
        (ExceptionGroup("x", [failed_run(42), errors.NotFound("GET", "u", 404)]), 42),
        (ExceptionGroup("x", [errors.CopyFailed("x"), RuntimeError("bug")]), 1),
    ],
    ids=lambda value: f"{type(value).__name__}" if isinstance(value, Exception) else str(value),
)
def test_exit_status_tells_who_must_act(error: Exception, code: int) -> None:
    assert exit_code(error) == code
