"""Expected values are those of the examples and tests of Go's packages strconv and time."""

import pytest

from asynckaniko.dockerfile.go_text import format_duration, quote


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("\a\b\f\r\n\t\v", r'"\a\b\f\r\n\t\v"'),
        ("\\", r'"\\"'),
        ("☺", '"☺"'),
        ('"', r'"\""'),
        ("\x01\x7f", r'"\x01\x7f"'),
        ("\u200b", r'"\u200b"'),
        ("\U0010ffff", r'"\U0010ffff"'),
        ("<&>", '"<&>"'),
    ],
)
def test_text_is_quoted_as_by_strconv(text: str, quoted: str) -> None:
    assert quote(text) == quoted


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (4 * 60_000_000_000 + 5_000_000_000, "4m5s"),
        (4 * 60_000_000_000 + 5_001_000_000, "4m5.001s"),
        (5 * 3_600_000_000_000 + 6 * 60_000_000_000 + 7_001_000_000, "5h6m7.001s"),
        (8 * 60_000_000_000 + 1, "8m0.000000001s"),
        (3_600_000_000_000, "1h0m0s"),
        (9223372036854775807, "2562047h47m16.854775807s"),
        (-9223372036854775808, "-2562047h47m16.854775808s"),
    ],
)
def test_duration_is_written_as_by_time(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text
