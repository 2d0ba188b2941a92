"""Flags follow pflag's grammar, which pipelines written for kaniko depend on."""

from typing import Any

import click
import pytest

from asynckaniko.cli.flag_values import NUMBER, SWITCH, Value, one_of, repeated
from asynckaniko.cli.flags import Command, Flag
from asynckaniko.errors import UsageError


def parse(*words: str) -> dict[str, Any]:
    """Parse with one flag of each kind and return what was set."""
    seen: dict[str, Any] = {}

    def callback(**values: Any) -> None:
        seen.update(values)

    group = "Flags"
    command = Command(
        "build",
        callback=callback,
        params=[
            Flag("--destination", "-d", group=group, value=repeated("REF"), help="Push."),
            Flag("--build-arg", group=group, value=repeated("K=V"), help="Set."),
            Flag("--tar-path", "--tarPath", group=group, value=Value("FILE"), help="Write."),
            Flag("--dockerfile", "-f", group=group, value=Value("PATH"), help="Read."),
            Flag("--no-push", group=group, value=SWITCH, help="Do not."),
            Flag("--quick", "-q", group=group, value=SWITCH, help="Hurry."),
            Flag("--short", "-s", group=group, value=SWITCH, help="Be brief."),
            Flag("--level", group=group, value=NUMBER, help="Level."),
            Flag("--verbosity", "-v", group=group, value=one_of("info", "debug"), help="Say."),
            click.Argument(["context"], nargs=-1, required=False),
        ],
        foreign={"--cache": "not here yet"},
    )
    command.main(list(words), standalone_mode=False)
    return {name: value for name, value in seen.items() if value not in (None, ())}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--dockerfile=a"], {"dockerfile": "a"}),
        (["--dockerfile", "a"], {"dockerfile": "a"}),
        (["-f", "a"], {"dockerfile": "a"}),
        (["-f=a"], {"dockerfile": "a"}),
        (["-fa"], {"dockerfile": "a"}),
        (["-f=a=b"], {"dockerfile": "a=b"}),
        (["--dockerfile==a"], {"dockerfile": "=a"}),
        (["--dockerfile="], {"dockerfile": ""}),
        (["--dockerfile", ""], {"dockerfile": ""}),
        (["--dockerfile", "a", "--dockerfile", "b"], {"dockerfile": "b"}),
        (["--build-arg", "--x=1"], {"build_arg": ("--x=1",)}),
        (["--build-arg", "-d"], {"build_arg": ("-d",)}),
        (["--build-arg", "--"], {"build_arg": ("--",)}),
        (["--build-arg=A=1,B=2"], {"build_arg": ("A=1,B=2",)}),
        (["--build-arg", "A=x y"], {"build_arg": ("A=x y",)}),
        (["-d=r/x:1", "--destination", "r/y", "-dr/z"], {"destination": ("r/x:1", "r/y", "r/z")}),
        (["--tarPath=/x"], {"tar_path": "/x"}),
        (["--tarPath", "/x"], {"tar_path": "/x"}),
        (["--level=-1"], {"level": -1}),
        (["--level", "-1"], {"level": -1}),
        (["--level="], {}),
        (["-v=debug"], {"verbosity": "debug"}),
        (["-vDEBUG"], {"verbosity": "debug"}),
        (["--verbosity="], {}),
        (["-qs"], {"quick": True, "short": True}),
        (["-qsfa"], {"quick": True, "short": True, "dockerfile": "a"}),
        (["-q=false", "-s"], {"quick": False, "short": True}),
    ],
    ids=" ".join,
)
def test_value_is_read_as_pflag_reads_it(words: list[str], expected: dict[str, Any]) -> None:
    assert parse(*words) == expected


@pytest.mark.parametrize("word", ["1", "t", "T", "true", "TRUE", "True"])
def test_go_word_for_true_turns_a_switch_on(word: str) -> None:
    assert parse(f"--no-push={word}") == {"no_push": True}


@pytest.mark.parametrize("word", ["0", "f", "F", "false", "FALSE", "False"])
def test_go_word_for_false_turns_a_switch_off(word: str) -> None:
    assert parse(f"--no-push={word}") == {"no_push": False}


@pytest.mark.parametrize("word", ["", "yes", "on", "tRUE", " true", "2"])
def test_other_word_for_a_switch_is_an_error(word: str) -> None:
    with pytest.raises(UsageError, match=r'invalid argument ".*" for "--no-push"'):
        parse(f"--no-push={word}")


def test_bare_switch_leaves_the_next_word_alone() -> None:
    assert parse("--no-push", "./app") == {"no_push": True, "context": ("./app",)}


def test_boolean_word_after_a_bare_switch_is_no_context() -> None:
    with pytest.raises(UsageError, match="write --no-push=false"):
        parse("--no-push", "false")


def test_boolean_word_elsewhere_is_an_argument() -> None:
    assert parse("false", "--no-push") == {"no_push": True, "context": ("false",)}


def test_flags_may_follow_arguments() -> None:
    assert parse("app", "-d", "r/x") == {"context": ("app",), "destination": ("r/x",)}


def test_double_dash_ends_the_flags() -> None:
    assert parse("--no-push", "--", "-d", "--x") == {"no_push": True, "context": ("-d", "--x")}


def test_single_dash_is_an_argument() -> None:
    assert parse("-") == {"context": ("-",)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--destnation=x"], "unknown flag: --destnation; did you mean --destination?"),
        (["--tarpath", "x"], "unknown flag: --tarpath; did you mean --tar-path?"),
        (["--zzz"], "unknown flag: --zzz"),
        (["--cache=true"], "--cache: not here yet"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["-qz"], "unknown shorthand flag: 'z' in -qz"),
        (["--dockerfile"], "flag needs an argument: --dockerfile"),
        (["-f"], "flag needs an argument: -f"),
        (["--=x"], "bad flag syntax: --=x"),
        (["---x"], "bad flag syntax: ---x"),
        (["--level=x"], 'invalid argument "x" for "--level": it must be a whole number'),
        (["--level=1.5"], 'invalid argument "1.5" for "--level": it must be a whole number'),
        (["--level=-+5"], 'invalid argument "-+5" for "--level": it must be a whole number'),
        (["-v=loud"], 'invalid argument "loud" for "--verbosity": it must be one of info, debug'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_flag_is_a_usage_error(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words)

    assert caught.value.message == message


def test_help_shows_sections_defaults_and_variables(capsys: pytest.CaptureFixture[str]) -> None:
    params = [
        Flag(
            "--state-dir",
            group="Running",
            value=Value("DIR"),
            help="Where layers are kept.",
            default="/var/lib",
            variable="STATE_DIR",
        ),
        Flag("--tar-path", "--tarPath", group="Outputs", value=Value("FILE"), help="Archive."),
        Flag("--tag", "-t", group="Outputs", value=repeated("TAG"), help="Name it."),
    ]
    command = Command("build", params=params, examples="build .\nbuild -t x .\n")

    command.main(["--help"], prog_name="build", standalone_mode=False)

    assert capsys.readouterr().out == (
        "Usage: build [OPTIONS]\n"
        "\n"
        "Running:\n"
        "      --state-dir DIR               Where layers are kept. [default: /var/lib;\n"
        "                                    env: STATE_DIR]\n"
        "\n"
        "Outputs:\n"
        "      --tar-path FILE               Archive.\n"
        "  -t, --tag TAG                     Name it. [repeatable]\n"
        "\n"
        "Help:\n"
        "  --help                            Show this message and exit.\n"
        "\n"
        "Examples:\n"
        "  build .\n"
        "  build -t x .\n"
    )
