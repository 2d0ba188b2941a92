from collections.abc import Mapping

import pytest

from asynckaniko.build.scope import GlobalScope, StageScope, platform_args
from asynckaniko.dockerfile.instructions import Arg
from asynckaniko.dockerfile.parser import parse
from asynckaniko.errors import DockerfileError
from asynckaniko.oci.platform import Platform

ARM, AMD = Platform.parse("linux/arm/v7"), Platform.parse("linux/amd64")


def stage(
    text: str, build_args: Mapping[str, str] | None = None, *, env: tuple[str, ...] = ()
) -> tuple[StageScope, list[str]]:
    """Declare the ARGs of a file's first stage; return its scope and the history texts."""
    dockerfile = parse(text.encode())
    automatic = platform_args(ARM, AMD, "final")
    scope = GlobalScope.of(dockerfile, build_args=build_args or {}, automatic=automatic)
    found = StageScope.for_base(scope, env)
    shown: list[str] = []
    for line in dockerfile.stages[0].instructions:
        if isinstance(line, Arg):
            shown += found.declare(line)
    return found, shown


def test_global_arg_is_seen_only_after_it_is_declared_again() -> None:
    unseen, _ = stage("ARG V=global\nFROM scratch")
    seen, shown = stage("ARG V=global\nFROM scratch\nARG V")

    assert unseen.expand("[$V]") == "[]"
    assert seen.expand("[$V]") == "[global]"
    assert shown == ["V=global"]


@pytest.mark.parametrize(
    ("given", "value"), [({}, "stage"), ({"V": "given"}, "given"), ({"V": ""}, "")]
)
def test_build_arg_beats_stage_default_beats_global(given: dict[str, str], value: str) -> None:
    scope, _ = stage("ARG V=global\nFROM scratch\nARG V=stage", given)

    assert scope.expand("$V") == value


def test_default_that_is_not_needed_is_not_evaluated() -> None:
    scope, _ = stage("FROM scratch\nARG V=${missing:?must be given}", {"V": "x"})

    assert scope.expand("$V") == "x"


def test_undeclared_build_arg_has_no_effect() -> None:
    scope, _ = stage("FROM scratch", {"V": "x"})

    assert scope.expand("[$V]") == "[]"
    assert scope.run_environment() == []


def test_later_of_arg_and_env_counts_for_expansion_and_run() -> None:
    scope, _ = stage("FROM scratch\nARG A=arg", env=("A=image",))
    assert scope.expand("$A") == "arg"

    scope.set_env("A", "env")
    assert scope.run_environment() == ["A=env"]


def test_automatic_args_need_a_declaration_and_can_be_overridden() -> None:
    scope, _ = stage(
        "FROM scratch\nARG TARGETPLATFORM\nARG BUILDARCH\nARG TARGETSTAGE",
        {"BUILDARCH": "riscv64"},
    )

    assert scope.expand("$TARGETPLATFORM $BUILDARCH $TARGETSTAGE $TARGETARCH") == (
        "linux/arm/v7 riscv64 final "
    )


def test_from_line_sees_automatic_args_without_a_declaration() -> None:
    dockerfile = parse(b"ARG KIND=build-$TARGETOS\nFROM $KIND")
    scope = GlobalScope.of(dockerfile, build_args={}, automatic=platform_args(ARM, AMD, ""))

    assert scope.expand("$KIND-$TARGETVARIANT", dockerfile.stages[0].base.span) == "build-linux-v7"


def test_proxies_reach_run_in_both_cases_and_stay_out_of_history() -> None:
    scope, shown = stage("FROM scratch", {"http_proxy": "p", "NO_PROXY": "n"})

    assert sorted(scope.run_environment()) == [
        "HTTP_PROXY=p",
        "NO_PROXY=n",
        "http_proxy=p",
        "no_proxy=n",
    ]
    assert shown == scope.history_args() == []


def test_child_stage_inherits_and_does_not_give_back() -> None:
    parent, _ = stage("FROM scratch\nARG A=1")
    child = parent.fork()
    child.set_env("B", "2")

    assert child.expand("$A$B") == "12"
    assert parent.expand("[$B]") == "[]"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("ARG A=1\nARG B=x\nARG A=2", ["A=2", "B=x"]),
        ("ARG NONE", ["NONE="]),
    ],
)
def test_history_of_run_tells_of_args_in_their_first_order(lines: str, told: list[str]) -> None:
    scope, _ = stage(f"FROM scratch\n{lines}")

    assert scope.history_args() == told


def test_history_of_run_has_the_value_that_the_command_sees() -> None:
    scope, _ = stage("FROM scratch\nARG A=arg")
    scope.set_env("A", "env")

    assert scope.history_args() == ["A=env"]


def test_error_in_a_global_default_names_its_line() -> None:
    with pytest.raises(DockerfileError) as caught:
        stage("# comment\nARG V=${x:?no x}\nFROM scratch")

    assert str(caught.value.span) == "Dockerfile:2"
