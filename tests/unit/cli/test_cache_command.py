"""`asynckaniko cache`: what is listed, and how sizes are understood."""

import pytest

from asynckaniko.cache.contents import Stored
from asynckaniko.cli.cache_command import table
from asynckaniko.cli.flag_values import parse_size
from asynckaniko.cli.main import main


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("20GB", 20 * 1000**3),
        ("20g", 20 * 1000**3),
        ("1.5 MiB", 1536 * 1024),
        ("2kib", 2048),
        ("5b", 5),
        ("GB", None),
        ("-1", None),
        ("1x", None),
    ],
)
def test_sizes_have_decimal_and_binary_units(text: str, size: int | None) -> None:
    assert parse_size(text) == size


def test_list_has_a_line_for_each_thing_and_a_sum() -> None:
    stored = [
        Stored(
            kind="layer", name="a" * 64, size=1_500_000, created=0.0, last_used=7000.0,
            what="RUN make\x1b[2J",
        ),
        Stored(kind="mount", name="b" * 64, size=20, created=0.0, last_used=0.0),
    ]  # fmt: skip

    assert table(stored, now=7200.0) == [
        "KIND           SIZE  AGE  LAST USED  WHAT",
        "layer        1.5 MB   2h     3m ago  RUN make",
        "cache mount    20 B   2h     2h ago  bbbbbbbbbbbb",
        "2 items, 1.5 MB",
    ]


def test_empty_list_is_only_its_sum() -> None:
    assert table([], now=0.0) == ["0 items, 0 B"]


def test_prune_must_be_told_what_to_remove(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "prune"]) == 2
    assert "give one of --max-size, --max-mount-size, --older-than, --all" in (
        capsys.readouterr().err
    )
