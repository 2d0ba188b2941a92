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


@pytest.mark.parametrize("words", [[], ["cache"], ["index"]])
def test_commands_are_told_of_in_whole_sentences(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    assert main([*words, "--help"]) == 0

    commands = capsys.readouterr().out.partition("\nCommands:\n")[2].partition("\n\n")[0]
    assert commands
    for line in commands.splitlines():
        assert line.endswith(".")
        assert not line.endswith("...")


@pytest.mark.parametrize(
    "words",
    [
        *(["batch"], ["build"], ["check"], ["push"], ["warm"], ["doctor"], ["login"]),
        *(["completion"], ["cache", "list"], ["cache", "prune"], ["index", "create"]),
    ],
    ids=" ".join,
)
def test_help_fits_80_columns(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    assert main([*words, "--help"]) == 0

    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 80


def test_help_of_build_has_sections_and_names_variables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["build", "--help"]) == 0

    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "Usage: asynckaniko build [FLAGS] [CONTEXT]"
    assert lines.index("Common:") < lines.index("Registries:") < lines.index("Examples:")
    for variable in ("KANIKO_NO_PUSH", "KANIKO_REGISTRY_MIRROR", "BUILDKIT_PROGRESS"):
        assert f"env: {variable}]" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bulid"], 'unknown command "bulid"; did you mean build?'),
        (["xyzzy"], 'unknown command "xyzzy"; the commands are '),
        (["--nope"], "unknown flag: --nope"),
        (["-d", "x"], "-d is a flag of a command: asynckaniko build -d x"),
        (["--dryrun"], "--dryrun is a flag of a command: asynckaniko build --dryrun"),
        (["build", "--destnation", "x"], "unknown flag: --destnation; did you mean --destination?"),
        (["build", "--force"], "--force: only the executor has this flag of kaniko's"),
        (["build", "--memory=1g"], "--memory: a command gets no cgroup of its own"),
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
        "heavy = {'aiohttp', 'rich', 'uvloop', 'stamina', 'asynckaniko.build.builder'};"
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


def complete(*words: str) -> list[str]:
    """Ask for completions as bash does: the last word is the one being typed."""
    line = " ".join(("asynckaniko", *words))
    done = subprocess.run(
        [sys.executable, "-m", "asynckaniko"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        env={
            **os.environ,
            "_ASYNCKANIKO_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words)),
        },
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bui"], ["plain,build"]),
        (["build", "--destin"], ["plain,--destination"]),
        (["build", "--no-push", "--targ"], ["plain,--target"]),
        (["build", "--image-format", "d"], ["plain,docker"]),
        (["build", "--dockerfile", "Dock"], ["file,Dock"]),
        (["build", "--state-dir", "/va"], ["dir,/va"]),
    ],
    ids=" ".join,
)
def test_shells_complete_commands_flags_and_values(words: list[str], expected: list[str]) -> None:
    assert complete(*words) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_program(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0

    assert f"_ASYNCKANIKO_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_completion_for_another_shell_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 2

    assert "it must be one of bash, zsh, fish" in capsys.readouterr().err


def test_login_reads_the_password_from_stdin(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "asynckaniko", "login", "r.io", "-u=ci", "--password-stdin"],
        input="hunter2\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        env={**os.environ, "DOCKER_CONFIG": str(tmp_path)},
    )

    assert done.returncode == 0
    assert done.stdout == f"credentials for r.io are kept in {tmp_path}/config.json\n"
    assert "hunter2" not in done.stdout + done.stderr
    assert (tmp_path / "config.json").is_file()
