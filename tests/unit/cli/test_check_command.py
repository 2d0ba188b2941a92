"""`asynckaniko check`: findings for people and for programs."""

import base64
from pathlib import Path

import orjson
import pytest

from asynckaniko.build.request import BuildRequest
from asynckaniko.cli.check_command import CheckedFile, rule_page
from asynckaniko.cli.main import main
from asynckaniko.errors import ContextError
from asynckaniko.settings import Limits


def checked(directory: Path, dockerfile: str, *, target: str = "") -> CheckedFile:
    (directory / "Dockerfile").write_text(dockerfile)
    return CheckedFile.of(BuildRequest(context=str(directory), target=target), Limits())


def test_clean_file_is_status_0(tmp_path: Path) -> None:
    found = checked(tmp_path, "FROM scratch\nLABEL a=b\n")

    assert found.exit_code == 0
    assert found.text(color=False) == "Check complete, no warnings found.\n"


def test_warning_names_rule_page_message_and_lines(tmp_path: Path) -> None:
    found = checked(tmp_path, "FROM scratch\nENV a b\n")

    assert found.exit_code == 2
    assert found.text(color=False) == (
        "WARNING: LegacyKeyValueFormat - "
        "https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/\n"
        '"ENV key=value" should be used instead of legacy "ENV key value" format\n'
        "Dockerfile:2\n"
        "--------------------\n"
        "   1 |     FROM scratch\n"
        "   2 | >>> ENV a b\n"
        "--------------------\n"
        "\n"
        "Check complete, 1 warning has been found!\n"
    )


def test_file_that_cannot_be_read_is_an_error_with_its_line(tmp_path: Path) -> None:
    found = checked(tmp_path, "FROM scratch\nLABLE a=b\n")

    assert found.exit_code == 2
    assert "   2 | >>> LABLE a=b\n" in found.text(color=False)
    assert found.text(color=False).splitlines()[-1].startswith("error: ")


def test_json_has_the_fields_of_buildx(tmp_path: Path) -> None:
    text = "FROM scratch\nENV a b\n"

    document = orjson.loads(checked(tmp_path, text).json())

    (warning,) = document["warnings"]
    assert warning["ruleName"] == "LegacyKeyValueFormat"
    assert warning["location"] == {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}
    (source,) = document["sources"]
    assert source["filename"] == "Dockerfile"
    assert base64.b64decode(source["data"]).decode() == text
    assert "buildError" not in document


def test_json_of_an_unreadable_file_has_its_error(tmp_path: Path) -> None:
    document = orjson.loads(checked(tmp_path, "FROM scratch\nLABLE a=b\n").json())

    assert document["buildError"]["location"]["ranges"][0]["start"]["line"] == 2


def test_all_stages_are_checked_unless_one_is_named(tmp_path: Path) -> None:
    text = "FROM scratch AS one\nENV a b\nFROM scratch AS two\nLABEL a=$missing\n"

    assert "UndefinedVar" in checked(tmp_path, text).text(color=False)
    assert "UndefinedVar" not in checked(tmp_path, text, target="one").text(color=False)


def test_ignored_file_that_is_copied_is_found(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("secret\n")

    assert "CopyIgnoredFile" in checked(tmp_path, "FROM scratch\nCOPY secret /\n").text(color=False)


def test_missing_dockerfile_is_a_context_error(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="there is no Dockerfile"):
        CheckedFile.of(BuildRequest(context=str(tmp_path)), Limits())


@pytest.mark.parametrize(
    ("rule", "page"),
    [
        ("StageNameCasing", "stage-name-casing"),
        ("JSONArgsRecommended", "json-args-recommended"),
        ("UndefinedArgInFrom", "undefined-arg-in-from"),
        ("FromPlatformFlagConstDisallowed", "from-platform-flag-const-disallowed"),
    ],
)
def test_rule_has_a_page(rule: str, page: str) -> None:
    assert rule_page(rule).endswith(f"/rule/{page}/")


def test_check_flag_of_build_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nENV a b\n")

    statuses = [main(["check", str(tmp_path)]), main(["build", "--check", str(tmp_path)])]

    first, second = capsys.readouterr().out.split("found!\n")[:2]
    assert statuses == [2, 2]
    assert first == second


def test_format_of_check_is_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")

    assert main(["check", str(tmp_path), "--format=json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["warnings"] == []
