"""Sizes, times, steps and lines of output as people see them."""

import pytest

from asynckaniko.cli.labels import (
    output_text,
    plain_text,
    retry_text,
    seconds_text,
    size_text,
    step_label,
    warning_text,
)
from asynckaniko.events import BuildWarning, RequestRetried, Step


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (48_500_000, "48.5 MB"),
        (999_960_000, "1.0 GB"),
        (12_345_678_901, "12.3 GB"),
        (5 * 10**18, "5000.0 PB"),
    ],
)
def test_size_is_in_decimal_units(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (0.04, "0.0s"),
        (12.34, "12.3s"),
        (99.94, "99.9s"),
        (99.96, "1m40s"),
        (187, "3m07s"),
        (3599.6, "1h00m"),
        (3720, "1h02m"),
    ],
)
def test_duration_never_needs_more_than_six_columns(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
    assert len(text) <= 6


@pytest.mark.parametrize(
    ("stage", "stages", "label"),
    [
        ("build", ("build", "final"), "[build 2/5] RUN make"),
        ("0", ("0", "final"), "[stage-0 2/5] RUN make"),
        ("build", ("build",), "[2/5] RUN make"),
        ("0", ("0",), "[2/5] RUN make"),
    ],
)
def test_step_names_its_stage_unless_it_is_the_only_one(
    stage: str, stages: tuple[str, ...], label: str
) -> None:
    assert step_label(Step(stage, 2, 5, "RUN make", 3), stages) == label


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain", "plain"),
        ("naïve 警告 ✓", "naïve 警告 ✓"),
        ("10%\r50%\r100%", "100%"),
        ("100%\r", "100%"),
        ("\r\r", ""),
        ("a\tb", "a       b"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP+q\x1b\\dcs", "dcs"),
        ("\x1b(Bcharset", "charset"),
        ("bell\x07 nul\x00 csi\x9b31m", "bell nul csi31m"),
        ("cut \x1b[", "cut "),
        ("cut \x1b]0;never ends", "cut "),
    ],
)
def test_output_without_colour_cannot_drive_the_terminal(line: str, shown: str) -> None:
    assert output_text(line, color=False) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[31mred\x1b[0m end", "\x1b[31mred\x1b[0m end"),
        ("\x1b[1;38;5;9mred", "\x1b[1;38;5;9mred\x1b[0m"),
        ("\x1b[31mred\x1b[2Jstill\x1b[m", "\x1b[31mredstill\x1b[m"),
        ("\x1b]0;title\x07plain", "plain"),
    ],
)
def test_output_with_colour_keeps_colours_only_and_ends_them(line: str, shown: str) -> None:
    assert output_text(line, color=True) == shown


def test_text_from_elsewhere_is_made_harmless() -> None:
    assert plain_text("RUN echo \x1b[2J\x1b]0;x\x07hi\n") == "RUN echo hi"
    assert plain_text("two\n  lines") == "two lines"


def test_warning_names_rule_and_place() -> None:
    assert warning_text(BuildWarning("bad", "Rule", "Dockerfile", 3)) == "Rule: bad (Dockerfile:3)"
    assert warning_text(BuildWarning("bad")) == "bad"


def test_retry_says_which_attempt_comes_when() -> None:
    retried = RequestRetried("GET", "https://r/v2/", "HTTP 503", 1, 0.25)

    assert retry_text(retried) == "GET https://r/v2/: HTTP 503; attempt 2 in 0.2s"
