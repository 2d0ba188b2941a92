"""The program itself: its words, its exit status, and what it does not load."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import asynckaniko
from asynckaniko.cli.main import main

ROOT = Path(__file__).parents[3]


def run(*words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "asynckaniko"]
    return subprocess.run(
        [sys.executable, *start, *words], capture_output=True, text=True, cwd=ROOT, timeout=60
    )


@pytest.mark.parametrize("word", ["version", "--version"])
def test_version_is_printed(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0

    assert capsys.readouterr().out.startswith(f"asynckaniko {asynckaniko.__version__} (Python 3.")


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_commands_and_exit_codes(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0

    out = capsys.readouterr().out
    assert out.startswith("Usage: asynckaniko COMMAND")
    assert "  build " in out
    assert "Exit codes" in out


def test_help_of_build_fits_the_screen_and_names_variables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    assert main(["build", "--help"]) == 0

    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "Usage: asynckaniko build [FLAGS] [CONTEXT]"
    assert lines.index("Common:") < lines.index("Registries:") < lines.index("Examples:")
    for variable in ("KANIKO_NO_PUSH", "KANIKO_REGISTRY_MIRROR", "BUILDKIT_PROGRESS"):
        assert f"env: {variable}]" in " ".join(out.split())
    assert max(len(line) for line in lines[: lines.index("Examples:")]) <= 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bulid"], 'unknown command "bulid"; did you mean build?'),
        (["xyzzy"], 'unknown command "xyzzy"; the commands are '),
        (["--nope"], "unknown flag: --nope"),
        (["-d", "x"], "-d is a flag of a command: asynckaniko build -d x"),
        (["--cache"], "--cache is a flag of a command: asynckaniko build --cache"),
        (["build", "--destnation", "x"], "unknown flag: --destnation; did you mean --destination?"),
        (["build", "--cache"], "--cache: asynckaniko does not have this kaniko flag yet"),
        (["build", "."], "the image would go nowhere"),
        (["version", "x"], "unexpected extra argument"),
    ],
    ids=" ".join,
)
def test_wrong_words_are_one_line_and_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_module_is_the_program() -> None:
    done = run("version")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("asynckaniko ")


def test_starting_loads_nothing_that_only_a_build_needs() -> None:
    code = (
        "import sys; from asynckaniko.cli.main import main; main(['build', '--help']);"
        "heavy = {'aiohttp', 'rich', 'uvloop', 'anyio', 'stamina', 'asynckaniko.build.builder'};"
        "print(sorted(heavy & set(sys.modules)))"
    )

    assert run(code=code).stdout.splitlines()[-1] == "[]"


def test_reader_that_left_is_no_error_message() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "asynckaniko", "build", "--help"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            timeout=60,
        )

    assert (done.returncode, done.stderr) == (141, "")
