"""Each command does the same work, told in its own words."""

import subprocess
from pathlib import Path

import pytest

from perf.contenders import ROOT, of_checkout, of_texts

VALUES = {
    "context": "/ctx",
    "state": "/state",
    "registry": "r:1",
    "repository": "r:1/x",
    "destination": "r:1/x:1",
    "cache": "r:1/cache",
}


def test_command_for_a_scenario_stands_in_for_the_general_one() -> None:
    texts = ["other=build {context}", "other@cached=build {context} --from {cache}"]

    (other,) = of_texts(texts, [])

    assert other.told("app", (), ()).command(**VALUES) == ["build", "/ctx"]
    assert other.told("cached", (), ()).command(**VALUES) == [
        "build",
        "/ctx",
        "--from",
        "r:1/cache",
    ]


def test_only_a_command_that_names_the_cache_can_use_it() -> None:
    texts = ["other=build {context}", "other@cached=build --from {cache}"]

    (other,) = of_texts(texts, [])

    assert [other.names_a_cache(name) for name in ("cached", "app")] == [True, False]


def test_program_without_batch_builds_one_image_after_the_other(tmp_path: Path) -> None:
    (other,) = of_texts(["other=echo '{context}' to {destination}"], [])

    command = other.told("batch", ("batch",), ("000", "001")).command(**VALUES)

    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "/ctx/000 to r:1/x-000:1\n/ctx/001 to r:1/x-001:1\n"


def test_checkout_is_told_the_words_of_the_scenario() -> None:
    this = of_checkout("this", ROOT)

    assert this.told("pull", ("warm", "{context}"), ()).command(**VALUES)[-2:] == ["warm", "/ctx"]


@pytest.mark.parametrize("texts", [["build {context}"], ["=build"], ["other@cached=build"]])
def test_text_without_name_or_general_command_is_an_error(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="NAME=COMMAND"):
        of_texts(texts, [])
